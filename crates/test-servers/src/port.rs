//! The port of what is stopped and will be started again.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// Keeps the system from giving an address to somebody else while nobody listens there. Whoever binds it on purpose still
/// can: connections are refused until then.
#[derive(Debug)]
pub struct Kept(#[expect(dead_code, reason = "it is there to be bound")] TcpSocket);

impl Kept {
    /// Keeps `address`.
    ///
    /// # Panics
    /// When somebody listens there.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option of every socket");
        socket.bind(address).expect("an address that was ours until now");
        Self(socket)
    }
}
