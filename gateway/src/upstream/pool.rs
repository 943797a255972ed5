//! The connections to one upstream that a worker keeps.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::http::Method;
use actix_web::rt;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::Sleep;

use super::breaker::Breaker;
use super::budget::Budget;
use super::choice;
use super::http1::{self, Broken, Head, HeadWriter, Reading, Writing};
use super::target::{Connected, Target};
use super::{Roster, Upstream};
use crate::body::RequestBody;
use crate::error::ProxyError;

/// One worker's connections to one upstream.
pub(crate) struct Pool {
    pub(crate) upstream: Arc<Upstream>,
    connect_timeout: Duration,
    idle_timeout: Duration,
    slots: RefCell<Slots>,
    roster: RefCell<watch::Receiver<Roster>>,
    budget: Budget,
    turn: Cell<usize>,
    sweeping: Cell<bool>,
}

/// The targets there are, each with this worker's unused connections to it.
pub(crate) type Slots = Rc<[Rc<Slot>]>;

/// A target, and this worker's unused connections to it, the last used one last. Nobody listens to them: whether their other
/// ends are still there is looked at before the next use, and now and then.
pub(crate) struct Slot {
    pub(crate) target: Arc<Target>,
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

struct Connection {
    http: http1::Connection<RequestBody>,
    alarm: Alarm,
    counted: Connected,
}

/// How often unused connections are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// The timer of a connection, which all of its requests use: setting one anew for each costs more than an alarm too early
/// now and then.
struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    fn new(after: Duration) -> Self {
        Self(Box::pin(tokio::time::sleep(after)))
    }

    /// Sees to it that it rings at `deadline` at the latest. It may do so earlier, of a time set before.
    fn set(&mut self, deadline: Instant) {
        let deadline = deadline.into();
        if self.0.is_elapsed() || self.0.deadline() > deadline {
            self.0.as_mut().reset(deadline);
        }
    }

    /// It rings even where everything else that the runtime lets a task do at once was done, as it is when an upstream
    /// says one thing after the other that is no answer.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        pin!(unconstrained(self.0.as_mut())).poll(cx)
    }
}

/// Which connection a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// One that was kept, if its other end has neither closed it nor said anything, as its socket says right before the
    /// request is written: what is there already is no answer to this request.
    Quiet,
    /// A new one.
    New,
}

/// A connection that is in use, by one request.
pub(crate) struct Lease {
    pool: Rc<Pool>,
    connection: Box<Connection>,
    /// Whether it has served a request before, so that the upstream may be closing it just now.
    pub(crate) reused: bool,
    rest: Option<Rest>,
    in_flight: InFlight,
}

/// What is left of a request while its answer is read.
struct Rest(rt::task::JoinHandle<()>);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Counts a request for as long as it is brought to a target and answered by it.
struct InFlight(Rc<Slot>);

impl InFlight {
    fn new(slot: &Rc<Slot>) -> Self {
        slot.target.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Rc::clone(slot))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.target.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lease {
    /// The head of the request, to be written first.
    pub(crate) fn head(&mut self) -> HeadWriter<'_> {
        self.connection.http.head()
    }

    /// Sends the request whose head was written.
    pub(crate) fn send(&mut self, method: &Method, body: RequestBody) {
        self.connection.http.send(method, body);
    }

    /// Waits for the head of the answer, but no longer than until `deadline`, or what was said before: `None` then.
    pub(crate) async fn head_of_answer(&mut self, deadline: Instant) -> Option<Result<Head, Broken>> {
        let Connection { http, alarm, .. } = &mut *self.connection;
        alarm.set(deadline);
        poll_fn(|cx| match http.poll_head(cx) {
            Poll::Ready(head) => Poll::Ready(Some(head)),
            Poll::Pending => alarm.poll(cx).map(|()| None),
        })
        .await
    }

    /// The body of the request, as long as the upstream got nothing of it, nor of its head.
    pub(crate) fn unsent(&mut self) -> Option<RequestBody> {
        self.connection.http.unsent()
    }

