//! Opening a connection to a target, strict about what comes over it.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper::client::conn::http1::Builder;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::alive;

/// The largest head of an answer, the largest trailers, and how much of an answer is read ahead of a client that is slower
/// than the upstream.
const BUFFER: usize = 64 * 1024;

/// Asks for a look at the socket itself before the next use of its connection.
pub(super) type Look = Arc<AtomicBool>;

/// A stream whose other end can be asked, without waiting for the event loop to say so, whether it is still there.
pub(super) struct Io {
    stream: TokioIo<TcpStream>,
    look: Look,
}

pub(super) async fn open(address: SocketAddr) -> io::Result<Io> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    alive::look_after(&stream, None)?;
    Ok(Io {
        stream: TokioIo::new(stream),
        look: Look::default(),
    })
}

/// What is expected of an answer: no obsolete folding, no space before a colon, no line that is no header; all of these
/// are hyper's defaults.
pub(super) fn http() -> Builder {
    let mut builder = Builder::new();
    builder.max_header_size(BUFFER).max_buf_size(BUFFER);
    builder
}

impl Io {
    pub(super) fn look(&self) -> Look {
        Arc::clone(&self.look)
    }

    /// What keeps an idle connection from being used: its other end closed it (`Some(Ok)`, which reads as its end), or
    /// said something unasked, or it broke.
    fn obstacle(&self) -> Option<io::Result<()>> {
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(self.stream.inner()).peek(&mut byte) {
            Ok(0) => Some(Ok(())),
            Ok(_) => Some(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "bytes that nobody asked for",
            ))),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl Read for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        if io.look.load(Ordering::Relaxed) {
            io.look.store(false, Ordering::Relaxed);
            if let Some(obstacle) = io.obstacle() {
                return Poll::Ready(obstacle);
            }
        }
        Pin::new(&mut io.stream).poll_read(cx, buffer)
    }
}

impl Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }
}
