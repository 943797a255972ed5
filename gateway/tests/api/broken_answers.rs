//! Upstreams that break the rules of HTTP, or break off: the client is told, and their connection is not used again.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::helpers::{PATIENCE, TestApp, listener, odd, read, read_head, spawn_with};

const FRESH: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfresh";

/// What the upstream does after it has said what it has to say.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Waits,
    Closes,
    Resets,
}
use Then::{Closes, Resets, Waits};

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gets {
    /// An answer of ours.
    Error(u16),
    /// An answer with this body.
    Whole(u16, &'static str),
    /// An answer that is seen to have broken off.
    Cut,
}
use Gets::{Cut, Error, Whole};

fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").into_bytes()
}

fn ok() -> Vec<u8> {
    answer("Content-Length: 2", "ok")
}

fn headers(count: usize, length: usize) -> String {
    let line = format!("X: {}\r\n", "x".repeat(length));
    line.repeat(count) + "Content-Length: 0"
}

/// Status lines and heads.
fn heads() -> Vec<(&'static str, Vec<u8>, Then, Gets)> {
    let line = |line: &str| format!("{line}\r\nContent-Length: 2\r\n\r\nok").into_bytes();
    let head = |head: &str| answer(head, "hello");
    vec![
        ("nothing", Vec::new(), Closes, Error(502)),
        ("nothing, and waits", Vec::new(), Waits, Error(504)),
        ("nothing, and resets", Vec::new(), Resets, Error(502)),
        (
            "another protocol",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(),
            Waits,
            Error(502),
        ),
        ("another version", line("HTTP/2.0 200 OK"), Waits, Error(502)),
        ("a lower-case name", line("http/1.1 200 OK"), Waits, Error(502)),
        ("two digits", line("HTTP/1.1 20 OK"), Waits, Error(502)),
        ("four digits", line("HTTP/1.1 2000 OK"), Waits, Error(502)),
        (
            "a body alone",
            b"<html>hello</html>\r\n\r\n".to_vec(),
            Waits,
            Error(502),
        ),
        (
            "another protocol, unasked",
            line("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade"),
            Waits,
            Error(502),
        ),
        (
            "half a head, and closes",
            b"HTTP/1.1 200 OK\r\nContent-".to_vec(),
            Closes,
            Error(502),
        ),
        (
            "half a head, and waits",
            b"HTTP/1.1 200 OK\r\nContent-".to_vec(),
            Waits,
            Error(504),
        ),
        (
            "half a head, and resets",
            b"HTTP/1.1 200 OK\r\nContent-".to_vec(),
            Resets,
            Error(502),
        ),
        (
            "no end of the interim",
            b"HTTP/1.1 100 Continue\r\n\r\n".repeat(5000),
            Waits,
            Error(504),
        ),
        ("a NUL", head("X: a\0b\r\nContent-Length: 5"), Waits, Error(502)),
        ("a fold", head("X: a\r\n b\r\nContent-Length: 5"), Waits, Error(502)),
        (
            "a space before the colon",
            head("X : a\r\nContent-Length: 5"),
            Waits,
            Error(502),
        ),
        (
            "a line that is no header",
            head("hello\r\nContent-Length: 5"),
            Waits,
            Error(502),
        ),
        (
            "a header without a name",
            head(": a\r\nContent-Length: 5"),
            Waits,
            Error(502),
        ),
        ("too large a header", head(&headers(1, 70_000)), Waits, Error(502)),
        ("too large a head", head(&headers(90, 1000)), Waits, Error(502)),
        ("too many headers", head(&headers(101, 1)), Waits, Error(502)),
    ]
}

