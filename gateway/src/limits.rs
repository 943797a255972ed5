//! Rate limits of routes: how many requests an address or a user may make in a time (the generic cell rate algorithm).
//!
//! Each gateway process counts for itself.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use governor::clock::Clock;
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use service_kit::{Problem, clock};
use tokio::sync::Notify;

use crate::config::{By, RateLimit};
use crate::http1::Fields;
use crate::routes::Key as RouteKey;

/// How many addresses or users a limit keeps apart. Beyond that, those of a kind share what is left to them.
const MOST_KEYS: usize = 200_000;
/// How many kinds there are then.
const KINDS: u128 = 1 << 12;
/// How often those are forgotten that have not asked for a while.
const SWEEP: Duration = Duration::from_secs(10);

const RATE_LIMIT: &str = "ratelimit";
const RATE_LIMIT_POLICY: &str = "ratelimit-policy";
const RATE_LIMIT_LIMIT: &str = "ratelimit-limit";
const RATE_LIMIT_REMAINING: &str = "ratelimit-remaining";
const RATE_LIMIT_RESET: &str = "ratelimit-reset";

/// The monotonic clock, as the algorithm wants it: time since it was made.
#[derive(Clone, Debug)]
pub(crate) struct Monotonic(Instant);

impl Clock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Who makes a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who<'a> {
    Address(IpAddr),
    User(&'a str),
}

impl Who<'_> {
    fn counts_for<C: Clock>(self, limit: &Limit<C>) -> bool {
        match self {
            Self::Address(address) => limit.by == By::Address && !(limit.spares_loopback && address.is_loopback()),
            Self::User(_) => limit.by == By::User,
        }
    }
}

type Store = DashMapStateStore<u128, RandomState>;

/// One limit of one route.
#[derive(Debug)]
pub(crate) struct Limit<C: Clock = Monotonic> {
    by: By,
    limiter: RateLimiter<u128, Store, C, StateInformationMiddleware>,
    clock: C,
    hasher: RandomState,
    spares_loopback: bool,
    most_keys: usize,
    /// At least as many as there are new keys since the last sweep.
    fresh: AtomicUsize,
    /// Whether there may be too many to keep apart.
    crowded: AtomicBool,
    sweeper: Arc<Notify>,
    /// How the limit is called in headers.
    name: String,
    policy: String,
    most: u32,
    burst: u32,
    /// How long until one more request is allowed.
    step: Duration,
}

/// What a request was told about a limit: for the headers of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    remaining: u32,
    /// How long until everything is allowed again; of a request that is refused, until it is allowed.
    reset: Duration,
}

/// More requests than are allowed.
#[derive(Debug, thiserror::Error)]
#[error("Too many requests. Try again in {} s.", seconds(self.wait))]
pub(crate) struct TooMany {
    wait: Duration,
}

impl From<TooMany> for Problem {
    fn from(too_many: TooMany) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", too_many.to_string())
            .header(RETRY_AFTER, &seconds(too_many.wait).to_string())
    }
}

