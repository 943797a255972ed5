//! How many requests may be sent once more: so few that an upstream in trouble does not get thrice its load.

use std::cell::Cell;

/// How many requests pay for sending one once more: a fifth of them may be.
const PRICE: u32 = 5;
/// What can be saved, in requests: those before do not count any more.
const MOST: u32 = 100 * PRICE;
/// What is there without any request, and comes back by one a second.
const RESERVE: u64 = 10;
const SECOND: u64 = 1000;

/// One worker's budget for one upstream.
#[derive(Debug)]
pub(crate) struct Budget {
    earned: Cell<u32>,
    reserve: Cell<u64>,
    /// When the reserve was last filled, in milliseconds.
    filled: Cell<u64>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            earned: Cell::new(MOST),
            reserve: Cell::new(RESERVE),
            filled: Cell::new(0),
        }
    }

    /// A request came.
    pub(crate) fn earn(&self) {
        self.earned.set(self.earned.get().saturating_add(1).min(MOST));
    }

    /// Whether a request may be sent once more.
    pub(crate) fn spend(&self, now: u64) -> bool {
        if let Some(left) = self.earned.get().checked_sub(PRICE) {
            self.earned.set(left);
            return true;
        }
        let seconds = now.saturating_sub(self.filled.get()) / SECOND;
        self.filled.set(self.filled.get().saturating_add(seconds * SECOND));
        let reserve = self.reserve.get().saturating_add(seconds).min(RESERVE);
        self.reserve.set(reserve.saturating_sub(1));
        reserve > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left when everything that was saved is spent.
    fn exhausted() -> Budget {
        let budget = Budget::new();
        let spent = (0..1000).filter(|_| budget.spend(0)).count();
        assert_eq!(spent as u64, u64::from(MOST / PRICE) + RESERVE);
        budget
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_sent_once_more() {
        let budget = exhausted();
        let again = (0..10_000).filter(|_| {
            budget.earn();
            budget.spend(0)
        });
        assert_eq!(again.count(), 2000);
    }

    #[test]
    fn what_is_saved_is_bounded() {
        let budget = exhausted();
        (0..1_000_000).for_each(|_| budget.earn());
        assert_eq!((0..1000).filter(|_| budget.spend(0)).count(), 100);
    }

    #[test]
    fn a_few_come_back_with_time_so_that_rare_requests_have_them_too() {
        let budget = exhausted();
        assert!(!budget.spend(999) && budget.spend(1000) && !budget.spend(1000));
        assert!(
            budget.spend(3500) && budget.spend(3500) && !budget.spend(3500),
            "two seconds, and a half"
        );
        assert!(budget.spend(4000) && !budget.spend(4000), "which is not lost");
        assert_eq!((0..1000).filter(|_| budget.spend(1_000_000)).count(), 10);
    }
}
