//! Clients of HTTP/2 that ask and do not take the answers.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::RecvStream;
use h2::client::SendRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::http::Method;

use crate::helpers::{PATIENCE, TestApp, listener, odd, read_head, route, until};
use crate::tls::{self, Files, Pair, ask, connect, get, secure, speak};

/// More than sockets hold.
const LARGE: usize = 32 * 1024 * 1024;
static PIECE: [u8; 16 * 1024] = [b'x'; 16 * 1024];
/// How many requests a client makes at once.
const STREAMS: usize = 50;
/// For how long nothing may be taken.
const SOON: Duration = Duration::from_secs(1);

/// An upstream with large answers, and how many of its connections are open.
async fn generous() -> (SocketAddr, Arc<AtomicUsize>) {
    let upstream = listener().await;
    let address = upstream.local_addr().unwrap();
    let open = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&open);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = upstream.accept().await {
            let open = Arc::clone(&counted);
            open.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                read_head(&mut stream).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\nConnection: close\r\n\r\n");
                let mut sent = stream.write_all(head.as_bytes()).await;
                for _ in 0..LARGE / PIECE.len() {
                    if sent.is_ok() {
                        sent = stream.write_all(&PIECE).await;
                    }
                }
                // Until the other end has closed, too.
                let _ = stream.read_to_end(&mut Vec::new()).await;
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (address, open)
}

async fn spawn(pair: &Pair) -> (Files, TestApp, Arc<AtomicUsize>) {
    let (address, open) = generous().await;
    let files = Files::of(pair);
    let app = tls::spawn(&files, |config| {
        odd(config, address, "");
        config.body_timeout = SOON;
    })
    .await;
    (files, app, open)
}

