//! A request's way through: match, authenticate, authorize, forward.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use service_kit::{Clock, Problem, RequestId, edge};

use crate::access_log::{Journal, Line, Sink};
use crate::client::{Answer, Payload, Request};
use crate::config::{AccessLog, Purpose};
use crate::error::ProxyError;
use crate::events::Events;
use crate::identity::Verifier;
use crate::limits::Who;
use crate::proxy::Passage;
use crate::record::{Record, Unanswered, Watched};
use crate::routes::{Found, Route};
use crate::state::{State, Views};
use crate::tally::{Ledger, Present};
use crate::tunnel::Handshake;
use crate::web_app::WebApp;
use crate::{admission, cookie, cors, headers, path, policy};

/// How much of a body that is refused is read and thrown away before the answer, so that its connection can be kept. A larger
/// one is answered at once, and its connection ends with that.
const DRAIN: u64 = 2 * 1024 * 1024;
/// How long the next piece of it may take to come.
const DRAIN_PAUSE: Duration = Duration::from_millis(50);
/// And all of it.
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// What all workers share.
pub(crate) struct Gateway {
    /// What a reload replaces.
    pub(crate) state: Arc<ArcSwap<State>>,
    pub(crate) web: WebApp,
    pub(crate) events: Arc<Events>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) access_log: AccessLog,
    /// Where the lines of the access log go.
    pub(crate) sink: Option<Arc<Sink>>,
    pub(crate) clock: Clock,
    pub(crate) present: Arc<Present>,
}

/// A worker: the gateway, and this thread's own connections.
pub(crate) struct Worker {
    gateway: Arc<Gateway>,
    views: Views,
    journal: Rc<Journal>,
    stopping: Cell<bool>,
}

impl Worker {
    pub(crate) fn new(gateway: &Arc<Gateway>) -> Self {
        Self {
            journal: Journal::new(gateway.sink.clone(), gateway.access_log, gateway.clock.clone()),
            gateway: Arc::clone(gateway),
            stopping: Cell::new(false),
            views: Views::of(&gateway.state, Ledger::new(&gateway.present)),
        }
    }

    /// Begins with `request`, which was there from `began` on and goes by what counts now, to its end.
    pub(crate) fn begin(&self, request: Request, began: Instant) -> Rc<Record> {
        Record::begin(request, began, self.views.current(), &self.journal)
    }

    /// The longest pause in a body that there may be now.
    pub(crate) fn body_timeout(&self) -> Duration {
        self.views.current().state.body_timeout
    }

    /// Counts a connection for as long as what is returned lives.
    pub(crate) fn present(&self) -> impl Sized + use<> {
        self.gateway.present.connection()
    }

    /// From now on every answer is the last one on its connection.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Counts and logs what came from `peer` and was no request: nothing else is known about it. The answer with `problem`, which
    /// is called `id`, is over.
    pub(crate) fn refuses(&self, problem: &Problem, peer: Option<SocketAddr>, id: &RequestId, took: Duration) {
        let rest = &self.views.ledger.rest;
        rest.answered(None, problem.status());
        rest.refused(problem.code());
        self.journal.write(&Line {
            method: "",
            path: "",
            status: problem.status().as_u16(),
            route: "",
            upstream: "",
            target: None,
            fault: "client",
            code: problem.code(),
            took,
            upstream_took: None,
            received: 0,
            sent: 0,
            user_id: "",
            session_id: "",
            request_id: id.as_str(),
            client: peer.map(|peer| peer.ip().to_canonical()),
            trace_id: "",
        });
    }

    /// Every request that is no preflight.
    async fn serve(&self, payload: &mut Payload, record: &Rc<Record>) -> Result<Answer, Problem> {
        let unanswered = Unanswered::new(record);
        let outcome = self.answer(payload, record).await;
        // Whoever said that it expects to hear something first is ready to hear this first; over HTTP/2 everybody is.
        let request = &record.request;
        let is_small = request.has_body() && request.body_length().is_none_or(|length| length <= DRAIN);
        if outcome.is_err() && is_small && !request.expects && payload.client().is_some() {
            drain(payload).await;
        }
        unanswered.answered();
        outcome
    }

