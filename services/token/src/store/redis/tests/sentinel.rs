//! The store behind a sentinel, which puts a replica in the place of a master that is gone.

use std::time::Duration;

use portcullis_client::wire::Reason;
use redis::AsyncCommands;
use service_kit::clock;

use super::server::{DURABLE, Server};
use super::{PATIENCE, eventually};
use crate::store::contract::{T0, opened, serial, terms};
use crate::store::redis::RedisStore;
use crate::store::{Rotation, Store};

#[tokio::test]
async fn the_store_follows_to_the_new_master() {
    let Some(mut master) = Server::start(DURABLE) else {
        return;
    };
    let replica_of = format!("127.0.0.1 {}", master.port());
    let Some(replica) = Server::start(&[
        "--appendonly",
        "yes",
        "--replicaof",
        &replica_of,
        "--repl-diskless-sync-delay",
        "0",
    ]) else {
        return;
    };
    let Some(sentinel) = Server::sentinel(&format!(
        "sentinel monitor mine 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds mine 300\n\
         sentinel failover-timeout mine 2000\n",
        master.port()
    )) else {
        return;
    };
    let url = format!("redis-sentinel://127.0.0.1:{}/mine", sentinel.port());
    let store = RedisStore::open(&url, Duration::from_secs(5)).await.unwrap();
    let id = opened(&store, "followed").await.id;
    assert!(store.end_session(id, None, Reason::LoggedOut, T0).await.unwrap());
    let cursor = store.revocations_after(None, T0).await.unwrap().cursor;

    // The sentinel can only promote what it knows of, and a replica only has what has reached it.
    let began = clock::instant();
    let mut asking = sentinel.connection().await;
    let mut asked = replica.connection().await;
    loop {
        let mut known = redis::cmd("SENTINEL");
        let known: Vec<redis::Value> = known
            .arg("REPLICAS")
            .arg("mine")
            .query_async(&mut asking)
            .await
            .unwrap();
        let has_all: bool = asked
            .hexists(format!("{{portcullis}}:session:{id}"), "ended")
            .await
            .unwrap();
        if !known.is_empty() && has_all {
            break;
        }
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    master.kill();

    let refused = eventually(|| store.rotate(id, serial(0), terms(T0))).await;
    assert_eq!(refused, Rotation::Ended(Reason::LoggedOut));
    assert_eq!(
        store.revocations_after(Some(&cursor), T0).await.unwrap().cursor,
        cursor,
        "the same feed goes on"
    );
}
