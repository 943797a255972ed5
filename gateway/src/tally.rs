//! What is counted of requests: handles that are looked up once and kept. No label is a client's to choose.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use metrics::Counter;
use service_kit::edge::{known_method, status_class};
use service_kit::meter::{self, Histogram};

const METHODS: usize = 8;
const CLASSES: usize = 5;

/// The numbers of one route, or of what takes none.
#[derive(Debug)]
pub(crate) struct Tally {
    route: Box<str>,
    answers: [[OnceLock<Counter>; CLASSES]; METHODS],
    limited: OnceLock<Counter>,
    took: Arc<Histogram>,
    upstream_took: Arc<Histogram>,
}

impl Tally {
    /// Of the route of this name; of several with one name the numbers are the same.
    pub(crate) fn of_route(route: &str) -> Self {
        Self {
            route: route.into(),
            answers: Default::default(),
            limited: OnceLock::new(),
            took: Histogram::of(
                "http_request_duration_seconds",
                &[("role", "gateway"), ("route", route)],
            ),
            upstream_took: Histogram::of("upstream_response_seconds", &[("route", route)]),
        }
    }

    /// Of whatever takes no route: files of the web app, and what leads nowhere.
    pub(crate) fn of_the_rest() -> Self {
        Self::of_route("")
    }

    /// Counts an answer by its head.
    pub(crate) fn answered(&self, method: &Method, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES) - 1;
        let counter = self.answers[index(method)][class].get_or_init(|| {
            metrics::counter!("http_requests_total", "role" => "gateway", "route" => self.route.to_string(),
                "method" => known_method(method), "status" => status_class(status))
        });
        counter.increment(1);
    }

    /// Counts an answer that is a problem which the gateway itself has seen.
    pub(crate) fn refused(&self, code: &'static str) {
        metrics::counter!("gateway_problems_total", "route" => self.route.to_string(), "code" => code).increment(1);
    }

    /// Counts a request that was one too many.
    pub(crate) fn limited(&self) {
        let counter = self
            .limited
            .get_or_init(|| metrics::counter!("rate_limited_total", "route" => self.route.to_string()));
        counter.increment(1);
    }

    /// Notes how long a request took until all of its answer was sent.
    pub(crate) fn took(&self, time: Duration) {
        self.took.record(time);
    }

    /// Notes how long an upstream took to begin its answer.
    pub(crate) fn upstream_took(&self, time: Duration) {
        self.upstream_took.record(time);
    }
}

fn index(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::POST => 1,
        Method::PUT => 2,
        Method::PATCH => 3,
        Method::DELETE => 4,
        Method::HEAD => 5,
        Method::OPTIONS => 6,
        _ => 7,
    }
}

/// How many requests one worker is at. It alone writes the number, so that counting costs nothing to the others.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Busy(AtomicUsize);

impl Busy {
    fn change(&self, change: impl Fn(usize, usize) -> usize) {
        self.0
            .store(change(self.0.load(Ordering::Relaxed), 1), Ordering::Relaxed);
    }
}

/// What is going on in a gateway now, for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Present {
    workers: Mutex<Vec<Arc<Busy>>>,
    connections: Arc<AtomicUsize>,
}

impl Present {
    /// Shows it whenever somebody scrapes, for as long as it is there.
    pub(crate) fn show(self: &Arc<Self>) {
        let present = Arc::downgrade(self);
        meter::on_scrape(move || {
            let Some(present) = present.upgrade() else {
                return false;
            };
            let workers = present.workers.lock().unwrap_or_else(PoisonError::into_inner);
            let busy = workers.iter().map(|worker| worker.0.load(Ordering::Relaxed)).sum();
            metrics::gauge!("requests_in_flight").set(number(busy));
            metrics::gauge!("client_connections").set(number(present.connections.load(Ordering::Relaxed)));
            true
        });
    }

    /// The number of a new worker.
    pub(crate) fn worker(&self) -> Arc<Busy> {
        let busy = Arc::<Busy>::default();
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::clone(&busy));
        busy
    }

    /// Counts a connection for as long as what is returned lives.
    pub(crate) fn connection(&self) -> Connection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connection(Arc::clone(&self.connections))
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
fn number(count: usize) -> f64 {
    count as f64
}

/// A client's connection that is open.
#[derive(Debug)]
pub(crate) struct Connection(Arc<AtomicUsize>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that a worker is at.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Busy>);

impl InFlight {
    pub(crate) fn on(worker: &Arc<Busy>) -> Self {
        worker.change(usize::wrapping_add);
        Self(Arc::clone(worker))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.change(usize::wrapping_sub);
    }
}
