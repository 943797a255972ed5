//! What is remembered of clients' connections: an end to those that are held without a use, early when room runs short.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use actix_web::rt::{self, net::TcpStream};
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use service_kit::clock;

use crate::LINGER;

/// How often connections are looked at, at least and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// For how long a connection may be without a request although others want its place, or although its worker stops: a request
/// may be on its way.
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
    /// One that has waited for a request for longer than this since its last answer is ended.
    pub(crate) keep_alive: Duration,
    /// One whose next head is not whole so long after it began is ended; or, when it is new, after that.
    pub(crate) header: Duration,
    /// One that takes nothing of what it is sent for longer than this is ended, by the system; of HTTP/2, also when it does not
    /// allow that anything is sent.
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
    /// Its socket, until that is closed.
    number: Cell<Option<RawFd>>,
    protocol: Protocol,
    /// What counted when it began, of which a reload may replace a part.
    bounds: Bounds,
    /// What it is doing.
    phase: Cell<Phase>,
    /// Since when it is to end.
    leaving_since: Cell<Option<Instant>>,
    present: Rc<Present>,
}

/// What is spoken there, and so how it is told to end.
#[derive(Debug)]
enum Protocol {
    /// HTTP/1.1: whoever serves it reads that it is over.
    First,
    /// HTTP/2: whoever serves it is woken, and tells the client.
    Second(RefCell<Waker>),
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for the first request, since then.
    New(Instant),
    /// Waiting for a further one, since then.
    Waiting(Instant),
    /// Waiting for the rest of a head, since then. Of HTTP/1.1.
    Begun(Instant),
    /// The same, and it took too long.
    Late,
    /// Serving requests, or being ended by whoever serves it.
    Busy,
    /// Waiting, since then, for the client to take the rest of answers that are all handed over. Of HTTP/2.
    Answered(Instant),
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.present.open.set(self.present.open.get() - 1);
        if self.leaving_since.get().is_some() {
            self.present.leaving.set(self.present.leaving.get() - 1);
        }
    }
}

impl Connection {
    /// Remembers a new connection of HTTP/1.1; whoever serves it says when its socket is closed.
    pub(crate) fn first(socket: &TcpStream, bounds: Bounds) -> Rc<Self> {
        Self::remember(socket, Protocol::First, bounds)
    }

    /// Remembers a new connection of HTTP/2; whoever serves it forgets it before its socket is closed.
    pub(crate) fn second(socket: &TcpStream, bounds: Bounds) -> Rc<Self> {
        let protocol = Protocol::Second(RefCell::new(Waker::noop().clone()));
        Self::remember(socket, protocol, bounds)
    }

