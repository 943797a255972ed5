//! A connection against a socket that a test holds in its hand.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream as Socket};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::http1::{LARGE_ROOM, ROOM};

const PATIENCE: Duration = Duration::from_secs(20);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A body of these pieces; where there is none, nothing comes for as long as it is held.
struct Pieces {
    length: Option<u64>,
    left: VecDeque<Option<&'static [u8]>>,
    /// Whether it breaks off behind them.
    breaks: bool,
    held: Rc<Cell<bool>>,
    taken_back: Vec<Bytes>,
}

impl Pieces {
    fn of(length: Option<u64>, pieces: &[&'static str]) -> Self {
        Self {
            length,
            left: pieces.iter().map(|piece| Some(piece.as_bytes())).collect(),
            breaks: false,
            held: Rc::default(),
            taken_back: Vec::new(),
        }
    }
}

impl Body for Pieces {
    type Error = ();

    fn length(&self) -> Option<u64> {
        self.length
    }

    fn is_over(&self) -> bool {
        self.length.is_some() && self.left.is_empty() && !self.breaks
    }

    fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, ()>>> {
        if !self.held.get() {
            self.left.pop_front_if(|piece| piece.is_none());
        }
        match self.left.front() {
            Some(None) => Poll::Pending,
            None if self.breaks => Poll::Ready(Some(Err(()))),
            None => Poll::Ready(None),
            Some(Some(piece)) => {
                let piece = Bytes::from_static(piece);
                self.left.pop_front();
                Poll::Ready(Some(Ok(piece)))
            }
        }
    }

