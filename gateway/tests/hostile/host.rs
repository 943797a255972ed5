//! Whom a request is for, said in ways that routes, logs and upstreams could read differently (RFC 9112 section 3.2).

use crate::vector::Must::{Forward, ForwardAndEnd, Refuse, RefuseAndGoOn};
use crate::vector::{Vector, prove, raw};

#[actix_web::test]
async fn whom_a_request_is_for_is_said_once_and_plainly() {
    prove(vectors()).await;
}

fn hosted(name: &str, lines: &str, must: crate::vector::Must) -> Vector {
    raw(
        format!("a host: {name}"),
        format!("GET /open HTTP/1.1\r\n{lines}\r\n"),
        must,
    )
}

pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors = vec![
        hosted("none", "", Refuse(400)),
        hosted("twice", "Host: gateway.test\r\nHost: gateway.test\r\n", Refuse(400)),
        hosted("two", "Host: gateway.test\r\nHost: evil.test\r\n", Refuse(400)),
        hosted("two, one of them empty", "Host:\r\nHost: evil.test\r\n", Refuse(400)),
        hosted("a space before the colon", "Host : gateway.test\r\n", Refuse(400)),
        hosted("a folded one", "Host:\r\n gateway.test\r\n", Refuse(400)),
        hosted(
            "another beside it in disguise",
            "Host: gateway.test\r\nHost_: evil.test\r\n",
            Forward("/open", ""),
        )
        .with("x-forwarded-host", "gateway.test"),
        hosted(
            "one that Connection names",
            "Host: gateway.test\r\nConnection: Host\r\n",
            Forward("/open", ""),
        )
        .with("x-forwarded-host", "gateway.test"),
        raw(
            "a host: none in HTTP/1.0",
            "GET /open HTTP/1.0\r\n\r\n",
            ForwardAndEnd("/open", ""),
        )
        .without("x-forwarded-host"),
        raw(
            "a host: two in HTTP/1.0",
            "GET /open HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            Refuse(400),
        ),
    ];
    let refused = [
        "gateway.test/home",
        "gateway.test?x",
        "gateway.test#x",
        "user@gateway.test",
        "user:secret@gateway.test",
        "gateway.test, evil.test",
        "gateway.test,evil.test",
        "gateway.test evil.test",
        "gateway.test;x",
        "gateway.test\\",
        "\"gateway.test\"",
        "http://gateway.test",
        "gateway.test:",
        "gateway.test:x",
        "gateway.test:-1",
        "gateway.test:+1",
        "gateway.test:99999",
        "gateway.test:80:81",
        "gateway.test:80x",
        ":80",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:x",
        "[evil.test]",
        "gateway.test%00",
        "g\u{e4}teway.test",
        "'gateway.test'",
        "<gateway.test>",
        "a[b]",
    ];
    vectors.extend(
        refused
            .iter()
            .map(|host| hosted(host, &format!("Host: {host}\r\n"), RefuseAndGoOn(400))),
    );
    let long = format!("Host: {}\r\n", "a.".repeat(300));
    vectors.push(hosted("a long one", &long, RefuseAndGoOn(400)));
    for host in [
        "gateway.test",
        "GATEWAY.test.",
        "gateway.test:8000",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:8000",
        "a_b.test",
    ] {
        vectors.push(hosted(host, &format!("Host: {host}\r\n"), Forward("/open", "")).with("x-forwarded-host", host));
    }
    vectors
}
