//! HTTP/1.1 to an upstream (RFC 9112): one connection, one request at a time.
//!
//! A connection has no task of its own. Whoever waits for its answer moves it, and nothing is handed over in between: of
//! all that a request costs here, waking tasks and copying headers from one map to the next was the largest part. Heads are
//! read by `httparse`; where a body ends is decided here, and what leaves any doubt about it breaks the connection.

mod answer;
mod broken;
mod chunks;
mod request;

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use actix_web::http::{Method, StatusCode};
use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, Chain};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::alive;
pub(crate) use answer::Head;
use answer::Left;
pub(crate) use broken::Broken;
pub(crate) use request::{BadTarget, Body, HeadWriter, Nothing};
use request::{Outgoing, Stop};

/// How much room there is for a head, to begin with.
const HEAD: usize = 4 * 1024;
/// How much of a body is read at once, at most, and so how much of it waits for a client that is slower than the upstream.
const PIECE: usize = 32 * 1024;

/// A connection to an upstream.
pub(crate) struct Connection<B> {
    stream: TcpStream,
    outgoing: Outgoing<B>,
    /// Why the upstream does not get the rest of a request; it may answer all the same.
    deaf: Option<io::Error>,
    method: Method,
    incoming: BytesMut,
    /// How much of an unfinished head was looked at.
    looked_at: usize,
    left: Left,
    /// Whether another request may follow.
    persists: bool,
}

/// A connection that speaks HTTP no longer.
pub(crate) type Reading = Chain<io::Cursor<Bytes>, OwnedReadHalf>;
/// Its other half.
pub(crate) type Writing = OwnedWriteHalf;

impl<B: Body> Connection<B> {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        alive::look_after(&stream, None)?;
        Ok(Self {
            stream,
            outgoing: Outgoing::new(),
            deaf: None,
            method: Method::GET,
            incoming: BytesMut::new(),
            looked_at: 0,
            left: Left::Nothing,
            persists: true,
        })
    }

    /// The head of the next request, to be written before [`Connection::send`].
    pub(crate) fn head(&mut self) -> HeadWriter<'_> {
        self.outgoing.head()
    }

    /// Sends the request whose head was written, as [`Connection::poll_head`] is asked for its answer.
    pub(crate) fn send(&mut self, method: &Method, body: B) {
        self.method = method.clone();
        self.looked_at = 0;
        self.persists = false;
        self.outgoing.begin(method, body);
    }

    /// Waits for the head of the answer. What goes before it (RFC 9110 section 15.2) is nothing to anybody here.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Broken>> {
        loop {
            self.poll_send(cx)?;
            while let Some(head) = self.take_head()? {
                let is_interim = head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS;
                if !is_interim {
                    self.left = head.body(&self.method)?;
                    self.persists = head.persists() && head.status != StatusCode::SWITCHING_PROTOCOLS;
                    return Poll::Ready(Ok(head));
                }
            }
            if ready!(self.poll_read(cx, HEAD))? == 0 {
                return Poll::Ready(Err(self.deaf.take().map_or(Broken::Closed, Broken::Io)));
            }
        }
    }

    fn take_head(&mut self) -> Result<Option<Head>, Broken> {
        if self.incoming.is_empty() {
            return Ok(None);
        }
        let head = Head::take(&mut self.incoming, self.looked_at)?;
        self.looked_at = if head.is_some() { 0 } else { self.incoming.len() };
        Ok(head)
    }

    /// Waits for the next piece of the answer's body; `None` is its end. The rest of the request goes out meanwhile.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        self.poll_send(cx)?;
        loop {
            if let Some(piece) = self.take_piece()? {
                return Poll::Ready(Some(Ok(piece)));
            }
            let room = match self.left {
                Left::Nothing => return Poll::Ready(None),
                Left::Length(left) => usize::try_from(left).unwrap_or(PIECE).min(PIECE),
                Left::Chunks(_) | Left::All => PIECE,
            };
            if ready!(self.poll_read(cx, room))? == 0 {
                if self.left != Left::All {
                    return Poll::Ready(Some(Err(Broken::Closed)));
                }
                self.left = Left::Nothing;
                self.persists = false;
            }
        }
    }

    /// What was read of the body.
    fn take_piece(&mut self) -> Result<Option<Bytes>, Broken> {
        let length = self.incoming.len();
        let take = match &mut self.left {
            Left::Chunks(chunks) => {
                let piece = chunks.next(&mut self.incoming)?;
                if chunks.is_over() {
                    self.left = Left::Nothing;
                }
                return Ok(piece);
            }
            _ if length == 0 => return Ok(None),
            Left::Nothing => return Ok(None),
            Left::All => length,
            Left::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(length).min(length);
                *left -= take as u64;
                if *left == 0 {
                    self.left = Left::Nothing;
                }
                take
            }
        };
        Ok(Some(self.incoming.split_to(take).freeze()))
    }

    /// Whether all of the answer's body was read.
    pub(crate) fn is_answered(&self) -> bool {
        self.left == Left::Nothing
    }

    /// Whether another request may be sent: the last one is over, and nothing was said beyond its answer.
    pub(crate) fn is_reusable(&self) -> bool {
        self.persists
            && self.is_answered()
            && self.outgoing.is_over()
            && self.deaf.is_none()
            && self.incoming.is_empty()
    }

    /// The body of the request, as long as the upstream got nothing of it, nor of its head.
    pub(crate) fn unsent(&mut self) -> Option<B> {
        self.outgoing.unsent()
    }

    /// Whether the other end has neither closed the connection, nor said anything unasked, as far as the event loop has
    /// heard.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The same, as the socket itself says this very moment.
    pub(crate) fn is_quiet_now(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        matches!(SockRef::from(&self.stream).peek(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// What is left when another protocol was agreed on: what the upstream has said in it already comes first.
    pub(crate) fn into_halves(self) -> (Reading, Writing) {
        let (read, write) = self.stream.into_split();
        (io::Cursor::new(self.incoming.freeze()).chain(read), write)
    }

    /// Moves the request on. An upstream that takes no more of it may answer all the same (RFC 9112 section 9.5).
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        if self.outgoing.is_over() || self.deaf.is_some() {
            return Ok(());
        }
        match self.outgoing.poll(cx, &mut self.stream) {
            Poll::Ready(Err(Stop::Body)) => Err(Broken::RequestBody),
            Poll::Ready(Err(Stop::Io(error))) => {
                self.deaf = Some(error);
                Ok(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Reads what is there, at most `room` bytes: 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        // What is still free of the last room is used up first, unless that is hardly worth a call.
        let free = self.incoming.capacity() - self.incoming.len();
        if free < room.div_ceil(4) {
            self.incoming.reserve(room);
        }
        let mut reading = pin!(self.stream.read_buf(&mut self.incoming));
        Pin::new(&mut reading).poll(cx)
    }
}

#[cfg(test)]
mod tests;
