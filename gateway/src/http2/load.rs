//! How much a connection of HTTP/2 is asked for, and whether its client takes what it has asked for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use service_kit::clock;

/// The requests of one connection that are being worked on, or whose answers were not sent whole yet.
#[derive(Debug)]
pub(crate) struct Load(Mutex<Count>);

#[derive(Debug)]
struct Count {
    open: usize,
    /// When there were none for the last time.
    unused_at: Instant,
    /// How many pieces of answers were handed over and not sent yet.
    left: usize,
    /// When one was sent for the last time, or the first of those that are left handed over.
    moved_at: Instant,
}

impl Default for Load {
    fn default() -> Self {
        let now = clock::instant();
        Self(Mutex::new(Count {
            open: 0,
            unused_at: now,
            left: 0,
            moved_at: now,
        }))
    }
}

impl Load {
    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when there is no request; `None` while there is one.
    pub(crate) fn unused_since(&self) -> Option<Instant> {
        let count = self.count();
        (count.open == 0).then_some(count.unused_at)
    }

    /// Since when nothing is taken of what is there to be sent.
    pub(crate) fn stuck_since(&self) -> Option<Instant> {
        let count = self.count();
        (count.left > 0).then_some(count.moved_at)
    }
}

/// A request's place among those of its connection, for as long as it is kept. What is sent of an answer keeps it, and
/// the library that does so may be on any thread, as far as types say.
#[derive(Debug)]
pub(super) struct Place(Arc<Load>);

impl Place {
    /// One more, and how many there are then.
    pub(super) fn take(load: &Arc<Load>) -> (Self, usize) {
        let mut count = load.count();
        count.open += 1;
        (Self(Arc::clone(load)), count.open)
    }

    /// A piece of its answer was handed over.
    pub(super) fn gives(&self) {
        let mut count = self.0.count();
        if count.left == 0 {
            count.moved_at = clock::instant();
        }
        count.left += 1;
    }

    /// It was sent, or is no longer to be.
    pub(super) fn gave(&self) {
        let mut count = self.0.count();
        count.left -= 1;
        count.moved_at = clock::instant();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut count = self.0.count();
        count.open -= 1;
        if count.open == 0 {
            count.unused_at = clock::instant();
        }
    }
}

/// How long ago `since` was, if that is too long.
pub(crate) fn is_late(since: Option<Instant>, patience: Duration) -> bool {
    since.is_some_and(|since| since.elapsed() > patience)
}
