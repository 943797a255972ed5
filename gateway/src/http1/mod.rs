//! HTTP/1.1 (RFC 9112) as it is on both sides of the gateway: header fields, and bodies that come and go.
//!
//! Heads are read by `httparse`; where a body ends is decided here, and what leaves any doubt about it breaks the connection.

mod chunks;
mod fields;
mod incoming;
mod outgoing;

pub(crate) use chunks::{BadChunk, Chunks};
pub(crate) use fields::{Fields, number, text};
pub(crate) use incoming::{Incoming, Left};
#[cfg(test)]
pub(crate) use incoming::{LARGE_ROOM, ROOM};
pub(crate) use outgoing::{Body, Nothing, Outgoing, Stop};

/// The largest head that is taken, in bytes.
pub(crate) const MAX_HEAD: usize = 64 * 1024;
/// The most fields of one.
pub(crate) const MAX_FIELDS: usize = 100;

/// Whether the end of a head may stand in `bytes`, which come after `looked_at` others: of one that comes in many pieces the
/// last one is waited for, and not all of it read again and again.
pub(crate) fn may_end(bytes: &[u8], looked_at: usize) -> bool {
    let new = &bytes[looked_at.saturating_sub(3).min(bytes.len())..];
    looked_at == 0 || new.windows(2).any(|two| two == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
}
