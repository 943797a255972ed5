//! The store against real servers.

mod server;

use std::time::Duration;

use self::server::{DURABLE, Server};
use super::RedisStore;
use super::keys::Layout;
use crate::store::contract;

#[tokio::test]
async fn keeps_the_contract() {
    let Some(server) = Server::start(DURABLE) else { return };
    let (one, other) = (server.store().await, server.store().await);
    contract::suite(&one, &other).await;
}

#[tokio::test]
async fn keeps_the_contract_over_a_socket() {
    let Some(server) = Server::start(DURABLE) else { return };
    let open = || async {
        RedisStore::open(&server.socket_url(), Duration::from_secs(20))
            .await
            .unwrap()
    };
    contract::suite(&open().await, &open().await).await;
}

#[tokio::test]
async fn keeps_the_contract_in_the_layout_of_a_cluster() {
    let Some(server) = Server::start(DURABLE) else { return };
    let (mut one, mut other) = (server.store().await, server.store().await);
    (one.layout, other.layout) = (Layout::CLUSTER, Layout::CLUSTER);
    contract::suite(&one, &other).await;
}
