//! Connections of clients: what each begins and ends with, and when.

use std::time::Duration;

use actix_web::rt;
use service_kit::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::helpers::{PATIENCE, TestApp, listener, odd, parse, read_head, spawn, spawn_with};
use crate::tls::{self, Files, Pair};

const GET: &[u8] = b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n";
/// Less than the gateway waits for requests under way when it stops.
const AT_ONCE: Duration = Duration::from_secs(6);

async fn connect(app: &TestApp, bytes: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(app.address).await.unwrap();
    client.write_all(bytes).await.unwrap();
    client
}

/// Reads on until what came ends with `end`.
async fn until(client: &mut (impl AsyncReadExt + Unpin), end: &str) -> String {
    let mut text = Vec::new();
    let reading = async {
        while !text.ends_with(end.as_bytes()) {
            assert_ne!(client.read_buf(&mut text).await.unwrap(), 0, "it was closed");
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it comes in time");
    String::from_utf8(text).unwrap()
}

/// Everything that comes until the connection is closed.
async fn rest(client: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, client.read_to_end(&mut text)).await;
    reading.expect("it is closed in time").unwrap();
    String::from_utf8(text).unwrap()
}

async fn with_odd_service() -> (TestApp, TcpListener) {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    (spawn_with(|config| odd(config, address, "")).await, service)
}

#[actix_web::test]
async fn an_answer_under_way_when_the_gateway_stops_comes_whole_and_is_the_last() {
    for (framing, first, last, end) in [
        ("Content-Length: 10", "01234", "56789", "56789"),
        ("Transfer-Encoding: chunked", "5\r\n01234\r\n", "0\r\n\r\n", "0\r\n\r\n"),
    ] {
        let (app, service) = with_odd_service().await;
        let mut client = connect(&app, b"GET /odd HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let (mut stream, _) = service.accept().await.unwrap();
        read_head(&mut stream).await;
        let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{first}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        until(&mut client, first).await;
        let started = clock::instant();
        let stopping = tokio::spawn(app.running.stop());
        while TcpStream::connect(app.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        stream.write_all(last.as_bytes()).await.unwrap();
        assert!(rest(&mut client).await.ends_with(end));
        drop(client);
        stopping.await.unwrap();
        assert!(started.elapsed() < AT_ONCE, "{framing}");
    }
}

#[actix_web::test]
async fn a_request_that_follows_an_answer_which_promised_to_take_one_is_answered_although_the_gateway_stops() {
    let (app, service) = with_odd_service().await;
    let request = b"GET /odd HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut client = connect(&app, request).await;
    let (mut stream, _) = service.accept().await.unwrap();
    read_head(&mut stream).await;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        .await
        .unwrap();
    until(&mut client, "01234").await;
    let ask = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut other = connect(&app, ask).await;
    let mut answer = until(&mut other, "}").await;
    let stopping = tokio::spawn(app.running.stop());
    let asking = async {
        while !answer.contains("\r\nconnection: close\r\n") {
            other.write_all(ask).await.unwrap();
            answer = until(&mut other, "}").await;
        }
    };
    let asked = tokio::time::timeout(PATIENCE, asking);
    asked.await.expect("answers are the last ones");
    drop(other);
    client.write_all(request).await.unwrap();
    stream.write_all(b"56789").await.unwrap();
    read_head(&mut stream).await;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast")
        .await
        .unwrap();
    let rest = rest(&mut client).await;
    assert!(rest.starts_with("56789HTTP/1.1 200 OK\r\n"), "{rest}");
    assert!(
        rest.contains("\r\nconnection: close\r\n") && rest.ends_with("last"),
        "{rest}"
    );
    drop(client);
    stopping.await.unwrap();
}

#[actix_web::test]
async fn connections_that_wait_for_a_request_do_not_hold_up_a_stop() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |_| {}).await;
    let mut used = tls::connect(&app, &[&pair], "http/1.1").await.unwrap();
    assert_eq!(tls::ask(&mut used).await, "HTTP/1.1 200 OK");
    let mut silent = tls::connect(&app, &[&pair], "http/1.1").await.unwrap();
    let (mut sender, second) = tls::speak(&app, &pair).await;
    let answer = sender.send_request(tls::get(&app, "/open"), true).unwrap().0;
    assert_eq!(answer.await.unwrap().status(), 200);
    let started = clock::instant();
    let stopping = tokio::spawn(app.running.stop());
    // With a word of goodbye: of a connection that is cut off, reading fails.
    assert_eq!(rest(&mut used).await, "");
    assert_eq!(rest(&mut silent).await, "");
    tokio::time::timeout(PATIENCE, second).await.expect("it ends").unwrap();
    stopping.await.unwrap();
    assert!(started.elapsed() < AT_ONCE);
}

#[actix_web::test]
async fn a_head_that_does_not_come_in_time_is_408_over_tls_too() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |config| config.header_timeout = Duration::from_millis(300)).await;
    let mut plain = tls::connect(&app, &[&pair], "http/1.1").await.unwrap();
    plain.write_all(&GET[..GET.len() - 2]).await.unwrap();
    let (status, body) = parse(&rest(&mut plain).await);
    assert_eq!((status, &body["code"]), (408, &"request_timeout".into()));
}