/// Whole seconds, none too few.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl<C: Clock<Instant = Duration> + Clone> Limit<C> {
    /// `None` when `config` allows nothing or is not to be counted: a mistake, which was reported.
    fn new(config: &RateLimit, name: &str, clock: C, most_keys: usize, sweeper: &Arc<Notify>) -> Option<Self> {
        let step = config.per.checked_div(config.requests)?;
        let burst = NonZeroU32::new(config.burst.unwrap_or(config.requests))?;
        let quota = Quota::with_period(step)?.allow_burst(burst);
        let hasher = RandomState::new();
        let limiter = RateLimiter::dashmap_with_clock_and_hasher(quota, clock.clone(), hasher.clone());
        // What the draft calls window is the time in which everything is allowed again.
        let window = seconds(step * burst.get()).max(1);
        Some(Self {
            by: config.by,
            limiter: limiter.with_middleware(),
            clock,
            hasher,
            spares_loopback: config.spares_loopback,
            most_keys,
            fresh: AtomicUsize::new(0),
            crowded: AtomicBool::new(false),
            sweeper: Arc::clone(sweeper),
            name: name.to_owned(),
            policy: format!("\"{name}\";q={burst};w={window}"),
            most: burst.get(),
            burst: burst.get(),
            step,
        })
    }

    /// Counts a request of `who`. Users are told apart by 64 bits that nobody can foresee; of an IPv6 address the network
    /// counts, since whoever has one address of it has them all.
    fn ask(&self, who: Who<'_>) -> (Allowance, Result<(), TooMany>) {
        self.ask_key(match who {
            Who::Address(IpAddr::V4(address)) => address.to_ipv6_mapped().to_bits(),
            Who::Address(IpAddr::V6(address)) => address.to_bits() >> 64 << 64,
            Who::User(user) => self.hasher.hash_one(user).into(),
        })
    }

    fn ask_key(&self, key: u128) -> (Allowance, Result<(), TooMany>) {
        let key = if self.crowded.load(Ordering::Relaxed) {
            u128::MAX - u128::from(self.hasher.hash_one(key)) % KINDS
        } else {
            key
        };
        match self.limiter.check_key(&key) {
            Ok(snapshot) => (self.allowed(&snapshot), Ok(())),
            Err(refused) => {
                let wait = refused.wait_time_from(self.clock.now());
                let allowance = Allowance {
                    remaining: 0,
                    reset: wait,
                };
                (allowance, Err(TooMany { wait }))
            }
        }
    }

    fn allowed(&self, snapshot: &StateSnapshot) -> Allowance {
        let remaining = snapshot.remaining_burst_capacity();
        let used = self.burst.saturating_sub(remaining);
        if used == 1 {
            self.count_fresh();
        }
        Allowance {
            remaining,
            reset: self.step * used,
        }
    }

    /// Whoever has all but one left may be new.
    fn count_fresh(&self) {
        if self.fresh.fetch_add(1, Ordering::Relaxed) == self.most_keys {
            self.sweeper.notify_one();
            if self.limiter.len() > self.most_keys {
                self.crowded.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Forgets whoever has everything left.
    fn sweep(&self) {
        self.limiter.retain_recent();
        let left = self.limiter.len();
        if left < self.most_keys / 2 {
            self.limiter.shrink_to_fit();
        }
        self.crowded.store(left >= self.most_keys, Ordering::Relaxed);
        self.fresh.store(left, Ordering::Relaxed);
    }
}

/// The limits of one route.
#[derive(Debug, Default)]
pub(crate) struct RouteLimits {
    all: Box<[Arc<Limit>]>,
    policy: String,
}

/// What a request was told by the limits that counted it, each by its place among those of the route.
pub(crate) type Told = Vec<(usize, Allowance)>;

impl RouteLimits {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Counts a request of `who`, and notes in `told` what there is to tell about it.
    pub(crate) fn ask(&self, who: Who<'_>, told: &mut Told) -> Result<(), TooMany> {
        for (index, limit) in self.all.iter().enumerate() {
            if who.counts_for(limit) {
                let (allowance, verdict) = limit.ask(who);
                told.push((index, allowance));
                verdict?;
            }
        }
        Ok(())
    }

    /// The headers of an answer: those of the Internet-Draft on rate limit headers as it is now (`RateLimit-Policy`,
    /// `RateLimit`), and those of its older versions that most clients know, for the limit that is nearest.
    pub(crate) fn show(&self, told: &[(usize, Allowance)], fields: &mut Fields) {
        let nearest = told.iter().min_by_key(|(_, allowance)| allowance.remaining);
        let Some((limit, allowance)) = nearest.and_then(|(index, allowance)| Some((self.all.get(*index)?, allowance)))
        else {
            return;
        };
        let mut all = String::with_capacity(64);
        for (index, Allowance { remaining, reset }) in told {
            let separator = if all.is_empty() { "" } else { ", " };
            let name = self.all.get(*index).map_or("", |limit| limit.name.as_str());
            let _ = write!(all, "{separator}\"{name}\";r={remaining};t={}", seconds(*reset));
        }
        fields.set(RATE_LIMIT_POLICY, self.policy.as_bytes());
        fields.set(RATE_LIMIT, all.as_bytes());
        for (name, number) in [
            (RATE_LIMIT_LIMIT, u64::from(limit.most)),
            (RATE_LIMIT_REMAINING, allowance.remaining.into()),
            (RATE_LIMIT_RESET, seconds(allowance.reset)),
        ] {
            fields.remove(name);
            fields.push_number(name, number);
        }
    }
}

/// All limits of a gateway, which outlive a reload that leaves them as they are.
#[derive(Debug)]
pub(crate) struct Limits {
    known: Mutex<HashMap<Place, Weak<Limit>>>,
    clock: Monotonic,
    sweeper: Arc<Notify>,
}

/// What makes two limits the same: route, place among its limits, and everything that is said of it.
type Place = (RouteKey, usize, RateLimit);

impl Default for Limits {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            clock: Monotonic(clock::instant()),
            sweeper: Arc::default(),
        }
    }
}

