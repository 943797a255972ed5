//! Connections to upstreams: kept, replaced, refused.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis_gateway::Upstream;
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::helpers::{Echo, PATIENCE, listener, odd, read, read_head, spawn, spawn_with, until, url};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.unwrap().0
}

#[actix_web::test]
async fn a_connection_serves_one_request_after_another() {
    let app = spawn().await;
    let mut connections = Vec::new();
    for (method, path, body) in [
        (Method::GET, "/open", ""),
        (Method::POST, "/open", "hello"),
        (Method::HEAD, "/open", ""),
        (Method::GET, "/open/204", ""),
        (Method::POST, "/open/205", "hello"),
        (Method::GET, "/open/304", ""),
        (Method::GET, "/open", ""),
    ] {
        let response = app.request(method, path).body(body).send().await.unwrap();
        if let Some(connection) = read(response).await.1.get("connection") {
            connections.push(connection.clone());
        }
    }
    assert_eq!(connections.len(), 3);
    assert!(
        connections.iter().all(|connection| *connection == connections[0]),
        "{connections:?}"
    );
}

#[actix_web::test]
async fn an_upstream_that_is_down_is_503_in_our_shape() {
    let app = spawn().await;
    let down = app.get("/down").await;
    assert_eq!(down.headers()["retry-after"], "1");
    let (status, body) = read(down).await;
    assert_eq!(status, 503);
    assert_eq!(
        (&body["code"], &body["status"], &body["title"]),
        (
            &json!("upstream_unavailable"),
            &json!(503),
            &json!("Service Unavailable")
        )
    );
    assert!(body["detail"].is_string() && body["request_id"].is_string());
    assert!(!body.to_string().contains("127.0.0.1"), "internals stay inside: {body}");
}

#[actix_web::test]
async fn an_upstream_that_speaks_no_http_or_hangs_up_is_502() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    tokio::spawn(async move {
        for answer in [
            &b"SSH-2.0-OpenSSH\r\n\r\n"[..],
            b"",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        ] {
            let mut stream = accept(&odd_one).await;
            read_head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        }
    });
    for _ in 0..3 {
        assert_eq!(read(app.get("/odd").await).await.0, 502);
    }
}

#[actix_web::test]
async fn an_upstream_that_does_not_answer_in_time_is_504() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| {
        odd(config, address, r#", "timeout": "100ms""#);
        // Pauses in the body have a limit of their own.
        config.body_timeout = Duration::from_hours(1);
    })
    .await;
    let (status, body) = read(app.request(Method::POST, "/odd").body("hello").send().await.unwrap()).await;
    assert_eq!((status, &body["code"]), (504, &json!("gateway_timeout")));
    let mut stream = accept(&odd_one).await;
    read_head(&mut stream).await;
    assert_eq!(read_head(&mut stream).await, "", "and its request is taken back");
}

#[actix_web::test]
async fn an_answer_that_pauses_for_too_long_is_cut_off() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| {
        odd(config, address, "");
        config.body_timeout = Duration::from_millis(100);
    })
    .await;
    let upstream = tokio::spawn(async move {
        let mut stream = accept(&odd_one).await;
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            .await
            .unwrap();
        read_head(&mut stream).await
    });
    let error = app.get("/odd").await.bytes().await.unwrap_err();
    assert!(!error.is_timeout(), "the gateway gives up, not the client");
    assert_eq!(upstream.await.unwrap(), "");
}

#[actix_web::test]
async fn a_kept_connection_that_was_closed_meanwhile_costs_no_request() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    let upstream = tokio::spawn(async move {
        for _ in 0..5 {
            let mut stream = accept(&odd_one).await;
            read_head(&mut stream).await;
            // It says it would keep the connection, and closes it.
            stream.write_all(OK).await.unwrap();
        }
    });
    for _ in 0..5 {
        assert_eq!(read(app.get("/odd").await).await, (200, json!("ok")));
    }
    upstream.await.unwrap();
}

