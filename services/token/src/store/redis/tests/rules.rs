//! The scripts agree with the rules they were written after, cost what they may, and leave nothing behind.

use std::cell::RefCell;
use std::sync::Arc;

use portcullis_client::wire::Reason;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::AsyncCommands;

use super::server::{DURABLE, Server};
use super::{PATIENCE, revocation};
use crate::config::OnReuse;
use crate::rotation::{Serial, Windows};
use crate::session::SessionId;
use crate::store::Store;
use crate::store::contract::schedules::{self, expected};
use crate::store::contract::{HOUR, T0, granted, opened, serial, session, terms};
use crate::store::redis::RedisStore;

#[derive(Clone, Debug)]
struct Presentation {
    pause: i64,
    back: u32,
    reissues: u8,
    deny: bool,
}

fn presentations() -> impl Strategy<Value = Vec<Presentation>> {
    let pause = prop_oneof![0_i64..3, 9_998_i64..10_003, 0_i64..310_000, 299_998_i64..300_003];
    let one = (pause, 0_u32..3, 0_u8..12, any::<bool>()).prop_map(|(pause, back, reissues, deny)| Presentation {
        pause,
        back,
        reissues,
        deny,
    });
    prop::collection::vec(one, 1..60)
}

fn windows() -> impl Strategy<Value = Windows> {
    let window = |usual: i64| prop_oneof![Just(0), Just(usual), Just(i64::MAX)];
    (window(10_000), window(300_000)).prop_map(|(replay, recovery)| Windows { replay, recovery })
}

async fn agree(store: &RedisStore, windows: Windows, presentations: &[Presentation]) -> Result<(), TestCaseError> {
    let mut model = opened(store, "model").await;
    let mut now = T0;
    for step in presentations {
        now += step.pause;
        let presented = Serial {
            generation: model.chain.current.generation.saturating_sub(step.back),
            // Mostly one that exists.
            reissues: match step.back {
                0 => step.reissues.min(model.chain.current.reissues),
                _ => step.reissues.min(model.chain.replaced_reissues.unwrap_or(0)),
            },
        };
        let mut terms = terms(now);
        terms.windows = windows;
        terms.on_reuse = if step.deny { OnReuse::Deny } else { OnReuse::Revoke };
        let outcome = store.rotate(model.id, presented, terms).await.unwrap();
        prop_assert_eq!(
            outcome,
            expected(&mut model, presented, &terms),
            "{:?} at {}",
            presented,
            now
        );
        let kept = store.find_session(model.id).await.unwrap();
        prop_assert_eq!(kept.as_ref(), Some(&model));
    }
    Ok(())
}

#[test]
fn the_script_decides_as_the_rules_do() {
    let Some(server) = Server::start(&[]) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = runtime.block_on(server.store());
    let mut runner = TestRunner::new(Config::with_cases(200));
    runner
        .run(&(windows(), presentations()), |(windows, presentations)| {
            runtime.block_on(agree(&store, windows, &presentations))
        })
        .unwrap();
}

#[test]
fn schedules_come_to_the_same_as_by_the_rules_in_memory() {
    let Some(server) = Server::start(&[]) else { return };
    schedules::replay(2_000, async || Arc::new(server.store().await));
}

#[test]
fn a_redis_that_is_killed_whenever_the_service_crashes_keeps_the_old_token_or_the_new_one() {
    let Some(server) = Server::start(DURABLE) else { return };
    let server = RefCell::new(server);
    schedules::replay(10, async || {
        server.borrow_mut().restart();
        let url = server.borrow().url();
        Arc::new(RedisStore::open(&url, PATIENCE).await.unwrap())
    });
}

#[tokio::test]
async fn generations_end_where_their_numbers_do() {
    let Some(server) = Server::start(&[]) else { return };
    let store = server.store().await;
    let mut last = session("last", 0);
    last.chain.current = serial(u32::MAX);
    assert!(store.open_session(last.clone()).await.unwrap());
    let rotated = store
        .rotate(last.id, serial(u32::MAX), terms(T0 + 20_000))
        .await
        .unwrap();
    assert_eq!(rotated, expected(&mut last, serial(u32::MAX), &terms(T0 + 20_000)));
}

/// Milliseconds until Redis forgets each key whose name contains `part`; `None` is never.
async fn lives(server: &Server, part: &str) -> Vec<Option<i64>> {
    let mut connection = server.connection().await;
    let mut lives = Vec::new();
    for key in connection.keys::<_, Vec<String>>(format!("*{part}*")).await.unwrap() {
        let left: i64 = connection.pttl(&key).await.unwrap();
        lives.push((left >= 0).then_some(left));
    }
    lives
}

