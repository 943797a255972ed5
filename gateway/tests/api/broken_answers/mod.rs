//! Upstreams that break the rules of HTTP, or break off: the client is told, and their connection is not used again.

mod rows;

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use self::rows::{Gets, Row};
use crate::helpers::{PATIENCE, TestApp, listener, odd, read, read_head, spawn_with};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const FRESH: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfresh";

/// What the upstream does after it has said what it has to say.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Waits,
    Closes,
    Resets,
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

async fn expect_all(rows: Vec<Row>) {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| {
        odd(config, address, r#", "timeout": "300ms""#);
        config.body_timeout = Duration::from_millis(300);
    })
    .await;
    for Row { name, says, then, gets } in rows {
        let (judged, judgement) = oneshot::channel::<()>();
        let upstream = async {
            let (mut stream, _) = odd_one.accept().await.unwrap();
            read_head(&mut stream).await;
            // It may be hung up on in the middle.
            let _ = stream.write_all(&says).await;
            match then {
                Then::Waits => {}
                Then::Closes => stream.shutdown().await.unwrap(),
                Then::Resets => {
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
                Gets::Error(expected) => {
                    assert_eq!(status, expected, "{name}: {text:?}");
                    assert!(
                        text.is_some_and(|text| text.contains("request_id")),
                        "{name}: in our shape"
                    );
                }
                Gets::Whole(expected, body) => {
                    assert_eq!((status, text.as_deref()), (expected, Some(body)), "{name}");
                }
                Gets::Cut => assert_eq!((status, text), (200, None), "{name}: it is seen to be cut off"),
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
    expect_all(rows::heads()).await;
}

#[actix_web::test]
async fn a_body_of_a_length_in_doubt_is_refused_or_seen_to_be_cut_off() {
    expect_all(rows::lengths()).await;
}

#[actix_web::test]
async fn a_body_in_chunks_in_doubt_is_refused_or_seen_to_be_cut_off() {
    expect_all(rows::codings()).await;
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
    first.write_all(OK).await.unwrap();
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
            stream.write_all(OK).await.unwrap();
            stream
        };
        let (mut idle, first) = tokio::join!(upstream, app.request(method.clone(), "/odd").send());
        assert_eq!(read(first.unwrap()).await, (200, json!("ok")));
        idle.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
            .await
            .unwrap();
        let closed = tokio::time::timeout(PATIENCE, idle.read(&mut [0])).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
        let next = async {
            let (mut stream, _) = odd_one.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(FRESH).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let ((), second) = tokio::join!(next, app.request(method, "/odd").send());
        assert_eq!(read(second.unwrap()).await, (200, json!("fresh")));
    }
}
