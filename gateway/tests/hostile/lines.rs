//! Lines that end, begin or go on where readers disagree (RFC 9112 sections 2.2 and 5).

use crate::vector::Must::{Forward, Refuse};
use crate::vector::{Vector, get, prove, raw};

#[actix_web::test]
async fn lines_are_read_in_one_way_or_not_at_all() {
    prove(vectors()).await;
}

pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors = bare_line_feeds();
    vectors.extend(vec![
        raw(
            "a bare CR behind the request line",
            "GET /open HTTP/1.1\rHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "CR CR LF behind the request line",
            "GET /open HTTP/1.1\r\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw("only bare CRs", "GET /open HTTP/1.1\rHost: x\r\r", Refuse(400)),
        get("a bare CR in a value", "X: y\rZ: 1\r\n", Refuse(400)),
        get("a bare CR at a value's end", "X: y\r\r\n", Refuse(400)),
        get("a bare CR at a value's beginning", "X:\ry\r\n", Refuse(400)),
        get("a bare CR in a name", "X\r: y\r\n", Refuse(400)),
        get("a bare CR alone in a line", "\rX: y\r\n", Refuse(400)),
        get("CR CR LF at the end", "X: y\r\n\r", Refuse(400)),
        get("a folded line", "X: y\r\n z\r\n", Refuse(400)),
        get("a line folded with a tab", "X: y\r\n\tz\r\n", Refuse(400)),
        get("a folded identity", "X: y\r\n X-User-Id: 1\r\n", Refuse(400)),
        get("a folded line of spaces", "X: y\r\n   \r\n", Refuse(400)),
        get("a line folded after nothing", "X:\r\n y\r\n", Refuse(400)),
        get("a line folded behind a bare LF", "X: y\n z\r\n", Refuse(400)),
        raw(
            "a folded first line",
            "GET /open HTTP/1.1\r\n Host: x\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "a tab before the first header",
            "GET /open HTTP/1.1\r\n\tX: y\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "a space before the request line",
            " GET /open HTTP/1.1\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "a tab before the request line",
            "\tGET /open HTTP/1.1\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "NUL before the request line",
            "\0GET /open HTTP/1.1\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "a byte order mark",
            "\u{feff}GET /open HTTP/1.1\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "a TLS handshake",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            Refuse(400),
        ),
        raw(
            "a PROXY line",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /open HTTP/1.1\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw("an answer", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Refuse(400)),
        get("no colon", "X\r\n", Refuse(400)),
        get("a line of one colon", ":\r\n", Refuse(400)),
        raw(
            "an empty line before the request",
            "\r\n\r\nGET /open HTTP/1.1\r\nHost: x\r\n\r\n",
            Forward("/open", ""),
        ),
        raw(
            "no end of the head",
            "GET /open HTTP/1.1\r\nHost: x\r\nX: ",
            Refuse(400),
        ),
    ]);
    vectors
}

/// RFC 9112 section 2.2 lets a recipient take a single LF for the end of a line; whoever stood in front of the gateway may
/// have taken it for a part of one.
fn bare_line_feeds() -> Vec<Vector> {
    vec![
        raw(
            "a bare LF behind the request line",
            "GET /open HTTP/1.1\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "a bare LF behind a header",
            "GET /open HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "a bare LF at the head's end",
            "GET /open HTTP/1.1\r\nHost: x\r\n\n",
            Refuse(400),
        ),
        raw("only bare LFs", "GET /open HTTP/1.1\nHost: x\nX: y\n\n", Refuse(400)),
        raw(
            "an identity behind a bare LF",
            "GET /open HTTP/1.1\r\nHost: x\r\nX: y\nX-User-Id: 1\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "a length behind a bare LF",
            "POST /open HTTP/1.1\r\nHost: x\r\nX: y\nContent-Length: 3\r\n\r\nabc",
            Refuse(400),
        ),
        raw(
            "two framings, one behind a bare LF",
            "POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: 5\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "a request behind bare LFs",
            "GET /open HTTP/1.1\r\nHost: x\n\nGET /open/2 HTTP/1.1\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "an empty line of a bare LF before the request",
            "\nGET /open HTTP/1.1\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
    ]
}
