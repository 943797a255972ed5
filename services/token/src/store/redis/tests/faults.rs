//! A Redis that is restarted, gone, or silent.

use std::time::Duration;

use portcullis_client::wire::Reason;
use service_kit::clock;

use super::server::{DURABLE, Server};
use super::{PATIENCE, eventually, revocation};
use crate::store::contract::{T0, granted, opened, serial, terms};
use crate::store::redis::RedisStore;
use crate::store::{Rotation, Store, StoreError};

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_of_redis() {
    let Some(mut server) = Server::start(DURABLE) else {
        return;
    };
    let store = server.store().await;
    let (gone, kept) = (opened(&store, "gone").await.id, opened(&store, "kept").await.id);
    let before = store.revocations_after(None, T0).await.unwrap();
    let ring = store.ring().await.unwrap().version;
    assert!(store.replace_ring(ring, Vec::new()).await.unwrap());
    store
        .end_subject("locked out", 7, None, Reason::Deactivated, T0)
        .await
        .unwrap();
    granted(store.rotate(kept, serial(0), terms(T0)).await.unwrap());
    assert!(store.end_session(gone, None, Reason::LoggedOut, T0).await.unwrap());
    server.restart();

    let batch = eventually(|| store.revocations_after(Some(&before.cursor), T0)).await;
    assert_eq!(batch.revocations.len(), 1, "the same feed goes on");
    assert_eq!(
        (batch.revocations[0].id.as_str(), batch.ring_version),
        (gone.to_string().as_str(), ring + 1)
    );
    let refused = store.rotate(gone, serial(0), terms(T0)).await.unwrap();
    assert_eq!(refused, Rotation::Ended(Reason::LoggedOut));
    let rotated = granted(store.rotate(kept, serial(1), terms(T0 + 20_000)).await.unwrap());
    assert_eq!(rotated.chain.current, serial(2));
    let late = crate::store::contract::session("locked out", 6);
    assert!(!store.open_session(late).await.unwrap());
}

#[tokio::test]
async fn a_redis_that_is_gone_is_unavailable_at_once_and_found_again_when_it_is_back() {
    let Some(mut server) = Server::start(DURABLE) else {
        return;
    };
    let store = server.impatient_store(Duration::from_secs(5)).await;
    let id = opened(&store, "patient").await.id;
    server.kill();
    let began = clock::instant();
    for _ in 0..20 {
        let outcome = store.rotate(id, serial(0), terms(T0)).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "nobody waited for an answer that cannot come"
    );
    server.restart();
    granted(eventually(|| store.rotate(id, serial(0), terms(T0))).await);
}

#[tokio::test]
async fn a_silent_redis_is_unavailable_in_bounded_time_and_heard_again_when_it_speaks() {
    let Some(server) = Server::start(DURABLE) else { return };
    let store = server.impatient_store(Duration::from_millis(200)).await;
    let id = opened(&server.store().await, "patient").await.id;
    server.signal("STOP");
    let began = clock::instant();
    for _ in 0..3 {
        let asked = (0..100).map(|_| store.find_session(id));
        let answers = futures_util::future::join_all(asked).await;
        assert!(
            answers
                .iter()
                .all(|answer| matches!(answer, Err(StoreError::Unavailable(_))))
        );
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    server.signal("CONT");
    assert!(eventually(|| store.find_session(id)).await.is_some());
}

#[tokio::test]
async fn waiting_for_changes_does_not_spin_while_redis_is_gone() {
    let Some(mut server) = Server::start(DURABLE) else {
        return;
    };
    let mut store = server.store().await;
    store.poll = Duration::from_millis(50);
    server.kill();
    let began = clock::instant();
    // One may return at once, for what happened before.
    for _ in 0..6 {
        store.changed().await;
        assert!(store.revocations_after(None, T0).await.is_err());
    }
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
}

#[tokio::test]
async fn followers_hear_again_after_redis_was_gone() {
    let Some(mut server) = Server::start(DURABLE) else {
        return;
    };
    let (one, other) = (server.store().await, server.store().await);
    one.revoke(revocation("before")).await.unwrap();
    let cursor = other.revocations_after(None, T0).await.unwrap().cursor;
    server.restart();
    eventually(|| other.revocations_after(Some(&cursor), T0)).await;
    eventually(|| one.ring()).await;
    super::a_revocation_wakes_the_other_replica(&one, other).await;
}

#[tokio::test]
async fn opening_what_is_not_there_says_so() {
    let Some(mut server) = Server::start(DURABLE) else {
        return;
    };
    server.kill();
    let began = clock::instant();
    let refused = RedisStore::open(&server.url(), Duration::from_secs(1))
        .await
        .unwrap_err();
    assert!(format!("{refused:#}").contains("refused"), "{refused:#}");
    assert!(began.elapsed() < PATIENCE);
}
