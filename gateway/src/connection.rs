//! What is remembered of clients' connections: an end to those that are held without a use, early when room runs short.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::net::TcpStream as Handle;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Extensions;
use actix_web::http::ConnectionType;
use actix_web::rt::{self, net::TcpStream};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use service_kit::clock;

use crate::LINGER;
use crate::http2::{Load, is_late};

/// How often connections are looked at, at least and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Answers up to this size, which are whole already, are taken for sent.
const SMALL: u64 = 64 * 1024;
/// For how long a connection may be without a request although others want its place: a request may be on its way.
const GRACE: Duration = Duration::from_millis(250);

thread_local! {
    /// This worker's connections; they and whoever looks at them are of one thread.
    static OPEN: RefCell<Vec<Weak<Connection>>> = const { RefCell::new(Vec::new()) };
    static PRESENT: Rc<Present> = Rc::default();
}

/// How many connections a worker has.
#[derive(Debug, Default)]
struct Present {
    open: Cell<usize>,
    /// How many of them were told to end.
    leaving: Cell<usize>,
    /// Whether somebody makes room.
    clearing: Cell<bool>,
}

/// For how long connections are kept, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// One that has waited for a whole request for longer than this since its last answer is ended: the HTTP library has a
    /// limit for the first head only, and one for those that say nothing at all.
    pub(crate) patience: Duration,
    /// One of HTTP/2 that takes nothing of what it is sent for longer than this is ended; the system does so with the others.
    pub(crate) standstill: Duration,
    /// How many a worker takes before it lets the next wait.
    pub(crate) most: usize,
}

impl Bounds {
    /// How many a worker keeps although some have no use: the places left are for those that come. As nginx has it, a
    /// sixteenth.
    fn kept(self) -> usize {
        self.most.saturating_sub((self.most / 16).max(1)).max(1)
    }
}

/// A client's connection, for as long as it lives: over HTTP/1.1 it is dropped together with its socket.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    /// Whether a request said that it is the last one.
    over: Cell<bool>,
    /// Whether an upstream's answer is under way.
    answering: Cell<bool>,
    /// Since when there is no request, or none whose head is whole; `None` while one is served. Of HTTP/1.1.
    waiting_since: Cell<Option<Instant>>,
    /// Since when it is to end.
    leaving_since: Cell<Option<Instant>>,
    present: Rc<Present>,
}

#[derive(Debug)]
enum Socket {
    /// Of HTTP/1.1.
    First(RawFd),
    /// Of HTTP/2, whose requests may outlive their connection: it has to be a handle of its own.
    Second(Rc<Handle>, Arc<Load>),
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.present.open.set(self.present.open.get() - 1);
        if self.leaving_since.get().is_some() {
            self.present.leaving.set(self.present.leaving.get() - 1);
        }
    }
}

/// An answer that is under way.
#[derive(Debug)]
pub(crate) struct Answering(Rc<Connection>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.set(false);
        self.0.waits();
    }
}

/// The socket of a client's connection, with TLS over it or without, unless HTTP/2 is spoken there: that has several requests
/// at once, and limits of its own (`http2/`).
pub(crate) fn http1(connection: &dyn Any) -> Option<&TcpStream> {
    if let Some(plain) = connection.downcast_ref::<TcpStream>() {
        return Some(plain);
    }
    let (socket, session) = connection.downcast_ref::<TlsStream<TcpStream>>()?.get_ref();
    (session.alpn_protocol() != Some(b"h2")).then_some(socket)
}

/// The socket of a client's connection if HTTP/2 is spoken there.
fn http2(connection: &dyn Any) -> Option<&TcpStream> {
    let (socket, session) = connection.downcast_ref::<TlsStream<TcpStream>>()?.get_ref();
    (session.alpn_protocol() == Some(b"h2")).then_some(socket)
}

impl Socket {
    fn of(connection: &dyn Any) -> Option<Self> {
        if let Some(stream) = http1(connection) {
            return Some(Self::First(stream.as_raw_fd()));
        }
        match http2(connection)?.as_fd().try_clone_to_owned() {
            Ok(handle) => Some(Self::Second(Rc::new(handle.into()), Arc::default())),
            Err(error) => {
                log::warn!(cause = error.to_string().as_str(); "a connection is served unwatched");
                None
            }
        }
    }

    fn number(&self) -> RawFd {
        match self {
            Self::First(number) => *number,
            Self::Second(handle, _) => handle.as_raw_fd(),
        }
    }

    /// Whether something has come that nobody has read yet.
    fn has_more(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.number(), &mut [0], flags).is_ok_and(|length| length > 0)
    }
}

impl Connection {
    /// Remembers a new connection.
    pub(crate) fn remember(connection: &dyn Any, data: &mut Extensions, bounds: Bounds) -> Option<Rc<Self>> {
        let socket = Socket::of(connection)?;
        let present = PRESENT.with(Rc::clone);
        present.open.set(present.open.get() + 1);
        let connection = Rc::new(Self {
            socket,
            over: Cell::new(false),
            answering: Cell::new(false),
            waiting_since: Cell::new(Some(clock::instant())),
            leaving_since: Cell::new(None),
            present: Rc::clone(&present),
        });
        let first = OPEN.with_borrow_mut(|open| {
            open.push(Rc::downgrade(&connection));
            open.len() == 1
        });
        data.insert(Rc::clone(&connection));
        if first {
            rt::spawn(look_after(bounds));
        }
        if present.open.get() > bounds.kept() && !present.clearing.replace(true) {
            rt::spawn(make_room(present, bounds.kept()));
        }
        Some(connection)
    }