    fn take_back(&mut self, piece: Bytes) {
        self.taken_back.push(piece);
    }
}

/// A connection, and its other end.
async fn pair() -> (Connection<Pieces>, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = Connection::open(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // What is written is there at once.
    socket.set_nodelay(true).unwrap();
    (connection, socket)
}

fn send(connection: &mut Connection<Pieces>, method: &Method, body: Pieces) {
    let mut head = connection.head();
    head.begin(method, &["/"]).unwrap();
    head.say("host", "x");
    connection.send(method, body);
}

fn get(connection: &mut Connection<Pieces>) {
    send(connection, &Method::GET, Pieces::of(Some(0), &[]));
}

async fn head(connection: &mut Connection<Pieces>) -> Result<Head, Broken> {
    let head = timeout(PATIENCE, poll_fn(|cx| connection.poll_head(cx)));
    head.await.expect("it answers in time")
}

async fn body(connection: &mut Connection<Pieces>) -> Result<String, Broken> {
    let mut text = Vec::new();
    while let Some(piece) = timeout(PATIENCE, poll_fn(|cx| connection.poll_body(cx))).await.unwrap() {
        text.extend(piece?);
    }
    Ok(String::from_utf8(text).unwrap())
}

/// What `work` comes to, on a thread of its own.
fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> {
    let (done, outcome) = oneshot::channel();
    std::thread::spawn(move || drop(done.send(work())));
    async move { outcome.await.expect("the thread did not panic") }
}

/// Reads until `text` ends with `end`.
fn read_until(socket: &mut Socket, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut byte = [0];
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[actix_web::test]
async fn a_request_is_written_with_its_body_framed_as_it_is() {
    let (mut connection, mut socket) = pair().await;
    for (method, length, pieces, written) in [
        (Method::GET, Some(0), &[][..], "GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        (
            Method::POST,
            Some(0),
            &[],
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            Method::PUT,
            Some(5),
            &["ab", "cde"],
            "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcde",
        ),
        (
            Method::DELETE,
            None,
            &["abcdefghijklmnopq", "", "r"],
            "DELETE / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n11\r\nabcdefghijklmnopq\r\n1\r\nr\r\n0\r\n\r\n",
        ),
        (
            Method::POST,
            None,
            &[],
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ] {
        send(&mut connection, &method, Pieces::of(length, pieces));
        let ((), seen) = tokio::join!(
            async {
                head(&mut connection).await.unwrap();
            },
            async {
                let mut socket = socket.try_clone().unwrap();
                let end = written.to_owned();
                let seen = on_a_thread(move || {
                    let seen = read_until(&mut socket, &end);
                    socket.write_all(OK).unwrap();
                    seen
                });
                seen.await
            }
        );
        assert_eq!(seen, written);
        assert_eq!(body(&mut connection).await.unwrap(), "ok");
        assert!(connection.is_reusable());
    }
    socket.write_all(b"x").unwrap();
    assert!(!connection.is_quiet());
}

#[actix_web::test]
async fn a_target_that_would_end_the_line_is_not_written() {
    let (mut connection, _socket) = pair().await;
    for target in ["/a b", "/a\r\nx: y", "/\0", "/\u{7f}"] {
        assert_eq!(
            connection.head().begin(&Method::GET, &["/base", target]),
            Err(BadTarget)
        );
    }
    let mut bytes = Vec::new();
    let mut head = HeadWriter::new(&mut bytes);
    head.say("x-a", "b\r\nx-c: d");
    head.say("x-a", "caf\u{e9}");
    assert!(bytes.is_empty(), "a text that is no value is left out");
}

#[actix_web::test]
async fn a_large_body_is_written_as_the_other_end_takes_it_while_the_answer_is_read() {
    const PIECE: &str = include_str!("tests.rs");
    let (mut connection, mut socket) = pair().await;
    let count = 2000;
    let pieces = vec![PIECE; count];
    send(&mut connection, &Method::POST, Pieces::of(None, &pieces));
    // Begins to answer before it has read anything, and answers with all of it.
    let service = on_a_thread(move || {
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut buffer = vec![0; 100_000];
        let mut tail = Vec::new();
        while !tail.ends_with(b"\r\n0\r\n\r\n") {
            let read = socket.read(&mut buffer).unwrap();
            socket.write_all(&buffer[..read]).unwrap();
            tail.extend_from_slice(&buffer[..read]);
            tail.drain(..tail.len().saturating_sub(10));
        }
    });
    head(&mut connection).await.unwrap();
    let rest = connection.rest().expect("some of the request is left");
    let (text, ()) = tokio::join!(body(&mut connection), rest);
    service.await;
    assert_eq!(text.unwrap().matches(PIECE).count(), count);
    assert!(!connection.is_reusable());
}

#[actix_web::test]
async fn an_answer_counts_although_the_other_end_takes_no_more_of_the_request() {
    let (mut connection, mut socket) = pair().await;
    let pieces = vec![include_str!("tests.rs"); 2000];
    send(&mut connection, &Method::POST, Pieces::of(None, &pieces));
    let service = on_a_thread(move || {
        socket.write_all(OK).unwrap();
        // What was sent and not read makes the system break the connection.
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
    });
    assert_eq!(head(&mut connection).await.unwrap().status, StatusCode::OK);
    service.await;
    assert_eq!(body(&mut connection).await.unwrap(), "ok");
    assert!(!connection.is_reusable(), "the request is not all out");
}

#[actix_web::test]
async fn a_request_of_which_nothing_left_comes_back() {
    let (mut connection, socket) = pair().await;
    // What is not read when a socket is closed resets the connection, and nothing can be written any more.
    connection.writing.as_mut().unwrap().write_all(b"x").await.unwrap();
    socket.peek(&mut [0]).unwrap();
    drop(socket);
    assert!(!connection.is_quiet());
    send(&mut connection, &Method::POST, Pieces::of(Some(2), &["ab"]));
    assert!(head(&mut connection).await.is_err());
    let body = connection.unsent().expect("nothing has left");
    assert_eq!(body.taken_back, [&b"ab"[..]]);
}

#[actix_web::test]
async fn a_request_that_breaks_off_says_so_and_is_not_taken_for_a_whole_one() {
    let (mut connection, mut socket) = pair().await;
    let mut pieces = Pieces::of(None, &["ab"]);
    pieces.breaks = true;
    send(&mut connection, &Method::POST, pieces);
    assert!(matches!(head(&mut connection).await, Err(Broken::RequestBody)));
    assert!(connection.unsent().is_none());
    drop(connection);
    let mut seen = String::new();
    socket.read_to_string(&mut seen).unwrap();
    assert!(seen.ends_with("\r\n\r\n2\r\nab\r\n"), "{seen}: no last chunk");
}

#[actix_web::test]
async fn an_answer_to_a_request_that_breaks_off_later_is_broken_even_where_the_end_of_the_connection_ends_it() {
    for head_of_answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nsome",
        "HTTP/1.1 200 OK\r\n\r\nsome",
    ] {
        let (mut connection, mut socket) = pair().await;
        socket.write_all(head_of_answer.as_bytes()).unwrap();
        let mut pieces = Pieces::of(None, &["ab"]);
        pieces.left.push_back(None);
        pieces.breaks = true;
        let held = Rc::clone(&pieces.held);
        held.set(true);
        send(&mut connection, &Method::POST, pieces);
        head(&mut connection).await.unwrap();
        let mut rest = pin!(connection.rest().expect("the body has not ended"));
        assert!(poll_fn(|cx| Poll::Ready(rest.as_mut().poll(cx))).await.is_pending());
        assert!(read_until(&mut socket, "ab\r\n").contains("transfer-encoding: chunked"));
        // The client is gone.
        held.set(false);
        rest.await;
        assert!(
            matches!(body(&mut connection).await, Err(Broken::RequestBody)),
            "{head_of_answer}"
        );
        let mut seen = String::new();
        socket.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "", "no last chunk");
    }
}

#[actix_web::test]
async fn interim_answers_without_end_are_none() {
    let (mut connection, mut socket) = pair().await;
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(MAX_INTERIM as usize);
    socket.write_all(interim.as_bytes()).unwrap();
    socket.write_all(OK).unwrap();
    get(&mut connection);
    assert_eq!(head(&mut connection).await.unwrap().status, StatusCode::OK);
    assert_eq!(body(&mut connection).await.unwrap(), "ok");
    socket.write_all(interim.as_bytes()).unwrap();
    socket.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").unwrap();
    get(&mut connection);
    assert!(matches!(head(&mut connection).await, Err(Broken::Interim)));
}

#[actix_web::test]
async fn an_unused_connection_does_not_keep_the_memory_of_a_large_answer() {
    let (mut connection, mut socket) = pair().await;
    let size = 1024 * 1024;
    let service = on_a_thread(move || {
        write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").unwrap();
        socket.write_all(&vec![b'a'; size]).unwrap();
        socket
    });
    get(&mut connection);
    head(&mut connection).await.unwrap();
    let mut largest = 0;
    let mut text = 0;
    while text < size {
        let piece = poll_fn(|cx| connection.poll_body(cx)).await.unwrap().unwrap();
        (largest, text) = (piece.len().max(largest), text + piece.len());
    }
    let _open = service.await;
    assert!((LARGE_ROOM / 2..2 * LARGE_ROOM).contains(&largest), "{largest}");
    assert!(connection.is_reusable());
    connection.shrink();
    assert!(connection.incoming.bytes.capacity() <= ROOM);
}

#[actix_web::test]
async fn only_what_was_said_once_and_to_the_end_can_be_followed_by_another_request() {
    for (answer, is_reusable) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", false),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\na", false),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
            false,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", false),
        ("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", false),
    ] {
        let (mut connection, mut socket) = pair().await;
        socket.write_all(answer.as_bytes()).unwrap();
        get(&mut connection);
        head(&mut connection).await.unwrap();
        let _ = body(&mut connection).await.unwrap();
        assert!(connection.is_answered());
        assert_eq!(connection.is_reusable(), is_reusable, "{answer:?}");
    }
}

