//! Writing a message: its head, and its body as it comes (RFC 9112 sections 6 and 7.1).

use std::convert::Infallible;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// What is kept of the memory that a head took, in bytes.
const KEPT: usize = 8 * 1024;
/// Pieces up to this size are copied behind the head, or the piece before them: one longer write costs less than two.
const SMALL: usize = 4 * 1024;
/// How much is put together at most before it is written.
const MOST_JOINED: usize = 16 * 1024;

/// The body of a message, in pieces as they come.
pub(crate) trait Body {
    /// Why it breaks off, which is known to whoever made it.
    type Error;

    /// Its length; `None` when it is not known before its end.
    fn length(&self) -> Option<u64>;

    /// Whether nothing more comes, as far as that is known without asking.
    fn is_over(&self) -> bool;

    /// The next piece; `None` is the end. Of a body with a length there are neither more nor fewer bytes than that.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>>;

    /// Looks whether nothing more is to come of it, although nobody has room for more.
    fn look(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// Notes that all of the message was handed over to be sent.
    fn was_sent(&mut self) {}

    /// Takes back the last piece, which nobody got. Only of what is not joined.
    fn take_back(&mut self, piece: Bytes) {
        drop(piece);
    }
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
}

/// Why a message is not written any further.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The other end takes no more.
    Io(io::Error),
    /// The body did not come to its end.
    Body,
}

/// How a body came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// It does not go on.
    Broken,
}

/// A message on its way out.
pub(crate) struct Outgoing<B> {
    /// The head, or what stands before a chunk, of which `written` bytes are gone.
    front: Vec<u8>,
    written: usize,
    /// A piece of the body.
    piece: Bytes,
    /// What stands behind it.
    tail: &'static [u8],
    body: Option<B>,
    in_chunks: bool,
    /// Whether small pieces are copied, and so cannot be taken back.
    joins: bool,
    end: Option<End>,
    /// Whether any of it has left.
    left: bool,
}

impl<B: Body> Outgoing<B> {
    /// One whose body can be taken back, as long as nothing of it has left.
    pub(crate) fn new() -> Self {
        Self::within(Vec::new(), false)
    }

    /// One that is written in as few steps as can be, within the memory of `front`.
    pub(crate) fn joined(front: Vec<u8>) -> Self {
        Self::within(front, true)
    }

    fn within(front: Vec<u8>, joins: bool) -> Self {
        Self {
            front,
            written: 0,
            piece: Bytes::new(),
            tail: b"",
            body: None,
            in_chunks: false,
            joins,
            end: Some(End::Whole),
            left: false,
        }
    }

    /// The memory that it was given.
    pub(crate) fn into_front(self) -> Vec<u8> {
        self.front
    }

    /// Begins a message: its head is to be written here.
    pub(crate) fn front(&mut self) -> &mut Vec<u8> {
        (self.written, self.left) = (0, false);
        (self.piece, self.tail) = (Bytes::new(), b"");
        self.front.clear();
        &mut self.front
    }

