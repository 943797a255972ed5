//! Writing a request: its head, and its body as it comes (RFC 9112 sections 3, 5 and 7.1).

use std::convert::Infallible;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::http::Method;
use actix_web::http::header::HeaderValue;
use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// The body of a request, in pieces as they come.
pub(crate) trait Body {
    /// Why it breaks off, which is known to whoever made it.
    type Error;

    /// Its length; `None` when it is not known before its end.
    fn length(&self) -> Option<u64>;

    /// Whether nothing more comes, as far as that is known without asking.
    fn is_over(&self) -> bool;

    /// The next piece; `None` is the end. Of a body with a length there are neither more nor fewer bytes than that.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>>;

    /// Takes back the last piece, which nobody got.
    fn take_back(&mut self, piece: Bytes);
}

/// No body.
pub(crate) struct Nothing;

impl Body for Nothing {
    type Error = Infallible;

    fn length(&self) -> Option<u64> {
        Some(0)
    }

    fn is_over(&self) -> bool {
        true
    }

    fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }

    fn take_back(&mut self, _: Bytes) {}
}

/// What is kept of the memory that a head took, in bytes.
const KEPT: usize = 8 * 1024;

/// A target that no request line can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its target has a character that URLs do not have")]
pub(crate) struct BadTarget;

/// The head of a request, being written.
pub(crate) struct HeadWriter<'a>(&'a mut Vec<u8>);

impl<'a> HeadWriter<'a> {
    /// What is written goes behind `bytes`.
    pub(crate) fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Begins anew, with the request line; `target` is written without anything between its parts.
    pub(crate) fn begin(&mut self, method: &Method, target: &[&str]) -> Result<(), BadTarget> {
        // A space would end the target, and a line end the line, for a reader.
        let is_sound = |byte| byte > b' ' && byte != 0x7f;
        if !target.iter().all(|part| are_all(part, is_sound)) {
            return Err(BadTarget);
        }
        self.0.clear();
        self.put(&[method.as_str(), " "]);
        self.put(target);
        self.put(&[" HTTP/1.1\r\n"]);
        Ok(())
    }

    /// A field with a value that somebody sent, or that is known to be one. `name` is one of a header, in lower case.
    pub(crate) fn field(&mut self, name: &str, value: &HeaderValue) {
        self.line(name, value.as_bytes());
    }

    /// A field with `text` as its value, if all of that is visible ASCII or spaces.
    pub(crate) fn say(&mut self, name: &str, text: &str) {
        if are_all(text, |byte| (b' '..=b'~').contains(&byte)) {
            self.line(name, text.as_bytes());
        }
    }

    /// A field with a number as its value.
    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.line(name, itoa::Buffer::new().format(value).as_bytes());
    }

    /// A field with a value without line ends in it.
    pub(crate) fn line(&mut self, name: &str, value: &[u8]) {
        debug_assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        self.put(&[name, ": "]);
        self.0.extend_from_slice(value);
        self.put(&["\r\n"]);
    }

    /// Whole lines, as another one of these wrote them.
    pub(crate) fn lines(&mut self, lines: &str) {
        self.put(&[lines]);
    }

    fn put(&mut self, parts: &[&str]) {
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
    }
}

/// Whether all bytes of `text` are `such`. Without a way out in the middle many are looked at at once.
fn are_all(text: &str, such: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & such(byte))
}

/// Why a request is not written any further.
#[derive(Debug)]
pub(super) enum Stop {
    /// The upstream takes no more.
    Io(io::Error),
    /// The body did not come to its end.
    Body,
}

/// A request on its way out.
pub(super) struct Outgoing<B> {
    /// The head, or what stands before a chunk, of which `written` bytes are gone.
    front: Vec<u8>,
    written: usize,
    /// A piece of the body.
    piece: Bytes,
    /// What stands behind it.
    tail: &'static [u8],
    body: Option<B>,
    in_chunks: bool,
    /// Whether the body has come to its end, or does not go on.
    ended: bool,
    /// Whether any of it has left.
    left: bool,
}

