//! What hostile upstreams say.

use crate::answer_bodies;
use crate::answers::Must::{self, BreakOff, Fail, Pass, PassAndClose};
use crate::answers::Vector;
use crate::recorder::{Say, Then};

pub(crate) fn says(name: impl Into<String>, bytes: impl Into<Vec<u8>>, then: Then, must: Must) -> Vector {
    Vector {
        name: name.into(),
        say: Say {
            bytes: bytes.into(),
            then,
        },
        must,
    }
}

/// A 200 with these header lines and what stands behind them; the connection is kept.
pub(crate) fn ok(name: &str, lines: &str, body: &str, must: Must) -> Vector {
    says(name, format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}"), Then::Keep, must)
}

/// A 200 with these bytes in the place of chunks.
pub(crate) fn chunks(name: &str, chunks: &str, must: Must) -> Vector {
    ok(
        &format!("chunks: {name}"),
        "Transfer-Encoding: chunked\r\n",
        chunks,
        must,
    )
}

pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors = status_lines();
    vectors.extend(interim());
    vectors.extend(fields());
    vectors.extend(answer_bodies::vectors());
    vectors.extend(behind());
    vectors.extend(stalls());
    vectors
}

fn status_lines() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "<html>no</html>\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 \r\n\r\n",
        "HTTP/1.1 2\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1 20x OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n",
        " HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTPS/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\rContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200\u{b}OK\r\nContent-Length: 0\r\n\r\n",
    ]
    .iter()
    .map(|text| says(format!("{text:?}"), *text, Then::Keep, Fail(502)))
    .collect();
    vectors.extend([
        says("nothing", "", Then::Close, Fail(502)),
        says("a reset", "", Then::Reset, Fail(502)),
        says(
            "a status of its own",
            "HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n",
            Then::Keep,
            Pass(299, ""),
        ),
        says(
            "a status beyond the classes",
            "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
            Then::Keep,
            Pass(999, ""),
        ),
        says(
            "no reason",
            "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
            Then::Keep,
            Pass(200, "ok"),
        ),
        says(
            "HTTP/1.0",
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Then::Keep,
            PassAndClose(200, "ok"),
        ),
        says(
            "a long reason",
            format!("HTTP/1.1 200 {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(1_000_000)),
            Then::Keep,
            Fail(502),
        ),
    ]);
    vectors
}

/// Answers before the answer (RFC 9110 section 15.2).
fn interim() -> Vec<Vector> {
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(50_000);
    vec![
        says(
            "100 that was not asked for",
            format!("HTTP/1.1 100 Continue\r\n\r\n{last}"),
            Then::Keep,
            Pass(200, "ok"),
        ),
        says(
            "103 with headers",
            format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{last}"),
            Then::Keep,
            Pass(200, "ok"),
        ),
        says(
            "102, twenty times",
            format!("{}{last}", "HTTP/1.1 102 Processing\r\n\r\n".repeat(20)),
            Then::Keep,
            Pass(200, "ok"),
        ),
        says("100 for ever", flood, Then::Keep, Fail(502)),
        says(
            "100 and the end",
            "HTTP/1.1 100 Continue\r\n\r\n",
            Then::Close,
            Fail(502),
        ),
        says(
            "101 that was not asked for",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            Then::Keep,
            Fail(502),
        ),
        says(
            "101 without a protocol",
            format!("HTTP/1.1 101 Switching Protocols\r\n\r\n{last}"),
            Then::Keep,
            Fail(502),
        ),
        says(
            "101 after 100",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n",
            Then::Keep,
            Fail(502),
        ),
    ]
}

fn fields() -> Vec<Vector> {
    let end = "Content-Length: 2\r\n";
    let mut vectors: Vec<Vector> = [
        ("a folded line", "X: y\r\n z\r\n"),
        ("a line folded with a tab", "X: y\r\n\tz\r\n"),
        ("a folded first line", " X: y\r\n"),
        ("NUL in a value", "X: a\0b\r\n"),
        ("a control character in a value", "X: a\x01b\r\n"),
        ("DEL in a value", "X: a\x7fb\r\n"),
        ("a bare CR in a value", "X: a\rb\r\n"),
        ("NUL in a name", "X\0: y\r\n"),
        ("a space in a name", "X Y: z\r\n"),
        ("a space before the colon", "X : y\r\n"),
        ("a space before the length's colon", "Content-Length : 5\r\n"),
        ("no name", ": y\r\n"),
        ("no colon", "X\r\n"),
        ("a name in brackets", "(X): y\r\n"),
        ("a letter outside ASCII in a name", "X\u{e9}: y\r\n"),
    ]
    .iter()
    .map(|(name, line)| ok(name, &format!("{line}{end}"), "ok", Fail(502)))
    .collect();
    vectors.extend([
        ok(
            "101 headers",
            &format!("{}{end}", "X: y\r\n".repeat(101)),
            "ok",
            Fail(502),
        ),
        ok(
            "a header of a megabyte",
            &format!("X: {}\r\n{end}", "y".repeat(1_000_000)),
            "ok",
            Fail(502),
        ),
        ok(
            "a name of 70,000 bytes",
            &format!("{}: y\r\n{end}", "x".repeat(70_000)),
            "ok",
            Fail(502),
        ),
        ok("a head that never ends", &"X: y\r\n".repeat(100_000), "", Fail(502)),
        ok(
            "high bytes in a value",
            &format!("X: \u{e9}\r\n{end}"),
            "ok",
            Pass(200, "ok"),
        ),
        says(
            "only bare LFs",
            "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
            Then::Keep,
            Pass(200, "ok"),
        ),
    ]);
    vectors
}

/// What stands behind an answer (RFC 9112 section 11.1).
fn behind() -> Vec<Vector> {
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    vec![
        says("an answer", good, Then::Keep, Pass(200, "ok")),
        says(
            "two answers",
            format!("{good}{evil}"),
            Then::Keep,
            PassAndClose(200, "ok"),
        ),
        says(
            "an answer of chunks, and another one",
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{evil}"),
            Then::Keep,
            PassAndClose(200, "ok"),
        ),
        says(
            "an answer without a body, and another one",
            format!("HTTP/1.1 204 No Content\r\n\r\n{evil}"),
            Then::Keep,
            PassAndClose(204, ""),
        ),
        says(
            "an answer and a line",
            format!("{good}\r\n"),
            Then::Keep,
            PassAndClose(200, "ok"),
        ),
        says(
            "an answer and garbage",
            format!("{good}\0\0\0\0"),
            Then::Keep,
            PassAndClose(200, "ok"),
        ),
        says(
            "an answer and 100",
            format!("{good}HTTP/1.1 100 Continue\r\n\r\n"),
            Then::Keep,
            PassAndClose(200, "ok"),
        ),
        says("an answer and the end", good, Then::Close, PassAndClose(200, "ok")),
        says(
            "an answer that says it is the last",
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok{evil}"),
            Then::Keep,
            PassAndClose(200, "ok"),
        ),
    ]
}

fn stalls() -> Vec<Vector> {
    vec![
        says("silence", "", Then::Keep, Fail(504)),
        says("silence in the status line", "HTTP/1.1 200", Then::Keep, Fail(504)),
        says(
            "silence in the head",
            "HTTP/1.1 200 OK\r\nContent-Le",
            Then::Keep,
            Fail(504),
        ),
        says(
            "silence before the body",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Then::Keep,
            BreakOff(200),
        ),
        says(
            "silence in a chunk's size",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2",
            Then::Keep,
            BreakOff(200),
        ),
    ]
}