    /// Has what is left of the request go out by itself, for as long as the lease lives.
    pub(crate) fn send_rest(&mut self) {
        self.rest = self.connection.http.rest().map(|rest| Rest(rt::spawn(rest)));
    }

    /// Waits for the next piece of the answer's body.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        self.connection.http.poll_body(cx)
    }

    /// Whether all of the answer's body was read.
    pub(crate) fn is_answered(&self) -> bool {
        self.connection.http.is_answered()
    }

    /// Takes note of the head of an answer.
    pub(crate) fn answered(&self) {
        self.in_flight.0.target.breaker.answered();
    }

    /// Takes note of an answer that broke off, did not come in time, or was none.
    pub(crate) fn failed(&self, cause: &dyn Display) {
        let target = &self.in_flight.0.target;
        self.pool.upstream.suspect(target, Breaker::failed, cause);
    }

    /// Takes the connection, over which no request is under way, out of the pool's hands, which counts it, and its request,
    /// until the last of what this returns is dropped.
    pub(crate) fn keep(self) -> Option<(Reading, Writing, impl Sized)> {
        self.in_flight.0.target.breaker.succeeded();
        let (reading, writing) = self.connection.http.into_halves()?;
        Some((reading, writing, (self.connection.counted, self.in_flight)))
    }

    /// Keeps the connection for another request, when it can serve one: its answer was read to the end, about `now`.
    pub(crate) fn give_back(mut self, now: Instant) {
        let slot = &self.in_flight.0;
        slot.target.breaker.succeeded();
        if !self.connection.http.is_reusable() || slot.target.gone.load(Ordering::Relaxed) {
            return;
        }
        self.connection.http.shrink();
        let mut idle = slot.idle.borrow_mut();
        if idle.len() < self.pool.upstream.config.max_idle {
            idle.push(Idle {
                connection: self.connection,
                since: now,
            });
            drop(idle);
            self.pool.sweep_from_time_to_time();
        }
    }
}

impl Slot {
    fn new(target: &Arc<Target>) -> Rc<Self> {
        Rc::new(Self {
            target: Arc::clone(target),
            idle: RefCell::default(),
        })
    }

    /// Takes the connection used last: it is the least likely to be closed, and the others may grow old and go.
    fn unused(&self, idle_timeout: Duration, now: Instant) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(one) = idle.pop() {
            if now.saturating_duration_since(one.since) >= idle_timeout {
                // Those before it are older still.
                idle.clear();
                return None;
            }
            if one.connection.http.is_quiet() {
                return Some(one.connection);
            }
        }
        None
    }
}

impl Pool {
    pub(crate) fn new(upstream: Arc<Upstream>, connect_timeout: Duration, idle_timeout: Duration) -> Rc<Self> {
        let mut roster = upstream.roster.subscribe();
        let slots = roster.borrow_and_update().targets.iter().map(Slot::new).collect();
        Rc::new(Self {
            upstream,
            connect_timeout,
            idle_timeout,
            slots: RefCell::new(slots),
            roster: RefCell::new(roster),
            budget: Budget::new(),
            turn: Cell::new(0),
            sweeping: Cell::new(false),
        })
    }

    /// The targets that a request may be brought to. Waits until a name was found, or none for the first time.
    ///
    /// # Errors
    /// When the upstream failed too often, or has no target.
    pub(crate) async fn enter(&self) -> Result<Slots, ProxyError> {
        self.budget.earn();
        self.upstream.admit()?;
        let slots = self.slots();
        if !slots.is_empty() {
            return Ok(slots);
        }
        let mut roster = self.upstream.roster.subscribe();
        let is_settled = |roster: &Roster| roster.is_complete() || !roster.targets.is_empty();
        let _ = tokio::time::timeout(self.connect_timeout, roster.wait_for(is_settled)).await;
        let slots = self.slots();
        if slots.is_empty() {
            return Err(self.upstream.nobody(false));
        }
        Ok(slots)
    }

