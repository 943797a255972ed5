//! The rules of refresh rotation, as a pure function of what is stored, what is shown, and when.
//!
//! Every store asks [`decide`] inside its one atomic step (or, where the step runs elsewhere, agrees with it by the
//! contract suite). docs/ROTATION.md has the whole model: what the rules promise, to whom, and what they do not.

#[cfg(test)]
pub(crate) mod schedule;
#[cfg(test)]
mod tests;

use std::time::Duration;

/// How often one generation may be given again after its first reply was lost.
pub const MAX_REISSUES: u8 = 10;

/// Which token of a session: they count up, and never come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial {
    /// 0 at login, one more at each rotation.
    pub generation: u32,
    /// How often this generation was given again.
    pub reissues: u8,
}

/// What a session remembers of its rotations; times in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The token that is good now.
    pub current: Serial,
    /// How often the generation before had been given again when it was rotated; none before the first rotation.
    pub replaced_reissues: Option<u8>,
    /// When the current generation was made.
    pub rotated_at: i64,
    /// When the current token was made, or given once more to somebody who had the one before.
    pub issued_at: i64,
}

/// For how long what was superseded is still answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// W1, in milliseconds: a session rotates at most once in this time, and the predecessor is answered with the successor.
    pub replay: i64,
    /// W2, in milliseconds: within this time of a rotation the predecessor brings a reissue: its reply was lost.
    pub recovery: i64,
}

impl Windows {
    /// The windows in whole milliseconds. Both zero is strict single use.
    #[must_use]
    pub fn new(replay: Duration, recovery: Duration) -> Self {
        let millis = |window: Duration| i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        Self {
            replay: millis(replay),
            recovery: millis(recovery),
        }
    }
}

/// What becomes of a session when an authentic token of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The chain moves to this state; the answer is its current token.
    Grant(Chain),
    /// A token that nobody honest still holds: somebody has a copy.
    Reuse,
}

impl Chain {
    /// The chain of a session that was just opened.
    #[must_use]
    pub fn opened(now: i64) -> Self {
        Self {
            current: Serial {
                generation: 0,
                reissues: 0,
            },
            replaced_reissues: None,
            rotated_at: now,
            issued_at: now,
        }
    }

    /// The chain of a session that was just opened for a token of the system before, which counts as its generation 0: shown
    /// again, it is the token that the current one replaced.
    #[must_use]
    pub fn exchanged(now: i64) -> Self {
        Self {
            current: Serial {
                generation: Self::EXCHANGED.generation + 1,
                reissues: 0,
            },
            replaced_reissues: Some(Self::EXCHANGED.reissues),
            rotated_at: now,
            issued_at: now,
        }
    }

    /// What the token that an exchanged session was opened for counts as.
    pub const EXCHANGED: Serial = Serial {
        generation: 0,
        reissues: 0,
    };

    fn replaced(&self) -> Option<Serial> {
        Some(Serial {
            generation: self.current.generation.checked_sub(1)?,
            reissues: self.replaced_reissues?,
        })
    }
}

/// Decides about `presented` at `now` (milliseconds since the epoch).
#[must_use]
pub fn decide(chain: &Chain, presented: Serial, now: i64, windows: Windows) -> Step {
    let age = now.saturating_sub(chain.issued_at);
    if presented == chain.current {
        let fresh_from_login = chain.current.generation == 0;
        if !fresh_from_login && age < windows.replay {
            return Step::Grant(*chain);
        }
        return Step::Grant(Chain {
            current: Serial {
                generation: chain.current.generation.saturating_add(1),
                reissues: 0,
            },
            replaced_reissues: Some(presented.reissues),
            rotated_at: now,
            issued_at: now,
        });
    }
    if Some(presented) == chain.replaced() {
        let since_rotation = now.saturating_sub(chain.rotated_at);
        let longest = windows.replay.saturating_add(windows.recovery);
        if windows.replay > 0 && age <= windows.replay && since_rotation <= longest {
            // Who has it from this answer may use it as if it were new: others still show its predecessor.
            let mut replayed = *chain;
            replayed.issued_at = replayed.issued_at.max(now);
            return Step::Grant(replayed);
        }
        if windows.recovery > 0 && since_rotation <= windows.recovery && chain.current.reissues < MAX_REISSUES {
            let mut reissued = *chain;
            reissued.current.reissues += 1;
            reissued.issued_at = now;
            return Step::Grant(reissued);
        }
    }
    Step::Reuse
}
