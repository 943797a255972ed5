//! One keep-alive connection, and the request that is on its way over it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::response::Response;

/// Bytes read at once; shared by all connections.
pub(crate) const BUFFER: usize = 256 * 1024;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How far a connection's request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// All of it is sent.
    Done,
    /// The socket takes no more for now.
    Blocked,
}

/// A connection to the server that is measured.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    response: Response,
    /// How much of the head and of the body is sent.
    sent: usize,
    /// Which head it sends, and from when its latency counts; nothing while it is unused.
    pub(crate) underway: Option<(usize, u64)>,
    /// Whether we have asked to be told when it can be written to.
    pub(crate) watched_for_writing: bool,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect_timeout(&address, CONNECT).with_context(|| format!("while connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            response: Response::default(),
            sent: 0,
            underway: None,
            watched_for_writing: false,
        })
    }

    /// Takes on a request; [`Connection::send`] sends it.
    pub(crate) fn begin(&mut self, head: usize, due: u64) {
        self.underway = Some((head, due));
        self.sent = 0;
    }

    /// Sends as much of the request as the socket takes.
    pub(crate) fn send(&mut self, head: &[u8], body: &[u8]) -> anyhow::Result<Sending> {
        loop {
            let piece = match self.sent.checked_sub(head.len()) {
                None => &head[self.sent..],
                Some(sent) if sent < body.len() => &body[sent..],
                Some(_) => return Ok(Sending::Done),
            };
            match self.stream.write(piece) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Sending::Blocked),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what has come; gives the status once the whole answer is there.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], received: &mut u64) -> anyhow::Result<Option<u16>> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            ensure!(count > 0, "the connection was closed");
            ensure!(self.underway.is_some(), "an answer came before its request");
            *received += count as u64;
            let status = self.response.take(&buffer[..count])?;
            if status.is_some() || count < buffer.len() {
                return Ok(status);
            }
        }
    }
}