    fn remember(socket: &TcpStream, protocol: Protocol, bounds: Bounds) -> Rc<Self> {
        let present = PRESENT.with(Rc::clone);
        present.open.set(present.open.get() + 1);
        let connection = Rc::new(Self {
            number: Cell::new(Some(socket.as_raw_fd())),
            protocol,
            bounds,
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

    /// A request is served from now on.
    pub(crate) fn is_busy(&self) {
        self.phase.set(Phase::Busy);
    }

    /// No request of it is open, of which there may be many at once.
    pub(crate) fn is_unused(&self) {
        if matches!(self.phase.get(), Phase::Busy | Phase::Answered(_)) {
            self.waits();
        }
    }

    /// The same, but the client has not taken all of the answers.
    pub(crate) fn is_answered(&self) {
        if self.phase.get() == Phase::Busy {
            self.phase.set(Phase::Answered(clock::instant()));
        }
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
            Phase::Begun(_) | Phase::Late | Phase::Busy | Phase::Answered(_) => {}
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

    /// The same, asked by the task that serves it, which is woken when it is to end.
    pub(crate) fn poll_leaves(&self, cx: &mut Context<'_>) -> bool {
        if let Protocol::Second(waker) = &self.protocol {
            waker.borrow_mut().clone_from(cx.waker());
        }
        self.is_leaving()
    }

    /// Its socket is about to be closed, and the number may soon be another's.
    pub(crate) fn closes(&self) {
        self.number.set(None);
        self.phase.set(Phase::Busy);
    }

    /// Since when there is no request, or none whose head is whole.
    fn waits_since(&self) -> Option<Instant> {
        match self.phase.get() {
            Phase::New(since) | Phase::Waiting(since) | Phase::Begun(since) => Some(since),
            Phase::Late | Phase::Busy | Phase::Answered(_) => None,
        }
    }

    /// Whether something has come that nobody has read yet; not its end.
    fn has_more(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let look = |number| recv(number, &mut [0], flags).is_ok_and(|length| length > 0);
        self.number.get().is_some_and(look)
    }

    /// Ends it at once, whatever was not sent yet.
    pub(crate) fn cut(&self) {
        self.shut(Shutdown::Both);
    }

    fn shut(&self, how: Shutdown) {
        if let Some(number) = self.number.get() {
            // Who has gone already needs no cutting off.
            let _ = shutdown(number, how);
        }
    }

    /// Since when it waits, if it is not told to end already, for at least `GRACE`.
    fn is_spare(&self) -> Option<Instant> {
        let since = self.waits_since()?;
        (self.leaving_since.get().is_none() && since.elapsed() > GRACE).then_some(since)
    }

    /// Has it end as soon as everything is sent, unless another request has come meanwhile. Whether it does.
    fn leave(&self) -> bool {
        if matches!(self.protocol, Protocol::First) && self.has_more() {
            return false;
        }
        self.leaving_since.set(Some(clock::instant()));
        self.present.leaving.set(self.present.leaving.get() + 1);
        match self.protocol {
            // Whoever serves the connection reads that it is over, and closes it.
            Protocol::First => self.shut(Shutdown::Read),
            Protocol::Second(_) => self.wake(),
        }
        true
    }

    /// Has whoever serves it look at it again. Of HTTP/2.
    pub(crate) fn wake(&self) {
        if let Protocol::Second(waker) = &self.protocol {
            waker.borrow().wake_by_ref();
        }
    }

    /// Has it end, of HTTP/1.1 if it has waited for a request for so long and nothing of one has come: over HTTP/2 those that
    /// are under way, and those that have not heard of it, are answered before.
    fn leave_after(&self, grace: Duration) {
        let may_leave = match (&self.protocol, self.phase.get()) {
            (Protocol::First, Phase::New(since) | Phase::Waiting(since)) => since.elapsed() >= grace,
            (Protocol::First, _) => false,
            (Protocol::Second(_), _) => true,
        };
        if may_leave && !self.is_leaving() {
            self.leave();
        }
    }

    fn end_if_late(&self) {
        let bounds = self.bounds;
        // One in use ends when it no longer is, however long that takes.
        let idle_since = self.leaving_since.get().zip(self.waits_since());
        if is_late(idle_since.map(|(leaving, waiting)| leaving.max(waiting)), LINGER) {
            return self.cut();
        }
        match (self.phase.get(), &self.protocol) {
            (Phase::Waiting(since), _) if is_late(Some(since), bounds.keep_alive) => {
                self.leave_after(Duration::ZERO);
            }
            // It may take some of it now and then, but not for ever.
            (Phase::Answered(since), _) if is_late(Some(since), 10 * bounds.standstill) => self.cut(),
            (Phase::New(since) | Phase::Begun(since), protocol) if is_late(Some(since), bounds.header) => {
                match protocol {
                    Protocol::Second(_) => self.leave_after(Duration::ZERO),
                    // It may be we who were too late to read what has come in time.
                    Protocol::First if self.has_more() && !is_late(Some(since), 2 * bounds.header) => {}
                    Protocol::First => {
                        // It is told so.
                        self.phase.set(Phase::Late);
                        self.shut(Shutdown::Read);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether `since` was too long ago.
fn is_late(since: Option<Instant>, patience: Duration) -> bool {
    since.is_some_and(|since| since.elapsed() > patience)
}

/// Ends what waits for too long, for as long as there are connections.
async fn look_after(bounds: Bounds) {
    let left = || {
        OPEN.with_borrow_mut(|open| {
            open.retain(|connection| match connection.upgrade() {
                Some(connection) => {
                    connection.end_if_late();
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

/// Ends all that have waited for a request for [`GRACE`]: this worker stops. Those that are in use end when they are no longer,
/// and who goes on asking is told so with the next answer. Goes on for as long as the worker does.
pub(crate) async fn stop() {
    loop {
        OPEN.with_borrow(|open| {
            for connection in open.iter().filter_map(Weak::upgrade) {
                connection.leave_after(GRACE);
            }
        });
        rt::time::sleep(PAUSE.0).await;
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
