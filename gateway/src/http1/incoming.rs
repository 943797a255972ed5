//! What is read from a connection: what was read already and is still to be looked at, and how much of a body is to come.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::chunks::{BadChunk, Chunks};

/// How much room is made for what is read, to begin with, and as long as that is enough.
pub(crate) const ROOM: usize = 4 * 1024;
/// How much room is made once it was not, and so about how much waits for a reader that is slower than the writer.
pub(crate) const LARGE_ROOM: usize = 32 * 1024;

thread_local! {
    /// Room that nobody needs just now: connections on which nothing happens have none of their own, and the next one that
    /// is read from finds this in the caches still.
    static SPARE: Cell<BytesMut> = Cell::default();
}

/// What is still to come of a body.
#[derive(Debug, PartialEq)]
pub(crate) enum Left {
    Nothing,
    Length(u64),
    Chunks(Chunks),
    /// Whatever comes until the connection is closed.
    All,
}

/// What comes from a connection.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// What was read and not looked at yet.
    pub(crate) bytes: BytesMut,
    /// What is still to come of the body that is being read.
    pub(crate) left: Left,
    /// Whether the room there is to begin with was not enough.
    is_large: bool,
}

impl Incoming {
    pub(crate) fn new() -> Self {
        Self {
            bytes: BytesMut::new(),
            left: Left::Nothing,
            is_large: false,
        }
    }

    /// Takes what was read of the body; `None`: all of it was taken, or more has to be read first.
    pub(crate) fn take_piece(&mut self) -> Result<Option<Bytes>, BadChunk> {
        let length = self.bytes.len();
        let take = match &mut self.left {
            Left::Chunks(chunks) => {
                let piece = chunks.next(&mut self.bytes)?;
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
        Ok(Some(self.bytes.split_to(take).freeze()))
    }

    /// How much is worth reading for the body; nothing when all of it was taken.
    pub(crate) fn wanted(&self) -> u64 {
        match self.left {
            Left::Nothing => 0,
            Left::Length(left) => left,
            Left::Chunks(_) | Left::All => u64::MAX,
        }
    }

    /// Reads what is there, into the room there is, or into more when there is little, and `most` is not less: 0 at the end.
    pub(crate) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        most: u64,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.take();
        }
        let room = if self.is_large { LARGE_ROOM } else { ROOM };
        let room = usize::try_from(most).map_or(room, |most| most.min(room));
        if self.free() < room.div_ceil(2) {
            self.bytes.reserve(room.max(ROOM));
        }
        let Poll::Ready(read) = pin!(from.read_buf(&mut self.bytes)).poll(cx) else {
            self.release();
            return Poll::Pending;
        };
        self.is_large |= self.free() == 0;
        Poll::Ready(read)
    }

    /// Gives away the room that nothing is in.
    pub(crate) fn release(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > 0 && !self.is_large {
            SPARE.set(std::mem::take(&mut self.bytes));
        }
    }

    /// Gives back memory that only a large body needs.
    pub(crate) fn shrink(&mut self) {
        if std::mem::take(&mut self.is_large) && self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
        self.release();
    }

    fn free(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }
}
