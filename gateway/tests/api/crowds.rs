//! More connections than there is room for: those that nobody uses make way.

use std::time::Duration;

use portcullis_gateway::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::helpers::{PATIENCE, TestApp, listener, odd, read_head, spawn_with, until};
use crate::tls::{self, Files, Pair};

/// How many connections there is room for.
const ROOM: usize = 32;
/// How many come.
const CROWD: usize = 3 * ROOM;
/// More than sockets hold, of which those of the client hold little.
const LARGE: usize = 8 * 1024 * 1024;
/// Longer than any of these tests takes.
const LONG: Duration = Duration::from_hours(1);
const GET: &[u8] = b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n";

/// A gateway with little room, where nothing ends for taking its time.
fn crowded(config: &mut Config) {
    config.workers = 1;
    config.max_connections = ROOM;
    config.max_event_streams = 1;
    config.keep_alive = LONG;
    config.header_timeout = LONG;
    config.body_timeout = LONG;
}

async fn connect(app: &TestApp, bytes: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(app.address).await.unwrap();
    client.write_all(bytes).await.unwrap();
    client
}

/// Reads one answer, all of it, from a connection that stays open.
async fn answer(client: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = async {
        while !answer.ends_with(b"}") {
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "it was closed");
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("an answer in time");
    String::from_utf8(answer).unwrap()
}

/// Whether nobody has ended `client`, who has nothing left to read.
fn is_open(client: &TcpStream) -> bool {
    let read = client.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[actix_web::test]
async fn connections_that_nobody_uses_make_way_for_those_that_come_the_oldest_first() {
    let app = spawn_with(crowded).await;
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        let mut client = connect(&app, GET).await;
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200 "), "{number}");
        crowd.push(client);
    }
    // Whoever was there last stays, and is served again.
    let last = crowd.last_mut().unwrap();
    last.write_all(GET).await.unwrap();
    assert!(answer(last).await.starts_with("HTTP/1.1 200 "));
    until(|| async { crowd.iter().filter(|client| is_open(client)).count() < ROOM }).await;
    let open: Vec<bool> = crowd.iter().map(is_open).collect();
    let first_open = open.iter().position(|open| *open).unwrap();
    assert!(
        open[first_open..].iter().all(|open| *open),
        "the oldest go first: {open:?}"
    );
    assert!(CROWD - first_open > ROOM / 2, "and no more than have to: {open:?}");
}

#[actix_web::test]
async fn connections_that_say_nothing_or_no_whole_head_make_way_too() {
    for bytes in [&b""[..], b"G", b"GET /open HTTP/1.1\r\nHost: x\r\nX: "] {
        let app = spawn_with(crowded).await;
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            crowd.push(connect(&app, bytes).await);
        }
        let mut client = connect(&app, GET).await;
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200 "));
    }
}

#[actix_web::test]
async fn connections_of_http_2_that_nobody_uses_make_way_and_end_in_time() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, crowded).await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let (mut client, connection) = tls::speak(&app, &pair).await;
        let answer = client.send_request(tls::get(&app, "/open"), true).unwrap().0;
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time");
        assert_eq!(answer.unwrap().status(), 200);
        crowd.push((client, connection));
    }
    until(|| async { crowd.iter().filter(|(_, connection)| !connection.is_finished()).count() < ROOM }).await;
    assert!(!crowd.last().unwrap().1.is_finished());

    let app = tls::spawn(&files, |config| {
        config.keep_alive = Duration::from_millis(200);
        config.header_timeout = Duration::from_millis(200);
    })
    .await;
    // It goes when it is told to.
    let (_client, connection) = tls::speak(&app, &pair).await;
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    ended.expect("it is ended for want of requests").unwrap();
}

#[actix_web::test]
async fn connections_in_use_stay_whoever_comes() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let web = tempfile::tempdir().unwrap();
    std::fs::write(web.path().join("index.html"), "").unwrap();
    std::fs::write(web.path().join("large.bin"), vec![b'x'; LARGE]).unwrap();
    let app = spawn_with(|config| {
        crowded(config);
        odd(config, address, r#", "timeout": "1h""#);
        config.web_root = web.path().into();
    })
    .await;
    let mut waiting = connect(&app, b"GET /odd HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (mut at_service, _) = service.accept().await.unwrap();
    read_head(&mut at_service).await;
    let head = b"POST /odd HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{";
    let mut sending = connect(&app, head).await;
    let (mut receiving, _) = service.accept().await.unwrap();
    read_head(&mut receiving).await;
    let head = b"GET /large.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut reading = connect(&app, head).await;
    let mut first = [0; 12];
    reading.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut client = connect(&app, GET).await;
        answer(&mut client).await;
        crowd.push(client);
    }
    let said = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    at_service.write_all(said).await.unwrap();
    assert!(answer(&mut waiting).await.starts_with("HTTP/1.1 200 "));
    sending.write_all(b"}").await.unwrap();
    receiving.write_all(said).await.unwrap();
    assert!(answer(&mut sending).await.starts_with("HTTP/1.1 200 "));
    let mut rest = Vec::new();
    let all = tokio::time::timeout(PATIENCE, reading.read_to_end(&mut rest)).await;
    all.expect("all of it in time").unwrap();
    assert!(rest.len() > LARGE, "{}", rest.len());
}

#[actix_web::test]
async fn a_file_that_is_read_slowly_is_not_taken_for_a_connection_without_a_use() {
    let web = tempfile::tempdir().unwrap();
    std::fs::write(web.path().join("index.html"), "").unwrap();
    std::fs::write(web.path().join("large.bin"), vec![b'x'; LARGE]).unwrap();
    let app = spawn_with(|config| {
        config.web_root = web.path().into();
        config.keep_alive = Duration::from_millis(100);
        config.header_timeout = Duration::from_millis(100);
    })
    .await;
    let head = b"GET /large.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut client = connect(&app, head).await;
    let (mut received, mut piece) = (0, vec![0; LARGE / 16]);
    loop {
        match client.read(&mut piece).await.unwrap() {
            0 => break,
            size => received += size,
        }
        if received < LARGE / 64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(received > LARGE, "{received}");
}
