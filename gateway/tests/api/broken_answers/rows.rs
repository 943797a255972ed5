//! What upstreams say that they should not, and what the client gets then.

use super::Then::{self, Closes, Resets, Waits};

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Gets {
    /// An answer of ours.
    Error(u16),
    /// An answer with this body.
    Whole(u16, &'static str),
    /// An answer that is seen to have broken off.
    Cut,
}

pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) says: Vec<u8>,
    pub(super) then: Then,
    pub(super) gets: Gets,
}

fn row(name: &'static str, says: Vec<u8>, then: Then, gets: Gets) -> Row {
    Row { name, says, then, gets }
}

/// It is waiting, and the client has 502.
fn refused(name: &'static str, says: Vec<u8>) -> Row {
    row(name, says, Waits, Gets::Error(502))
}

/// It is waiting, and the client has 504.
fn late(name: &'static str, says: &[u8]) -> Row {
    row(name, says.to_vec(), Waits, Gets::Error(504))
}

/// It is waiting, and the client sees the answer cut off.
fn cut(name: &'static str, says: Vec<u8>) -> Row {
    row(name, says, Waits, Gets::Cut)
}

/// It is waiting, and the client has an answer.
fn whole(name: &'static str, says: Vec<u8>, status: u16, body: &'static str) -> Row {
    row(name, says, Waits, Gets::Whole(status, body))
}

fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nContent-Length: 2\r\n\r\nok").into_bytes()
}

fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").into_bytes()
}

fn head(head: &str) -> Vec<u8> {
    answer(&format!("{head}\r\nContent-Length: 5"), "hello")
}

fn length(length: &str) -> Vec<u8> {
    answer(&format!("Content-Length: {length}"), "hello")
}

fn chunks(body: &str) -> Vec<u8> {
    answer("Transfer-Encoding: chunked", body)
}

fn coded(head: &str) -> Vec<u8> {
    answer(head, "5\r\nhello\r\n0\r\n\r\n")
}

fn headers(count: usize, length: usize) -> String {
    let line = format!("\r\nX: {}", "x".repeat(length));
    format!("Y: y{}", line.repeat(count - 1))
}

pub(super) fn heads() -> Vec<Row> {
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-";
    vec![
        row("nothing", Vec::new(), Closes, Gets::Error(502)),
        row("nothing, and resets", Vec::new(), Resets, Gets::Error(502)),
        late("nothing, and waits", b""),
        row("half a head", HALF.to_vec(), Closes, Gets::Error(502)),
        row("half a head, and resets", HALF.to_vec(), Resets, Gets::Error(502)),
        late("half a head, and waits", HALF),
        late("some interim answers", &b"HTTP/1.1 100 Continue\r\n\r\n".repeat(50)),
        refused(
            "interim answers without end",
            b"HTTP/1.1 100 Continue\r\n\r\n".repeat(5000),
        ),
        refused("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
        refused("a page alone", b"<html>hello</html>\r\n\r\n".to_vec()),
        refused("another version", line("HTTP/2.0 200 OK")),
        refused("lower case", line("http/1.1 200 OK")),
        refused("two digits", line("HTTP/1.1 20 OK")),
        refused("four digits", line("HTTP/1.1 2000 OK")),
        refused(
            "another protocol, unasked",
            line("HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade"),
        ),
        refused("a NUL", head("X: a\0b")),
        refused("a fold", head("X: a\r\n b")),
        refused("a space before the colon", head("X : a")),
        refused("a line that is no header", head("hello")),
        refused("a header without a name", head(": a")),
        refused("too large a header", head(&headers(2, 70_000))),
        refused("too large a head", head(&headers(90, 1000))),
        refused("too many headers", head(&headers(101, 1))),
    ]
}

pub(super) fn lengths() -> Vec<Row> {
    let until_closed = b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec();
    let ok = answer("Content-Length: 2", "ok");
    vec![
        refused(
            "two lengths",
            answer("Content-Length: 5\r\nContent-Length: 6", "hello!"),
        ),
        refused("two lengths in one", length("5, 6")),
        refused("the same length twice in one", length("5, 5")),
        refused("a word", length("five")),
        refused("a negative length", length("-5")),
        refused("a length with a sign", length("+5")),
        refused("no length", length("")),
        refused("too large a length", length("18446744073709551616")),
        row("too short a body", length("10"), Closes, Gets::Cut),
        row("too short a body, and resets", length("10"), Resets, Gets::Cut),
        cut("too short a body, and waits", length("10")),
        whole("too long a body", length("4"), 200, "hell"),
        row(
            "the end says the end",
            until_closed.clone(),
            Closes,
            Gets::Whole(200, "hello"),
        ),
        row("the end says the end, and resets", until_closed, Resets, Gets::Cut),
        whole("two answers", [ok.clone(), ok.clone()].concat(), 200, "ok"),
        whole("an answer and garbage", [ok, b"garbage".to_vec()].concat(), 200, "ok"),
        whole(
            "a body where there is none",
            b"HTTP/1.1 204 X\r\n\r\nhello".to_vec(),
            204,
            "",
        ),
        whole(
            "a body where nothing changed",
            b"HTTP/1.1 304 X\r\n\r\nhello".to_vec(),
            304,
            "",
        ),
    ]
}

pub(super) fn codings() -> Vec<Row> {
    let flood = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000));
    let trailers = format!("5\r\nhello\r\n0\r\n{}\r\n\r\n", headers(2000, 100));
    let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec();
    vec![
        refused(
            "chunks and a length",
            coded("Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ),
        refused(
            "a length and chunks",
            coded("Content-Length: 3\r\nTransfer-Encoding: chunked"),
        ),
        refused("another coding", coded("Transfer-Encoding: gzip")),
        refused("two codings", coded("Transfer-Encoding: gzip, chunked")),
        refused(
            "chunks twice",
            coded("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ),
        refused("chunks from the past", old),
        cut("a chunk without a size", chunks("\r\nhello\r\n0\r\n\r\n")),
        cut("a size that is none", chunks("5\r\nhello\r\nzz\r\nhello\r\n0\r\n\r\n")),
        cut("a size with a sign", chunks("+5\r\nhello\r\n0\r\n\r\n")),
        cut(
            "too large a size",
            chunks("5\r\nhello\r\n10000000000000000\r\nhello\r\n0\r\n\r\n"),
        ),
        cut("too long a chunk", chunks("5\r\nhello!\r\n0\r\n\r\n")),
        cut("too short a chunk", chunks("6\r\nhello\r\n0\r\n\r\n")),
        row("no last chunk", chunks("5\r\nhello\r\n"), Closes, Gets::Cut),
        row("half a last chunk", chunks("5\r\nhello\r\n0\r\n"), Closes, Gets::Cut),
        row(
            "half a last chunk, and resets",
            chunks("5\r\nhello\r\n0\r\n"),
            Resets,
            Gets::Cut,
        ),
        cut("half a last chunk, and waits", chunks("5\r\nhello\r\n0\r\n")),
        cut("too many extensions", chunks(&flood)),
        cut("too many trailers", chunks(&trailers)),
    ]
}
