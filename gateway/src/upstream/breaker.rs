//! Keeps away, for a while, from what failed several times in a row: a target, or an upstream as a whole.
//!
//! One machine serves both, so that being passed over and being let in again mean the same everywhere:
//!
//! ```text
//! closed ──(enough failures in a row)──► open ──(its time is over)──► half open ──(one is let in)──► open, for longer
//!    ▲                                                                                                  │
//!    └──────────────────────────────────(an answer)─────────────────────────────────────────────────────┘
//! ```

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Counts failures in a row. Times are milliseconds of the owner's clock. While nothing fails, asking costs a read.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// How many failures in a row open it; 0: it never opens.
    limit: u32,
    shortest: Duration,
    longest: Duration,
    failures: AtomicU32,
    /// How often it was opened since the last success.
    openings: AtomicU32,
    /// When it stops being open; 0: it is closed.
    until: AtomicU64,
}

impl Breaker {
    /// Opens after `limit` failures in a row for `shortest`, then for twice as long each time, up to `longest`.
    pub(crate) fn new(limit: u32, shortest: Duration, longest: Duration) -> Self {
        Self {
            limit,
            shortest,
            longest,
            failures: AtomicU32::new(0),
            openings: AtomicU32::new(0),
            until: AtomicU64::new(0),
        }
    }

    /// Goes on from where `before` is, which has the same clock.
    pub(crate) fn take_over(&self, before: &Self) {
        for (new, old) in [(&self.failures, &before.failures), (&self.openings, &before.openings)] {
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        // What never opens is never asked whether it is to be closed.
        if self.limit > 0 {
            self.until
                .store(before.until.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.until.load(Ordering::Relaxed) == 0
    }

    /// Whether nobody is let in at `now`.
    pub(crate) fn is_open(&self, now: u64) -> bool {
        now < self.until.load(Ordering::Relaxed)
    }

    /// Lets the caller in, if it is closed, or if its time is over and the caller is the first to ask: it opens again for
    /// everybody else, for longer, until an answer closes it.
    ///
    /// # Errors
    /// How long it stays open.
    pub(crate) fn enter(&self, now: u64) -> Result<(), Duration> {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 {
            return Ok(());
        }
        if now < until {
            return Err(Duration::from_millis(until - now));
        }
        let next = self.end_of_pause(now);
        match self
            .until
            .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => {
                self.openings.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            // Somebody was let in just now, or it was closed.
            Err(0) => Ok(()),
            Err(until) => Err(Duration::from_millis(until.saturating_sub(now))),
        }
    }

    /// One failure more. Tells whether it opens now.
    pub(crate) fn failed(&self, now: u64) -> bool {
        self.fail(now, 1)
    }

    /// A failure that opens it by itself. Tells whether it opens now.
    pub(crate) fn failed_for_good(&self, now: u64) -> bool {
        self.fail(now, self.limit)
    }

    fn fail(&self, now: u64, weight: u32) -> bool {
        let before = self.failures.load(Ordering::Relaxed);
        let failures = before.saturating_add(weight);
        self.failures.store(failures, Ordering::Relaxed);
        // Those that fail late, of requests from before it opened, make it neither open again nor for longer.
        let opens = self.limit > 0
            && failures >= self.limit
            && self
                .until
                .compare_exchange(0, self.end_of_pause(now), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if opens {
            self.openings.fetch_add(1, Ordering::Relaxed);
        }
        opens
    }

    /// There was an answer: everybody is let in again, and the next failure counts with those before it.
    pub(crate) fn answered(&self) {
        if !self.is_closed() {
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// An answer came to its end: all is forgotten.
    pub(crate) fn succeeded(&self) {
        self.answered();
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.openings.store(0, Ordering::Relaxed);
        }
    }

    fn end_of_pause(&self, now: u64) -> u64 {
        let times = 1_u32
            .checked_shl(self.openings.load(Ordering::Relaxed))
            .unwrap_or(u32::MAX);
        let pause = self.shortest.saturating_mul(times).min(self.longest);
        now.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
            .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(limit: u32) -> Breaker {
        Breaker::new(limit, Duration::from_secs(1), Duration::from_secs(5))
    }

    fn left(ms: u64) -> Result<(), Duration> {
        Err(Duration::from_millis(ms))
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let breaker = breaker(3);
        assert!(!breaker.failed(0) && !breaker.failed(0));
        breaker.succeeded();
        assert!(!breaker.failed(0) && !breaker.failed(0));
        assert_eq!(breaker.enter(0), Ok(()));
        assert!(breaker.failed(0));
        assert_eq!(breaker.enter(400), left(600));
        assert!(breaker.is_open(999) && !breaker.is_open(1000));
    }

    #[test]
    fn one_is_let_in_when_its_time_is_over_and_only_an_answer_lets_in_all() {
        let breaker = breaker(1);
        assert!(breaker.failed(0));
        assert_eq!(breaker.enter(1000), Ok(()), "the first");
        assert_eq!(breaker.enter(1000), left(2000), "nobody else, for twice as long");
        assert!(!breaker.failed(1500), "it is open already");
        assert_eq!(breaker.enter(2999), left(1));
        assert_eq!(breaker.enter(3000), Ok(()));
        breaker.answered();
        assert_eq!((breaker.enter(3001), breaker.enter(3001)), (Ok(()), Ok(())));
        assert!(breaker.failed(3002), "on probation: one failure is enough");
        assert_eq!(breaker.enter(3002), left(5000), "at most");
        breaker.succeeded();
        assert!(breaker.failed(4000));
        assert_eq!(breaker.enter(4000), left(1000), "and after a success it begins anew");
    }

    #[test]
    fn its_time_grows_and_is_bounded_and_one_whose_request_never_ends_does_not_keep_others_out() {
        let breaker = breaker(1);
        breaker.failed(0);
        let mut now = 0;
        for pause in [1000, 2000, 4000, 5000, 5000] {
            assert_eq!(breaker.enter(now), left(pause));
            now += pause;
            assert_eq!(breaker.enter(now), Ok(()));
        }
        for _ in 0..100 {
            now += 5000;
            assert_eq!(breaker.enter(now), Ok(()));
        }
        assert_eq!(breaker.enter(now), left(5000));
    }

    #[test]
    fn those_that_fail_late_do_not_prolong_it() {
        let breaker = breaker(2);
        breaker.failed(0);
        assert!(breaker.failed(0));
        for now in 0..1000 {
            assert!(!breaker.failed(now));
        }
        assert_eq!(breaker.enter(1000), Ok(()));
    }

    #[test]
    fn one_failure_can_be_enough_and_no_limit_means_never() {
        let five = breaker(5);
        assert!(five.failed_for_good(0));
        let never = breaker(0);
        for _ in 0..1000 {
            assert!(!never.failed(0) && !never.failed_for_good(0));
        }
        assert_eq!(never.enter(0), Ok(()));
    }

    #[test]
    fn of_many_that_ask_at_once_one_is_let_in() {
        let breaker = breaker(1);
        breaker.failed(0);
        let let_in = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| breaker.enter(1000).is_ok())).collect();
            let answers = asking.into_iter().map(|one| one.join().unwrap());
            answers.filter(|entered| *entered).count()
        });
        assert_eq!(let_in, 1);
    }
}