#[actix_web::test]
async fn an_answer_that_ends_before_its_end_is_broken() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
    ] {
        let (mut connection, mut socket) = pair().await;
        socket.write_all(answer.as_bytes()).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        get(&mut connection);
        head(&mut connection).await.unwrap();
        assert!(matches!(body(&mut connection).await, Err(Broken::Closed)), "{answer:?}");
    }
    for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let (mut connection, mut socket) = pair().await;
        socket.write_all(answer.as_bytes()).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        get(&mut connection);
        assert!(matches!(head(&mut connection).await, Err(Broken::Closed)), "{answer:?}");
    }
}

#[actix_web::test]
async fn what_is_said_in_another_protocol_comes_after_what_was_said_with_the_agreement() {
    let (mut connection, mut socket) = pair().await;
    socket
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\nhello")
        .unwrap();
    get(&mut connection);
    let agreed = head(&mut connection).await.unwrap();
    assert_eq!(agreed.status, StatusCode::SWITCHING_PROTOCOLS);
    assert!(!connection.is_reusable());
    let (mut reading, mut writing) = connection.into_halves().unwrap();
    writing.write_all(b"and you").await.unwrap();
    assert!(read_until(&mut socket, "and you").starts_with("GET / HTTP/1.1\r\n"));
    socket.write_all(b" there").unwrap();
    drop(socket);
    let mut text = String::new();
    reading.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello there");
}

#[actix_web::test]
async fn what_was_said_before_a_connection_broke_is_no_answer_to_a_request_of_which_nothing_left() {
    let (mut connection, mut socket) = pair().await;
    connection.writing.as_mut().unwrap().write_all(b"x").await.unwrap();
    socket.peek(&mut [0]).unwrap();
    // It says something unasked, and is closed with something unread, which resets the connection.
    socket.write_all(OK).unwrap();
    drop(socket);
    get(&mut connection);
    let answer = head(&mut connection).await;
    assert!(answer.is_err(), "{answer:?}");
    assert!(connection.unsent().is_some());
}
