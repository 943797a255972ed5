//! Bodies whose end two readers would look for in different places (RFC 9112 section 6).

use crate::vector::Must::{BreakOff, Forward, ForwardAndEnd, Refuse};
use crate::vector::{Vector, get, post, prove, raw};

/// What a reader of the other framing would take for the rest of the body, and then for a request.
const TAIL: &str = "0\r\n\r\n";
const SMUGGLED: &str = "0\r\n\r\nGET /home/smuggled HTTP/1.1\r\nHost: gateway.test\r\nX-Rest: ";

#[actix_web::test]
async fn the_end_of_a_body_is_found_in_one_way_or_not_at_all() {
    prove(vectors()).await;
}

pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors = both_framings();
    vectors.extend(transfer_encodings());
    vectors.extend(content_lengths());
    vectors
}

fn both_framings() -> Vec<Vector> {
    vec![
        post(
            "length, then chunks",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            SMUGGLED,
            Refuse(400),
        ),
        post(
            "chunks, then length",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            SMUGGLED,
            Refuse(400),
        ),
        post(
            "chunks and no length",
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            SMUGGLED,
            Refuse(400),
        ),
        post(
            "chunks and a length of nothing",
            "Transfer-Encoding: chunked\r\nContent-Length:\r\n",
            TAIL,
            Refuse(400),
        ),
        post(
            "chunks between two lengths",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            TAIL,
            Refuse(400),
        ),
        post(
            "a length and an encoding that is none",
            "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
            TAIL,
            Refuse(400),
        ),
        post(
            "a length and an encoding nobody knows",
            "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n",
            TAIL,
            Refuse(400),
        ),
        post(
            "a length and no encoding at all",
            "Content-Length: 5\r\nTransfer-Encoding:\r\n",
            TAIL,
            Refuse(400),
        ),
        get(
            "both in a GET",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            Refuse(400),
        ),
    ]
}