/// Asks for a large answer, and takes its head.
async fn large(sender: &mut SendRequest<Bytes>, app: &TestApp) -> RecvStream {
    let mut ready = sender.clone().ready().await.unwrap();
    let answer = ready.send_request(get(app, "/odd"), true).unwrap().0;
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

async fn is_served(app: &TestApp, pair: &Pair) {
    let mut other = connect(app, &[pair], "http/1.1").await.unwrap();
    assert_eq!(ask(&mut other).await, "HTTP/1.1 200 OK");
}

#[actix_web::test]
async fn a_client_that_allows_no_more_of_any_answer_loses_its_connection() {
    let pair = Pair::new();
    let (_files, app, open) = spawn(&pair).await;
    let (mut sender, connection) = speak(&app, &pair).await;
    let mut answers = Vec::new();
    for _ in 0..STREAMS {
        answers.push(large(&mut sender, &app).await);
    }
    assert_eq!(open.load(Ordering::SeqCst), STREAMS);
    is_served(&app, &pair).await;
    // It goes on to answer whoever asks whether it is there.
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    ended.expect("it is ended").unwrap();
    until(|| async { open.load(Ordering::SeqCst) == 0 }).await;
    is_served(&app, &pair).await;
}

/// After how much a client that takes its time waits.
const STEP: usize = 512 * 1024;

#[actix_web::test]
async fn an_answer_that_is_not_taken_is_given_up_and_others_on_its_connection_go_on() {
    let pair = Pair::new();
    let (_files, app, open) = spawn(&pair).await;
    let stream = connect(&app, &[&pair], "h2").await.unwrap();
    let (mut sender, connection) = h2::client::Builder::new()
        .initial_window_size(65_535)
        .initial_connection_window_size(64 * 1024 * 1024)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut stuck = Vec::new();
    for _ in 0..STREAMS {
        stuck.push(large(&mut sender, &app).await);
    }
    let mut moving = large(&mut sender, &app).await;
    let mut received = 0;
    let taking = async {
        while let Some(piece) = moving.data().await {
            let length = piece.unwrap().len();
            received += length;
            moving.flow_control().release_capacity(length).unwrap();
            if received / STEP > (received - length) / STEP && open.load(Ordering::SeqCst) > 1 {
                // It takes its time, for as long as the others are not given up.
                tokio::time::sleep(SOON / 20).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, taking).await.expect("all of it in time");
    assert_eq!(received, LARGE);
    until(|| async { open.load(Ordering::SeqCst) == 0 }).await;
    assert!(!connection.is_finished());
    // What was given up is seen to be no whole answer.
    for mut body in stuck {
        let (mut received, mut is_whole) = (0, true);
        while let Some(piece) = body.data().await {
            let Ok(piece) = piece else {
                is_whole = false;
                break;
            };
            received += piece.len();
            let _ = body.flow_control().release_capacity(piece.len());
        }
        assert!(!is_whole && received < LARGE, "{received}");
    }
}

#[actix_web::test]
async fn for_how_long_nothing_may_be_taken_is_reloaded() {
    let pair = Pair::new();
    let (address, open) = generous().await;
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |config| {
        odd(config, address, "");
        config.body_timeout = Duration::from_hours(1);
    })
    .await;
    let mut config = app.config.clone();
    config.body_timeout = SOON;
    app.reloader.reload(&config).unwrap();
    let (mut sender, connection) = speak(&app, &pair).await;
    let _untaken = large(&mut sender, &app).await;
    tokio::time::timeout(PATIENCE, connection)
        .await
        .expect("it is cut off")
        .unwrap();
    until(|| async { open.load(Ordering::SeqCst) == 0 }).await;
}

#[actix_web::test]
async fn a_client_that_allows_everything_and_reads_nothing_loses_its_connection() {
    let pair = Pair::new();
    let (_files, app, open) = spawn(&pair).await;
    let stream = connect(&app, &[&pair], "h2").await.unwrap();
    let (sender, mut connection) = h2::client::Builder::new()
        .initial_window_size(1 << 30)
        .initial_connection_window_size(1 << 30)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    let mut answers = Vec::new();
    for _ in 0..STREAMS {
        let ready = sender.clone().ready();
        let mut ready = tokio::select! {
            ready = ready => ready.unwrap(),
            _ = &mut connection => panic!("it ended"),
        };
        answers.push(ready.send_request(get(&app, "/odd"), true).unwrap().0);
    }
    // Sends what was asked for, and then does not look any more.
    let all_came = until(|| async { open.load(Ordering::SeqCst) == STREAMS });
    tokio::select! {
        () = all_came => {}
        _ = &mut connection => panic!("it ended"),
    }
    is_served(&app, &pair).await;
    until(|| async { open.load(Ordering::SeqCst) == 0 }).await;
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    ended.expect("it is ended").unwrap_err();
    drop(answers);
}

/// `HEAD` of this path, as the header block of a stream of its own (RFC 9113 section 6.2, RFC 7541).
pub(crate) fn head_frame(stream: u32, path: &str) -> Vec<u8> {
    let name = b"gateway.test";
    // `:scheme: https`; then `:method`, `:path` and `:authority` with values of their own.
    let mut block = vec![0x87, 0x02, 4];
    block.extend(b"HEAD");
    block.extend([0x04, u8::try_from(path.len()).unwrap()]);
    block.extend(path.as_bytes());
    block.extend([0x01, u8::try_from(name.len()).unwrap()]);
    block.extend(name);
    let length = u32::try_from(block.len()).unwrap().to_be_bytes();
    // HEADERS, with END_STREAM and END_HEADERS.
    let mut frame = vec![length[1], length[2], length[3], 0x01, 0x05];
    frame.extend(stream.to_be_bytes());
    frame.extend(block);
    frame
}

#[actix_web::test]
async fn answers_without_a_body_that_nobody_reads_are_not_made_without_end() {
    /// Some megabytes, which the system takes for the client.
    const MOST: usize = 5000;
    let pair = Pair::new();
    let files = Files::of(&pair);
    // Nothing is ended for its time.
    let app = tls::spawn(&files, |config| {
        config.body_timeout = Duration::from_hours(1);
        let wide = "x".repeat(8000);
        config.routes.push(route(&format!(
            r#"{{"path": "/wide", "upstream": "echo", "auth": "none", "response_headers": {{"set": {{"x-wide": "{wide}"}}}}}}"#
        )));
    })
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    let stream = socket.connect(app.address).await.unwrap();
    let mut client = secure(stream, &[&pair], "h2").await.unwrap();
    let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // An empty SETTINGS.
    preface.extend([0, 0, 0, 0x04, 0, 0, 0, 0, 0]);
    client.write_all(&preface).await.unwrap();
    let mut asked = 0;
    // Until it is cut off, or no longer listened to.
    while app.echo.seen() < MOST {
        let frame = head_frame(2 * asked + 1, "/wide");
        let written = tokio::time::timeout(2 * SOON, client.write_all(&frame)).await;
        if !written.is_ok_and(|written| written.is_ok()) {
            break;
        }
        asked += 1;
    }
    let answered = app.echo.seen();
    println!("over after {asked} requests, of which {answered} were answered");
    assert!(answered < MOST, "{answered}");
    is_served(&app, &pair).await;
}

#[actix_web::test]
async fn answers_without_a_body_all_come_to_a_client_that_reads_them() {
    const AT_ONCE: usize = 200;
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |_| {}).await;
    let stream = connect(&app, &[&pair], "h2").await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    actix_web::rt::spawn(connection);
    let mut ids = HashSet::new();
    for _ in 0..5 {
        let mut answers = Vec::new();
        for _ in 0..AT_ONCE {
            let mut ready = sender.clone().ready().await.unwrap();
            let mut request = get(&app, "/open");
            *request.method_mut() = Method::HEAD;
            answers.push(ready.send_request(request, true).unwrap().0);
        }
        for answer in join_all(answers).await {
            let answer = answer.unwrap();
            assert_eq!(answer.status(), 200);
            ids.insert(answer.headers()["x-request-id"].to_str().unwrap().to_owned());
        }
    }
    assert_eq!(ids.len(), 5 * AT_ONCE, "each has an id of its own");
}
