//! The connections that are being made, used or closed: none may be when the process ends.
//!
//! The pool makes connections, and may close them, on threads of its own, which nobody joins. OpenSSL clears away at exit
//! what such a thread still uses, and the process would crash.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the end waits: longer than libpq tries to connect, unless the URL tells it to, and short enough to end in
/// order when requests have taken their time before.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many there are.
#[derive(Default)]
pub(super) struct Tally {
    state: Mutex<State>,
    fewer: Condvar,
}

#[derive(Default)]
struct State {
    count: usize,
    is_over: bool,
}

/// One of them: from before it is made until after it is closed.
pub(super) struct Counted(Arc<Tally>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.state().count -= 1;
        self.0.fewer.notify_all();
    }
}

/// When this is dropped no other begins, and those that have begun are waited for.
#[derive(Default)]
pub(super) struct End(pub(super) Arc<Tally>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_over = true;
        drop(
            self.0
                .fewer
                .wait_timeout_while(state, PATIENCE, |state| state.count > 0),
        );
    }
}

impl Tally {
    /// Counts one more; `None` once the end has come.
    pub(super) fn count(self: &Arc<Self>) -> Option<Counted> {
        let mut state = self.state();
        (!state.is_over).then(|| {
            state.count += 1;
            Counted(Arc::clone(self))
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_waits_for_what_has_begun_and_lets_no_other_begin() {
        let end = End::default();
        let tally = Arc::clone(&end.0);
        let begun = tally.count().unwrap();
        let ending = std::thread::spawn(move || drop(end));
        while tally.count().is_some() {}
        assert!(!ending.is_finished(), "one has begun");
        drop(begun);
        ending.join().unwrap();
        assert_eq!(tally.state().count, 0);
    }
}
