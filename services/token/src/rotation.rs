//! The rules of refresh rotation, as a pure function of what is stored, what is shown, and when.
//!
//! Every store asks [`decide`] inside its one atomic step (or, where the step runs elsewhere, agrees with it by the
//! contract suite).

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
    /// When the current token was made.
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
        if windows.replay > 0 && age <= windows.replay {
            return Step::Grant(*chain);
        }
        let since_rotation = now.saturating_sub(chain.rotated_at);
        if windows.recovery > 0 && since_rotation <= windows.recovery && chain.current.reissues < MAX_REISSUES {
            let mut reissued = *chain;
            reissued.current.reissues += 1;
            reissued.issued_at = now;
            return Step::Grant(reissued);
        }
    }
    Step::Reuse
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOWS: Windows = Windows {
        replay: 10_000,
        recovery: 300_000,
    };

    fn serial(generation: u32, reissues: u8) -> Serial {
        Serial { generation, reissues }
    }

    fn granted(step: Step) -> Chain {
        match step {
            Step::Grant(chain) => chain,
            Step::Reuse => panic!("reuse"),
        }
    }

    #[test]
    fn a_token_fresh_from_login_rotates_at_once_and_a_younger_one_is_kept() {
        let opened = Chain::opened(0);
        let first = granted(decide(&opened, serial(0, 0), 1, WINDOWS));
        assert_eq!(first.current, serial(1, 0));
        assert_eq!(granted(decide(&first, serial(1, 0), 10_000, WINDOWS)), first);
        assert_eq!(
            granted(decide(&first, serial(1, 0), 10_001, WINDOWS)).current,
            serial(2, 0)
        );
    }

    #[test]
    fn the_predecessor_is_replayed_then_reissued_then_reuse() {
        let chain = granted(decide(&Chain::opened(0), serial(0, 0), 0, WINDOWS));
        assert_eq!(granted(decide(&chain, serial(0, 0), 10_000, WINDOWS)), chain);
        let reissued = granted(decide(&chain, serial(0, 0), 10_001, WINDOWS));
        assert_eq!(reissued.current, serial(1, 1));
        assert_eq!(
            decide(&reissued, serial(1, 0), 10_002, WINDOWS),
            Step::Reuse,
            "what a reissue replaces is dead"
        );
        assert_eq!(decide(&chain, serial(0, 0), 300_001, WINDOWS), Step::Reuse);
    }

    #[test]
    fn a_generation_is_reissued_ten_times_at_most() {
        let mut chain = granted(decide(&Chain::opened(0), serial(0, 0), 0, WINDOWS));
        for time in 1..=10 {
            chain = granted(decide(&chain, serial(0, 0), time * 10_001, WINDOWS));
        }
        assert_eq!(chain.current, serial(1, 10));
        assert_eq!(decide(&chain, serial(0, 0), 11 * 10_001, WINDOWS), Step::Reuse);
    }

    #[test]
    fn without_windows_every_token_is_good_once() {
        let strict = Windows { replay: 0, recovery: 0 };
        let chain = granted(decide(&Chain::opened(0), serial(0, 0), 0, strict));
        assert_eq!(decide(&chain, serial(0, 0), 0, strict), Step::Reuse);
        assert_eq!(granted(decide(&chain, serial(1, 0), 0, strict)).current, serial(2, 0));
    }

    proptest! {
        /// Whatever is shown whenever: serials only grow, at most one rotation happens in a replay window, and a grant
        /// never brings back a token that was superseded.
        #[test]
        fn serials_only_grow_and_rotations_are_apart(steps in prop::collection::vec((0_i64..400_000, 0_u32..6, 0_u8..4), 1..200)) {
            let mut chain = Chain::opened(0);
            let (mut now, mut last_rotation) = (0, None::<i64>);
            for (pause, back, reissues) in steps {
                now += pause / 20;
                let presented = serial(chain.current.generation.saturating_sub(back), reissues.min(chain.current.reissues));
                if let Step::Grant(next) = decide(&chain, presented, now, WINDOWS) {
                    prop_assert!(next.current >= chain.current);
                    if next.current.generation > chain.current.generation {
                        prop_assert_eq!(presented, chain.current);
                        if let Some(last) = last_rotation {
                            prop_assert!(now - last >= WINDOWS.replay);
                        }
                        last_rotation = Some(now);
                    }
                    chain = next;
                } else {
                    prop_assert!(presented != chain.current);
                }
            }
        }

        /// A holder who always stores the newest answer and repeats what he holds within the recovery window when an
        /// answer is lost is never taken for a thief.
        #[test]
        fn a_holder_who_loses_replies_is_never_signed_out(steps in prop::collection::vec((0_i64..20_000, any::<bool>()), 1..300)) {
            let mut chain = Chain::opened(0);
            let (mut held, mut now, mut losing_since) = (chain.current, 0, None::<i64>);
            for (pause, lost) in steps {
                now += pause;
                let step = decide(&chain, held, now, WINDOWS);
                let give_up = losing_since.is_some_and(|since| now - since > 60_000);
                chain = match step {
                    Step::Grant(next) => next,
                    Step::Reuse => return Err(TestCaseError::fail(format!("signed out at {now} holding {held:?} of {chain:?}"))),
                };
                if lost && !give_up {
                    losing_since.get_or_insert(now);
                } else {
                    held = chain.current;
                    losing_since = None;
                }
            }
        }
    }
}