    async fn answer(&self, payload: &mut Payload, record: &Record) -> Result<Answer, Problem> {
        let request = &record.request;
        let method = &request.method;
        if matches!(*method, Method::TRACE | Method::CONNECT) {
            let allow = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";
            return Err(Problem::method_not_allowed(method.as_str(), allow));
        }
        let host = headers::host(request).ok_or_else(|| {
            Problem::bad_request("bad_host", "The Host header is not a host name and perhaps a port.")
        })?;
        let path = path::normalise(request.path())?;
        if path::is_internal(&path) {
            return Err(Problem::not_found());
        }
        let route = match record.view.state.table.find(host, method, &path) {
            Found::Route(place) => record.takes(place),
            Found::OtherMethods(allow) => return Err(Problem::method_not_allowed(method.as_str(), &allow)),
            Found::Nothing => return Ok(self.gateway.web.answer(request, &path)?.into()),
        };
        self.pass(record, payload, host, &path, route).await
    }

    async fn pass(
        &self,
        record: &Record,
        payload: &mut Payload,
        host: &str,
        path: &str,
        route: &Route,
    ) -> Result<Answer, Problem> {
        let (view, request) = (&record.view, &record.request);
        let limits = &route.extras.limits;
        if let Some(address) = record.arrival.client {
            record.ask(limits, Who::Address(address))?;
        }
        if request.body_length().is_some_and(|length| length > route.body_limit) {
            return Err(ProxyError::TooLarge(route.body_limit).into());
        }
        if cookie::is_asked_for(&request.fields) {
            cookie::check(
                &request.fields,
                record.arrival.host(host),
                &view.state.cors_of(route).origins,
            )?;
        }
        let handshake = Handshake::of(request, route.auth)?;
        let beside = handshake.as_ref().and_then(Handshake::token);
        let caller = admission::admit(&self.gateway.verifier, route, &request.fields, beside).await?;
        if let Some(caller) = &caller {
            record.is_of(&caller.identity);
            // Finding the id takes longer than most routes need.
            if !limits.is_empty() {
                record.ask(limits, Who::User(caller.identity.user_id()))?;
            }
            policy::check(route, &caller.identity)?;
            if route.purpose == Purpose::Events {
                let events = &self.gateway.events;
                let answer = events.answer(&request.method, route, path, &self.gateway.verifier, caller);
                return answer.map(Answer::from);
            }
        }
        let path = match stripped(route, path) {
            Some(rest) if path::is_internal(rest) => return Err(Problem::not_found()),
            Some(rest) => rest,
            None => path,
        };
        let pool = route.upstream.and_then(|upstream| view.pools.get(upstream));
        let pool = pool.ok_or_else(Problem::not_found)?;
        let passage = Passage {
            route,
            record,
            caller: caller.as_ref(),
            host,
            path,
            body_timeout: route.extras.body_timeout.unwrap_or(view.state.body_timeout),
            handshake: handshake.as_ref(),
            verifier: &self.gateway.verifier,
            events: &self.gateway.events,
        };
        Ok(passage.forward(pool, payload.take()).await?)
    }
}

/// `path` without the prefix, if the route strips it.
fn stripped<'a>(route: &Route, path: &'a str) -> Option<&'a str> {
    if !route.strip_prefix || route.name == "/" {
        return None;
    }
    Some(match path.strip_prefix(route.name.as_str()) {
        Some("") | None => "/",
        Some(rest) => rest,
    })
}

/// Every request: its record, its answer, the last word on the answer's headers, and the shape of errors.
pub(crate) async fn serve(worker: &Worker, record: Rc<Record>, mut payload: Payload) -> Answer<Watched> {
    if let Some(answer) = cors::preflight(&record.request, &record.view.state) {
        return finish(record, answer.into());
    }
    let answer = worker.serve(&mut payload, &record).await;
    let answer = shape(&record, answer);
    finish(record, answer)
}

/// Answers a request with a problem that it has before it is looked at.
pub(crate) fn refuse(record: Rc<Record>, problem: Problem) -> Answer<Watched> {
    let answer = shape(&record, Err(problem));
    finish(record, answer)
}

fn shape(record: &Record, answer: Result<Answer, Problem>) -> Answer {
    let request = &record.request;
    let mut answer = answer.unwrap_or_else(|problem| {
        record.fails(problem.code());
        edge::shape("gateway", &record.id, request.fields.text("accept"), &problem).into()
    });
    cors::allow(request, &record.view.state, &mut answer.fields);
    answer
}

fn finish(record: Rc<Record>, mut answer: Answer) -> Answer<Watched> {
    cors::secure(&mut answer.fields);
    if record.request.is_secure {
        cors::only_tls(&record.request, &mut answer.fields);
    }
    record.watch(answer)
}

async fn drain(payload: &mut Payload) {
    let read = async {
        let mut left = DRAIN;
        while let Ok(Some(Ok(piece))) = tokio::time::timeout(DRAIN_PAUSE, payload.next()).await {
            match left.checked_sub(piece.len() as u64) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, read).await;
}
