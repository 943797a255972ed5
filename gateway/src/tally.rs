//! What is counted of requests. No label is a client's to choose.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use service_kit::meter::{self, Count, Histogram, Times};

/// What metrics call the methods; those that are counted most come first.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "other"];
/// The place of whatever has no name of its own.
const OTHER: usize = METHODS.len() - 1;
/// How most answers are counted: the first of the methods, and that all went well.
const USUAL: (usize, u16) = (0, 200);

/// What one worker has counted of one route, or of what takes none. It alone writes the numbers, so that workers do not wait for
/// each other. With many routes it is what a request has to look at that costs it: an ordinary one needs two lines of a
/// processor's cache here.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Tally {
    /// Answers that are counted as [`USUAL`].
    usual: Count,
    took: Times,
    upstream_took: Times,
    limited: Count,
    /// All others, by the place of the method and by [`label`]. Nobody else takes the lock but whoever scrapes.
    others: Mutex<BTreeMap<(usize, u16), u64>>,
    route: Arc<str>,
}

impl Tally {
    fn new(route: &Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            usual: Count::default(),
            took: Times::default(),
            upstream_took: Times::default(),
            limited: Count::default(),
            others: Mutex::default(),
            route: Arc::clone(route),
        })
    }

    /// Counts an answer by its head; no method: to what was no request.
    pub(crate) fn answered(&self, method: Option<&Method>, status: StatusCode) {
        match (method.map_or(OTHER, index), status.as_u16()) {
            USUAL => self.usual.add(1),
            (method, _) => *self.others().entry((method, label(status))).or_default() += 1,
        }
    }

    fn others(&self) -> MutexGuard<'_, BTreeMap<(usize, u16), u64>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an answer that is a problem which the gateway itself has seen.
    pub(crate) fn refused(&self, code: &'static str) {
        metrics::counter!("gateway_problems_total", "route" => self.route.to_string(), "code" => code).increment(1);
    }

    /// Counts a request that was one too many.
    pub(crate) fn limited(&self) {
        self.limited.add(1);
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

/// What all workers there ever were have counted of a route: they end, and their numbers do not.
#[derive(Clone)]
struct Total {
    took: Arc<Histogram>,
    upstream_took: Arc<Histogram>,
    parts: Vec<Arc<Tally>>,
}

impl Total {
    fn of(route: &str) -> Self {
        Self {
            took: Histogram::of(
                "http_request_duration_seconds",
                &[("role", "gateway"), ("route", route)],
            ),
            upstream_took: Histogram::of("upstream_response_seconds", &[("route", route)]),
            parts: Vec::new(),
        }
    }

    /// Makes `/metrics` say what was counted.
    fn show(&self, route: &str) {
        self.took.show(self.parts.iter().map(|part| &part.took));
        self.upstream_took
            .show(self.parts.iter().map(|part| &part.upstream_took));
        let sum = |count: fn(&Tally) -> u64| self.parts.iter().map(|part| count(part)).sum::<u64>();
        let mut answers = BTreeMap::from([(USUAL, sum(|part| part.usual.get()))]);
        for part in &self.parts {
            for (answer, count) in &*part.others() {
                *answers.entry(*answer).or_default() += count;
            }
        }
        for ((method, status), count) in answers {
            if count > 0 {
                metrics::counter!("http_requests_total", "role" => "gateway", "route" => route.to_owned(),
                    "method" => METHODS[method], "status" => shown(status))
                .absolute(count);
            }
        }
        let limited = sum(|part| part.limited.get());
        if limited > 0 {
            metrics::counter!("rate_limited_total", "route" => route.to_owned()).absolute(limited);
        }
    }
}

/// Those of each route there ever was, by its name.
fn totals() -> &'static Mutex<BTreeMap<Arc<str>, Total>> {
    static ALL: OnceLock<Mutex<BTreeMap<Arc<str>, Total>>> = OnceLock::new();
    ALL.get_or_init(|| {
        meter::on_scrape(|| {
            // Workers that come upon a route for the first time do not wait until all of them are shown.
            let all = totals().lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (route, total) in &all {
                total.show(route);
            }
            true
        });
        Mutex::default()
    })
}

/// What one worker counts.
#[derive(Debug)]
pub(crate) struct Ledger {
    routes: RefCell<BTreeMap<Arc<str>, Arc<Tally>>>,
    /// The numbers of whatever takes no route: files of the web app, and what leads nowhere.
    pub(crate) rest: Arc<Tally>,
    /// How many requests the worker is at.
    busy: Arc<Busy>,
}