    /// Its socket and its requests, if HTTP/2 is spoken there.
    pub(crate) fn http2(&self) -> Option<(&Rc<Handle>, &Arc<Load>)> {
        match &self.socket {
            Socket::First(_) => None,
            Socket::Second(handle, load) => Some((handle, load)),
        }
    }

    fn of(request: &HttpRequest) -> Option<&Rc<Self>> {
        let connection = request.conn_data::<Rc<Self>>()?;
        matches!(connection.socket, Socket::First(_)).then_some(connection)
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

    /// `request` was answered with `response`: everything is, unless an upstream's answer is under way, or one that takes
    /// its time.
    pub(crate) fn answered(request: &HttpRequest, response: HttpResponse) -> HttpResponse {
        let Some(connection) = Self::of(request) else {
            return response;
        };
        match response.body().size() {
            BodySize::Stream => response,
            _ if connection.answering.get() => response,
            BodySize::Sized(size) if size > SMALL => {
                let answering = Self::answer(request);
                response.map_body(|_, body| {
                    BoxBody::new(Large {
                        body,
                        _answering: answering,
                    })
                })
            }
            _ => {
                connection.waits();
                response
            }
        }
    }

    /// An upstream's answer to `request` is under way, until what is returned is dropped.
    pub(crate) fn answer(request: &HttpRequest) -> Option<Answering> {
        let connection = Rc::clone(Self::of(request)?);
        connection.answering.set(true);
        Some(Answering(connection))
    }

    /// There is no request any more.
    fn waits(&self) {
        self.waiting_since.set(Some(clock::instant()));
    }

    /// Since when there is none.
    fn waits_since(&self) -> Option<Instant> {
        match &self.socket {
            Socket::First(_) => self.waiting_since.get(),
            Socket::Second(_, load) => load.unused_since(),
        }
    }

    /// Whether something has come that nobody has read yet; not its end.
    pub(crate) fn has_more(&self) -> bool {
        self.socket.has_more()
    }

    /// Ends it at once, whatever was not sent yet.
    pub(crate) fn cut(&self) {
        // Who has gone already needs no cutting off.
        let _ = shutdown(self.socket.number(), Shutdown::Both);
    }

    /// Since when it waits, if it is not told to end already, for at least `GRACE`.
    fn is_spare(&self) -> Option<Instant> {
        let since = self.waits_since()?;
        (self.leaving_since.get().is_none() && since.elapsed() > GRACE).then_some(since)
    }

    /// Has it end as soon as everything is sent, unless another request has come meanwhile. Whether it does.
    fn leave(&self) -> bool {
        if self.socket.has_more() {
            return false;
        }
        self.leaving_since.set(Some(clock::instant()));
        self.present.leaving.set(self.present.leaving.get() + 1);
        // Whoever serves the connection reads that it is over, and closes it.
        let _ = shutdown(self.socket.number(), Shutdown::Read);
        true
    }

    fn end_if_late(&self, bounds: Bounds) {
        let stuck_since = self.http2().and_then(|(_, load)| load.stuck_since());
        if is_late(self.waits_since(), bounds.patience)
            || is_late(stuck_since, bounds.standstill)
            || is_late(self.leaving_since.get(), LINGER)
        {
            self.cut();
        }
    }
}

/// A body that is whole already, but too large to be sent at once.
struct Large {
    body: BoxBody,
    _answering: Option<Answering>,
}

impl MessageBody for Large {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}

/// Ends what waits for too long, for as long as there are connections.
async fn look_after(bounds: Bounds) {
    let left = || {
        OPEN.with_borrow_mut(|open| {
            open.retain(|connection| match connection.upgrade() {
                Some(connection) => {
                    connection.end_if_late(bounds);
                    true
                }
                None => false,
            });
            !open.is_empty()
        })
    };
    while left() {
        rt::time::sleep((bounds.patience.min(bounds.standstill) / 4).clamp(PAUSE.0, PAUSE.1)).await;
    }
}

/// Ends those that have been of no use for longest, for as long as there are more than `kept`.
async fn make_room(present: Rc<Present>, kept: usize) {
    while present.open.get() > kept {
        let surplus = (present.open.get() - kept).saturating_sub(present.leaving.get());
        let ended = spare(surplus).iter().filter(|connection| connection.leave()).count();
        metrics::counter!("client_connections_ended_early_total").increment(u64::try_from(ended).unwrap_or(u64::MAX));
        rt::time::sleep(PAUSE.0).await;
    }
    present.clearing.set(false);
}

/// The `most` that have waited for longest.
fn spare(most: usize) -> Vec<Rc<Connection>> {
    if most == 0 {
        return Vec::new();
    }
    let open = OPEN.with_borrow(|open| open.iter().filter_map(Weak::upgrade).collect::<Vec<_>>());
    let waiting = open
        .into_iter()
        .filter_map(|connection| Some((connection.is_spare()?, connection)));
    let mut waiting: Vec<_> = waiting.collect();
    if waiting.len() > most {
        waiting.select_nth_unstable_by_key(most, |(since, _)| *since);
        waiting.truncate(most);
    }
    waiting.into_iter().map(|(_, connection)| connection).collect()
}
