//! What is remembered of a client's connection, and an end to connections that are held without a use.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::HttpRequest;
use actix_web::dev::Extensions;
use actix_web::http::ConnectionType;
use actix_web::rt::{self, net::TcpStream};
use nix::sys::socket::{Shutdown, shutdown};
use service_kit::clock;

/// How often connections are looked at, at least and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

thread_local! {
    /// This worker's connections; they and whoever looks at them are of one thread.
    static OPEN: RefCell<Vec<Weak<Connection>>> = const { RefCell::new(Vec::new()) };
}

/// A client's connection, for as long as it lives: it is dropped together with its socket.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: RawFd,
    /// Whether a request said that it is the last one.
    over: Cell<bool>,
    /// Whether an upstream's answer is under way.
    answering: Cell<bool>,
    /// Since when everything was answered; `None` while a request is served, and before the first.
    waiting_since: Cell<Option<Instant>>,
}

/// An answer that is under way.
#[derive(Debug)]
pub(crate) struct Answering(Rc<Connection>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.set(false);
        self.0.waiting_since.set(Some(clock::instant()));
    }
}

/// The socket of a client's connection, with TLS over it or without, unless HTTP/2 is spoken there: that has several requests
/// at once, and limits of its own (`http2.rs`).
pub(crate) fn http1(connection: &dyn Any) -> Option<&TcpStream> {
    if let Some(plain) = connection.downcast_ref::<TcpStream>() {
        return Some(plain);
    }
    let (socket, session) = connection.downcast_ref::<TlsStream<TcpStream>>()?.get_ref();
    (session.alpn_protocol() != Some(b"h2")).then_some(socket)
}

impl Connection {
    /// Remembers a new connection. One that has waited for a whole request for longer than `patience` since its last answer
    /// is ended: the HTTP library has a limit for the first head only, and one for those that say nothing at all.
    pub(crate) fn remember(connection: &dyn Any, data: &mut Extensions, patience: Duration) {
        let Some(stream) = http1(connection) else {
            return;
        };
        let connection = Rc::new(Self {
            socket: stream.as_raw_fd(),
            over: Cell::new(false),
            answering: Cell::new(false),
            waiting_since: Cell::new(None),
        });
        let first = OPEN.with_borrow_mut(|open| {
            open.push(Rc::downgrade(&connection));
            open.len() == 1
        });
        data.insert(connection);
        if first {
            rt::spawn(look_after(patience));
        }
    }

    fn of(request: &HttpRequest) -> Option<&Rc<Self>> {
        request.conn_data::<Rc<Self>>()
    }

    /// Begins to serve `request`. Whether it stands behind one that asked for the connection to be closed: nobody may have
    /// meant it to be one (RFC 9112 section 9.6).
    pub(crate) fn begin(request: &HttpRequest) -> bool {
        let last = request.head().connection_type() == ConnectionType::Close;
        Self::of(request).is_some_and(|connection| {
            connection.waiting_since.set(None);
            connection.over.replace(connection.over.get() || last)
        })
    }

    /// Everything was answered, unless an upstream's answer is under way.
    pub(crate) fn wait(request: &HttpRequest) {
        if let Some(connection) = Self::of(request)
            && !connection.answering.get()
        {
            connection.waiting_since.set(Some(clock::instant()));
        }
    }

    /// An upstream's answer to `request` is under way, until what is returned is dropped.
    pub(crate) fn answer(request: &HttpRequest) -> Option<Answering> {
        let connection = Rc::clone(Self::of(request)?);
        connection.answering.set(true);
        Some(Answering(connection))
    }

    fn end_if_waiting(&self, patience: Duration) {
        if self.waiting_since.get().is_some_and(|since| since.elapsed() > patience) {
            // Whoever serves the connection finds that it is over, and closes it.
            let _ = shutdown(self.socket, Shutdown::Both);
        }
    }
}

/// Ends what waits for too long, for as long as there are connections.
async fn look_after(patience: Duration) {
    let left = || {
        OPEN.with_borrow_mut(|open| {
            open.retain(|connection| match connection.upgrade() {
                Some(connection) => {
                    connection.end_if_waiting(patience);
                    true
                }
                None => false,
            });
            !open.is_empty()
        })
    };
    while left() {
        rt::time::sleep((patience / 4).clamp(PAUSE.0, PAUSE.1)).await;
    }
}
