//! A Redis that lost what it was given: sessions vanish, nothing revoked returns.

use std::sync::Arc;
use std::time::Duration;

use portcullis_client::wire::Reason;
use redis::AsyncCommands;
use secrecy::SecretString;
use service_kit::Clock;

use super::revocation;
use super::server::{DURABLE, Server};
use crate::keys::{Algorithm, KeyRing};
use crate::secret::RootSecrets;
use crate::store::contract::{T0, feed, opened, serial, terms};
use crate::store::redis::keys::Layout;
use crate::store::{Rotation, Store};

async fn flush(server: &Server) {
    server.connection().await.flushall::<()>().await.unwrap();
}

/// A revocation of another time, at this place of the feed.
async fn publish_at(server: &Server, layout: Layout, entry: &str, id: &str) {
    let mut add = redis::cmd("XADD");
    add.arg(layout.home().stream())
        .arg(entry)
        .arg(&["kind", "token", "id", id]);
    add.arg(&["reason", "administrator", "expires_at", "9999999999999"]);
    let _: String = add.query_async(&mut server.connection().await).await.unwrap();
}

#[tokio::test]
async fn sessions_vanish_and_the_feed_is_another() {
    let Some(server) = Server::start(DURABLE) else { return };
    let (store, other) = (server.store().await, server.store().await);
    let (live, ended) = (opened(&store, "live").await.id, opened(&store, "ended").await.id);
    assert!(store.end_session(ended, None, Reason::LoggedOut, T0).await.unwrap());
    let before = store.revocations_after(None, T0).await.unwrap();
    flush(&server).await;

    for id in [live, ended] {
        assert_eq!(store.rotate(id, serial(0), terms(T0)).await.unwrap(), Rotation::Unknown);
    }
    publish_at(&server, Layout::SINGLE, "1-1", "at once").await;
    store.revoke(revocation("since")).await.unwrap();
    let after = other.revocations_after(Some(&before.cursor), T0).await.unwrap();
    let ids: Vec<_> = after.revocations.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["at once", "since"], "an old cursor brings everything alive");
    let feeds = [&before.cursor, &after.cursor].map(|cursor| cursor.split('-').next().unwrap().to_owned());
    assert_ne!(feeds[0], feeds[1]);
    assert_ne!(
        before.ring_version, after.ring_version,
        "it does not look like the one it was"
    );
    assert_eq!(
        store
            .revocations_after(Some(&after.cursor), T0)
            .await
            .unwrap()
            .revocations,
        []
    );
}

#[tokio::test]
async fn tokens_signed_before_are_refused_by_every_replica_afterwards() {
    let Some(server) = Server::start(DURABLE) else { return };
    let (one, other) = (server.store().await, server.store().await);
    let clock = Clock::standing();
    let open = |store| {
        let secrets = Arc::new(RootSecrets::new(
            &SecretString::from("a root secret of thirty-two chars"),
            &[],
        ));
        KeyRing::open(store, secrets, Algorithm::ES256, Duration::from_hours(720), &clock)
    };
    let (ring, its_twin) = (open(&one).await.unwrap(), open(&other).await.unwrap());
    let kids = |ring: &KeyRing| -> Vec<_> { ring.jwks().keys.into_iter().map(|key| key.common.key_id).collect() };
    let before = kids(&ring);
    assert_eq!(before, kids(&its_twin));
    flush(&server).await;

    ring.reload(&one, clock.now_ms()).await.unwrap();
    its_twin.reload(&other, clock.now_ms()).await.unwrap();
    assert_eq!(kids(&ring), kids(&its_twin));
    assert!(kids(&ring).iter().all(|kid| !before.contains(kid)));
    let version = one.revocations_after(None, T0).await.unwrap().ring_version;
    assert_eq!((ring.version(), its_twin.version()), (version, version));
}

#[tokio::test]
async fn a_stream_that_was_lost_or_is_older_than_a_cursor_is_read_from_its_beginning() {
    let Some(server) = Server::start(DURABLE) else { return };
    for layout in [Layout::SINGLE, Layout::CLUSTER] {
        flush(&server).await;
        let mut store = server.store().await;
        store.layout = layout;
        let stayed = opened(&store, "stayed").await.id;
        assert!(store.end_session(stayed, None, Reason::LoggedOut, T0).await.unwrap());
        store.revoke(revocation("lost")).await.unwrap();
        let (_, cursor) = feed(&store).await;
        server
            .connection()
            .await
            .del::<_, ()>(layout.home().stream())
            .await
            .unwrap();
        publish_at(&server, layout, "1-1", "older").await;
        let batch = store.revocations_after(Some(&cursor), T0).await.unwrap();
        let ids: Vec<_> = batch.revocations.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["older"], "and other streams go on where they were");
    }
}

#[tokio::test]
async fn what_is_left_of_a_trimmed_stream_is_told_to_whoever_was_away() {
    let Some(server) = Server::start(DURABLE) else { return };
    for layout in [Layout::SINGLE, Layout::CLUSTER] {
        let mut store = server.store().await;
        store.layout = layout;
        let (_, cursor) = feed(&store).await;
        let trim = async |left: u32| {
            let mut trim = redis::cmd("XTRIM");
            trim.arg(layout.home().stream()).arg("MAXLEN").arg(left);
            let _: i64 = trim.query_async(&mut server.connection().await).await.unwrap();
        };
        let told = async || {
            let batch = store.revocations_after(Some(&cursor), T0).await.unwrap();
            let ids = batch.revocations.into_iter().map(|entry| entry.id);
            ids.collect::<Vec<_>>()
        };
        for id in ["a", "b", "c"] {
            store.revoke(revocation(id)).await.unwrap();
        }
        trim(2).await;
        assert_eq!(told().await, ["b", "c"]);
        trim(0).await;
        assert!(told().await.is_empty());
        store.revoke(revocation("d")).await.unwrap();
        assert_eq!(told().await, ["d"], "a stream without entries knows where it was");
    }
}