impl Ledger {
    pub(crate) fn new(present: &Present) -> Rc<Self> {
        let routes = RefCell::default();
        Rc::new(Self {
            rest: Self::tally(&routes, ""),
            routes,
            busy: present.worker(),
        })
    }

    /// The numbers of the route of this name: the same whenever they are asked for, also after a reload. Ask once and keep them.
    pub(crate) fn of_route(&self, route: &str) -> Arc<Tally> {
        Self::tally(&self.routes, route)
    }

    fn tally(routes: &RefCell<BTreeMap<Arc<str>, Arc<Tally>>>, route: &str) -> Arc<Tally> {
        let mut routes = routes.borrow_mut();
        if let Some(known) = routes.get(route) {
            return Arc::clone(known);
        }
        let mut totals = totals().lock().unwrap_or_else(PoisonError::into_inner);
        let name = Arc::<str>::from(route);
        let tally = Tally::new(&name);
        let total = totals.entry(Arc::clone(&name)).or_insert_with(|| Total::of(route));
        total.parts.push(Arc::clone(&tally));
        routes.insert(name, Arc::clone(&tally));
        tally
    }
}

/// What an answer is counted by: its status or, if that is one which nobody has registered, and of which a service may have
/// very many, the first digit.
fn label(status: StatusCode) -> u16 {
    let number = status.as_u16();
    status.canonical_reason().map_or(number / 100, |_| number)
}

/// The same, for people.
fn shown(label: u16) -> String {
    if label < 10 {
        format!("{label}xx")
    } else {
        label.to_string()
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
        _ => OTHER,
    }
}

/// A number that one worker writes, far from those of the others.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Busy(Count);

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
            let busy = workers.iter().map(|worker| worker.0.get()).fold(0, u64::wrapping_add);
            metrics::gauge!("requests_in_flight").set(number(busy));
            metrics::gauge!("client_connections").set(number(present.connections.load(Ordering::Relaxed) as u64));
            true
        });
    }

    /// The number of a new worker.
    fn worker(&self) -> Arc<Busy> {
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
fn number(count: u64) -> f64 {
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
pub(crate) struct InFlight(Rc<Ledger>);

impl InFlight {
    pub(crate) fn on(ledger: &Rc<Ledger>) -> Self {
        ledger.busy.0.add(1);
        Self(Rc::clone(ledger))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.busy.0.take(1);
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
    fn what_workers_count_is_added_up_and_outlives_them() {
        meter::start();
        let present = Present::default();
        let count = |ledger: &Ledger| {
            let tally = ledger.of_route("/again");
            tally.answered(Some(&Method::GET), StatusCode::OK);
            tally.answered(Some(&Method::PUT), StatusCode::from_u16(999).unwrap());
            tally.limited();
            tally.took(Duration::from_millis(3));
            tally.upstream_took(Duration::from_millis(2));
        };
        let [one, other] = [(); 2].map(|()| Ledger::new(&present));
        count(&one);
        // As after a reload.
        count(&one);
        count(&other);
        drop(one);
        for (times, seconds, upstream_seconds) in [(3, "0.009", "0.006"), (4, "0.012", "0.008")] {
            let text = meter::render();
            let shown: Vec<&str> = text.lines().filter(|line| line.contains("route=\"/again\"")).collect();
            let took = "http_request_duration_seconds_";
            for line in [
                format!(r#"http_requests_total{{role="gateway",route="/again",method="GET",status="200"}} {times}"#),
                format!(r#"http_requests_total{{role="gateway",route="/again",method="PUT",status="9xx"}} {times}"#),
                format!(r#"rate_limited_total{{route="/again"}} {times}"#),
                format!(r#"{took}bucket{{role="gateway",route="/again",le="0.0025"}} 0"#),
                format!(r#"{took}bucket{{role="gateway",route="/again",le="0.005"}} {times}"#),
                format!(r#"{took}count{{role="gateway",route="/again"}} {times}"#),
                format!(r#"{took}sum{{role="gateway",route="/again"}} {seconds}"#),
                format!(r#"upstream_response_seconds_bucket{{route="/again",le="0.0025"}} {times}"#),
                format!(r#"upstream_response_seconds_sum{{route="/again"}} {upstream_seconds}"#),
            ] {
                assert!(shown.contains(&line.as_str()), "{line}: {shown:#?}");
            }
            count(&other);
        }
    }
}
