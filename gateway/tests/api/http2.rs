//! What a client of HTTP/2 is told, frame by frame: above all to go away (RFC 9113 section 6.8), with which nothing is lost.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt;
use bytes::Bytes;
use futures_util::future::{join_all, poll_fn};
use h2::client::SendRequest;
use serde_json::json;
use service_kit::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::http::Request;

use crate::helpers::{PATIENCE, TestApp, listener, odd, read, read_head, until};
use crate::tls::{self, Files, Pair, connect, get};
use crate::unread::head_frame;

/// Less than the gateway waits for requests under way when it stops.
const AT_ONCE: Duration = Duration::from_secs(6);
/// How many requests a client has open that never pauses.
const OPEN: usize = 10;

/// The last stream of a first word, behind which there is another one.
const NONE_YET: u32 = (1 << 31) - 1;

const DATA: u8 = 0x00;
const HEADERS: u8 = 0x01;
const RST_STREAM: u8 = 0x03;
const SETTINGS: u8 = 0x04;
const PING: u8 = 0x06;
const GOAWAY: u8 = 0x07;
const ACK: u8 = 0x01;

/// A frame (RFC 9113 section 4.1).
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A client that says and reads frames as they are.
struct Raw(TlsStream<TcpStream>);

impl Raw {
    /// Shakes hands, and is told what counts here.
    async fn to(app: &TestApp, pair: &Pair) -> Self {
        let mut raw = Self(connect(app, &[pair], "h2").await.unwrap());
        raw.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        raw.say(SETTINGS, 0, &[]).await;
        while raw.next_of(SETTINGS).await.flags != ACK {}
        raw
    }

    /// Says something of the connection.
    async fn say(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, 0];
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame; `None` is the end of the connection.
    async fn next(&mut self) -> Option<Frame> {
        let reading = async {
            let mut head = [0; 9];
            if self.0.read(&mut head[..1]).await.unwrap() == 0 {
                return None;
            }
            self.0.read_exact(&mut head[1..]).await.unwrap();
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            self.0.read_exact(&mut payload).await.unwrap();
            Some(Frame {
                kind: head[3],
                flags: head[4],
                stream: number(&head[5..]),
                payload,
            })
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("a frame in time")
    }

    /// The next frame of this kind.
    async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("another frame");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The last stream that the next word of going away names; there must be no fault.
    async fn told_to_go(&mut self) -> u32 {
        let frame = self.next_of(GOAWAY).await;
        assert_eq!(number(&frame.payload[4..]), 0, "NO_ERROR");
        number(&frame.payload)
    }

    /// Answers the question that comes with the first word, whose answer shows that it was heard.
    async fn confirm(&mut self) {
        let question = self.next_of(PING).await;
        assert_eq!(question.flags, 0);
        self.say(PING, ACK, &question.payload).await;
    }

    /// What comes of a connection that nobody uses.
    async fn goes(mut self, last: u32) {
        assert_eq!(self.told_to_go().await, NONE_YET);
        self.confirm().await;
        assert_eq!(self.told_to_go().await, last);
        assert!(self.next().await.is_none(), "and is closed");
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// What became of the requests of a client that never pauses.
#[derive(Default)]
struct Outcomes {
    answered: Cell<usize>,
    /// Not looked at, as the client was told: it may repeat them elsewhere.
    unprocessed: Cell<usize>,
    lost: Cell<usize>,
}

fn count(what: &Cell<usize>) {
    what.set(what.get() + 1);
}

/// Asks again and again, for as long as further requests are taken.
async fn ask(sender: SendRequest<Bytes>, request: &Request<()>, outcomes: &Outcomes) {
    while let Ok(mut ready) = sender.clone().ready().await {
        let Ok((answer, _)) = ready.send_request(request.clone(), true) else {
            return;
        };
        match whole(answer).await {
            Ok(()) => count(&outcomes.answered),
            Err(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => count(&outcomes.unprocessed),
            Err(error) if error.is_go_away() && error.is_remote() => count(&outcomes.unprocessed),
            Err(_) => count(&outcomes.lost),
        }
    }
}

async fn whole(answer: h2::client::ResponseFuture) -> Result<(), h2::Error> {
    let answer = answer.await?;
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    while let Some(piece) = body.data().await {
        body.flow_control().release_capacity(piece?.len())?;
    }
    Ok(())
}

#[actix_web::test]
async fn a_stop_loses_no_request_of_a_client_that_never_pauses() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |_| {}).await;
    let outcomes = Rc::<Outcomes>::default();
    let (seen, request) = (Rc::clone(&outcomes), get(&app, "/open"));
    let address = app.address;
    let client = rt::spawn(async move {
        // Connects again when it is told to go away, until nobody listens any more.
        while let Ok(stream) = TcpStream::connect(address).await {
            let Ok(stream) = tls::secure(stream, &[&pair], "h2").await else {
                return;
            };
            let Ok((sender, connection)) = h2::client::handshake(stream).await else {
                return;
            };
            let connection = rt::spawn(connection);
            join_all((0..OPEN).map(|_| ask(sender.clone(), &request, &seen))).await;
            drop(sender);
            // It is closed when all is said.
            let _ = connection.await.unwrap();
        }
    });
    until(|| async { outcomes.answered.get() > 20 * OPEN }).await;
    let (before, started) = (outcomes.answered.get(), clock::instant());
    app.running.stop().await;
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    tokio::time::timeout(PATIENCE, client).await.expect("it ends").unwrap();
    println!(
        "{} answered after the stop began, {} not looked at",
        outcomes.answered.get() - before,
        outcomes.unprocessed.get()
    );
    assert_eq!(outcomes.lost.get(), 0);
}

#[actix_web::test]
async fn an_answer_under_way_comes_whole_before_its_connection_ends() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |config| odd(config, address, "")).await;
    let (mut sender, connection) = tls::speak(&app, &pair).await;
    let answer = sender.send_request(get(&app, "/odd"), true).unwrap().0;
    let (mut stream, _) = service.accept().await.unwrap();
    read_head(&mut stream).await;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        .await
        .unwrap();
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "01234");
    let stopping = tokio::spawn(app.running.stop());
    // Longer than a connection may take that nobody uses.
    while sender.clone().ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!connection.is_finished());
    stream.write_all(b"56789").await.unwrap();
    assert_eq!(body.data().await.unwrap().unwrap(), "56789");
    assert!(body.data().await.is_none());
    drop((body, sender));
    tokio::time::timeout(PATIENCE, connection)
        .await
        .expect("it ends")
        .unwrap();
    stopping.await.unwrap();
}

