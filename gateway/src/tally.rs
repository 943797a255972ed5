//! What is counted of requests. No label is a client's to choose.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use service_kit::edge::status_class;
use service_kit::meter::{self, Histogram};

/// What metrics call the methods; those that are counted most come first.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "other"];
const CLASSES: usize = 5;

/// The numbers of one route, or of what takes none. With many routes it is what a request has to look at that costs it: so they
/// are counted here, what is needed most in one line of a processor's cache, and go elsewhere when somebody scrapes.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Tally {
    took: Arc<Histogram>,
    upstream_took: Arc<Histogram>,
    /// Answers by method and class of status.
    answers: [[AtomicU64; CLASSES]; METHODS.len()],
    limited: AtomicU64,
    route: Box<str>,
}

/// Those of each route there ever was, by its name.
fn tallies() -> &'static Mutex<BTreeMap<Box<str>, Arc<Tally>>> {
    static ALL: OnceLock<Mutex<BTreeMap<Box<str>, Arc<Tally>>>> = OnceLock::new();
    ALL.get_or_init(|| {
        meter::on_scrape(|| {
            let all = tallies().lock().unwrap_or_else(PoisonError::into_inner);
            all.values().for_each(|tally| tally.show());
            true
        });
        Mutex::default()
    })
}

impl Tally {
    /// Of the route of this name: the same for whoever asks for it, also after a reload. Ask once and keep it.
    pub(crate) fn of_route(route: &str) -> Arc<Self> {
        let mut all = tallies().lock().unwrap_or_else(PoisonError::into_inner);
        let tally = all.entry(route.into()).or_insert_with(|| {
            Arc::new(Self {
                took: Histogram::of(
                    "http_request_duration_seconds",
                    &[("role", "gateway"), ("route", route)],
                ),
                upstream_took: Histogram::of("upstream_response_seconds", &[("route", route)]),
                answers: Default::default(),
                limited: AtomicU64::new(0),
                route: route.into(),
            })
        });
        Arc::clone(tally)
    }

    /// Of whatever takes no route: files of the web app, and what leads nowhere.
    pub(crate) fn of_the_rest() -> Arc<Self> {
        Self::of_route("")
    }

    /// Counts an answer by its head.
    pub(crate) fn answered(&self, method: &Method, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES) - 1;
        self.answers[index(method)][class].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer that is a problem which the gateway itself has seen.
    pub(crate) fn refused(&self, code: &'static str) {
        metrics::counter!("gateway_problems_total", "route" => self.route.to_string(), "code" => code).increment(1);
    }

    /// Counts a request that was one too many.
    pub(crate) fn limited(&self) {
        self.limited.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how long a request took until all of its answer was sent.
    pub(crate) fn took(&self, time: Duration) {
        self.took.record(time);
    }

    /// Notes how long an upstream took to begin its answer.
    pub(crate) fn upstream_took(&self, time: Duration) {
        self.upstream_took.record(time);
    }

    /// Makes `/metrics` say what was counted.
    fn show(&self) {
        for (method, answers) in METHODS.iter().zip(&self.answers) {
            for (class, count) in (1..).zip(answers) {
                let (count, status) = (count.load(Ordering::Relaxed), StatusCode::from_u16(class * 100));
                if let (1.., Ok(status)) = (count, status) {
                    metrics::counter!("http_requests_total", "role" => "gateway", "route" => self.route.to_string(),
                        "method" => *method, "status" => status_class(status))
                    .absolute(count);
                }
            }
        }
        let limited = self.limited.load(Ordering::Relaxed);
        if limited > 0 {
            metrics::counter!("rate_limited_total", "route" => self.route.to_string()).absolute(limited);
        }
    }
}

/// The place of a method among [`METHODS`].
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

#[cfg(test)]
mod tests {
    use service_kit::edge::known_method;

    use super::*;

    #[test]
    fn each_method_is_counted_under_its_name() {
        for name in METHODS {
            let method: Method = name.parse().unwrap();
            assert_eq!(METHODS[index(&method)], known_method(&method));
        }
        for other in [Method::TRACE, Method::CONNECT, "BREW".parse().unwrap()] {
            assert_eq!(METHODS[index(&other)], known_method(&other));
        }
    }

    #[test]
    fn a_route_that_is_made_anew_goes_on_counting() {
        let before = Tally::of_route("/again");
        before.answered(&Method::GET, StatusCode::OK);
        let after = Tally::of_route("/again");
        drop(before);
        after.answered(&Method::GET, StatusCode::NO_CONTENT);
        after.answered(&Method::GET, StatusCode::from_u16(999).unwrap());
        let counts = after.answers[0].each_ref().map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counts, [0, 2, 0, 0, 1]);
    }
}
