//! What is remembered of clients' connections: an end to those that are held without a use, early when room runs short.

use std::cell::{Cell, RefCell};
use std::net::TcpStream as Handle;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt::{self, net::TcpStream};
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use service_kit::clock;

use crate::LINGER;
use crate::http2::{Load, is_late};

/// How often connections are looked at, at least and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
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
    /// Whether there will be no further requests.
    stopping: Cell<bool>,
}

/// For how long connections are kept, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// One that has waited for a request for longer than this since its last answer is ended.
    pub(crate) keep_alive: Duration,
    /// One whose next head is not whole so long after it began is ended; or, when it is new, after that.
    pub(crate) header: Duration,
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

/// A client's connection, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    /// What it is doing. Of HTTP/1.1.
    phase: Cell<Phase>,
    /// Since when it is to end.
    leaving_since: Cell<Option<Instant>>,
    present: Rc<Present>,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for the first request, since then.
    New(Instant),
    /// Waiting for a further one, since then.
    Waiting(Instant),
    /// Waiting for the rest of a head, since then.
    Begun(Instant),
    /// The same, and it took too long.
    Late,
    /// Serving a request, or being ended by whoever serves it.
    Busy,
}

#[derive(Debug)]
enum Socket {
    /// Of HTTP/1.1, until it is closed.
    First(Cell<Option<RawFd>>),
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

impl Socket {
    fn number(&self) -> Option<RawFd> {
        match self {
            Self::First(number) => number.get(),
            Self::Second(handle, _) => Some(handle.as_raw_fd()),
        }
    }

    /// Whether something has come that nobody has read yet.
    fn has_more(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let look = |number| recv(number, &mut [0], flags).is_ok_and(|length| length > 0);
        self.number().is_some_and(look)
    }

    fn shut(&self, how: Shutdown) {
        if let Some(number) = self.number() {
            // Who has gone already needs no cutting off.
            let _ = shutdown(number, how);
        }
    }
}

impl Connection {
    /// Remembers a new connection of HTTP/1.1; whoever serves it says when its socket is closed.
    pub(crate) fn first(socket: &TcpStream, bounds: Bounds) -> Rc<Self> {
        Self::remember(Socket::First(Cell::new(Some(socket.as_raw_fd()))), bounds)
    }

    /// Remembers a new connection of HTTP/2.
    pub(crate) fn second(socket: &TcpStream, bounds: Bounds) -> Option<Rc<Self>> {
        match socket.as_fd().try_clone_to_owned() {
            Ok(handle) => {
                let socket = Socket::Second(Rc::new(handle.into()), Arc::default());
                Some(Self::remember(socket, bounds))
            }
            Err(error) => {
                log::warn!(cause = error.to_string().as_str(); "a connection is served unwatched");
                None
            }
        }
    }

    fn remember(socket: Socket, bounds: Bounds) -> Rc<Self> {
        let present = PRESENT.with(Rc::clone);
        present.open.set(present.open.get() + 1);
        let connection = Rc::new(Self {
            socket,
            phase: Cell::new(Phase::New(clock::instant())),
            leaving_since: Cell::new(None),
            present: Rc::clone(&present),
        });
        let first = OPEN.with_borrow_mut(|open| {
            open.push(Rc::downgrade(&connection));
            open.len() == 1
        });
        if first {
            rt::spawn(look_after(bounds));
        }
        if present.open.get() > bounds.kept() && !present.clearing.replace(true) {
            rt::spawn(make_room(present, bounds.kept()));
        }
        connection
    }

    /// Its socket and its requests, if HTTP/2 is spoken there.
    pub(crate) fn http2(&self) -> Option<(&Rc<Handle>, &Arc<Load>)> {
        match &self.socket {
            Socket::First(_) => None,
            Socket::Second(handle, load) => Some((handle, load)),
        }
    }