#[actix_web::test]
async fn an_empty_line_behind_a_body_is_no_beginning_of_a_request() {
    let app = spawn_with(|config| config.header_timeout = Duration::from_millis(200)).await;
    let mut client = connect(
        &app,
        b"POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\r\n",
    )
    .await;
    until(&mut client, "}").await;
    // Longer than a head may take.
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.write_all(GET).await.unwrap();
    assert_eq!(parse(&until(&mut client, "}").await).0, 200);
    client.write_all(b"\r\n".repeat(100).as_slice()).await.unwrap();
    assert_eq!(parse(&rest(&mut client).await).0, 408, "a hundred of them lead nowhere");
}

#[actix_web::test]
async fn whoever_reads_only_behind_a_large_upload_hears_that_it_was_too_large() {
    const LARGE: usize = 16 * 1024 * 1024;
    let app = spawn().await;
    let head = b"POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = connect(&app, head).await;
    let piece = format!("10000\r\n{}\r\n", "x".repeat(64 * 1024));
    for _ in 0..LARGE / piece.len() {
        client.write_all(piece.as_bytes()).await.unwrap();
    }
    client.shutdown().await.unwrap();
    let (status, body) = parse(&rest(&mut client).await);
    assert_eq!((status, &body["code"]), (413, &"too_large".into()));
}

#[actix_web::test]
async fn a_body_that_nobody_needs_is_not_waited_for() {
    let app = spawn().await;
    let started = clock::instant();
    let mut client = connect(&app, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n").await;
    let answer = until(&mut client, "}").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nconnection: close\r\n"));
    assert!(started.elapsed() < Duration::from_secs(4), "it is not waited for");
    // One that is there already keeps the connection open.
    let mut client = connect(&app, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc").await;
    until(&mut client, "}").await;
    client.write_all(GET).await.unwrap();
    assert_eq!(parse(&until(&mut client, "}").await).0, 200);
}

#[actix_web::test]
async fn nor_is_one_whose_request_is_refused() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |_| {}).await;
    let started = clock::instant();
    for length in [10, 1_000_000_000] {
        let mut client = tls::connect(&app, &[&pair], "http/1.1").await.unwrap();
        let head = format!("POST /home HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n01234");
        client.write_all(head.as_bytes()).await.unwrap();
        let answer = until(&mut client, "}").await;
        assert!(
            answer.starts_with("HTTP/1.1 401 ") || length > 10 && answer.starts_with("HTTP/1.1 413 "),
            "{answer}"
        );
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
    let (mut sender, _second) = tls::speak(&app, &pair).await;
    let (answer, _body) = sender.send_request(tls::post(&app, "/home"), false).unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("it is answered");
    assert_eq!(answer.unwrap().status(), 401);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[actix_web::test]
async fn nor_does_one_that_comes_byte_by_byte_put_off_its_refusal() {
    let app = spawn().await;
    let head = b"POST /home HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    let client = connect(&app, head).await;
    let (mut reading, mut writing) = client.into_split();
    let trickling = rt::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            rt::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let started = clock::instant();
    let answer = until(&mut reading, "}").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    trickling.abort();
}

#[actix_web::test]
async fn a_client_that_leaves_behind_its_upload_takes_a_silent_answer_with_it() {
    let (app, service) = with_odd_service().await;
    let head = b"POST /odd HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234";
    let mut client = connect(&app, head).await;
    let (mut stream, _) = service.accept().await.unwrap();
    read_head(&mut stream).await;
    // It begins to answer before it has heard everything, and then says nothing for long.
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        .await
        .unwrap();
    until(&mut client, "2\r\nab\r\n").await;
    client.write_all(b"56789").await.unwrap();
    let started = clock::instant();
    drop(client);
    assert!(rest(&mut stream).await.ends_with("56789"));
    assert!(
        started.elapsed() < AT_ONCE,
        "it is given up long before it takes too long"
    );
}
