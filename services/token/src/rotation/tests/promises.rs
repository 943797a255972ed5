//! What the rules promise (docs/ROTATION.md), on many random schedules.

use std::cell::Cell;

use proptest::prelude::*;

use crate::rotation::schedule::{
    ABSOLUTE, Answer, Event, Holder, IDLE, Schedule, WINDOWS, all_kinds, check, schedules,
};
use crate::rotation::{Chain, MAX_REISSUES, Serial, Step, Windows, decide};

/// How many acts a schedule has at most.
const LONGEST: usize = 40;

/// The table, read row by row from a list of all tokens that were made: the rules once more, in another way.
struct History {
    windows: Windows,
    /// Each token and when it was made.
    made: Vec<(Serial, i64)>,
    /// When the current one was made, or given to somebody who showed its predecessor.
    issued_at: i64,
    idle_expires_at: i64,
    over: bool,
}

impl History {
    fn new(windows: Windows) -> Self {
        let login = Serial {
            generation: 0,
            reissues: 0,
        };
        Self {
            windows,
            made: vec![(login, 0)],
            issued_at: 0,
            idle_expires_at: IDLE,
            over: false,
        }
    }

    fn make(&mut self, serial: Serial, at: i64) -> Answer {
        self.made.push((serial, at));
        self.issued_at = at;
        Answer::Granted(serial)
    }

    fn answer(&mut self, shown: Serial, now: i64) -> Answer {
        if self.over || now >= self.idle_expires_at.min(ABSOLUTE) {
            return Answer::Over;
        }
        let answer = self.row(shown, now);
        match answer {
            Answer::Granted(_) => self.idle_expires_at = now + IDLE,
            _ => self.over = true,
        }
        answer
    }

    fn row(&mut self, shown: Serial, now: i64) -> Answer {
        let Some(&(current, _)) = self.made.last() else {
            return Answer::Over;
        };
        // What the latest rotation replaced, and when it did.
        let rotation = self
            .made
            .iter()
            .position(|(serial, _)| serial.generation == current.generation);
        let rotation = rotation.filter(|place| *place > 0);
        let replaced = rotation.map(|place| (self.made[place - 1].0, self.made[place].1));
        if shown == current {
            if replaced.is_some() && now - self.issued_at < self.windows.replay {
                return Answer::Granted(current);
            }
            let next = Serial {
                generation: current.generation + 1,
                reissues: 0,
            };
            return self.make(next, now);
        }
        let Some((_, rotated_at)) = replaced.filter(|(replaced, _)| *replaced == shown) else {
            return Answer::Reuse;
        };
        let longest = self.windows.replay.saturating_add(self.windows.recovery);
        if self.windows.replay > 0 && now - self.issued_at <= self.windows.replay && now - rotated_at <= longest {
            self.issued_at = now;
            return Answer::Granted(current);
        }
        if self.windows.recovery > 0 && now - rotated_at <= self.windows.recovery && current.reissues < MAX_REISSUES {
            let again = Serial {
                reissues: current.reissues + 1,
                ..current
            };
            return self.make(again, now);
        }
        Answer::Reuse
    }
}

/// What holds for everybody, whatever happens: one chain, as the table says, that only goes on; forged tokens change
/// nothing.
fn safe(schedule: &Schedule, events: &[Event]) -> Result<(), TestCaseError> {
    let mut history = History::new(schedule.windows);
    let mut last_rotation = None;
    for event in events {
        match *event {
            Event::Forged { admitted, .. } => prop_assert!(!admitted, "{}", event),
            Event::Shown {
                at,
                serial,
                answer,
                after,
                ..
            } => {
                let (before, _) = history.made[history.made.len() - 1];
                prop_assert_eq!(answer, history.answer(serial, at), "{}", event);
                let Answer::Granted(given) = answer else { continue };
                prop_assert_eq!(given, after.current, "there is one token to give: {}", event);
                prop_assert!(given >= before, "nothing superseded comes back: {}", event);
                if given.generation > before.generation {
                    prop_assert_eq!(serial, before, "a rotation is made from the current token: {}", event);
                    let apart = last_rotation.is_none_or(|last| at - last >= schedule.windows.replay);
                    prop_assert!(apart, "two rotations in W1: {}", event);
                    last_rotation = Some(at);
                }
                // Of all tokens there have been only the current one and its predecessor are answered.
                let alive = |serial| decide(&after, serial, at, schedule.windows) != Step::Reuse;
                let alive = history.made.iter().filter(|(serial, _)| alive(*serial)).count();
                prop_assert!(alive <= 2, "{} tokens are alive after {}", alive, event);
            }
            Event::Broken { .. } | Event::Copied { .. } => {}
        }
    }
    Ok(())
}

