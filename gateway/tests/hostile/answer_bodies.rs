//! What hostile upstreams say of the bodies of their answers.

use crate::answer_vectors::{chunks, ok, says};
use crate::answers::Must::{BreakOff, Fail, Pass, PassAndClose};
use crate::answers::Vector;
use crate::recorder::Then;

pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors = lengths();
    vectors.extend(encodings());
    vectors.extend(broken_chunks());
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
    vectors.extend(lengths_and_bodies());
    vectors
}

fn lengths_and_bodies() -> Vec<Vector> {
    vec![
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
    ]
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
