//! Upstreams that answer what nobody should: the client gets 502, 504 or a body that visibly breaks off, never one that
//! looks whole and is not; and the connection they did it on is never used again.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::answer_vectors;
use crate::helpers::{PATIENCE, TestApp, odd, read, spawn_with};
use crate::recorder::{Recorder, Say};

/// How long the gateway waits for an upstream that says nothing.
const SILENCE: &str = "500ms";

/// What must become of the upstream's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    /// This answer of the gateway, in its own shape.
    Fail(u16),
    /// This status and a body that the client can see is not whole, or no answer at all.
    BreakOff(u16),
    /// This status and this body, and nothing is wrong with the connection.
    Pass(u16, &'static str),
    /// This status and this body, but the connection has served its time.
    PassAndClose(u16, &'static str),
}

/// A row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) say: Say,
    pub(crate) must: Must,
}

/// What a client got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    Whole(u16, String),
    BrokenOff(u16),
    Nothing,
}

#[actix_web::test]
async fn an_answer_is_passed_on_whole_or_seen_to_be_broken_and_its_connection_never_reused() {
    let vectors = answer_vectors::vectors();
    let says: Vec<Say> = vectors.iter().map(|vector| vector.say.clone()).collect();
    let (app, recorder) = start(says).await;
    let mut failures = String::new();
    for (number, vector) in vectors.iter().enumerate() {
        if let Err(fault) = prove(&app, &recorder, &vector.must, number).await {
            writeln!(failures, "{}: must {:?}, but {fault}", vector.name, vector.must).unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// A gateway before an upstream that says `says[N]` to a request for `/odd/N`, and answers all others properly.
pub(crate) async fn start(says: Vec<Say>) -> (TestApp, Recorder) {
    let recorder = Recorder::start_with(move |request| {
        let number: usize = request.target.strip_prefix("/odd/")?.parse().ok()?;
        says.get(number).cloned()
    })
    .await;
    let address = recorder.address;
    let app = spawn_with(|config| {
        odd(config, address, &format!(r#", "timeout": "{SILENCE}""#));
        config.body_timeout = Duration::from_millis(500);
        config.idle_timeout = PATIENCE;
    })
    .await;
    // From here on there is one unused connection before each vector.
    assert_eq!(app.get("/odd/innocent").await.status(), 200);
    recorder.take();
    (app, recorder)
}

/// Asks for `/odd/NUMBER`, and for something proper afterwards.
pub(crate) async fn prove(app: &TestApp, recorder: &Recorder, must: &Must, number: usize) -> Result<(), String> {
    let delivered = ask(app, number).await;
    let seen = recorder.take();
    let innocent = format!("/odd/innocent/{number}");
    let (status, body) = read(app.get(&innocent).await).await;
    if (status, &body["target"]) != (200, &json!(innocent)) {
        return Err(format!("another client asked for {innocent} and got {status} {body}"));
    }
    let after = recorder.take();
    recorder.until_open(1).await;
    if seen.requests.len() != 1 || after.requests.len() != 1 || !seen.faults.is_empty() || !after.faults.is_empty() {
        return Err(format!("the upstream saw {seen:?} and {after:?}"));
    }
    let reused = after.connections == 0;
    let right = match (must, &delivered) {
        (Must::Fail(status), Delivered::Whole(given, _)) | (Must::BreakOff(status), Delivered::BrokenOff(given)) => {
            given == status && !reused
        }
        (Must::BreakOff(_), Delivered::Nothing) => !reused,
        (Must::Pass(status, body), Delivered::Whole(given, got)) => (given, got.as_str()) == (status, *body) && reused,
        (Must::PassAndClose(status, body), Delivered::Whole(given, got)) => {
            (given, got.as_str()) == (status, *body) && !reused
        }
        _ => false,
    };
    if right {
        return Ok(());
    }
    Err(format!(
        "{delivered:?}, and the connection was {}",
        if reused { "used again" } else { "closed" }
    ))
}

/// What becomes of `POST /odd/NUMBER`, which is never sent twice.
async fn ask(app: &TestApp, number: usize) -> Delivered {
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let request = format!("POST /odd/{number} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut received));
    let broken = reading.await.expect("an end in time").is_err();
    let text = String::from_utf8_lossy(&received).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Delivered::Nothing;
    };
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    match whole(&head.to_ascii_lowercase(), body, status) {
        Some(body) if !broken => Delivered::Whole(status, body),
        _ => Delivered::BrokenOff(status),
    }
}

/// The body, if `head` says that `body` is all of it, and no more.
fn whole(head: &str, body: &str, status: u16) -> Option<String> {
    if matches!(status, 204 | 304) {
        return body.is_empty().then(String::new);
    }
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        return (length.parse() == Ok(body.len())).then(|| body.to_owned());
    }
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let (mut rest, mut pieces) = (body, String::new());
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        let (piece, after) = after.split_at_checked(size)?;
        pieces.push_str(piece);
        rest = after.strip_prefix("\r\n")?;
        if size == 0 {
            return rest.is_empty().then_some(pieces);
        }
    }
}

#[actix_web::test]
async fn bytes_that_nobody_asked_for_on_an_unused_connection_are_no_answer() {
    let (app, recorder) = start(Vec::new()).await;
    for unasked in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"[..],
        b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"\0",
        b"\r\n",
    ] {
        recorder.say_unasked(unasked).await;
        let (status, body) = read(app.get("/odd/innocent").await).await;
        assert_eq!((status, &body["target"]), (200, &json!("/odd/innocent")), "{unasked:?}");
    }
}

#[actix_web::test]
async fn an_answer_that_was_there_before_the_request_serves_that_one_alone_if_any() {
    let listener = crate::helpers::listener().await;
    let address = listener.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, r#", "timeout": "200ms""#)).await;
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let hasty = format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{number:04}");
            let _ = stream.write_all(hasty.as_bytes()).await;
            tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
        }
    });
    let mut got = Vec::new();
    for _ in 0..12 {
        let (status, body) = read(app.get("/odd").await).await;
        match status {
            200 => assert!(!got.contains(&body), "{body} was there for another one"),
            _ => assert!(matches!(status, 502 | 504), "{status} {body}"),
        }
        got.push(body);
    }
}