/// Where the body ends.
fn framings() -> Vec<(&'static str, Vec<u8>, Then, Gets)> {
    let length = |length: &str| answer(&format!("Content-Length: {length}"), "hello");
    let chunks = |body: &str| answer("Transfer-Encoding: chunked", body);
    let flood = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000));
    vec![
        (
            "two lengths",
            answer("Content-Length: 5\r\nContent-Length: 6", "hello!"),
            Waits,
            Error(502),
        ),
        ("two lengths in one", length("5, 6"), Waits, Error(502)),
        ("a length that is none", length("five"), Waits, Error(502)),
        ("a negative length", length("-5"), Waits, Error(502)),
        ("a length with a sign", length("+5"), Waits, Error(502)),
        ("no length", length(""), Waits, Error(502)),
        ("too large a length", length("18446744073709551616"), Waits, Error(502)),
        (
            "chunks and a length",
            answer(
                "Transfer-Encoding: chunked\r\nContent-Length: 5",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
            Waits,
            Error(502),
        ),
        (
            "a length and chunks",
            answer(
                "Content-Length: 3\r\nTransfer-Encoding: chunked",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
            Waits,
            Error(502),
        ),
        (
            "another coding",
            answer("Transfer-Encoding: gzip", "hello"),
            Closes,
            Error(502),
        ),
        (
            "two codings",
            answer("Transfer-Encoding: gzip, chunked", "5\r\nhello\r\n0\r\n\r\n"),
            Waits,
            Error(502),
        ),
        (
            "chunks twice",
            answer("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            Waits,
            Error(502),
        ),
        (
            "chunks from the past",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec(),
            Waits,
            Error(502),
        ),
        ("too short a body", length("10"), Closes, Cut),
        ("too short a body, and waits", length("10"), Waits, Cut),
        ("too short a body, and resets", length("10"), Resets, Cut),
        ("too long a body", length("4"), Waits, Whole(200, "hell")),
        (
            "a body to the end, and resets",
            b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec(),
            Resets,
            Cut,
        ),
        (
            "a body to the end",
            b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec(),
            Closes,
            Whole(200, "hello"),
        ),
        ("a chunk without a size", chunks("\r\nhello\r\n0\r\n\r\n"), Waits, Cut),
        (
            "a size that is none",
            chunks("5\r\nhello\r\nzz\r\nhello\r\n0\r\n\r\n"),
            Waits,
            Cut,
        ),
        ("a size with a sign", chunks("+5\r\nhello\r\n0\r\n\r\n"), Waits, Cut),
        (
            "too large a size",
            chunks("5\r\nhello\r\n10000000000000000\r\nhello\r\n0\r\n\r\n"),
            Waits,
            Cut,
        ),
        ("too long a chunk", chunks("5\r\nhello!\r\n0\r\n\r\n"), Waits, Cut),
        ("too short a chunk", chunks("6\r\nhello\r\n0\r\n\r\n"), Waits, Cut),
        ("no last chunk", chunks("5\r\nhello\r\n"), Closes, Cut),
        ("no end of the last chunk", chunks("5\r\nhello\r\n0\r\n"), Closes, Cut),
        (
            "no end of the last chunk, and resets",
            chunks("5\r\nhello\r\n0\r\n"),
            Resets,
            Cut,
        ),
        ("too many extensions", chunks(&flood), Waits, Cut),
        (
            "too many trailers",
            chunks(&format!("5\r\nhello\r\n0\r\n{}\r\n\r\n", headers(2000, 100))),
            Waits,
            Cut,
        ),
        ("two answers", [ok(), ok()].concat(), Waits, Whole(200, "ok")),
        (
            "an answer and garbage",
            [ok(), b"garbage".to_vec()].concat(),
            Waits,
            Whole(200, "ok"),
        ),
        (
            "a body where there is none",
            b"HTTP/1.1 204 No Content\r\n\r\nhello".to_vec(),
            Waits,
            Whole(204, ""),
        ),
        (
            "a body where nothing changed",
            b"HTTP/1.1 304 Not Modified\r\n\r\nhello".to_vec(),
            Waits,
            Whole(304, ""),
        ),
    ]
}

/// The status and the body that come of `GET /odd`. What breaks off before its head was passed on has the status 200, too:
/// whoever sees the connection closed instead of an answer knows that there is none.
async fn outcome(app: &TestApp) -> (u16, Option<String>) {
    match app.request(Method::GET, "/odd").send().await {
        Ok(response) => (response.status().as_u16(), response.text().await.ok()),
        Err(error) => {
            assert!(!error.is_timeout() && !error.is_connect(), "{error}");
            (200, None)
        }
    }
}

async fn expect_all(rows: Vec<(&'static str, Vec<u8>, Then, Gets)>) {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| {
        odd(config, address, r#", "timeout": "300ms""#);
        config.body_timeout = Duration::from_millis(300);
    })
    .await;
    for (name, bytes, then, gets) in rows {
        let (judged, judgement) = oneshot::channel::<()>();
        let upstream = async {
            let (mut stream, _) = odd_one.accept().await.unwrap();
            read_head(&mut stream).await;
            // It may be hung up on in the middle.
            let _ = stream.write_all(&bytes).await;
            match then {
                Waits => {}
                Closes => stream.shutdown().await.unwrap(),
                Resets => {
                    // What was said has to arrive first.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                    drop(stream);
                    judgement.await.unwrap();
                    return;
                }
            }
            judgement.await.unwrap();
        };
        let client = async {
            let (status, text) = outcome(&app).await;
            judged.send(()).unwrap();
            match gets {
                Error(expected) => {
                    assert_eq!(status, expected, "{name}: {text:?}");
                    assert!(
                        text.is_some_and(|text| text.contains("request_id")),
                        "{name}: in our shape"
                    );
                }
                Whole(expected, body) => {
                    assert_eq!((status, text.as_deref()), (expected, Some(body)), "{name}");
                }
                Cut => assert_eq!((status, text), (200, None), "{name}: it is seen to be cut off"),
            }
        };
        let both = async { tokio::join!(upstream, client) };
        tokio::time::timeout(PATIENCE, both)
            .await
            .unwrap_or_else(|_| panic!("{name}: no end"));
        // The next request comes over another connection, and gets its own answer.
        let next = async {
            let (mut stream, _) = odd_one.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(FRESH).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let both = async { tokio::join!(next, outcome(&app)).1 };
        let outcome = tokio::time::timeout(PATIENCE, both).await;
        let (status, text) = outcome.unwrap_or_else(|_| panic!("{name}: its connection was used again"));
        assert_eq!((status, text.as_deref()), (200, Some("fresh")), "after {name}");
    }
}

#[actix_web::test]
async fn what_is_no_head_of_an_answer_is_502_and_what_does_not_come_is_504() {
    expect_all(heads()).await;
}

#[actix_web::test]
async fn a_body_whose_end_is_in_doubt_is_refused_or_seen_to_be_cut_off() {
    expect_all(framings()).await;
}

#[actix_web::test]
async fn an_answer_before_the_request_has_ended_is_passed_on_and_its_connection_given_up() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    let mut client = TcpStream::connect(app.address).await.unwrap();
    client
        .write_all(b"POST /odd HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
        .await
        .unwrap();
    let (mut first, _) = odd_one.accept().await.unwrap();
    read_head(&mut first).await;
    first.write_all(&ok()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let next = async {
        let (mut stream, _) = odd_one.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(FRESH).await.unwrap();
    };
    let both = async { tokio::join!(next, outcome(&app)).1 };
    let (_, text) = tokio::time::timeout(PATIENCE, both).await.expect("another connection");
    assert_eq!(text.as_deref(), Some("fresh"));
}

#[actix_web::test]
async fn what_comes_over_an_idle_connection_is_nobodys_answer() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    for method in [Method::GET, Method::POST] {
        let upstream = async {
            let (mut stream, _) = odd_one.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(&ok()).await.unwrap();
            stream
        };
        let (mut idle, first) = tokio::join!(upstream, app.request(method.clone(), "/odd").send());
        assert_eq!(read(first.unwrap()).await, (200, json!("ok")));
        idle.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
            .await
            .unwrap();
        assert_eq!(read_head(&mut idle).await, "", "it is closed");
        let next = async {
            let (mut stream, _) = odd_one.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(FRESH).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let (_, second) = tokio::join!(next, app.request(method, "/odd").send());
        assert_eq!(read(second.unwrap()).await, (200, json!("fresh")));
    }
}
