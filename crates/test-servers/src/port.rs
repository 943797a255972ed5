//! The port of what is stopped and will be started again.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// Keeps the system from giving an address to somebody else while nobody listens there. Whoever binds it on purpose still
/// can: connections are refused until then.
#[derive(Debug)]
pub struct Kept(TcpSocket);

impl Kept {
    /// Keeps an address of this host that nobody has, for whoever is about to listen there, also when that is another
    /// process.
    ///
    /// # Panics
    /// When the system has none left.
    #[must_use]
    pub fn fresh() -> Self {
        Self::new(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Keeps `address`.
    ///
    /// # Panics
    /// When somebody listens there.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option of every socket");
        socket.bind(address).expect("an address that nobody listens on");
        Self(socket)
    }

    /// The address.
    ///
    /// # Panics
    /// Never: the socket is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a socket that is bound has an address")
    }
}
