//! What stands behind a request on the same connection.

use crate::vector::Must::{Forward, ForwardAll, ForwardThenBreakOff, ForwardThenRefuse, Refuse, RefuseAndGoOn};
use crate::vector::{Vector, prove, raw};

#[actix_web::test]
async fn what_stands_behind_a_request_is_a_request_of_its_own_or_nothing() {
    prove(vectors()).await;
}

fn one(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
}

pub(crate) fn vectors() -> Vec<Vector> {
    let refused = "POST /home HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 40\r\n\r\nGET /open/inner HTTP/1.1\r\nHost: x.test\r\n";
    let chunks = "POST /home HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                  1d\r\nGET /open/inner HTTP/1.1\r\n\r\n\r\n0\r\n\r\n";
    let large = format!(
        "POST /small HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 100000\r\n\r\n{}",
        one("/open/inner").repeat(3000).split_at(100_000).0
    );
    let many: String = (0..3).map(|_| one("/open")).collect();
    let ambiguous =
        "POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let body = "POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    vec![
        raw("three at once", many, ForwardAll(&["/open", "/open", "/open"])),
        raw("one after the other", one("/open"), ForwardAll(&["/open", "/open"])).later(one("/open")),
        raw("a request in a refused one's body", refused, RefuseAndGoOn(401)),
        raw("a request in a refused one's chunks", chunks, Refuse(401)),
        raw("requests in a body that is too large", large, RefuseAndGoOn(413)),
        raw(
            "a request behind one that is refused",
            "GET /open%00 HTTP/1.1\r\nHost: x\r\n\r\n",
            RefuseAndGoOn(400),
        ),
        raw(
            "garbage behind an answer",
            one("/open"),
            ForwardThenRefuse("/open", 400),
        )
        .later("\u{1}garbage\r\n\r\n"),
        raw("a line behind a body", format!("{body}\r\n"), Forward("/open", "abc")),
        raw(
            "more than the body behind an answer",
            body,
            ForwardThenRefuse("/open", 400),
        )
        .later("def\0"),
        raw(
            "an ambiguous request behind an answer",
            one("/open"),
            ForwardThenRefuse("/open", 400),
        )
        .later(ambiguous),
        raw(
            "a good request behind an ambiguous one",
            format!("{ambiguous}{}", one("/open")),
            Refuse(400),
        ),
        raw(
            "broken chunks behind an answer",
            one("/open"),
            ForwardThenBreakOff("/open", 400),
        )
        .later("POST /open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
        raw(
            "a HEAD",
            "HEAD /open HTTP/1.1\r\nHost: x\r\n\r\n",
            ForwardAll(&["/open", "/open/2"]),
        )
        .later(one("/open/2")),
    ]
}
