//! Clients that take their time, or everybody else's; the large numbers are in `bench/hostile_load.py`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::helpers::{PATIENCE, TestApp, config, spawn_with};
use crate::recorder::{Recorder, Say, Then};

/// How long the gateway waits for a head, and for the next piece of a body.
const SOON: Duration = Duration::from_secs(3);
/// The pause between two bytes of a client that takes its time.
const TRICKLE: Duration = Duration::from_millis(100);
/// How many clients of each kind there are.
const CROWD: usize = 150;
/// More than sockets hold.
const LARGE: usize = 8 * 1024 * 1024;
/// A hundred megabytes of header lines, of which no more than the first few are taken.
const STREAM: usize = 100 * 1024 * 1024;
/// What the gateway's buffer and the sockets on the way may hold of them.
const HELD: usize = 16 * 1024 * 1024;

async fn start() -> TestApp {
    let recorder = Recorder::start_with(|request| {
        let large = || {
            let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").into_bytes();
            bytes.resize(bytes.len() + LARGE, b'x');
            bytes
        };
        (request.target == "/open/large").then(|| Say {
            bytes: large(),
            then: Then::Keep,
        })
    })
    .await;
    let upstream = recorder.address;
    spawn_with(|configuration| {
        configuration.upstreams = config(upstream).upstreams;
        configuration.header_timeout = SOON;
        configuration.body_timeout = SOON;
        configuration.keep_alive = SOON;
    })
    .await
}

/// Connections on which `bytes` were sent, and nothing more.
async fn crowd(app: &TestApp, bytes: &[u8]) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut client = TcpStream::connect(app.address).await.unwrap();
        client.write_all(bytes).await.unwrap();
        crowd.push(client);
    }
    crowd
}

#[actix_web::test]
async fn silent_slow_and_greedy_clients_keep_nobody_else_from_being_served() {
    let app = start().await;
    let silent = crowd(&app, b"").await;
    let heads = crowd(&app, b"GET /open HTTP/1.1\r\nHost: x\r\nX: ").await;
    let bodies = crowd(&app, b"POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc").await;
    let readers = crowd(&app, b"GET /open/large HTTP/1.1\r\nHost: x\r\n\r\n").await;
    for number in 0..100 {
        assert_eq!(app.get(&format!("/open/{number}")).await.status(), 200);
    }
    for mut client in silent.into_iter().chain(heads).chain(bodies) {
        let mut answer = Vec::new();
        let end = tokio::time::timeout(PATIENCE, client.read_to_end(&mut answer)).await;
        end.expect("it is cut off").unwrap();
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 408 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    for mut client in readers {
        let mut first = [0; 12];
        client.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
    }
    assert_eq!(app.get("/open").await.status(), 200);
}

#[actix_web::test]
async fn a_head_that_never_ends_is_cut_off_on_a_kept_connection_too() {
    let app = start().await;
    for slow in [&b"GET /open HTTP/1.1\r\nHost: x\r\nX: "[..], b"G", b"\r\n"] {
        let mut client = TcpStream::connect(app.address).await.unwrap();
        for _ in 0..2 {
            client
                .write_all(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
                .await
                .unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"}") {
                client.read_buf(&mut answer).await.unwrap();
            }
        }
        client.write_all(slow).await.unwrap();
        let (mut reader, mut writer) = client.into_split();
        let mut rest = Vec::new();
        let cut = async {
            tokio::select! {
                end = reader.read_to_end(&mut rest) => end,
                () = async { while writer.write_all(b"y").await.is_ok() { tokio::time::sleep(TRICKLE).await } } => Ok(0),
            }
        };
        tokio::time::timeout(PATIENCE, cut).await.expect("it is cut off").ok();
    }
}

#[actix_web::test]
async fn an_answer_that_takes_its_time_is_not_taken_for_a_connection_without_a_use() {
    let app = start().await;
    let mut client = TcpStream::connect(app.address).await.unwrap();
    client
        .write_all(b"GET /open/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let (mut received, mut piece) = (0, vec![0; LARGE / 40]);
    loop {
        match client.read(&mut piece).await.unwrap() {
            0 => break,
            size => received += size,
        }
        tokio::time::sleep(TRICKLE).await;
    }
    assert!(received > LARGE, "{received}");
}

#[actix_web::test]
async fn a_stream_of_headers_that_never_ends_is_taken_no_further_than_the_limit() {
    let app = start().await;
    for line in [&b"X: y\r\n"[..], b"x", b"X-Something-Longer: value\r\n"] {
        let mut client = TcpStream::connect(app.address).await.unwrap();
        client.write_all(b"GET /open HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        let piece = line.repeat(64 * 1024 / line.len());
        let mut sent = 0;
        while sent < STREAM && client.write_all(&piece).await.is_ok() {
            sent += piece.len();
        }
        assert!(sent < HELD, "{sent} bytes were taken");
        assert_eq!(app.get("/open").await.status(), 200);
    }
}

#[actix_web::test]
async fn a_name_that_is_too_long_ends_its_own_connection_only() {
    let app = start().await;
    let mut waiting = TcpStream::connect(app.address).await.unwrap();
    waiting.write_all(b"GET /open HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    for _ in 0..5 {
        let mut client = TcpStream::connect(app.address).await.unwrap();
        let name = "x".repeat(70_000);
        let request = format!("GET /open HTTP/1.1\r\nHost: x\r\n{name}: y\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
    }
    waiting.write_all(b"Connection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