#[actix_web::test]
async fn a_kept_connection_that_breaks_under_a_request_is_replaced_when_that_is_safe() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    let upstream = tokio::spawn(async move {
        let mut heads = Vec::new();
        let mut kept = accept(&odd_one).await;
        heads.push(read_head(&mut kept).await);
        kept.write_all(OK).await.unwrap();
        heads.push(read_head(&mut kept).await);
        drop(kept);
        let mut kept = accept(&odd_one).await;
        heads.push(read_head(&mut kept).await);
        kept.write_all(OK).await.unwrap();
        heads.push(read_head(&mut kept).await);
        drop(kept);
        // Whoever comes again is welcome.
        let mut stream = accept(&odd_one).await;
        read_head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        heads
            .iter()
            .map(|head| head.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    });
    assert_eq!(app.get("/odd").await.status(), 200);
    assert_eq!(app.get("/odd").await.status(), 200, "a GET is sent again");
    assert_eq!(
        app.request(Method::POST, "/odd").send().await.unwrap().status(),
        502,
        "a POST might be done twice"
    );
    assert_eq!(app.get("/odd").await.status(), 200);
    assert_eq!(upstream.await.unwrap(), ["GET", "GET", "GET", "POST"]);
}

#[actix_web::test]
async fn a_connection_that_was_not_used_for_long_is_closed() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| {
        odd(config, address, "");
        config.idle_timeout = Duration::from_millis(100);
    })
    .await;
    let upstream = tokio::spawn(async move {
        let mut stream = accept(&odd_one).await;
        read_head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        read_head(&mut stream).await
    });
    assert_eq!(app.get("/odd").await.status(), 200);
    let end = tokio::time::timeout(PATIENCE, upstream).await;
    assert_eq!(end.expect("it is closed in time").unwrap(), "");
}

#[actix_web::test]
async fn beyond_the_connections_of_a_target_requests_are_503() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| {
        odd(config, address, "");
        config.upstreams.get_mut("odd").unwrap().max_connections = 1;
    })
    .await;
    let waiting = tokio::spawn(app.request(Method::GET, "/odd").send());
    let mut stream = accept(&odd_one).await;
    read_head(&mut stream).await;
    let refused = app.get("/odd").await;
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(read(refused).await.1["code"], "upstream_busy");
    stream.write_all(OK).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

fn targets(addresses: &[SocketAddr]) -> Upstream {
    Upstream::of(addresses.iter().map(|address| url(*address)).collect())
}

#[actix_web::test]
async fn requests_go_to_another_target_when_one_is_down() {
    // Nobody listens there, and nobody else is given the port meanwhile.
    let kept = TcpSocket::new_v4().unwrap();
    kept.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (alive, dead) = (Echo::start(), kept.local_addr().unwrap());
    let app = spawn_with(|config| {
        config
            .upstreams
            .insert("echo".to_owned(), targets(&[dead, alive.address, dead]));
    })
    .await;
    for method in [Method::GET, Method::POST, Method::GET, Method::POST, Method::GET] {
        assert_eq!(
            app.request(method, "/open")
                .body("hello")
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
    }
    assert_eq!(alive.seen(), 5);
}

#[actix_web::test]
async fn a_request_goes_to_the_target_with_the_fewest_in_flight() {
    let (odd_one, alive) = (listener().await, Echo::start());
    let busy = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| {
        config
            .upstreams
            .insert("echo".to_owned(), targets(&[busy, alive.address]));
    })
    .await;
    let waiting = tokio::spawn(app.request(Method::GET, "/open").send());
    let second = tokio::spawn(app.request(Method::GET, "/open").send());
    let mut stream = accept(&odd_one).await;
    read_head(&mut stream).await;
    until(|| async { alive.seen() == 1 }).await;
    for seen in 2..12 {
        assert_eq!(app.get("/open").await.status(), 200);
        assert_eq!(alive.seen(), seen);
    }
    stream.write_all(OK).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    assert_eq!(second.await.unwrap().unwrap().status(), 200);
}
