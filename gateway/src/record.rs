//! What is found out about a request on its way, and what is made of it when its answer has been sent: its numbers, and its
//! line in the log.

use std::cell::{Cell, OnceCell, RefCell};
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::body::BodySize;
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use service_kit::RequestId;

use crate::access_log::{Journal, Line};
use crate::body::Progress;
use crate::client::{Answer, Content, Request};
use crate::client_address::Arrival;
use crate::config::Purpose;
use crate::http1;
use crate::identity::Identity;
use crate::limits::{RouteLimits, Told, TooMany, Who};
use crate::routes::{Place, Route};
use crate::state::View;
use crate::tally::{InFlight, Tally};
use crate::trace::Trace;
use crate::upstream::{Target, Upstream};

/// What is logged as the status when the client left before there was one, as other proxies have it.
const CLIENT_LEFT: u16 = 499;

/// A request, from its head to the end of its answer.
pub(crate) struct Record {
    pub(crate) request: Request,
    started: Instant,
    /// What the request goes by, whatever is reloaded meanwhile.
    pub(crate) view: Rc<View>,
    pub(crate) arrival: Arrival,
    pub(crate) id: RequestId,
    route: Cell<Option<Place>>,
    caller: OnceCell<Identity>,
    trace: OnceCell<Trace>,
    told: RefCell<Told>,
    code: Cell<&'static str>,
    target: RefCell<Option<(Arc<Upstream>, Arc<Target>)>>,
    progress: OnceCell<Rc<Progress>>,
    upstream_took: Cell<Option<Duration>>,
    journal: Rc<Journal>,
    _in_flight: InFlight,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Complete,
    ClientLeft,
    Broken,
}

impl Record {
    /// Begins the record of `request`, which was there from `started` on.
    pub(crate) fn begin(request: Request, started: Instant, view: Rc<View>, journal: &Rc<Journal>) -> Rc<Self> {
        let in_flight = InFlight::on(&view.ledger);
        Rc::new(Self {
            started,
            arrival: Arrival::of(&request, &view.state.proxies),
            id: RequestId::of(request.fields.get("x-request-id")),
            request,
            view,
            route: Cell::default(),
            caller: OnceCell::new(),
            trace: OnceCell::new(),
            told: RefCell::default(),
            code: Cell::default(),
            target: RefCell::default(),
            progress: OnceCell::new(),
            upstream_took: Cell::default(),
            journal: Rc::clone(journal),
            _in_flight: in_flight,
        })
    }

    /// Notes that the request takes the route that is at `place`; gives it.
    pub(crate) fn takes(&self, place: Place) -> &Route {
        self.route.set(Some(place));
        &self.view.state.table[place]
    }

    fn route(&self) -> Option<&Route> {
        self.route.get().map(|place| &self.view.state.table[place])
    }

    pub(crate) fn is_of(&self, caller: &Identity) {
        let _ = self.caller.set(caller.clone());
    }

    /// Counts the request of `who` by the limits of its route.
    pub(crate) fn ask(&self, limits: &RouteLimits, who: Who<'_>) -> Result<(), TooMany> {
        let verdict = limits.ask(who, &mut self.told.borrow_mut());
        if verdict.is_err() {
            self.tally().limited();
        }
        verdict
    }

    /// The trace that the request belongs to, which begins here unless it was `received`.
    pub(crate) fn trace(&self, received: Option<Trace>) -> &Trace {
        self.trace.get_or_init(|| received.unwrap_or_else(Trace::begin))
    }

    /// Notes that the request goes to a target of `upstream`, its body being at `progress`.
    pub(crate) fn goes_to(&self, upstream: &Arc<Upstream>, target: &Arc<Target>, progress: &Rc<Progress>) {
        *self.target.borrow_mut() = Some((Arc::clone(upstream), Arc::clone(target)));
        let _ = self.progress.set(Rc::clone(progress));
    }

    /// Notes that an upstream has begun to answer, `now`.
    pub(crate) fn upstream_answers(&self, now: Instant) {
        if let Some(progress) = self.progress.get() {
            let took = now.saturating_duration_since(progress.began_at());
            self.upstream_took.set(Some(took));
            self.tally().upstream_took(took);
        }
    }

    fn tally(&self) -> &Tally {
        self.view.tally(self.route.get())
    }

    /// Gives `answer` the headers it still lacks, counts it, and watches it to its end.
    pub(crate) fn watch(self: Rc<Self>, answer: Answer) -> Answer<Watched> {
        let Answer {
            status,
            mut fields,
            body,
        } = answer;
        if let Some(route) = self.route() {
            route.extras.limits.show(&self.told.borrow(), &mut fields);
        }
        fields.set("x-request-id", self.id.as_bytes());
        self.tally().answered(Some(&self.request.method), status);
        if !self.code.get().is_empty() {
            self.tally().refused(self.code.get());
        }
        let has_end = self.request.method != Method::HEAD;
        let size = body.size();
        let body = Watched {
            left: match size {
                BodySize::Sized(size) if has_end => size,
                BodySize::Stream if has_end => u64::MAX,
                _ => 0,
            },
            size,
            sent: 0,
            broken: false,
            is_whole: false,
            status: status.as_u16(),
            record: self,
            body,
        };
        Answer { status, fields, body }
    }

