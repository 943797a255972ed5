//! What a client says of its connection, and what stands behind its end.

use crate::vector::Must::{BreakOff, Forward, ForwardAndEnd};
use crate::vector::{Vector, get, post, prove, raw};

#[actix_web::test]
async fn a_connection_that_was_to_be_closed_brings_no_further_request() {
    prove(vectors()).await;
}

pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = [
        "close",
        "Close",
        "keep-alive, close",
        "close, keep-alive",
        ", close,",
        "X-Nothing, close",
    ]
    .iter()
    .map(|value| {
        let lines = format!("Connection: {value}\r\n");
        get(&format!("a connection: {value:?}"), &lines, ForwardAndEnd("/open", "")).without("connection")
    })
    .collect();
    vectors.extend([
        get(
            "a connection: close, in a second line",
            "Connection: keep-alive\r\nConnection: close\r\n",
            ForwardAndEnd("/open", ""),
        ),
        get(
            "a connection: nonsense",
            "Connection: \u{e9}, ;;, =\r\n",
            Forward("/open", ""),
        ),
        get(
            "a connection: of the proxy",
            "Proxy-Connection: close\r\nKeep-Alive: timeout=0\r\n",
            Forward("/open", ""),
        )
        .without("proxy-connection"),
        post(
            "a connection: names the length",
            "Connection: Content-Length\r\nContent-Length: 3\r\n",
            "abc",
            Forward("/open", "abc"),
        ),
        post(
            "a connection: names the encoding",
            "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            Forward("/open", "abc"),
        ),
        get(
            "a connection: names the token",
            "Connection: authorization\r\nAuthorization: Basic eDp5\r\n",
            Forward("/open", ""),
        )
        .without("authorization"),
        get(
            "a connection: names what the gateway says",
            "Connection: X-Forwarded-For, X-Request-Id, Forwarded\r\n",
            Forward("/open", ""),
        )
        .with("x-forwarded-for", "127.0.0.1"),
        raw(
            "a connection: closed behind a body",
            "POST /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
            ForwardAndEnd("/open", "abc"),
        ),
        raw(
            "a connection: closed behind a body that never ends",
            "POST /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3000\r\n\r\nabc",
            BreakOff(408),
        ),
        raw(
            "a connection: kept in HTTP/1.0",
            "GET /open HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
            Forward("/open", ""),
        ),
        raw(
            "a connection: kept in HTTP/1.0 with a body",
            "POST /open HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
            Forward("/open", "abc"),
        ),
    ]);
    vectors
}