#[actix_web::test]
async fn a_connection_that_nobody_uses_is_told_so_when_its_time_is_over_and_when_the_gateway_stops() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |config| config.keep_alive = Duration::from_millis(200)).await;
    let mut used = Raw::to(&app, &pair).await;
    used.0.write_all(&head_frame(1, "/open")).await.unwrap();
    assert_eq!(used.next_of(HEADERS).await.stream, 1);
    used.goes(1).await;

    let app = tls::spawn(&files, |config| config.header_timeout = Duration::from_secs(1)).await;
    Raw::to(&app, &pair).await.goes(0).await;

    let app = tls::spawn(&files, |_| {}).await;
    let (first, second) = (Raw::to(&app, &pair).await, Raw::to(&app, &pair).await);
    let started = clock::instant();
    let stopping = tokio::spawn(app.running.stop());
    first.goes(0).await;
    second.goes(0).await;
    stopping.await.unwrap();
    assert!(started.elapsed() < AT_ONCE);
}

#[actix_web::test]
async fn a_request_that_crosses_the_word_to_go_away_is_answered() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |_| {}).await;
    let mut client = Raw::to(&app, &pair).await;
    let stopping = tokio::spawn(app.running.stop());
    assert_eq!(client.told_to_go().await, NONE_YET);
    // As if it had not heard yet.
    client.0.write_all(&head_frame(1, "/open")).await.unwrap();
    client.confirm().await;
    let (mut is_answered, mut last) = (false, NONE_YET);
    while let Some(frame) = client.next().await {
        match frame.kind {
            HEADERS => is_answered |= frame.stream == 1,
            GOAWAY => last = number(&frame.payload),
            DATA | RST_STREAM => panic!("{frame:?}"),
            _ => {}
        }
    }
    assert!(is_answered);
    assert_eq!(last, 1);
    stopping.await.unwrap();
}

#[actix_web::test]
async fn a_client_that_does_not_heed_the_word_holds_up_no_stop() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |_| {}).await;
    let mut deaf = Raw::to(&app, &pair).await;
    // One that has not even begun to speak.
    let _silent = connect(&app, &[&pair], "h2").await.unwrap();
    let started = clock::instant();
    let stopping = tokio::spawn(app.running.stop());
    assert_eq!(deaf.told_to_go().await, NONE_YET);
    stopping.await.unwrap();
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
}