    /// A request is served from now on.
    pub(crate) fn is_busy(&self) {
        self.phase.set(Phase::Busy);
    }

    /// All of the answer is sent.
    pub(crate) fn waits(&self) {
        self.phase.set(Phase::Waiting(clock::instant()));
    }

    /// Some of a head has come, but not all of it.
    pub(crate) fn has_begun(&self) {
        match self.phase.get() {
            Phase::New(since) => self.phase.set(Phase::Begun(since)),
            Phase::Waiting(_) => self.phase.set(Phase::Begun(clock::instant())),
            Phase::Begun(_) | Phase::Late | Phase::Busy => {}
        }
    }

    /// Whether it was ended for taking too long with a head.
    pub(crate) fn is_late(&self) -> bool {
        self.phase.get() == Phase::Late
    }

    /// Whether it was told to end, for want of requests.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving_since.get().is_some()
    }

    /// Its socket is about to be closed, and the number may soon be another's.
    pub(crate) fn closes(&self) {
        if let Socket::First(number) = &self.socket {
            number.set(None);
        }
        self.phase.set(Phase::Busy);
    }

    /// Since when there is no request, or none whose head is whole.
    fn waits_since(&self) -> Option<Instant> {
        match (&self.socket, self.phase.get()) {
            (Socket::First(_), Phase::New(since) | Phase::Waiting(since) | Phase::Begun(since)) => Some(since),
            (Socket::First(_), Phase::Late | Phase::Busy) => None,
            (Socket::Second(_, load), _) => load.unused_since(),
        }
    }

    /// Whether something has come that nobody has read yet; not its end.
    pub(crate) fn has_more(&self) -> bool {
        self.socket.has_more()
    }

    /// Ends it at once, whatever was not sent yet.
    pub(crate) fn cut(&self) {
        self.socket.shut(Shutdown::Both);
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
        self.socket.shut(Shutdown::Read);
        true
    }

    /// Has it end if it waits for a request of which nothing has come.
    fn leave_unused(&self) {
        let is_unused = match &self.socket {
            Socket::First(_) => matches!(self.phase.get(), Phase::New(_) | Phase::Waiting(_)),
            Socket::Second(_, load) => load.unused_since().is_some(),
        };
        if is_unused && self.leaving_since.get().is_none() {
            self.leave();
        }
    }

    fn end_if_late(&self, bounds: Bounds) {
        if is_late(self.leaving_since.get(), LINGER) {
            return self.cut();
        }
        if self.present.stopping.get() {
            self.leave_unused();
        }
        match (&self.socket, self.phase.get()) {
            (Socket::First(_), Phase::Waiting(since)) if is_late(Some(since), bounds.keep_alive) => self.leave_unused(),
            (Socket::First(_), Phase::New(since) | Phase::Begun(since)) if is_late(Some(since), bounds.header) => {
                // It may be we who were too late to read what has come in time.
                if is_late(Some(since), 2 * bounds.header) || !self.socket.has_more() {
                    // It is told so.
                    self.phase.set(Phase::Late);
                    self.socket.shut(Shutdown::Read);
                }
            }
            (Socket::First(_), _) => {}
            (Socket::Second(_, load), _) => {
                if is_late(load.unused_since(), bounds.keep_alive + bounds.header)
                    || is_late(load.stuck_since(), bounds.standstill)
                {
                    self.cut();
                }
            }
        }
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
        rt::time::sleep((bounds.header.min(bounds.keep_alive).min(bounds.standstill) / 4).clamp(PAUSE.0, PAUSE.1))
            .await;
    }
}

/// Ends all that wait for a request, since there will be none: this worker stops. Those of HTTP/2 that are in use end when
/// they are no longer.
pub(crate) fn stop() {
    PRESENT.with(|present| present.stopping.set(true));
    OPEN.with_borrow(|open| {
        for connection in open.iter().filter_map(Weak::upgrade) {
            connection.leave_unused();
        }
    });
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
