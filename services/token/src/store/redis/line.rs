//! The line to Redis: one multiplexed connection, made anew when it breaks, and a bound on every wait.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use arc_swap::ArcSwapOption;
use redis::aio::{ConnectionLike, MultiplexedConnection, SendError};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::sentinel::{SentinelClient, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Pipeline, ProtocolVersion, PushInfo, PushKind,
    RedisError, RedisFuture, RedisResult, ScriptInvocation, ServerErrorKind, Value,
};
use tokio::sync::{Mutex, Notify};

use super::target::Target;

/// A connection that any number of callers use at once.
#[derive(Clone)]
enum Wire {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Node(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// A connection, and whether it has been seen to be of no more use.
struct Connected {
    wire: Wire,
    spent: Arc<AtomicBool>,
}

/// The line to Redis. Nothing sent over it is sent twice: what a lost answer did is for the caller to find out.
pub(super) struct Line {
    target: Target,
    channel: String,
    timeout: Duration,
    current: ArcSwapOption<Connected>,
    connecting: Mutex<()>,
    changed: Arc<Notify>,
}

/// Whether an answer says that the connection leads nowhere useful: it is broken, or the server was demoted.
fn ends_connection(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(kind, ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown),
        ErrorKind::UnexpectedReturnType => false,
        _ => true,
    }
}

impl Line {
    /// A line to `target`; the first use connects.
    pub(super) fn new(target: Target, timeout: Duration) -> Self {
        Self {
            channel: target.channel(),
            target,
            timeout,
            current: ArcSwapOption::empty(),
            connecting: Mutex::new(()),
            changed: Arc::default(),
        }
    }

    /// Gives up sooner or later from now on.
    #[cfg(test)]
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The channel on which whoever changes something says so.
    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// Waits until somebody said so, or the connection was lost.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Runs a script: one round trip, unless the server has forgotten the script.
    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> anyhow::Result<T> {
        self.ask(|mut wire| async move { script.invoke_async(&mut wire).await })
            .await
    }

    /// Sends a command.
    pub(super) async fn send<T: FromRedisValue>(&self, command: &Cmd) -> anyhow::Result<T> {
        self.ask(|mut wire| async move { command.query_async(&mut wire).await })
            .await
    }

    /// Sends a command to the server, or to every primary of a cluster; their answers are a map then.
    pub(super) async fn send_to_all(&self, command: &Cmd) -> anyhow::Result<Value> {
        self.ask(|wire| async move {
            match wire {
                Wire::Node(mut connection) => connection.send_packed_command(command).await,
                Wire::Cluster(mut connection) => {
                    let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                    connection.route_command(command.clone(), everywhere).await
                }
            }
        })
        .await
        .and_then(|answer| answer.extract_error().context("while asking Redis"))
    }

    async fn ask<T, F>(&self, question: impl FnOnce(Wire) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let mut used = None;
        let answer = tokio::time::timeout(self.timeout, async {
            let connected = self.connected().await?;
            used = Some(Arc::clone(&connected.spent));
            question(connected.wire.clone()).await
        })
        .await;
        let (broken, failure) = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => (ends_connection(&error), anyhow!(error)),
            Err(_) => (true, anyhow!("no answer within {} ms", self.timeout.as_millis())),
        };
        if let Some(spent) = used.filter(|_| broken) {
            spent.store(true, Ordering::Release);
        }
        Err(failure).context("while asking Redis")
    }

    fn usable(&self) -> Option<Arc<Connected>> {
        self.current
            .load_full()
            .filter(|connected| !connected.spent.load(Ordering::Acquire))
    }

    /// The connection; of those who find none, one makes it and the others wait.
    async fn connected(&self) -> RedisResult<Arc<Connected>> {
        if let Some(connected) = self.usable() {
            return Ok(connected);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(connected) = self.usable() {
            return Ok(connected);
        }
        let connected = Arc::new(self.connect().await?);
        self.current.store(Some(Arc::clone(&connected)));
        // What was published while there was no connection is read now.
        self.changed.notify_one();
        Ok(connected)
    }

    async fn connect(&self) -> RedisResult<Connected> {
        let spent = Arc::new(AtomicBool::new(false));
        let in_cluster = matches!(self.target, Target::Cluster(_));
        let (seen, changed) = (Arc::clone(&spent), Arc::clone(&self.changed));
        let pushed = move |push: PushInfo| {
            // A cluster's connection finds its way around a lost server by itself.
            if push.kind == PushKind::Disconnection && !in_cluster {
                seen.store(true, Ordering::Release);
            }
            changed.notify_one();
            Ok::<_, SendError>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(None);
        let mut wire = match &self.target {
            Target::Node(info) => node(&Client::open(info.clone())?, &config.set_push_sender(pushed)).await?,
            Target::Sentinel {
                sentinels,
                master,
                node: settings,
            } => {
                let settings = Some(settings.clone());
                let mut sentinel =
                    SentinelClient::build(sentinels.clone(), master.clone(), settings, SentinelServerType::Master)?;
                node(&sentinel.async_get_client().await?, &config.set_push_sender(pushed)).await?
            }
            Target::Cluster(nodes) => {
                let client: ClusterClient = ClusterClientBuilder::new(nodes.clone())
                    .use_protocol(ProtocolVersion::RESP3)
                    .connection_timeout(self.timeout)
                    .response_timeout(self.timeout)
                    .push_sender(pushed)
                    .build()?;
                Wire::Cluster(client.get_async_connection().await?)
            }
        };
        let subscribed = match &mut wire {
            Wire::Node(connection) => connection.subscribe(&self.channel).await,
            Wire::Cluster(connection) => connection.subscribe(&self.channel).await,
        };
        if let Err(error) = subscribed {
            if ends_connection(&error) {
                return Err(error);
            }
            log::warn!(cause = error.to_string().as_str();
                "Redis refuses a subscription to {}: what other token services revoke is noticed later", self.channel);
        }
        Ok(Connected { wire, spent })
    }
}

async fn node(client: &Client, config: &AsyncConnectionConfig) -> RedisResult<Wire> {
    Ok(Wire::Node(
        client.get_multiplexed_async_connection_with_config(config).await?,
    ))
}