    /// Notes that the request comes to nothing, and what that is called.
    pub(crate) fn fails(&self, code: &'static str) {
        self.code.set(code);
    }

    fn end(&self, status: u16, sent: u64, ending: Ending) {
        let took = self.started.elapsed();
        let route = self.route();
        let is_tunnel = status == StatusCode::SWITCHING_PROTOCOLS.as_u16();
        if !is_tunnel && route.is_none_or(|route| route.purpose != Purpose::Events) {
            self.tally().took(took);
        }
        if !self.journal.is_kept() {
            return;
        }
        let request = &self.request;
        let (fault, code) = self.blame(status, ending);
        let received = self.trace.get().is_none().then(|| Trace::received(&request.fields));
        let target = self.target.borrow();
        let target = target.as_ref();
        let caller = self.caller.get();
        self.journal.write(&Line {
            method: request.method.as_str(),
            path: request.path(),
            status,
            route: route.map_or("", |route| &route.name),
            upstream: target.map_or("", |(upstream, _)| &upstream.name),
            target: target.map(|(_, target)| target.address),
            fault,
            code,
            took,
            upstream_took: self.upstream_took.get(),
            received: self.progress.get().map_or(0, |progress| progress.bytes()),
            sent,
            user_id: caller.map_or("", Identity::user_id),
            session_id: caller.map_or("", Identity::session_id),
            request_id: self.id.as_str(),
            client: self.arrival.client,
            trace_id: self
                .trace
                .get()
                .or(received.as_ref().and_then(Option::as_ref))
                .map_or("", Trace::id),
        });
    }

    /// Whose fault it is that a request was not answered as it should have been, and what happened.
    fn blame(&self, status: u16, ending: Ending) -> (&'static str, &'static str) {
        let code = self.code.get();
        match (ending, status) {
            (Ending::ClientLeft, _) => ("client", "client_left"),
            (Ending::Broken, _) if self.progress.get().is_some_and(|progress| progress.is_clients_fault()) => {
                ("client", "incomplete_body")
            }
            (Ending::Broken, _) => ("upstream", "broken_answer"),
            (Ending::Complete, 502 | 504) => ("upstream", code),
            (Ending::Complete, 500..) if code.is_empty() || code.starts_with("upstream_") => ("upstream", code),
            (Ending::Complete, 500..) => ("gateway", code),
            (Ending::Complete, 400..) => ("client", code),
            (Ending::Complete, _) => ("", code),
        }
    }
}

/// A request that nothing was answered to yet. Dropped before it was, its client has left.
pub(crate) struct Unanswered(Option<Rc<Record>>);

impl Unanswered {
    pub(crate) fn new(record: &Rc<Record>) -> Self {
        Self(Some(Rc::clone(record)))
    }

    pub(crate) fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(record) = self.0.take() {
            record.end(CLIENT_LEFT, 0, Ending::ClientLeft);
        }
    }
}

/// The body of an answer, watched to its end.
pub(crate) struct Watched {
    body: Content,
    size: BodySize,
    /// How many bytes are still to come: 0 when nobody asks for more, `u64::MAX` when only the body itself knows.
    left: u64,
    sent: u64,
    broken: bool,
    /// Whether all of the answer was handed over to be sent: over HTTP/1.1 to the system, over HTTP/2 to the library, which may
    /// hold some of it still.
    is_whole: bool,
    status: u16,
    record: Rc<Record>,
}

impl Watched {
    /// Whether an upstream says it.
    pub(crate) fn is_upstreams(&self) -> bool {
        matches!(self.body, Content::Upstream(_))
    }

    pub(crate) fn size(&self) -> BodySize {
        self.size
    }

    /// Notes that of the message which it is a part of, `length` bytes were not sent. Where not all of them are of the body, it
    /// counts as if fewer of that were sent than were.
    pub(crate) fn keeps(&mut self, length: usize) {
        self.sent = self.sent.saturating_sub(length as u64);
    }
}

impl http1::Body for Watched {
    type Error = Box<dyn Error>;

    fn length(&self) -> Option<u64> {
        match self.size {
            BodySize::None => Some(0),
            BodySize::Sized(length) => Some(length),
            BodySize::Stream => None,
        }
    }

    fn is_over(&self) -> bool {
        self.left == 0
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Box<dyn Error>>>> {
        let piece = ready!(self.body.poll_next(cx));
        match &piece {
            Some(Ok(piece)) => {
                let length = piece.len() as u64;
                self.sent = self.sent.saturating_add(length);
                if self.left != u64::MAX {
                    self.left = self.left.saturating_sub(length);
                }
            }
            Some(Err(_)) => self.broken = true,
            None => self.left = 0,
        }
        Poll::Ready(piece)
    }

    fn look(&mut self, cx: &mut Context<'_>) {
        if let Content::Upstream(body) = &mut self.body {
            body.look(cx);
        }
    }

    fn was_sent(&mut self) {
        self.is_whole = true;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let ending = if self.broken {
            Ending::Broken
        } else if self.is_whole {
            Ending::Complete
        } else {
            Ending::ClientLeft
        };
        self.record.end(self.status, self.sent, ending);
    }
}
