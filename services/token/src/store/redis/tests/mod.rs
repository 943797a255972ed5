//! The store against real servers.

mod cluster;
mod faults;
mod loss;
mod permissions;
mod rules;
mod sentinel;
mod server;
mod service;
mod tls;

use std::future::Future;
use std::time::Duration;

use portcullis_client::wire::{Reason, Revocation, RevokedKind};
use service_kit::clock;

use self::server::{DURABLE, Server};
use super::RedisStore;
use super::keys::Layout;
use crate::store::contract::{self, T0};
use crate::store::{Store, StoreError};

/// Longer than anything here takes on a busy machine; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A revocation of a token, alive at [`T0`].
fn revocation(id: &str) -> Revocation {
    Revocation {
        kind: RevokedKind::Token,
        id: id.to_owned(),
        reason: Reason::Administrator,
        expires_at: T0 + 60_000,
    }
}

/// What comes of `step` once the store can be reached again. Nothing but its being out of reach is waited for.
async fn eventually<T, F: Future<Output = Result<T, StoreError>>>(step: impl Fn() -> F) -> T {
    let began = clock::instant();
    loop {
        match step().await {
            Ok(outcome) => return outcome,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    let Some(server) = Server::start(DURABLE) else { return };
    let (one, other) = (server.store().await, server.store().await);
    contract::suite(&one, &other).await;
}

#[tokio::test]
async fn keeps_the_contract_over_a_socket() {
    let Some(server) = Server::start(DURABLE) else { return };
    let url = server.socket_url();
    let open = || async { RedisStore::open(&url, PATIENCE).await.unwrap() };
    contract::suite(&open().await, &open().await).await;
}

#[tokio::test]
async fn keeps_the_contract_in_the_layout_of_a_cluster() {
    let Some(server) = Server::start(DURABLE) else { return };
    let (mut one, mut other) = (server.store().await, server.store().await);
    (one.layout, other.layout) = (Layout::CLUSTER, Layout::CLUSTER);
    contract::suite(&one, &other).await;
}

/// Without the announcement the other one would look again in an hour.
async fn a_revocation_wakes_the_other_replica(one: &RedisStore, mut other: RedisStore) {
    other.poll = Duration::from_hours(1);
    let cursor = other.revocations_after(None, T0).await.unwrap().cursor;
    // What was announced before is not what is waited for.
    while tokio::time::timeout(Duration::from_millis(100), other.changed())
        .await
        .is_ok()
    {}
    one.revoke(revocation("announced")).await.unwrap();
    let heard = async {
        loop {
            other.changed().await;
            let batch = other.revocations_after(Some(&cursor), T0).await.unwrap();
            if !batch.revocations.is_empty() {
                return batch.revocations;
            }
        }
    };
    let heard = tokio::time::timeout(PATIENCE, heard).await.unwrap();
    assert_eq!(heard, [revocation("announced")]);
}

#[tokio::test]
async fn a_revocation_through_one_replica_wakes_the_other() {
    let Some(server) = Server::start(DURABLE) else { return };
    a_revocation_wakes_the_other_replica(&server.store().await, server.store().await).await;
}