/// What holds for whoever signed in, as long as nobody has a copy: no answer ends the session, and after any loss or
/// crash whatever is held is still good, be it the old token or the new one.
fn kept(events: &[Event]) -> Result<(), TestCaseError> {
    for event in events {
        match *event {
            Event::Shown { answer, .. } => prop_assert!(answer != Answer::Reuse, "{}", event),
            Event::Broken {
                at,
                held,
                given,
                chain,
                live: true,
                ..
            } => {
                for token in [Some(held), given].into_iter().flatten() {
                    let step = decide(&chain, token, at, WINDOWS);
                    prop_assert!(step != Step::Reuse, "{} would be refused after {}", token, event);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn nobody_is_signed_out(holder: Holder, cases: u32) {
    check(cases, &schedules(holder, false, LONGEST), |schedule| {
        let events = schedule.play();
        safe(&schedule, &events)?;
        kept(&events)
    });
}

#[test]
fn a_holder_who_loses_half_of_all_messages_to_the_network_and_to_crashes_is_never_signed_out() {
    nobody_is_signed_out(Holder::Alone, 40_000);
}

#[test]
fn tabs_that_share_a_storage_that_keeps_the_newest_token_are_never_signed_out() {
    nobody_is_signed_out(Holder::TabsKeepingNewest, 30_000);
}

#[test]
fn tabs_whose_storage_keeps_the_last_reply_are_not_signed_out_within_the_recovery_window() {
    nobody_is_signed_out(Holder::TabsKeepingLast, 30_000);
}

#[test]
fn whoever_does_whatever_there_is_one_chain_and_a_superseded_token_outside_the_windows_ends_it() {
    let found = Cell::new(0);
    check(40_000, &all_kinds(LONGEST), |schedule| {
        let events = schedule.play();
        let reuse = |event: &Event| {
            matches!(
                event,
                Event::Shown {
                    answer: Answer::Reuse,
                    ..
                }
            )
        };
        found.set(found.get() + u32::from(events.iter().any(reuse)));
        safe(&schedule, &events)
    });
    assert!(
        found.get() > 1000,
        "the schedules hardly ever come to reuse: {}",
        found.get()
    );
}

/// How long after a thief's first use of a copied token the session ended, when owner and thief refresh by turns, each
/// after its pauses.
fn found_after(theft: i64, pauses: &[(i64, i64)]) -> Option<i64> {
    let mut chain = Chain::opened(0);
    let (mut owned, mut stolen) = (chain.current, chain.current);
    let (mut next_owner, mut next_thief) = (0, theft);
    for (owner, thief) in pauses {
        let by_thief = next_thief < next_owner;
        let now = next_owner.min(next_thief);
        match decide(&chain, if by_thief { stolen } else { owned }, now, WINDOWS) {
            Step::Reuse => return Some(now - theft),
            Step::Grant(granted) => chain = granted,
        }
        if by_thief {
            stolen = chain.current;
            next_thief += thief;
        } else {
            owned = chain.current;
            next_owner += owner;
            if now < theft {
                stolen = owned;
            }
        }
    }
    None
}

#[test]
fn every_thief_who_goes_on_beside_the_owner_is_found_within_a_day() {
    let pause = || 200_000_i64..330_000;
    let day = prop::collection::vec((pause(), pause()), 600);
    check(1_000, &(600_000_i64..1_200_000, day), |(theft, pauses)| {
        let found = found_after(theft, &pauses);
        prop_assert!(found.is_some_and(|after| after < IDLE), "{:?}", found);
        Ok(())
    });
}