#[actix_web::test]
async fn fields_that_are_too_large_and_a_target_that_is_none_are_refused() {
    const PROTOCOL_ERROR: u32 = 0x01;
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |_| {}).await;
    let http = tls::client(&app, &pair, |builder| builder);
    let request = http
        .get(tls::url(&app, "/open"))
        .header("x-big", "x".repeat(100 * 1024));
    let (status, body) = read(request.send().await.unwrap()).await;
    assert_eq!((status, &body["code"]), (431, &json!("headers_too_large")));
    assert!(body["request_id"].is_string());

    let mut client = Raw::to(&app, &pair).await;
    client.0.write_all(&head_frame(1, "/caf\u{e9}")).await.unwrap();
    client.0.write_all(&head_frame(3, "/open")).await.unwrap();
    let refused = client.next_of(RST_STREAM).await;
    assert_eq!((refused.stream, number(&refused.payload)), (1, PROTOCOL_ERROR));
    assert_eq!(client.next_of(HEADERS).await.stream, 3);
    assert_eq!(app.echo.seen(), 1);
}

#[actix_web::test]
async fn what_a_client_no_longer_waits_for_is_broken_off_at_the_service_too() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |config| odd(config, address, "")).await;
    let (mut sender, connection) = tls::speak(&app, &pair).await;
    for is_reset in [true, false] {
        sender = sender.ready().await.unwrap();
        let (answer, mut request) = sender.send_request(get(&app, "/odd"), true).unwrap();
        let (mut stream, _) = service.accept().await.unwrap();
        read_head(&mut stream).await;
        if is_reset {
            request.send_reset(h2::Reason::CANCEL);
            drop(answer);
        } else {
            connection.abort();
        }
        let ended = tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await;
        assert_eq!(ended.expect("it is told").unwrap_or(0), 0);
    }
}

#[actix_web::test]
async fn a_connection_whose_only_request_was_reset_is_one_that_nobody_uses() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |config| {
        odd(config, address, "");
        config.keep_alive = Duration::from_millis(200);
    })
    .await;
    let (mut sender, connection) = tls::speak(&app, &pair).await;
    let (answer, mut request) = sender.send_request(get(&app, "/odd"), true).unwrap();
    let (mut stream, _) = service.accept().await.unwrap();
    read_head(&mut stream).await;
    request.send_reset(h2::Reason::CANCEL);
    drop((answer, request));
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    ended.expect("it is told to go, and goes").unwrap();
}

#[actix_web::test]
async fn an_answer_that_waits_for_its_client_takes_no_other_with_it() {
    const LARGE: usize = 256 * 1024;
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |config| {
        odd(config, address, "");
        config.body_timeout = Duration::from_millis(500);
    })
    .await;
    let stream = connect(&app, &[&pair], "h2").await.unwrap();
    let (mut sender, connection) = h2::client::Builder::new()
        .initial_connection_window_size(1 << 20)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    let _connection = rt::spawn(connection);
    let paused = sender.send_request(get(&app, "/odd"), true).unwrap().0;
    let (mut stream, _) = service.accept().await.unwrap();
    read_head(&mut stream).await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let sending = tokio::spawn(async move { drop(stream.write_all(&vec![b'x'; LARGE]).await) });
    let mut paused = paused.await.unwrap().into_body();

    // Its service takes its time, and longer than the first is waited for.
    sender = sender.ready().await.unwrap();
    let patient = sender.send_request(get(&app, "/odd"), true).unwrap().0;
    let (mut stream, _) = service.accept().await.unwrap();
    read_head(&mut stream).await;
    let given_up = async {
        while let Some(piece) = paused.data().await {
            if let Err(error) = piece {
                return error;
            }
        }
        panic!("it came whole");
    };
    let error = tokio::time::timeout(PATIENCE, given_up).await.expect("it is given up");
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        .await
        .unwrap();
    let mut body = patient.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "hi");
    sending.await.unwrap();
}

#[actix_web::test]
async fn a_request_that_expects_to_go_on_is_told_so_once_its_body_is_wanted_and_not_when_it_is_refused() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = tls::spawn(&files, |_| {}).await;
    let (mut sender, _second) = tls::speak(&app, &pair).await;
    let mut told = Vec::new();
    for (path, status) in [("/open", 200), ("/home", 401)] {
        let mut request = tls::post(&app, path);
        request.headers_mut().insert("expect", "100-continue".parse().unwrap());
        let (mut answer, mut body) = sender.send_request(request, false).unwrap();
        let asking = async {
            let word = poll_fn(|cx| answer.poll_informational(cx)).await;
            let word = word.map(|word| word.unwrap().status().as_u16());
            if word.is_some() {
                body.send_data(Bytes::from_static(b"hello"), true).unwrap();
            }
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            word
        };
        told.push(tokio::time::timeout(PATIENCE, asking).await.expect("it is answered"));
    }
    assert_eq!(told, [Some(100), None]);
}
