//! What stands for a text where very many refer to one.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// A hash of a text, with a secret of this process: nobody can find two texts with the same one, and that two have it by
/// accident happens to one pair in 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mark(u64);

impl Mark {
    pub(crate) fn of(text: &str) -> Self {
        static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(SECRET.hash_one(text))
    }
}