impl<B: Body> Outgoing<B> {
    pub(super) fn new() -> Self {
        Self {
            front: Vec::new(),
            written: 0,
            piece: Bytes::new(),
            tail: b"",
            body: None,
            in_chunks: false,
            ended: true,
            left: false,
        }
    }

    pub(super) fn head(&mut self) -> HeadWriter<'_> {
        HeadWriter::new(&mut self.front)
    }

    /// Ends the head with how `body` is framed, and sends that after it.
    pub(super) fn begin(&mut self, method: &Method, body: B) {
        let length = body.length();
        let mut head = self.head();
        match length {
            None => head.line("transfer-encoding", b"chunked"),
            // RFC 9110 section 8.6: a method that gives its content a meaning says that there is none.
            Some(0) if !matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {}
            Some(length) => head.number("content-length", length),
        }
        head.put(&["\r\n"]);
        (self.written, self.left) = (0, false);
        (self.piece, self.tail) = (Bytes::new(), b"");
        self.in_chunks = length.is_none();
        self.ended = length == Some(0);
        self.body = Some(body);
    }

    /// Whether all of it is gone.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.is_empty()
    }

    /// Whether the upstream may have got any of it.
    pub(super) fn has_left(&self) -> bool {
        self.left
    }

    /// The body as it was, when nothing has left.
    pub(super) fn unsent(&mut self) -> Option<B> {
        if self.left {
            return None;
        }
        let mut body = self.body.take()?;
        body.take_back(std::mem::take(&mut self.piece));
        Some(body)
    }

    /// Writes as much as can be written. Ready when nothing is left to be written.
    pub(super) fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut W,
    ) -> Poll<Result<(), Stop>> {
        loop {
            // A small body goes with its head.
            if !self.ended
                && self.piece.is_empty()
                && self.tail.is_empty()
                && let Some(body) = &mut self.body
            {
                match body.poll_piece(cx) {
                    Poll::Ready(None) => self.end(),
                    Poll::Ready(Some(Ok(piece))) => {
                        self.ended = body.is_over();
                        self.take(piece);
                    }
                    Poll::Ready(Some(Err(_))) => {
                        self.ended = true;
                        return Poll::Ready(Err(Stop::Body));
                    }
                    Poll::Pending if self.is_empty() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            while !self.is_empty() {
                ready!(self.poll_write(cx, stream)).map_err(Stop::Io)?;
            }
            if self.ended {
                self.body = None;
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn end(&mut self) {
        self.ended = true;
        if self.in_chunks {
            self.tail = b"0\r\n\r\n";
        }
    }

    fn take(&mut self, piece: Bytes) {
        // An empty chunk would be the last one.
        if self.in_chunks && !piece.is_empty() {
            if self.is_empty() {
                self.front.clear();
                self.written = 0;
            }
            // A vector takes everything.
            let _ = write!(self.front, "{:x}\r\n", piece.len());
            self.tail = b"\r\n";
        }
        self.piece = piece;
    }

    fn is_empty(&self) -> bool {
        self.written == self.front.len() && self.piece.is_empty() && self.tail.is_empty()
    }

    fn poll_write<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, stream: &mut W) -> Poll<io::Result<()>> {
        let front = &self.front[self.written..];
        let stream = Pin::new(stream);
        let mut count = ready!(if self.piece.is_empty() && self.tail.is_empty() {
            stream.poll_write(cx, front)
        } else {
            let parts = [IoSlice::new(front), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            stream.poll_write_vectored(cx, &parts)
        })?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.left = true;
        let mut gone = |length: usize| {
            let part = count.min(length);
            count -= part;
            part
        };
        self.written += gone(self.front.len() - self.written);
        self.piece.advance(gone(self.piece.len()));
        self.tail = &self.tail[gone(self.tail.len())..];
        if self.written == self.front.len() && self.front.capacity() > KEPT {
            (self.front, self.written) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}