    /// Goes on with the head that was begun.
    pub(crate) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.front
    }

    /// Sends `body` after the head.
    pub(crate) fn begin(&mut self, body: B, in_chunks: bool) {
        self.in_chunks = in_chunks;
        self.end = body.is_over().then_some(End::Whole);
        self.body = Some(body);
    }

    /// Whether all of it is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.end.is_some() && self.is_empty()
    }

    /// Whether the upstream may have got any of it.
    pub(crate) fn has_left(&self) -> bool {
        self.left
    }

    /// The body as it was, when nothing has left.
    pub(crate) fn unsent(&mut self) -> Option<B> {
        if self.left {
            return None;
        }
        let mut body = self.body.take()?;
        body.take_back(std::mem::take(&mut self.piece));
        Some(body)
    }

    /// The body of what is given up before all of it is gone, and how many bytes of the message were ready and are not.
    pub(crate) fn unwritten(&mut self) -> Option<(&mut B, usize)> {
        let length = self.front.len() - self.written + self.piece.len() + self.tail.len();
        self.body.as_mut().map(|body| (body, length))
    }

    /// Writes as much as can be written. Ready when nothing is left to be written.
    pub(crate) fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut W,
    ) -> Poll<Result<(), Stop>> {
        loop {
            // A small body goes with its head.
            while self.end.is_none()
                && self.takes_more()
                && let Some(body) = &mut self.body
            {
                match body.poll_piece(cx) {
                    Poll::Ready(None) => self.end(),
                    Poll::Ready(Some(Ok(piece))) => {
                        self.end = body.is_over().then_some(End::Whole);
                        self.take(piece);
                    }
                    Poll::Ready(Some(Err(_))) => {
                        self.end = Some(End::Broken);
                        if !self.joins {
                            return Poll::Ready(Err(Stop::Body));
                        }
                    }
                    Poll::Pending if self.is_empty() => {
                        // What is below may have kept some of it.
                        ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(Stop::Io)?;
                        return Poll::Pending;
                    }
                    Poll::Pending => break,
                }
            }
            while !self.is_empty() {
                let Poll::Ready(written) = self.poll_write(cx, stream) else {
                    if let Some(body) = &mut self.body {
                        body.look(cx);
                    }
                    return Poll::Pending;
                };
                written.map_err(Stop::Io)?;
            }
            if let Some(end) = self.end {
                // What came before it broke is written.
                ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(Stop::Io)?;
                let body = self.body.take();
                if end == End::Broken {
                    return Poll::Ready(Err(Stop::Body));
                }
                if let Some(mut body) = body {
                    body.was_sent();
                }
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Whether the next piece has a place.
    fn takes_more(&self) -> bool {
        self.piece.is_empty() && self.tail.is_empty() && self.front.len() - self.written < MOST_JOINED
    }

    fn end(&mut self) {
        self.end = Some(End::Whole);
        if self.in_chunks {
            self.tail = b"0\r\n\r\n";
            self.join(0);
        }
    }

    fn take(&mut self, piece: Bytes) {
        // There is little of it, and what is gone takes no room.
        self.front.drain(..self.written);
        self.written = 0;
        // An empty chunk would be the last one.
        if self.in_chunks && !piece.is_empty() {
            // A vector takes everything.
            let _ = write!(self.front, "{:x}\r\n", piece.len());
            self.tail = b"\r\n";
        }
        self.piece = piece;
        self.join(self.piece.len());
    }

    /// Puts what stands behind the front into it, if that is only `length` bytes of a piece.
    fn join(&mut self, length: usize) {
        if self.joins && length <= SMALL {
            self.front.extend_from_slice(&self.piece);
            self.front.extend_from_slice(self.tail);
            (self.piece, self.tail) = (Bytes::new(), b"");
        }
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Pieces that are there at once, and then the end, or a break.
    struct Pieces(VecDeque<Bytes>, bool);

    impl Body for Pieces {
        type Error = ();

        fn length(&self) -> Option<u64> {
            None
        }

        fn is_over(&self) -> bool {
            false
        }

        fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, ()>>> {
            match self.0.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(piece))),
                None if self.1 => Poll::Ready(Some(Err(()))),
                None => Poll::Ready(None),
            }
        }
    }

    /// Takes a few bytes at a time.
    struct Slow {
        taken: Vec<u8>,
        most: usize,
        full: bool,
    }

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.full = !self.full;
            if !self.full {
                return Poll::Pending;
            }
            let length = bytes.len().min(self.most);
            self.taken.extend_from_slice(&bytes[..length]);
            Poll::Ready(Ok(length))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What a writer that takes `most` bytes at a time gets of 1 kB pieces in chunks, how it ended, and the most memory that
    /// took.
    fn written(pieces: usize, breaks: bool, most: usize) -> (Vec<u8>, bool, usize) {
        let piece = Bytes::from(vec![b'x'; 1000]);
        let mut outgoing = Outgoing::joined(Vec::new());
        outgoing.front().extend_from_slice(b"head ");
        outgoing.begin(Pieces((0..pieces).map(|_| piece.clone()).collect(), breaks), true);
        let mut slow = Slow {
            taken: Vec::new(),
            most,
            full: false,
        };
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let mut largest = 0;
        loop {
            let polled = outgoing.poll(cx, &mut slow);
            largest = largest.max(outgoing.front.capacity());
            if let Poll::Ready(end) = polled {
                return (slow.taken, end.is_ok(), largest);
            }
        }
    }

    #[test]
    fn a_reader_that_is_slower_than_the_body_costs_no_memory_and_gets_all_of_it() {
        let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
        for most in [1, 700, 5000, 100_000] {
            let (taken, is_whole, largest) = written(500, false, most);
            assert!(is_whole);
            assert_eq!(taken, format!("head {}0\r\n\r\n", chunk.repeat(500)).into_bytes());
            assert!(largest < 4 * MOST_JOINED, "{largest}");
        }
    }

    #[test]
    fn what_was_not_written_when_it_is_given_up_is_known() {
        let mut outgoing = Outgoing::joined(Vec::new());
        outgoing.front().extend_from_slice(b"head ");
        outgoing.begin(Pieces([Bytes::from(vec![b'x'; 10_000])].into(), false), false);
        let mut slow = Slow {
            taken: Vec::new(),
            most: 3000,
            full: false,
        };
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        for left in [10_000, 7000, 4000, 1000] {
            assert!(outgoing.poll(cx, &mut slow).is_pending());
            assert_eq!(outgoing.unwritten().map(|(_, length)| length), Some(left));
        }
        while outgoing.poll(cx, &mut slow).is_pending() {}
        assert!(outgoing.unwritten().is_none());
    }

    #[test]
    fn what_came_before_a_body_broke_is_written() {
        let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
        let (taken, is_whole, _) = written(7, true, 300);
        assert!(!is_whole);
        assert_eq!(taken, format!("head {}", chunk.repeat(7)).into_bytes());
    }
}