fn transfer_encodings() -> Vec<Vector> {
    let refused = [
        ("a vertical tab before", "Transfer-Encoding: \x0bchunked\r\n"),
        ("a vertical tab behind", "Transfer-Encoding: chunked\x0b\r\n"),
        ("a form feed behind", "Transfer-Encoding: chunked\x0c\r\n"),
        ("NUL behind", "Transfer-Encoding: chunked\0\r\n"),
        ("a space before the colon", "Transfer-Encoding : chunked\r\n"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked\r\n"),
        ("a space before the name", " Transfer-Encoding: chunked\r\n"),
        ("in quotes", "Transfer-Encoding: \"chunked\"\r\n"),
        ("in single quotes", "Transfer-Encoding: 'chunked'\r\n"),
        ("xchunked", "Transfer-Encoding: xchunked\r\n"),
        ("chunkedx", "Transfer-Encoding: chunkedx\r\n"),
        ("chunk", "Transfer-Encoding: chunk\r\n"),
        ("chunked, identity", "Transfer-Encoding: chunked, identity\r\n"),
        ("identity, chunked", "Transfer-Encoding: identity, chunked\r\n"),
        ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n"),
        ("chunked, gzip", "Transfer-Encoding: chunked, gzip\r\n"),
        ("chunked, chunked", "Transfer-Encoding: chunked, chunked\r\n"),
        ("a comma behind", "Transfer-Encoding: chunked,\r\n"),
        ("a comma before", "Transfer-Encoding: ,chunked\r\n"),
        ("with a parameter", "Transfer-Encoding: chunked;q=1\r\n"),
        ("twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        (
            "and then identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        ),
        (
            "after identity",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        ),
        ("after nothing", "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n"),
        ("identity alone", "Transfer-Encoding: identity\r\n"),
        ("gzip alone", "Transfer-Encoding: gzip\r\n"),
        ("empty", "Transfer-Encoding:\r\n"),
        ("folded", "Transfer-Encoding:\r\n chunked\r\n"),
        ("behind a bare CR", "X: y\rTransfer-Encoding: chunked\r\n"),
    ];
    let mut vectors: Vec<Vector> = refused
        .iter()
        .map(|(name, lines)| post(&format!("an encoding: {name}"), lines, TAIL, Refuse(400)))
        .collect();
    let forwarded = [
        ("in capitals", "Transfer-Encoding: CHUNKED\r\n"),
        ("with one capital", "Transfer-Encoding: Chunked\r\n"),
        ("a tab before", "Transfer-Encoding:\tchunked\r\n"),
        ("a tab behind", "Transfer-Encoding: chunked\t\r\n"),
        ("no space before", "Transfer-Encoding:chunked\r\n"),
        ("many spaces around", "Transfer-Encoding:    chunked    \r\n"),
        ("its name in capitals", "TRANSFER-ENCODING: chunked\r\n"),
    ];
    vectors.extend(forwarded.iter().map(|(name, lines)| {
        let forwarded = post(
            &format!("an encoding: {name}"),
            lines,
            "3\r\nabc\r\n0\r\n\r\n",
            Forward("/open", "abc"),
        );
        forwarded.with("transfer-encoding", "chunked")
    }));
    let aliases = [
        "Transfer_Encoding",
        "Transfer.Encoding",
        "Transfer-Encoding!",
        "Transfer'Encoding",
    ];
    vectors.extend(aliases.iter().map(|name| {
        let lines = format!("{name}: chunked\r\nContent-Length: 5\r\n");
        post(
            &format!("an encoding: an alias {name}"),
            &lines,
            TAIL,
            Forward("/open", TAIL),
        )
        .without("transfer_encoding")
    }));
    vectors.push(raw(
        "an encoding: in HTTP/1.0",
        "POST /open HTTP/1.0\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refuse(400),
    ));
    vectors.push(raw(
        "an encoding: in HTTP/1.0 that wants to go on",
        "POST /open HTTP/1.0\r\nHost: gateway.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refuse(400),
    ));
    vectors
}

fn content_lengths() -> Vec<Vector> {
    let refused = [
        "5\r\nContent-Length: 5",
        "5\r\nContent-Length: 6",
        "6\r\nContent-Length: 5",
        "0\r\nContent-Length: 5",
        "5\r\nContent-Length: 0",
        "5\r\ncontent-length: 5",
        "5, 5",
        "5,5",
        "5, 6",
        "5,",
        ",5",
        "5 5",
        "5;",
        "5\t5",
        "+5",
        "-1",
        "-0",
        "0x5",
        "5.0",
        "5e0",
        "5_0",
        "\"5\"",
        "five",
        "\u{0665}",
        "5\0",
        "5\x0b",
        "18446744073709551616",
        "184467440737095516160000000000",
        "",
        "   ",
        "\r\n 5",
    ];
    let mut vectors: Vec<Vector> = refused
        .iter()
        .map(|value| {
            post(
                &format!("a length: {value:?}"),
                &format!("Content-Length: {value}\r\n"),
                "abcde",
                Refuse(400),
            )
        })
        .collect();
    for value in ["5 ", " 5", "\t5\t", "05", "0000000000000000000000005"] {
        let forwarded = post(
            &format!("a length: {value:?}"),
            &format!("Content-Length:{value}\r\n"),
            "abcde",
            Forward("/open", "abcde"),
        );
        vectors.push(forwarded.with("content-length", "5"));
    }
    for value in ["9223372036854775807", "9223372036854775808", "18446744073709551615"] {
        vectors.push(post(
            &format!("a length: {value}"),
            &format!("Content-Length: {value}\r\n"),
            "abcde",
            Refuse(413),
        ));
    }
    vectors.extend(lengths_and_bodies());
    vectors
}

fn lengths_and_bodies() -> Vec<Vector> {
    vec![
        post(
            "a length: longer than the body",
            "Content-Length: 5000\r\n",
            "abcde",
            BreakOff(408),
        ),
        post(
            "a length: shorter than the body",
            "Content-Length: 3\r\n",
            "abc\r\n",
            Forward("/open", "abc"),
        ),
        post(
            "a length: of another name",
            "Content_Length: 5\r\nContent-Length: 3\r\n",
            "abc",
            Forward("/open", "abc"),
        )
        .without("content_length"),
        post(
            "a length: a space before the colon",
            "Content-Length : 5\r\n",
            "abcde",
            Refuse(400),
        ),
        post("a length: folded", "Content-Length:\r\n 5\r\n", "abcde", Refuse(400)),
        raw(
            "a length: none in HTTP/1.0",
            "POST /open HTTP/1.0\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        get("a length: in a GET", "Content-Length: 0\r\n", Forward("/open", "")),
        raw(
            "a length: of a GET's body",
            "GET /open HTTP/1.1\r\nHost: x\r\nContent-Length: 35\r\n\r\nGET /home HTTP/1.1\r\nHost: gateway\r\n",
            Forward("/open", "GET /home HTTP/1.1\r\nHost: gateway\r\n"),
        ),
        raw(
            "a length: of a HEAD's body",
            "HEAD /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nabcde",
            ForwardAndEnd("/open", "abcde"),
        )
        .alone(),
        raw(
            "a length: of a DELETE's body",
            "DELETE /open HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde",
            Forward("/open", "abcde"),
        ),
    ]
}
