//! Random schedules: what the tabs of a browser, the network, a service that crashes and a thief do to one session.
//!
//! A schedule says what is attempted; [`Schedule::play`] lets it happen to the rules in memory, and gives what happened,
//! step by step. The stores are shown the same steps (`store/contract/schedules.rs`).

mod forgery;
mod words;
mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use self::world::World;
use super::{Chain, Serial, Windows};

/// W1 and W2 as they are unless they are configured.
pub(crate) const WINDOWS: Windows = Windows {
    replay: 10_000,
    recovery: 300_000,
};
/// How long a session lives without being refreshed, and in any case.
pub(crate) const IDLE: i64 = 24 * 3_600_000;
pub(crate) const ABSOLUTE: i64 = 30 * IDLE;
/// The longest that a message is on its way, if it arrives at all: there and back fit W1.
const WAY: i64 = WINDOWS.replay / 2;
/// The longest pause before a request that failed is repeated.
const RETRY: i64 = 60_000;

/// Whoever signed in, and what may happen to the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// One request at a time. Half of all messages are lost, some because the service crashes; what failed is repeated
    /// within a minute.
    Alone,
    /// Any number of tabs at once, with a storage that keeps the newest token, and the same losses.
    TabsKeepingNewest,
    /// Tabs with a storage that keeps what came last. Messages take half as long, and arrive; no pause is as long as W2.
    TabsKeepingLast,
}

/// Who shows a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Owner,
    Thief,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Arrives,
    RequestLost,
    ReplyLost,
    CrashBefore,
    CrashAfter,
}

/// What comes of showing a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted(Serial),
    Reuse,
    /// The session had ended or expired before.
    Over,
}

/// Something that happened; times in milliseconds since the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A token reached the service, which was, or is now, at `after`.
    Shown {
        at: i64,
        by: Party,
        serial: Serial,
        answer: Answer,
        after: Chain,
    },
    /// The holder of `held` gets no answer, which would have been `given`. Whether the session was live, and whether the
    /// service has to start anew.
    Broken {
        at: i64,
        held: Serial,
        given: Option<Serial>,
        chain: Chain,
        live: bool,
        crashed: bool,
    },
    /// Somebody copied the token that the browser stores.
    Copied { at: i64, serial: Serial },
    /// Somebody made a token without the root secret. Whether it was let in.
    Forged { at: i64, admitted: bool },
}

/// One thing that is attempted; [`World::act`] reads it.
#[derive(Clone, Copy, Debug)]
struct Act {
    pause: u32,
    deed: u8,
    out: u16,
    back: u16,
    fate: u8,
}

/// What everybody attempts.
#[derive(Clone)]
pub(crate) struct Schedule {
    pub(crate) holder: Holder,
    pub(crate) thief: bool,
    pub(crate) windows: Windows,
    acts: Vec<Act>,
}

/// Schedules of `holder`, with a thief or without, of at most `longest` acts.
pub(crate) fn schedules(holder: Holder, thief: bool, longest: usize) -> impl Strategy<Value = Schedule> {
    let act = any::<(u32, u8, u16, u16, u8)>().prop_map(|(pause, deed, out, back, fate)| Act {
        pause,
        deed,
        out,
        back,
        fate,
    });
    prop::collection::vec(act, 1..longest).prop_map(move |acts| Schedule {
        holder,
        thief,
        windows: WINDOWS,
        acts,
    })
}

/// Schedules of all kinds, under all windows.
pub(crate) fn all_kinds(longest: usize) -> impl Strategy<Value = Schedule> {
    let holder = prop::sample::select(vec![Holder::Alone, Holder::TabsKeepingNewest, Holder::TabsKeepingLast]);
    let window = |usual| prop::sample::select(vec![usual, usual, 0, i64::MAX]);
    let kinds = (holder, any::<bool>(), window(WINDOWS.replay), window(WINDOWS.recovery));
    (kinds, schedules(Holder::Alone, false, longest)).prop_map(|((holder, thief, replay, recovery), schedule)| {
        Schedule {
            holder,
            thief,
            windows: Windows { replay, recovery },
            ..schedule
        }
    })
}

impl Schedule {
    /// What happens by the rules.
    pub(crate) fn play(&self) -> Vec<Event> {
        let mut world = World::new(self);
        for act in &self.acts {
            // Who is alone waits for an answer, or until none can come any more.
            if self.holder == Holder::Alone {
                world.deliver(i64::MAX);
            }
            world.act(*act);
        }
        world.deliver(i64::MAX);
        world.events
    }
}

/// Sees whether `test` holds for so many schedules; when it does not, says the shortest one found, in words, and how to
/// have the same ones again.
pub(crate) fn check<T: Strategy>(cases: u32, schedules: &T, test: impl Fn(T::Value) -> Result<(), TestCaseError>) {
    let mut config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => u64::from_be_bytes(service_kit::random::bytes()),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    if let Err(error) = TestRunner::new(config).run(schedules, test) {
        panic!("{error}\nPROPTEST_RNG_SEED={seed} repeats it");
    }
}