impl Limits {
    /// The limits of `route` that `configs` describe.
    pub(crate) fn of_route(&self, route: &RouteKey, configs: &[RateLimit]) -> RouteLimits {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::with_capacity(configs.len());
        for (index, config) in configs.iter().enumerate() {
            let place = (route.clone(), index, config.clone());
            let limit = known.get(&place).and_then(Weak::upgrade).or_else(|| {
                let earlier = configs[..index].iter().filter(|other| other.by == config.by).count();
                let name = match earlier {
                    0 => config.by.name().to_owned(),
                    n => format!("{}-{}", config.by.name(), n + 1),
                };
                Limit::new(config, &name, self.clock.clone(), MOST_KEYS, &self.sweeper).map(Arc::new)
            });
            if let Some(limit) = limit {
                known.insert(place, Arc::downgrade(&limit));
                all.push(limit);
            }
        }
        let policies: Vec<&str> = all.iter().map(|limit| limit.policy.as_str()).collect();
        RouteLimits {
            policy: policies.join(", "),
            all: all.into(),
        }
    }

    /// Keeps the memory of all limits bounded; never ends.
    pub(crate) async fn sweep(&self) {
        loop {
            let _ = tokio::time::timeout(SWEEP, self.sweeper.notified()).await;
            for limit in self.living() {
                limit.sweep();
            }
        }
    }

