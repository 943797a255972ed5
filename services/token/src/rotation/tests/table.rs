//! Each row of the table, and each edge of a window.

use proptest::prelude::*;

use crate::rotation::schedule::WINDOWS;
use crate::rotation::{Chain, Serial, Step, Windows, decide};

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
    let replayed = granted(decide(&chain, serial(0, 0), 10_000, WINDOWS));
    assert_eq!(
        (replayed.current, replayed.rotated_at),
        (chain.current, chain.rotated_at)
    );
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
fn a_replayed_token_is_as_if_new_but_not_for_longer_than_both_windows() {
    let mut chain = granted(decide(&Chain::opened(0), serial(0, 0), 0, WINDOWS));
    for time in (10_000..=310_000).step_by(10_000) {
        let young = decide(&chain, serial(1, 0), time - 1, WINDOWS);
        assert_eq!(young, Step::Grant(chain), "whoever has it keeps it");
        chain = granted(decide(&chain, serial(0, 0), time, WINDOWS));
        assert_eq!((chain.current, chain.issued_at), (serial(1, 0), time));
    }
    assert_eq!(decide(&chain, serial(0, 0), 310_001, WINDOWS), Step::Reuse);
    assert_eq!(
        granted(decide(&chain, serial(1, 0), 320_000, WINDOWS)).current,
        serial(2, 0)
    );
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
}
