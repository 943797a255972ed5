//! The one place time comes from, so that tests can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// A source of wall-clock time: the system's, or one that a test moves by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The operating system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at the present moment until [`Clock::advance`] moves it. Clones move together.
    #[must_use]
    pub fn standing() -> Self {
        Self(Some(Arc::new(AtomicI64::new(Self::system().now().as_microsecond()))))
    }

    /// The time now, in whole microseconds (what both databases can hold).
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place time comes from")]
    pub fn now(&self) -> Timestamp {
        let micros = match &self.0 {
            None => Timestamp::now().as_microsecond(),
            Some(micros) => micros.load(Ordering::SeqCst),
        };
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The time now in milliseconds since the epoch: what stores and the feed count in.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now().as_millisecond()
    }

    /// Moves a standing clock forward; the system clock does not move.
    pub fn advance(&self, by: Duration) {
        if let Some(micros) = &self.0 {
            micros.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

/// A moment of the monotonic clock, for measuring how long something took or how old it is.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place time comes from")]
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}
