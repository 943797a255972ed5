//! The schedules that check the rules in memory, once more through a store: every step must come to the same.

use std::cell::RefCell;
use std::sync::Arc;

use portcullis_client::wire::Reason;
use proptest::prelude::*;

use super::{T0, session, terms};
use crate::config::OnReuse;
use crate::rotation::schedule::{ABSOLUTE, Event, IDLE, Schedule, all_kinds, check};
use crate::rotation::{Serial, Step, decide};
use crate::session::Session;
use crate::store::{Rotation, RotationTerms, Store};

/// How many acts a schedule has at most.
const LONGEST: usize = 40;

/// What the rules say, on a session in memory.
pub(crate) fn expected(session: &mut Session, presented: Serial, terms: &RotationTerms) -> Rotation {
    if let Some(reason) = session.ended {
        return Rotation::Ended(reason);
    }
    if !session.is_live(terms.now) {
        return Rotation::Expired;
    }
    match decide(&session.chain, presented, terms.now, terms.windows) {
        Step::Grant(chain) => {
            session.chain = chain;
            session.last_used_at = terms.now;
            session.idle_expires_at = terms.idle_expires_at.min(session.absolute_expires_at);
            session.access_expires_at = session.access_expires_at.max(terms.access_expires_at);
            Rotation::Granted(Box::new(session.clone()))
        }
        Step::Reuse if terms.on_reuse == OnReuse::Deny => Rotation::Denied,
        Step::Reuse => {
            session.ended = Some(Reason::Reuse);
            Rotation::Reused {
                subject: session.subject.clone(),
            }
        }
    }
}

/// Plays `cases` schedules through the store that `open` gives, which is asked for it again whenever the service crashes:
/// for that of another replica, or of a process that starts.
pub(crate) fn replay<S: Store>(cases: u32, open: impl AsyncFn() -> Arc<S>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let place = RefCell::new((runtime.block_on(open()), None));
    check(cases, &all_kinds(LONGEST), |schedule| {
        let (store, cursor) = &mut *place.borrow_mut();
        runtime.block_on(agree(&open, store, cursor, &schedule))
    });
}

/// One schedule; `cursor` is where the feed stands before it, and after.
async fn agree<S: Store>(
    open: &impl AsyncFn() -> Arc<S>,
    store: &mut Arc<S>,
    cursor: &mut Option<String>,
    schedule: &Schedule,
) -> Result<(), TestCaseError> {
    let events = schedule.play();
    let mut model = session("scheduled", 0);
    (model.idle_expires_at, model.absolute_expires_at) = (T0 + IDLE, T0 + ABSOLUTE);
    prop_assert!(store.open_session(model.clone()).await.unwrap());
    for event in &events {
        match *event {
            Event::Shown { at, serial, after, .. } => {
                let terms = RotationTerms {
                    windows: schedule.windows,
                    idle_expires_at: T0 + at + IDLE,
                    ..terms(T0 + at)
                };
                let outcome = store.rotate(model.id, serial, terms).await.unwrap();
                prop_assert_eq!(outcome, expected(&mut model, serial, &terms), "{}", event);
                prop_assert_eq!(model.chain.current, after.current, "{}", event);
            }
            Event::Broken { crashed: true, .. } => {
                *store = open().await;
                let kept = store.find_session(model.id).await.unwrap();
                prop_assert_eq!(kept.as_ref(), Some(&model), "after {}", event);
            }
            Event::Broken { .. } | Event::Copied { .. } | Event::Forged { .. } => {}
        }
    }
    let kept = store.find_session(model.id).await.unwrap();
    prop_assert_eq!(kept.as_ref(), Some(&model));
    let mut published = Vec::new();
    loop {
        let batch = store.revocations_after(cursor.as_deref(), T0).await.unwrap();
        published.extend(batch.revocations.into_iter().map(|entry| entry.id));
        *cursor = Some(batch.cursor);
        if !batch.more {
            break;
        }
    }
    let expected: Vec<String> = model.ended.iter().map(|_| model.id.to_string()).collect();
    prop_assert_eq!(published, expected, "an end is published, once");
    Ok(())
}