    /// The targets there are now. Connections to those that are gone are closed.
    fn slots(&self) -> Slots {
        let mut roster = self.roster.borrow_mut();
        if roster.has_changed().unwrap_or(false) {
            let before = Rc::clone(&self.slots.borrow());
            let slot = |target: &Arc<Target>| {
                let known = before.iter().find(|slot| Arc::ptr_eq(&slot.target, target));
                known.map_or_else(|| Slot::new(target), Rc::clone)
            };
            let slots: Slots = roster.borrow_and_update().targets.iter().map(slot).collect();
            for gone in before.iter().filter(|slot| slot.target.gone.load(Ordering::Relaxed)) {
                gone.idle.borrow_mut().clear();
            }
            *self.slots.borrow_mut() = slots;
        }
        Rc::clone(&self.slots.borrow())
    }

    /// Which of `slots` is to be tried next, `tried` being the set of bits of those that were.
    pub(crate) fn pick(&self, slots: &Slots, tried: u64) -> Option<usize> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        choice::pick(slots, |slot| &slot.target, (tried, turn), || self.upstream.now())
    }

    /// Why nothing of `slots` can be tried.
    pub(crate) fn nobody(&self, slots: &Slots) -> ProxyError {
        self.upstream.nobody(!slots.is_empty())
    }

    /// Whether one request more may be sent once more.
    pub(crate) fn may_repeat(&self) -> bool {
        let may = self.budget.spend(self.upstream.now());
        let name = if may {
            "upstream_retries_total"
        } else {
            "upstream_retries_refused_total"
        };
        metrics::counter!(name, "upstream" => self.upstream.name.clone()).increment(1);
        may
    }

    /// A connection to the target of `slot`, for a request that came about `now`.
    pub(crate) async fn lease(self: &Rc<Self>, slot: &Rc<Slot>, kept: Kept, now: Instant) -> Result<Lease, ProxyError> {
        let in_flight = InFlight::new(slot);
        let unused = match kept {
            Kept::New => None,
            Kept::Quiet => slot.unused(self.idle_timeout, now),
        };
        let reused = unused.is_some();
        let connection = match unused {
            Some(connection) => connection,
            None => self.connect(&slot.target).await?,
        };
        Ok(Lease {
            pool: Rc::clone(self),
            connection,
            reused,
            rest: None,
            in_flight,
        })
    }

    async fn connect(&self, target: &Arc<Target>) -> Result<Box<Connection>, ProxyError> {
        let upstream = &self.upstream;
        let counted = Connected::new(target, upstream.config.max_connections).ok_or(ProxyError::Full)?;
        let connecting = tokio::time::timeout(self.connect_timeout, http1::Connection::open(target.address)).await;
        let opened = connecting
            .map_err(|_| ProxyError::ConnectTimeout)
            .and_then(|opened| opened.map_err(ProxyError::Connect));
        let http = opened.inspect_err(|error| upstream.suspect(target, Breaker::failed_for_good, error))?;
        metrics::counter!("upstream_connections_total", "upstream" => upstream.name.clone()).increment(1);
        let alarm = Alarm::new(self.connect_timeout);
        Ok(Box::new(Connection { http, alarm, counted }))
    }

    /// Closes connections that nobody has used for too long, or whose other end is gone, for as long as there are any.
    fn sweep_from_time_to_time(self: &Rc<Self>) {
        if !self.sweeping.replace(true) {
            rt::spawn(sweep(Rc::downgrade(self), self.idle_timeout.min(SWEEP)));
        }
    }

    /// Whether unused connections are left.
    fn sweep(&self) -> bool {
        let mut left = false;
        for slot in self.slots().iter() {
            let mut idle = slot.idle.borrow_mut();
            idle.retain(|one| one.connection.http.is_quiet() && one.since.elapsed() < self.idle_timeout);
            left |= !idle.is_empty();
        }
        self.sweeping.set(left);
        left
    }
}

async fn sweep(pool: Weak<Pool>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        match pool.upgrade() {
            Some(pool) if pool.sweep() => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests;
