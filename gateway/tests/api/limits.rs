//! Requests that are too large, ambiguous, or never end.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::helpers::{listener, odd, parse, read, read_head, spawn, spawn_with};

#[actix_web::test]
async fn an_announced_body_that_is_too_large_is_413_before_anything_is_sent_on() {
    let app = spawn().await;
    let send = |path: &'static str, size: usize| app.request(Method::POST, path).body(vec![b'x'; size]).send();
    let (status, body) = read(send("/small", 1001).await.unwrap()).await;
    assert_eq!((status, &body["code"]), (413, &json!("too_large")));
    assert_eq!(
        read(send("/small", 10 * 1024 * 1024).await.unwrap()).await.0,
        413,
        "the client hears the answer"
    );
    assert_eq!(read(send("/api/auth/login", 65 * 1024).await.unwrap()).await.0, 413);
    assert_eq!(app.echo.seen(), 0);
    assert_eq!(read(send("/small", 1000).await.unwrap()).await.1["length"], 1000);
}

#[actix_web::test]
async fn a_body_in_chunks_is_cut_off_at_the_limit() {
    let app = spawn().await;
    let send = |chunks: usize| {
        let pieces = tokio_stream::iter((0..chunks).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 500])));
        app.request(Method::POST, "/small")
            .body(reqwest::Body::wrap_stream(pieces))
            .send()
    };
    let (status, seen) = read(send(2).await.unwrap()).await;
    assert_eq!(
        (status, &seen["length"], &seen["headers"]["content-length"]),
        (200, &json!(1000), &json!(null))
    );
    for chunks in [3, 4000] {
        let (status, body) = read(send(chunks).await.unwrap()).await;
        assert_eq!((status, &body["code"]), (413, &json!("too_large")));
    }
    assert_eq!(app.echo.seen(), 1);
}

#[actix_web::test]
async fn a_large_block_of_headers_is_431() {
    let app = spawn().await;
    let (status, body) = app
        .raw_get("/open", &format!("X-Big: {}\r\n", "x".repeat(100 * 1024)))
        .await;
    assert_eq!((status, &body["code"]), (431, &json!("headers_too_large")));
    let megabyte = app
        .raw_get(
            "/open",
            &format!("Authorization: Bearer {}\r\n", "x".repeat(1024 * 1024)),
        )
        .await;
    assert_eq!(megabyte.0, 431);
    let many = "X-Many: 1\r\n".repeat(5000);
    assert!(matches!(app.raw_get("/open", &many).await.0, 400 | 431));
    assert_eq!(app.echo.seen(), 0);
}

#[actix_web::test]
async fn two_ways_to_find_the_end_of_a_body_are_none() {
    let app = spawn().await;
    let hidden = "GET /home HTTP/1.1\r\nHost: x\r\n\r\n";
    for framing in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: +4\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
    ] {
        let request = format!("POST /open HTTP/1.1\r\nHost: x\r\n{framing}\r\n0\r\n\r\n{hidden}");
        let answer = app.raw(request.as_bytes()).await;
        assert_eq!(parse(&answer).0, 400, "{framing}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{framing}: {answer}");
    }
    assert_eq!(app.echo.seen(), 0);
}

#[actix_web::test]
async fn an_underscored_framing_header_is_not_passed_on() {
    let app = spawn().await;
    let headers = "Transfer_Encoding: chunked\r\nContent_Length: 3\r\n";
    let (status, seen) = app.raw_get("/open", headers).await;
    assert_eq!(status, 200);
    assert!(
        !seen["headers"]
            .as_object()
            .unwrap()
            .keys()
            .any(|name| name.contains('_'))
    );
}

#[actix_web::test]
async fn a_client_that_never_ends_its_headers_is_cut_off() {
    let app = spawn_with(|config| config.header_timeout = Duration::from_millis(200)).await;
    let answer = app.raw(b"GET /open HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
    assert_eq!(parse(&answer).0, 408);
}

#[actix_web::test]
async fn a_client_that_stops_in_the_middle_of_its_body_is_cut_off() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| {
        odd(config, address, "");
        config.body_timeout = Duration::from_millis(200);
    })
    .await;
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = odd_one.accept().await.unwrap();
        read_head(&mut stream).await;
        // Nothing more comes than an end.
        read_head(&mut stream).await
    });
    let answer = app
        .raw(b"POST /odd HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc")
        .await;
    let (status, body) = parse(&answer);
    assert_eq!((status, &body["code"]), (408, &json!("request_timeout")), "{answer}");
    assert!(upstream.await.unwrap().len() <= 3);
}

#[actix_web::test]
async fn a_client_that_breaks_off_takes_its_request_to_the_upstream_with_it() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    for request in [
        "GET /odd HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /odd HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
    ] {
        let mut client = TcpStream::connect(app.address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let (mut upstream, _) = odd_one.accept().await.unwrap();
        assert!(read_head(&mut upstream).await.contains("/odd"));
        drop(client);
        let end = tokio::time::timeout(crate::helpers::PATIENCE, read_head(&mut upstream)).await;
        assert!(!end.expect("the connection ends").contains("\r\n\r\n"));
    }
}
