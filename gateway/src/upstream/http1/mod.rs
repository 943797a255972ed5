//! HTTP/1.1 to an upstream (RFC 9112): one connection, one request at a time.
//!
//! A connection has no task of its own. Whoever waits for its answer moves it, and nothing is handed over in between: of
//! all that a request costs here, waking tasks and copying headers from one map to the next was the largest part. Only when
//! an answer begins before its request has ended do the two directions go on by themselves ([`Connection::rest`]).

mod answer;
mod broken;
mod request;

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, Chain};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::alive;
use crate::http1::{Body, Incoming, Left, Outgoing, Stop};
pub(crate) use answer::Head;
pub(crate) use broken::Broken;
pub(crate) use request::{BadTarget, HeadWriter};

/// How many interim answers may go before an answer.
const MAX_INTERIM: u32 = 100;

/// A connection to an upstream.
pub(crate) struct Connection<B> {
    reading: OwnedReadHalf,
    /// `None` while the rest of a request goes out by itself.
    writing: Option<OwnedWriteHalf>,
    outgoing: Outgoing<B>,
    /// Why the upstream does not get the rest of a request; it may answer all the same.
    deaf: Option<io::Error>,
    /// Whether the rest of a request broke off, after the answer had begun.
    cut: Arc<AtomicBool>,
    method: Method,
    incoming: Incoming,
    /// How much of an unfinished head was looked at.
    looked_at: usize,
    /// How many interim answers there were to this request.
    interim: u32,
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
        let (reading, writing) = stream.into_split();
        Ok(Self {
            reading,
            writing: Some(writing),
            outgoing: Outgoing::new(),
            deaf: None,
            cut: Arc::default(),
            method: Method::GET,
            incoming: Incoming::new(),
            looked_at: 0,
            interim: 0,
            persists: true,
        })
    }

    /// The head of the next request, to be written before [`Connection::send`].
    pub(crate) fn head(&mut self) -> HeadWriter<'_> {
        HeadWriter::new(self.outgoing.front())
    }

    /// Sends the request whose head was written, as [`Connection::poll_head`] is asked for its answer.
    pub(crate) fn send(&mut self, method: &Method, body: B) {
        self.method = method.clone();
        (self.looked_at, self.interim) = (0, 0);
        self.persists = false;
        let length = body.length();
        HeadWriter::new(self.outgoing.head()).end(method, length);
        self.outgoing.begin(body, length.is_none());
    }

    /// Waits for the head of the answer. What goes before it (RFC 9110 section 15.2) is nothing to anybody here.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Broken>> {
        loop {
            self.poll_send(cx)?;
            while let Some(head) = self.take_head()? {
                let is_interim = head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS;
                if !is_interim {
                    self.incoming.left = head.body(&self.method)?;
                    self.persists = head.persists() && head.status != StatusCode::SWITCHING_PROTOCOLS;
                    return Poll::Ready(Ok(head));
                }
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Poll::Ready(Err(Broken::Interim));
                }
            }
            if ready!(self.poll_read(cx, u64::MAX))? == 0 {
                return Poll::Ready(Err(self.deaf.take().map_or(Broken::Closed, Broken::Io)));
            }
        }
    }

    fn take_head(&mut self) -> Result<Option<Head>, Broken> {
        let bytes = &mut self.incoming.bytes;
        if bytes.is_empty() {
            return Ok(None);
        }
        let head = Head::take(bytes, self.looked_at)?;
        self.looked_at = if head.is_some() { 0 } else { bytes.len() };
        Ok(head)
    }

    /// What is left of the request, if its answer has begun before its end. It must not wait for the answer to be read: a
    /// client may well send all of its request before it reads anything.
    pub(crate) fn rest(&mut self) -> Option<impl Future<Output = ()> + use<B>> {
        if self.outgoing.is_over() || self.deaf.is_some() {
            return None;
        }
        let mut writing = self.writing.take()?;
        let mut outgoing = std::mem::replace(&mut self.outgoing, Outgoing::new());
        let cut = Arc::clone(&self.cut);
        self.persists = false;
        Some(async move {
            if let Err(Stop::Body) = poll_fn(|cx| outgoing.poll(cx, &mut writing)).await {
                // Neither shall the request be taken for a whole one, nor what is said to the part of it for its answer.
                cut.store(true, Ordering::Relaxed);
                let _ = SockRef::from(writing.as_ref()).shutdown(Shutdown::Both);
            }
            // Not every service goes on with its answer when the other end says that it will say nothing more.
            writing.forget();
        })
    }

    /// Waits for the next piece of the answer's body; `None` is its end.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if let Some(piece) = self.incoming.take_piece()? {
                return Poll::Ready(Some(Ok(piece)));
            }
            let most = self.incoming.wanted();
            if most == 0 {
                return Poll::Ready(None);
            }
            let read = ready!(self.poll_read(cx, most));
            if !matches!(read, Ok(1..)) && self.cut.load(Ordering::Relaxed) {
                return Poll::Ready(Some(Err(Broken::RequestBody)));
            }
            if read? == 0 {
                if self.incoming.left != Left::All {
                    return Poll::Ready(Some(Err(Broken::Closed)));
                }
                self.incoming.left = Left::Nothing;
                self.persists = false;
            }
        }
    }

    /// Whether all of the answer's body was read.
    pub(crate) fn is_answered(&self) -> bool {
        self.incoming.left == Left::Nothing
    }

    /// Whether another request may be sent: the last one is over, and nothing was said beyond its answer.
    pub(crate) fn is_reusable(&self) -> bool {
        self.persists
            && self.is_answered()
            && self.outgoing.is_over()
            && self.deaf.is_none()
            && self.incoming.bytes.is_empty()
    }

    /// Gives back memory that only a large answer needs.
    pub(crate) fn shrink(&mut self) {
        self.incoming.shrink();
    }

    /// The body of the request, as long as the upstream got nothing of it, nor of its head.
    pub(crate) fn unsent(&mut self) -> Option<B> {
        self.outgoing.unsent()
    }

    /// Whether the other end has neither closed the connection, nor said anything unasked, as the socket itself says this
    /// very moment: the event loop may not have heard of it yet.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        matches!(SockRef::from(self.reading.as_ref()).peek(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// What is left when another protocol was agreed on: what the upstream has said in it already comes first.
    pub(crate) fn into_halves(self) -> Option<(Reading, Writing)> {
        let reading = io::Cursor::new(self.incoming.bytes.freeze()).chain(self.reading);
        Some((reading, self.writing?))
    }

    /// Moves the request on. An upstream that takes no more of it may answer all the same (RFC 9112 section 9.5); of one that
    /// got nothing of it, whatever it said is the answer to something else.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let Some(writing) = &mut self.writing else {
            return Ok(());
        };
        if self.outgoing.is_over() || self.deaf.is_some() {
            return Ok(());
        }
        match self.outgoing.poll(cx, writing) {
            Poll::Ready(Err(Stop::Body)) => Err(Broken::RequestBody),
            Poll::Ready(Err(Stop::Io(error))) if !self.outgoing.has_left() => Err(Broken::Io(error)),
            Poll::Ready(Err(Stop::Io(error))) => {
                self.deaf = Some(error);
                Ok(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, most: u64) -> Poll<io::Result<usize>> {
        self.incoming.poll_read(cx, &mut self.reading, most)
    }
}

#[cfg(test)]
mod tests;