    fn living(&self) -> Vec<Arc<Limit>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, limit| limit.strong_count() > 0);
        known.values().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that a test moves.
    #[derive(Clone, Debug, Default)]
    struct ByHand(Arc<Mutex<Duration>>);

    impl Clock for ByHand {
        type Instant = Duration;

        fn now(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    impl ByHand {
        fn advance(&self, by: Duration) {
            *self.0.lock().unwrap() += by;
        }
    }

    fn config(text: &str) -> RateLimit {
        serde_json::from_str(text).unwrap()
    }

    fn limit(text: &str, clock: &ByHand, most_keys: usize) -> Limit<ByHand> {
        Limit::new(&config(text), "address", clock.clone(), most_keys, &Arc::default()).unwrap()
    }

    fn from(address: &str) -> Who<'static> {
        Who::Address(address.parse().unwrap())
    }

    #[test]
    fn a_burst_is_allowed_and_after_it_one_request_for_each_step() {
        let clock = ByHand::default();
        let limit = limit(
            r#"{"by": "address", "requests": 10, "per": "1s", "burst": 3}"#,
            &clock,
            10,
        );
        for remaining in [2, 1, 0] {
            let (allowance, verdict) = limit.ask(from("192.0.2.1"));
            assert!(verdict.is_ok());
            assert_eq!(allowance.remaining, remaining);
        }
        for _ in 0..2 {
            let (allowance, verdict) = limit.ask(from("192.0.2.1"));
            assert_eq!(verdict.unwrap_err().wait, Duration::from_millis(100));
            assert_eq!((allowance.remaining, allowance.reset), (0, Duration::from_millis(100)));
        }
        assert!(limit.ask(from("192.0.2.2")).1.is_ok(), "others have their own");
        clock.advance(Duration::from_millis(100));
        assert!(limit.ask(from("192.0.2.1")).1.is_ok());
        assert!(limit.ask(from("192.0.2.1")).1.is_err());
        clock.advance(Duration::from_millis(300));
        assert_eq!(limit.ask(from("192.0.2.1")).0.remaining, 2);
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_are_one_and_those_of_ipv4_are_not() {
        let limit = limit(
            r#"{"by": "address", "requests": 1, "per": "1m"}"#,
            &ByHand::default(),
            10,
        );
        let allows = |address: &str| limit.ask(from(address)).1.is_ok();
        assert!(allows("2001:db8::1") && !allows("2001:db8::ffff:1") && allows("2001:db8:0:1::1"));
        assert!(allows("192.0.2.1") && !allows("192.0.2.1") && allows("192.0.2.2"));
    }

    #[test]
    fn a_limit_of_ours_spares_this_machine_and_one_of_an_operator_does_not() {
        let mut ours = config(r#"{"by": "address", "requests": 1, "per": "1m"}"#);
        let limits = Limits::default();
        for spares in [true, false] {
            ours.spares_loopback = spares;
            let route = limits.of_route(&RouteKey::default(), &[ours.clone()]);
            let mut told = Told::new();
            for address in ["127.0.0.1", "::1", "192.0.2.1"] {
                assert!(route.ask(from(address), &mut told).is_ok());
            }
            assert_eq!(told.len(), if spares { 1 } else { 3 });
            assert_eq!(route.ask(from("127.0.0.1"), &mut told).is_ok(), spares);
        }
    }

    #[test]
    fn whoever_has_everything_left_is_forgotten() {
        let clock = ByHand::default();
        let limit = limit(
            r#"{"by": "user", "requests": 1, "per": "1s", "burst": 2}"#,
            &clock,
            1000,
        );
        for user in 0..100 {
            let _ = limit.ask(Who::User(&user.to_string()));
        }
        clock.advance(Duration::from_millis(500));
        let _ = limit.ask(Who::User("late"));
        limit.sweep();
        assert_eq!(
            limit.limiter.len(),
            101,
            "they would have less than everybody who is new"
        );
        clock.advance(Duration::from_secs(2));
        let _ = limit.ask(Who::User("latest"));
        limit.sweep();
        assert_eq!(limit.limiter.len(), 1);
    }

    #[test]
    fn however_many_ask_memory_is_bounded_and_the_limit_holds() {
        let clock = ByHand::default();
        let limit = limit(r#"{"by": "address", "requests": 2, "per": "1m"}"#, &clock, 500);
        let flood = || {
            let networks = 0..100_000_u128;
            networks
                .filter(|network| limit.ask_key(network << 64).1.is_ok())
                .count()
        };
        let mut allowed = flood();
        assert!(limit.crowded.load(Ordering::Relaxed));
        limit.sweep();
        allowed += flood();
        let kinds = usize::try_from(KINDS).unwrap();
        assert!(limit.limiter.len() <= 502 + kinds, "{}", limit.limiter.len());
        assert!(allowed <= 2 * (502 + kinds), "{allowed}");

        clock.advance(Duration::from_mins(2));
        limit.sweep();
        assert!(!limit.crowded.load(Ordering::Relaxed) && limit.limiter.is_empty());
    }

    #[test]
    fn a_limit_that_stays_the_same_keeps_what_it_has_counted() {
        let limits = Limits::default();
        let key = RouteKey::default();
        let both = [
            config(r#"{"by": "address", "requests": 2, "per": "1m"}"#),
            config(r#"{"by": "user", "requests": 5, "per": "1m", "burst": 1}"#),
        ];
        let before = limits.of_route(&key, &both);
        let mut told = Told::new();
        before.ask(from("192.0.2.1"), &mut told).unwrap();
        let after = limits.of_route(&key, &both);
        drop(before);
        after.ask(from("192.0.2.1"), &mut told).unwrap();
        after.ask(Who::User("7"), &mut told).unwrap();
        after.ask(from("192.0.2.1"), &mut told).unwrap_err();
        let changed = [config(r#"{"by": "address", "requests": 3, "per": "1m"}"#)];
        limits
            .of_route(&key, &changed)
            .ask(from("192.0.2.1"), &mut told)
            .unwrap();

        let mut fields = Fields::new();
        after.show(&told[..3], &mut fields);
        let header = |name| fields.text(name).unwrap();
        assert_eq!(header(RATE_LIMIT_POLICY), r#""address";q=2;w=60, "user";q=1;w=12"#);
        assert_eq!(
            header(RATE_LIMIT),
            r#""address";r=1;t=30, "address";r=0;t=60, "user";r=0;t=12"#
        );
        assert_eq!(
            (
                header(RATE_LIMIT_LIMIT),
                header(RATE_LIMIT_REMAINING),
                header(RATE_LIMIT_RESET)
            ),
            ("2", "0", "60")
        );
    }
}