#[tokio::test]
async fn what_expires_is_forgotten_by_redis_and_nothing_else_is() {
    let Some(server) = Server::start(&[]) else { return };
    let store = server.store().await;
    let id = opened(&store, "one").await.id;
    let about = |left: &[Option<i64>], expected: i64| {
        assert!(!left.is_empty());
        for left in left {
            assert!(
                left.is_some_and(|left| left <= expected && left > expected - 60_000),
                "{left:?} of {expected}"
            );
        }
    };
    for part in [":session:", ":subject:"] {
        about(&lives(&server, part).await, HOUR);
    }
    let mut later = terms(T0 + 1000);
    later.idle_expires_at = T0 + 1000 + 2 * HOUR;
    granted(store.rotate(id, serial(0), later).await.unwrap());
    for part in [":session:", ":subject:"] {
        about(&lives(&server, part).await, 2 * HOUR);
    }
    store.end_session(id, None, Reason::LoggedOut, T0 + 2000).await.unwrap();
    about(&lives(&server, ":session:").await, 2 * HOUR);

    // The record outlives the last access token, since its revocation has to be possible until then.
    let mut brief = session("brief", 0);
    brief.idle_expires_at = T0 + 1000;
    assert!(store.open_session(brief).await.unwrap());
    about(&lives(&server, ":subject:brief").await, 360_000);

    store
        .end_subject("one", 1, None, Reason::Deactivated, T0)
        .await
        .unwrap();
    for part in [":epochs", ":meta", ":feed"] {
        assert_eq!(lives(&server, part).await, [None], "{part}");
    }
}

#[tokio::test]
async fn a_subject_who_logs_in_often_leaves_no_trail() {
    let Some(server) = Server::start(&[]) else { return };
    let store = server.store().await;
    for day in 0..5 {
        let mut visit = session("often", 0);
        let opened_at = T0 + day * 25 * HOUR;
        (visit.created_at, visit.idle_expires_at) = (opened_at, opened_at + HOUR);
        visit.access_expires_at = opened_at + 300_000;
        assert!(store.open_session(visit).await.unwrap());
    }
    let index = store.layout.of_subject("often").index("often");
    let remembered: usize = server.connection().await.zcard(index).await.unwrap();
    assert!(remembered <= 2, "{remembered}");
}

/// How often the server has read something from anybody, this question included.
async fn reads(connection: &mut redis::aio::MultiplexedConnection) -> u64 {
    let info: String = redis::cmd("INFO").arg("stats").query_async(connection).await.unwrap();
    let reads = info
        .lines()
        .find_map(|line| line.strip_prefix("total_reads_processed:"));
    reads.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn every_step_is_one_round_trip() {
    let Some(server) = Server::start(DURABLE) else { return };
    let store = server.store().await;
    let mut connection = server.connection().await;
    let mut counts = Vec::new();
    // The first time, the server does not know the scripts yet.
    for _ in 0..2 {
        counts.clear();
        let id = SessionId::new("counted");
        let mut session = session("counted", 0);
        session.id = id;
        let mut before = reads(&mut connection).await;
        macro_rules! count {
            ($name:literal, $step:expr) => {{
                $step.await.unwrap();
                let after = reads(&mut connection).await;
                counts.push(($name, after - before - 1));
                before = after;
            }};
        }
        count!("open", store.open_session(session));
        count!("find", store.find_session(id));
        count!("rotate", store.rotate(id, serial(0), terms(T0)));
        count!("list", store.list_sessions("counted", T0));
        count!("end the others", store.end_others("counted", id, Reason::LoggedOut, T0));
        count!("end a session", store.end_session(id, None, Reason::LoggedOut, T0));
        count!(
            "end a subject",
            store.end_subject("counted", 0, Some(id), Reason::Deactivated, T0)
        );
        count!("revoke", store.revoke(revocation("counted")));
        count!("read the feed", store.revocations_after(None, T0));
        count!("read the ring", store.ring());
        assert!(before > 0);
    }
    assert!(counts.iter().all(|(_, trips)| *trips == 1), "{counts:?}");
}

#[tokio::test]
async fn a_long_feed_is_read_in_pieces_and_swept_whole() {
    let Some(server) = Server::start(&[]) else { return };
    let store = server.store().await;
    let many = (0..2_500).map(|number| store.revoke(revocation(&number.to_string())));
    tokio::time::timeout(PATIENCE, futures_util::future::try_join_all(many))
        .await
        .unwrap()
        .unwrap();
    let (mut cursor, mut seen, mut pieces) = (None, 0, 0);
    loop {
        let batch = store.revocations_after(cursor.as_deref(), T0).await.unwrap();
        (seen, pieces) = (seen + batch.revocations.len(), pieces + 1);
        cursor = Some(batch.cursor);
        if !batch.more {
            break;
        }
    }
    assert_eq!((seen, pieces), (2_500, 3));
    assert_eq!(store.sweep(T0 + 60_000).await.unwrap(), 0, "they live until then");
    assert_eq!(store.sweep(T0 + 60_001).await.unwrap(), 2_500);
    let resumed = store.revocations_after(cursor.as_deref(), T0).await.unwrap();
    assert_eq!(
        (resumed.revocations.len(), Some(resumed.cursor)),
        (0, cursor),
        "cursors stay good"
    );
}
