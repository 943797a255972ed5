//! Chunks that readers would cut in different places (RFC 9112 section 7.1). Where they are broken, the client's connection
//! ends, since the body's end cannot be found; what began to be forwarded is broken off.

use crate::vector::Must::{BreakOff, Forward};
use crate::vector::{Vector, chunked, post, prove};

#[actix_web::test]
async fn chunks_are_cut_in_one_way_or_not_at_all() {
    prove(vectors()).await;
}

pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors = sizes();
    vectors.extend(line_ends());
    vectors.extend(extensions());
    vectors.extend(trailers());
    vectors
}

fn sizes() -> Vec<Vector> {
    let refused = [
        "10000000000000000",
        "ffffffffffffffff0",
        "00000000000000000000000000000001f00000000000000001",
        "-3",
        "+3",
        "0x3",
        "x3",
        "g",
        "3g",
        "3.",
        "3,",
        "3 3",
        " 3",
        "\t3",
        "",
        "\0",
        "3\0",
        "3\x0b",
        "\u{0663}",
    ];
    let mut vectors: Vec<Vector> = refused
        .iter()
        .map(|size| {
            chunked(
                &format!("a chunk of {size:?}"),
                &format!("{size}\r\nabc\r\n0\r\n\r\n"),
                BreakOff(400),
            )
        })
        .collect();
    for size in ["3", "03", "0000000000000003", "3 ", "3\t", "3   "] {
        let chunks = format!("{size}\r\nabc\r\n0\r\n\r\n");
        vectors.push(chunked(
            &format!("a chunk of {size:?}"),
            &chunks,
            Forward("/open", "abc"),
        ));
    }
    vectors.extend([
        chunked(
            "a chunk in capitals",
            "A\r\n0123456789\r\n0\r\n\r\n",
            Forward("/open", "0123456789"),
        ),
        chunked(
            "a last chunk of several zeros",
            "3\r\nabc\r\n000\r\n\r\n",
            Forward("/open", "abc"),
        ),
        chunked("no chunk but the last", "0\r\n\r\n", Forward("/open", "")),
        chunked(
            "a chunk too large for the route",
            "ffffffffffffffff\r\nabc\r\n",
            BreakOff(408),
        ),
        chunked(
            "more data than the size says",
            "3\r\nabcdef\r\n0\r\n\r\n",
            BreakOff(400),
        ),
        chunked(
            "one byte more than the size says",
            "3\r\nabcd\r\n0\r\n\r\n",
            BreakOff(400),
        ),
        chunked("less data than the size says", "5\r\nabc\r\n0\r\n\r\n", BreakOff(400)),
        chunked(
            "an end that is another chunk's",
            "3\r\nabc\r\n0\r\n1\r\nx\r\n0\r\n\r\n",
            BreakOff(400),
        ),
    ]);
    vectors
}

fn line_ends() -> Vec<Vector> {
    vec![
        chunked("a bare LF behind the size", "3\nabc\r\n0\r\n\r\n", BreakOff(400)),
        chunked("a bare CR behind the size", "3\rabc\r\n0\r\n\r\n", BreakOff(400)),
        chunked("CR CR LF behind the size", "3\r\r\nabc\r\n0\r\n\r\n", BreakOff(400)),
        chunked("LF CR behind the size", "3\n\rabc\r\n0\r\n\r\n", BreakOff(400)),
        chunked("a bare LF behind the data", "3\r\nabc\n0\r\n\r\n", BreakOff(400)),
        chunked("a bare CR behind the data", "3\r\nabc\r0\r\n\r\n", BreakOff(400)),
        chunked("nothing behind the data", "3\r\nabc0\r\n\r\n", BreakOff(400)),
        chunked(
            "an empty line behind the data",
            "3\r\nabc\r\n\r\n0\r\n\r\n",
            BreakOff(400),
        ),
        chunked("a bare LF behind the last size", "3\r\nabc\r\n0\n\r\n", BreakOff(400)),
        chunked("a bare CR behind the last size", "3\r\nabc\r\n0\r\r\n", BreakOff(400)),
        chunked("only bare LFs", "3\nabc\n0\n\n", BreakOff(400)),
    ]
}

fn extensions() -> Vec<Vector> {
    let huge = format!("3;x={}\r\nabc\r\n0\r\n\r\n", "y".repeat(256 * 1024));
    let mut vectors = vec![
        chunked("an extension", "3;a=b\r\nabc\r\n0\r\n\r\n", Forward("/open", "abc")),
        chunked(
            "an extension in quotes",
            "3;a=\"b c\"\r\nabc\r\n0\r\n\r\n",
            Forward("/open", "abc"),
        ),
        chunked(
            "an extension without a name",
            "3;\r\nabc\r\n0\r\n\r\n",
            Forward("/open", "abc"),
        ),
        chunked(
            "an extension behind the last size",
            "3\r\nabc\r\n0;a=b\r\n\r\n",
            Forward("/open", "abc"),
        ),
        chunked(
            "a space before an extension",
            "3 ;a=b\r\nabc\r\n0\r\n\r\n",
            Forward("/open", "abc"),
        ),
        chunked("an extension of 256 KiB", &huge, BreakOff(400)),
    ];
    for (name, extension) in [
        ("a bare LF", "a=b\nabc"),
        ("a bare CR", "a=b\rabc"),
        ("NUL", "a=\0"),
        ("a quoted line end", "a=\"\r\n\""),
        ("a quoted bare LF", "a=\"\n\""),
        ("DEL", "a=\x7f"),
    ] {
        let chunks = format!("3;{extension}\r\nabc\r\n0\r\n\r\n");
        vectors.push(chunked(&format!("an extension with {name}"), &chunks, BreakOff(400)));
    }
    vectors
}

fn trailers() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = [
        "Content-Length: 100",
        "Transfer-Encoding: chunked",
        "Host: evil.test",
        "Authorization: Bearer evil",
        "X-User-Id: 1",
        "Connection: close",
    ]
    .iter()
    .map(|trailer| {
        let chunks = format!("3\r\nabc\r\n0\r\n{trailer}\r\n\r\n");
        chunked(&format!("a trailer {trailer}"), &chunks, Forward("/open", "abc"))
            .without("content-length")
            .without("authorization")
    })
    .collect();
    vectors.extend([
        post(
            "an announced trailer",
            "Transfer-Encoding: chunked\r\nTrailer: X-User-Id\r\nTE: trailers\r\n",
            "3\r\nabc\r\n0\r\nX-User-Id: 1\r\n\r\n",
            Forward("/open", "abc"),
        )
        .without("trailer"),
        chunked(
            "a trailer with a bare CR",
            "3\r\nabc\r\n0\r\nX: y\rZ: 1\r\n\r\n",
            BreakOff(400),
        ),
        post(
            "no end of the chunks",
            "Connection: close\r\nTransfer-Encoding: chunked\r\n",
            "3\r\nabc\r\n",
            BreakOff(400),
        ),
        post(
            "no data behind a size",
            "Transfer-Encoding: chunked\r\n",
            "3000\r\n",
            BreakOff(408),
        ),
    ]);
    vectors.push(chunked(
        "a request in the trailers, behind bare LFs",
        "3\r\nabc\r\n0\r\nX: y\n\nGET /home/smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
        BreakOff(400),
    ));
    vectors.push(post(
        "no chunks at all",
        "Transfer-Encoding: chunked\r\n",
        "",
        BreakOff(400),
    ));
    vectors
}
