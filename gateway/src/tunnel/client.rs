//! The connection of a client, underneath what serves it.

use std::any::Any;
use std::os::fd::{AsRawFd, RawFd};

use actix_web::dev::Extensions;
use nix::sys::socket::{Shutdown, shutdown};

use crate::connection::http1;

/// The socket of a client's connection, by its number: whoever uses it makes sure that the connection is still there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket(RawFd);

impl Socket {
    /// Remembers the socket of a new connection, for the requests that will come by it.
    pub(crate) fn remember(connection: &dyn Any, data: &mut Extensions) {
        if let Some(stream) = http1(connection) {
            data.insert(Self(stream.as_raw_fd()));
        }
    }

    /// Lets whoever reads from the connection find its end, so that it is closed as soon as everything is written, and not
    /// some time after that.
    pub(super) fn end_reading(self) {
        let _ = shutdown(self.0, Shutdown::Read);
    }

    /// Ends the connection in both directions, written or not.
    pub(super) fn cut(self) {
        let _ = shutdown(self.0, Shutdown::Both);
    }
}
