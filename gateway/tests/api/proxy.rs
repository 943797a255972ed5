//! Requests and answers on their way through.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::helpers::{PATIENCE, listener, odd, parse, read, read_head, spawn, spawn_with};

/// More than all sockets on the way hold together.
const LARGE: usize = 96 * 1024 * 1024;
/// How long nothing moves when everything is full.
const PAUSE: Duration = Duration::from_millis(500);
/// What sockets may hold.
const HELD: usize = 48 * 1024 * 1024;

#[actix_web::test]
async fn method_query_body_and_status_pass_through() {
    let app = spawn().await;
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let request = app.request(method.clone(), "/open/418?a=1&b=%20").body("hello");
        let (status, seen) = read(request.send().await.unwrap()).await;
        assert_eq!(status, 418);
        assert_eq!(seen["method"], method.as_str());
        assert_eq!(seen["target"], "/open/418?a=1&b=%20");
        assert_eq!(
            (&seen["body"], &seen["headers"]["content-length"]),
            (&json!("hello"), &json!(["5"]))
        );
    }
    let (_, seen) = read(app.request(Method::POST, "/open").send().await.unwrap()).await;
    assert_eq!(seen["headers"]["content-length"], json!(["0"]));
}

#[actix_web::test]
async fn answers_without_a_body_keep_their_form() {
    let app = spawn().await;
    let get = async |method: &str, path: &str| {
        app.raw(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .to_ascii_lowercase()
    };
    let reset = get("GET", "/open/205").await;
    assert!(
        reset.starts_with("http/1.1 205 ") && reset.contains("\r\ncontent-length: 0\r\n"),
        "{reset}"
    );
    for (path, status) in [("/open/204", "204"), ("/open/304", "304")] {
        let answer = get("GET", path).await;
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{answer}");
        assert!(
            answer.ends_with("\r\n\r\n") && !answer.contains("transfer-encoding"),
            "{answer}"
        );
    }
    let head = get("HEAD", "/open").await;
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split('\r').next())
        .unwrap();
    assert!(
        length.parse::<usize>().unwrap() > 100,
        "the length of what GET would have got"
    );
}

#[actix_web::test]
async fn a_redirect_is_the_clients_to_follow() {
    let app = spawn().await;
    assert_eq!(app.get("/open/302").await.status(), 302);
    assert_eq!(app.echo.seen(), 1);
}

#[actix_web::test]
async fn a_get_with_a_body_in_chunks_keeps_it() {
    let app = spawn().await;
    let request = b"GET /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let (status, seen) = parse(&app.raw(request).await);
    assert_eq!((status, &seen["body"]), (200, &json!("abc")));
}

#[actix_web::test]
async fn an_old_client_gets_no_chunks() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    tokio::spawn(async move {
        let (mut stream, _) = odd_one.accept().await.unwrap();
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n")
            .await
            .unwrap();
    });
    let answer = app.raw(b"GET /odd HTTP/1.0\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("transfer-encoding"), "{answer}");
}

#[actix_web::test]
async fn a_download_waits_for_its_reader_and_arrives_whole() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    let (report, mut sent) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        let (mut stream, _) = odd_one.accept().await.unwrap();
        read_head(&mut stream).await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b'x'; 64 * 1024];
        let mut total = 0;
        while total < LARGE {
            let size = stream.write(&piece[..piece.len().min(LARGE - total)]).await.unwrap();
            total += size;
            report.send_replace(total);
        }
    });
    let mut client = TcpStream::connect(app.address).await.unwrap();
    client
        .write_all(b"GET /odd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    // It is not read, so sooner or later nothing more is taken.
    while tokio::time::timeout(std::time::Duration::from_millis(500), sent.changed())
        .await
        .is_ok()
    {}
    let held = *sent.borrow();
    assert!(held > 0 && held < HELD, "{held} bytes were taken from the upstream");
    let mut received = Vec::new();
    tokio::time::timeout(PATIENCE, client.read_to_end(&mut received))
        .await
        .unwrap()
        .unwrap();
    let body = received.len() - received.windows(4).position(|window| window == b"\r\n\r\n").unwrap() - 4;
    assert_eq!(body, LARGE);
}

#[actix_web::test]
async fn an_upload_waits_for_its_reader_and_arrives_whole() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, r#", "body_limit": 200000000"#)).await;
    let (release, held_back) = tokio::sync::oneshot::channel::<()>();
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = odd_one.accept().await.unwrap();
        held_back.await.unwrap();
        let head = read_head(&mut stream).await;
        let mut received = head.len() - head.find("\r\n\r\n").unwrap() - 4;
        let mut piece = vec![0; 64 * 1024];
        while received < LARGE {
            received += stream.read(&mut piece).await.unwrap();
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
        received
    });
    let mut client = TcpStream::connect(app.address).await.unwrap();
    let head = format!("POST /odd HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let body = vec![b'x'; LARGE];
    let mut sent = 0;
    // Nobody reads it, so sooner or later nothing more is taken.
    while let Ok(size) = tokio::time::timeout(PAUSE, client.write(&body[sent..])).await {
        sent += size.unwrap();
        assert!(sent < HELD, "{sent} bytes were taken from the client");
    }
    release.send(()).unwrap();
    client.write_all(&body[sent..]).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
    assert_eq!(upstream.await.unwrap(), LARGE);
}

#[actix_web::test]
async fn a_stream_arrives_piece_by_piece() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    let (go_on, mut asked) = tokio::sync::mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        let (mut stream, _) = odd_one.accept().await.unwrap();
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            .await
            .unwrap();
        while let Some(piece) = asked.recv().await {
            stream.write_all(&piece).await.unwrap();
        }
    });
    let mut response = app.get("/odd").await;
    for piece in ["data: 1\n\n", "data: 2\n\n"] {
        go_on.send(piece.into()).await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), piece);
    }
    drop(go_on);
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[actix_web::test]
async fn an_answer_that_breaks_off_is_not_passed_off_as_whole() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    tokio::spawn(async move {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ] {
            let (mut stream, _) = odd_one.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    for _ in 0..2 {
        assert!(app.get("/odd").await.bytes().await.is_err());
    }
}

#[actix_web::test]
async fn an_upgrade_is_not_offered_to_the_upstream() {
    let app = spawn().await;
    let headers = "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n";
    let (status, seen) = app.raw_get("/open", headers).await;
    assert_eq!((status, &seen["headers"]["upgrade"]), (200, &Value::Null));
}
