//! The store on a cluster of three.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use service_kit::clock;

use super::server::{DURABLE, Server, free_port};
use super::{PATIENCE, contract, eventually};
use crate::store::Store;
use crate::store::redis::{RedisStore, examine};

struct Cluster(Vec<Server>);

async fn tell<T: redis::FromRedisValue>(connection: &mut MultiplexedConnection, words: &[&str]) -> T {
    let mut command = redis::Cmd::new();
    command.arg(words);
    command.query_async(connection).await.unwrap()
}

impl Cluster {
    async fn start() -> Option<Self> {
        let node = || {
            let bus = free_port().to_string();
            let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            Some((Server::start(&[DURABLE, &options].concat())?, bus))
        };
        let nodes = [node()?, node()?, node()?];
        let ranges = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for ((server, _), (first, last)) in nodes.iter().zip(ranges) {
            let mut connection = server.connection().await;
            let _: () = tell(&mut connection, &["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
            for (other, bus) in &nodes {
                let port = other.port().to_string();
                let _: () = tell(&mut connection, &["CLUSTER", "MEET", "127.0.0.1", &port, bus]).await;
            }
        }
        let cluster = Self(nodes.into_iter().map(|(server, _)| server).collect());
        let began = clock::instant();
        for server in &cluster.0 {
            let mut connection = server.connection().await;
            loop {
                let state: String = tell(&mut connection, &["CLUSTER", "INFO"]).await;
                if state.contains("cluster_state:ok") && state.contains("cluster_known_nodes:3") {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "{state}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Some(cluster)
    }

    async fn store(&self) -> RedisStore {
        // Two of them lead to all.
        let url = format!(
            "redis-cluster://127.0.0.1:{},127.0.0.1:{}",
            self.0[0].port(),
            self.0[1].port()
        );
        RedisStore::open(&url, PATIENCE).await.unwrap()
    }
}

#[tokio::test]
async fn keeps_the_contract_on_a_cluster() {
    let Some(cluster) = Cluster::start().await else { return };
    let url = format!("redis-cluster://127.0.0.1:{}", cluster.0[0].port());
    let found = examine(&url, PATIENCE).await.unwrap();
    assert!(found.refusals.is_empty() && found.warnings.is_empty(), "{found:?}");
    let (one, other) = (cluster.store().await, cluster.store().await);
    contract::suite(&one, &other).await;
    super::a_revocation_wakes_the_other_replica(&one, other).await;
    let sizes = futures_util::future::join_all(cluster.0.iter().map(|server| async {
        let mut connection = server.connection().await;
        tell::<usize>(&mut connection, &["DBSIZE"]).await
    }));
    assert!(
        sizes.await.iter().all(|keys| *keys > 0),
        "every one of them holds a part"
    );
}

#[tokio::test]
async fn a_cluster_with_one_server_that_evicts_is_refused() {
    let Some(cluster) = Cluster::start().await else { return };
    let mut connection = cluster.0[2].connection().await;
    let _: () = tell(&mut connection, &["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]).await;
    let url = format!("redis-cluster://127.0.0.1:{}", cluster.0[0].port());
    let refused = RedisStore::open(&url, PATIENCE).await.unwrap_err().to_string();
    assert!(refused.contains("volatile-lru"), "{refused}");
}

#[tokio::test]
async fn a_server_of_a_cluster_that_was_gone_is_found_again() {
    let Some(mut cluster) = Cluster::start().await else {
        return;
    };
    let mut store = cluster.store().await;
    let subjects: Vec<String> = (0..40).map(|number| format!("subject {number}")).collect();
    let mut sessions = Vec::new();
    for subject in &subjects {
        sessions.push(contract::opened(&store, subject).await.id);
    }
    store.line.set_timeout(Duration::from_secs(1));
    cluster.0[2].kill();
    let began = clock::instant();
    let asked = futures_util::future::join_all(sessions.iter().map(|id| store.find_session(*id))).await;
    assert!(asked.iter().any(Result::is_err), "its part cannot be reached");
    assert!(began.elapsed() < PATIENCE);
    cluster.0[2].restart();
    for id in sessions {
        assert!(eventually(|| store.find_session(id)).await.is_some());
    }
}
