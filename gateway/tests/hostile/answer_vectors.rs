//! What hostile upstreams say.

use crate::answers::Must::{self, BreakOff, Fail, Pass, PassAndClose};
use crate::answers::Vector;
use crate::recorder::{Say, Then};

fn says(name: impl Into<String>, bytes: impl Into<Vec<u8>>, then: Then, must: Must) -> Vector {
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
fn ok(name: &str, lines: &str, body: &str, must: Must) -> Vector {
    says(name, format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}"), Then::Keep, must)
}

/// A 200 with these bytes in the place of chunks.
fn chunks(name: &str, chunks: &str, must: Must) -> Vector {
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
    vectors.extend(lengths());
    vectors.extend(encodings());
    vectors.extend(broken_chunks());
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
        says("100 for ever", flood, Then::Keep, Fail(504)),
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

fn lengths() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = [
        "+2",
        "-2",
        "0x2",
        "2.0",
        "2 2",
        "2, 3",
        "two",
        "",
        "2;",
        "18446744073709551616",
    ]
    .iter()
    .map(|value| {
        ok(
            &format!("a length of {value:?}"),
            &format!("Content-Length: {value}\r\n"),
            "ok",
            Fail(502),
        )
    })
    .collect();
    vectors.extend([
        ok(
            "two lengths",
            "Content-Length: 2\r\nContent-Length: 3\r\n",
            "oks",
            Fail(502),
        ),
        ok(
            "two lengths, the second shorter",
            "Content-Length: 3\r\nContent-Length: 2\r\n",
            "oks",
            Fail(502),
        ),
        ok(
            "a length that is too long",
            "Content-Length: 5\r\n",
            "ok",
            BreakOff(200),
        ),
        says(
            "a length that is too long, and the end",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
            Then::Close,
            BreakOff(200),
        ),
        says(
            "a length that is too long, and a reset",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
            Then::Reset,
            BreakOff(200),
        ),
        ok(
            "a length that is too short",
            "Content-Length: 2\r\n",
            "okevil",
            PassAndClose(200, "ok"),
        ),
        ok(
            "a length of nothing with a body",
            "Content-Length: 0\r\n",
            "evil",
            PassAndClose(200, ""),
        ),
        ok(
            "the largest length",
            "Content-Length: 18446744073709551615\r\n",
            "ok",
            Fail(502),
        ),
        ok(
            "a large length",
            "Content-Length: 9223372036854775807\r\n",
            "ok",
            BreakOff(200),
        ),
        says(
            "no length, and the end",
            "HTTP/1.1 200 OK\r\n\r\nok",
            Then::Close,
            PassAndClose(200, "ok"),
        ),
        says(
            "no length, and a reset",
            "HTTP/1.1 200 OK\r\n\r\nok",
            Then::Reset,
            BreakOff(200),
        ),
        ok("no length, and silence", "", "ok", BreakOff(200)),
        says(
            "a body to 204",
            "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil",
            Then::Keep,
            PassAndClose(204, ""),
        ),
        says(
            "chunks to 204",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
            Then::Keep,
            PassAndClose(204, ""),
        ),
        says(
            "a body to 304",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil",
            Then::Keep,
            PassAndClose(304, ""),
        ),
        says(
            "a body to 205",
            "HTTP/1.1 205 Reset Content\r\nContent-Length: 4\r\n\r\nevil",
            Then::Keep,
            PassAndClose(205, ""),
        ),
    ]);
    vectors
}

fn encodings() -> Vec<Vector> {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let mut vectors: Vec<Vector> = [
        "xchunked",
        "chunked, gzip",
        "chunked, identity",
        "identity",
        "gzip",
        "\"chunked\"",
        "",
        "chunked,",
        "chunked;x",
    ]
    .iter()
    .map(|value| {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        ok(
            &format!("an encoding of {value:?}"),
            &lines,
            "2\r\nok\r\n0\r\n\r\n",
            Fail(502),
        )
    })
    .collect();
    vectors.extend([
        says("both framings", both, Then::Keep, Fail(502)),
        says(
            "both framings, chunks first",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Then::Keep,
            Fail(502),
        ),
        says(
            "both framings to 304",
            "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n",
            Then::Keep,
            Fail(502),
        ),
        says(
            "chunks in HTTP/1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Then::Keep,
            Fail(502),
        ),
        ok(
            "chunks twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "2\r\nok\r\n0\r\n\r\n",
            Fail(502),
        ),
        ok(
            "gzip, then chunks",
            "Transfer-Encoding: gzip, chunked\r\n",
            "2\r\nok\r\n0\r\n\r\n",
            Fail(502),
        ),
        ok(
            "Chunked",
            "Transfer-Encoding: Chunked\r\n",
            "2\r\nok\r\n0\r\n\r\n",
            Pass(200, "ok"),
        ),
    ]);
    vectors
}

fn broken_chunks() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = [
        "g\r\nok\r\n0\r\n\r\n",
        "-2\r\nok\r\n0\r\n\r\n",
        "+2\r\nok\r\n0\r\n\r\n",
        "0x2\r\nok\r\n0\r\n\r\n",
        "\r\nok\r\n0\r\n\r\n",
        "10000000000000002\r\nok\r\n0\r\n\r\n",
        "2\nok\n0\n\n",
        "2\rok\r\n0\r\n\r\n",
        "2\r\nokay\r\n0\r\n\r\n",
        "2\r\nok0\r\n\r\n",
        "2\r\nok\n0\r\n\r\n",
        "2;a=\nb\r\nok\r\n0\r\n\r\n",
        "2 2\r\nok\r\n0\r\n\r\n",
        "5\r\nok",
        "2\r\nok\r\n",
        "2\r\nok\r\n0\r\n",
        "2\r\nok\r\n0\r\nX: y\r\n",
        "ffffffffffffffff\r\nok\r\n",
    ]
    .iter()
    .map(|text| chunks(&format!("{text:?}"), text, BreakOff(200)))
    .collect();
    vectors.extend([
        chunks(
            "trailers",
            "2\r\nok\r\n0\r\nX-User-Id: 1\r\nContent-Length: 9\r\n\r\n",
            Pass(200, "ok"),
        ),
        chunks("an extension", "2;a=b\r\nok\r\n0;c\r\n\r\n", Pass(200, "ok")),
        chunks(
            "an extension of a megabyte",
            &format!("2;{}\r\nok\r\n0\r\n\r\n", "x".repeat(1_000_000)),
            BreakOff(200),
        ),
        chunks(
            "trailers of a megabyte",
            &format!("2\r\nok\r\n0\r\n{}\r\n", "X: yyyyyyyyyyyy\r\n".repeat(60_000)),
            BreakOff(200),
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
