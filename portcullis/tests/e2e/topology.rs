//! Starting the real thing on ports that the system chooses: everything as `up` does it, on SQLite, or, with
//! `PORTCULLIS_TEST_TOPOLOGY=servers`, roles by themselves on Postgres and Redis, gateway and token service twice.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::future::join_all;
use portcullis::config::Config;
use portcullis::data::DataDirectory;
use portcullis::role::{self, All, Role};
use portcullis_gateway::Upstream;
use portcullis_identity::{Accounts, NewUser};
use portcullis_test_servers::{Kept, PostgresDatabase, RedisDatabase, on_servers, runtime};
use portcullis_token::keys::KeyRing;
use portcullis_token::store::Store;
use service_kit::{Clock, Running};
use tempfile::TempDir;
use url::Url;

use crate::helpers::{Client, PASSWORD, SignedIn};

/// How long all roles may take to be ready, on a busy machine.
const START: Duration = Duration::from_mins(1);

/// All roles, with a standing clock and fresh stores.
pub(crate) struct Portcullis {
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) client: Client,
    replicas: Vec<Replica>,
    _stores: Stores,
    _directory: TempDir,
}

/// The services end before their stores do.
impl Drop for Portcullis {
    fn drop(&mut self) {
        let running: Vec<_> = self
            .replicas
            .iter_mut()
            .filter_map(|replica| replica.running.take())
            .collect();
        let (ended, end) = mpsc::channel();
        runtime().spawn(async move {
            join_all(running.into_iter().map(Running::kill)).await;
            let _ = ended.send(());
        });
        let _ = end.recv_timeout(START);
    }
}

/// One process, as it would be elsewhere.
struct Replica {
    role: Role,
    /// With the addresses that it really has, so that it can be started again in its place.
    config: Config,
    address: SocketAddr,
    running: Option<Running>,
    /// While it is stopped.
    kept: Option<Kept>,
}

impl Replica {
    fn new(role: Role, config: &Config, running: Running) -> Self {
        let mut config = config.clone();
        let listen = match role {
            Role::Gateway => &mut config.gateway.listen,
            Role::Identity => &mut config.identity.listen,
            Role::Token => &mut config.token.listen,
            Role::Home => &mut config.home.listen,
        };
        *listen = running.address;
        let address = running.address;
        Self {
            role,
            config,
            address,
            running: Some(running),
            kept: None,
        }
    }

    async fn start(role: Role, config: &Config, clock: &Clock) -> Self {
        Self::new(role, config, start(role, config, clock).await)
    }

    /// Ends it as `how` does, and keeps its port until it is started again.
    async fn end<F: Future<Output = ()>>(&mut self, how: impl Fn(Running) -> F) {
        let running = self.running.take().expect("it runs");
        how(running).await;
        self.kept = Some(Kept::new(self.address));
    }

    fn url(&self) -> Url {
        format!("http://{}", self.address).parse().unwrap()
    }
}

async fn start(role: Role, config: &Config, clock: &Clock) -> Running {
    let (config, clock) = (config.clone(), clock.clone());
    let starting = async move { role::start(role, &config, clock).await };
    runtime().spawn(starting).await.unwrap().unwrap()
}

/// What is gone when a test is.
pub(crate) enum Stores {
    Embedded,
    Servers(PostgresDatabase, RedisDatabase),
}

impl Stores {
    pub(crate) fn fresh() -> Self {
        if on_servers() {
            Self::Servers(PostgresDatabase::create(), RedisDatabase::create())
        } else {
            Self::Embedded
        }
    }

    /// The URLs of the users' database and of the token store; embedded, they are found in the data directory.
    pub(crate) fn urls(&self) -> Option<(String, String)> {
        match self {
            Self::Embedded => None,
            Self::Servers(postgres, redis) => Some((postgres.url().to_owned(), redis.url())),
        }
    }
}

/// Starts them with the defaults, but cheap password hashes.
pub(crate) async fn spawn() -> Portcullis {
    spawn_with(|_| {}).await
}

/// Starts them with a configuration that `change` has changed.
pub(crate) async fn spawn_with(change: impl FnOnce(&mut Config)) -> Portcullis {
    spawn_on(Stores::fresh(), change).await
}

/// The same, on these stores.
pub(crate) async fn spawn_on(stores: Stores, change: impl FnOnce(&mut Config)) -> Portcullis {
    service_kit::logging::start();
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::embedded(&DataDirectory::new(directory.path().join("data"))).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    for listen in [
        &mut config.gateway.listen,
        &mut config.gateway.admin_listen,
        &mut config.identity.listen,
        &mut config.identity.admin_listen,
        &mut config.token.listen,
        &mut config.token.admin_listen,
        &mut config.home.listen,
        &mut config.home.admin_listen,
    ] {
        *listen = any;
    }
    config.identity.bcrypt_cost = 4;
    config.gateway.access_log = portcullis_gateway::AccessLog::Off;
    if let Some((users, tokens)) = stores.urls() {
        (config.identity.database_url, config.token.store_url) = (users, tokens);
    }
    change(&mut config);
    let clock = Clock::standing();
    let replicas = match &stores {
        Stores::Embedded => all_in_one(&config, &clock).await,
        Stores::Servers(..) => replicated(&config, &clock).await,
    };
    let gateways = replicas.iter().filter(|replica| replica.role == Role::Gateway);
    let client = Client::of_all(gateways.map(|gateway| format!("http://{}", gateway.address)).collect());
    Portcullis {
        clock,
        config,
        client,
        replicas,
        _stores: stores,
        _directory: directory,
    }
}

/// As `portcullis up` does it.
async fn all_in_one(config: &Config, clock: &Clock) -> Vec<Replica> {
    let all = runtime().spawn(All::start(config.clone(), clock.clone()));
    let all = all.await.unwrap().unwrap();
    let mut config = config.clone();
    config.token.url = all.token.url().parse().unwrap();
    for (name, role) in [("token", &all.token), ("identity", &all.identity), ("home", &all.home)] {
        let target = Upstream::of(vec![role.url().parse().unwrap()]);
        config.gateway.upstreams.insert(name.to_owned(), target);
    }
    let roles = [
        (Role::Token, all.token),
        (Role::Identity, all.identity),
        (Role::Home, all.home),
        (Role::Gateway, all.gateway),
    ];
    roles
        .into_iter()
        .map(|(role, running)| Replica::new(role, &config, running))
        .collect()
}

/// As an orchestrator does it: two gateways and two token services. Each gateway follows a token service of its own and
/// reaches both.
async fn replicated(config: &Config, clock: &Clock) -> Vec<Replica> {
    let mut config = config.clone();
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(Replica::start(Role::Token, &config, clock).await);
    }
    let tokens = [replicas[0].url(), replicas[1].url()];
    for (role, token) in [(Role::Identity, &tokens[0]), (Role::Home, &tokens[1])] {
        config.token.url.clone_from(token);
        replicas.push(Replica::start(role, &config, clock).await);
    }
    for (name, targets) in [
        ("token", tokens.to_vec()),
        ("identity", vec![replicas[2].url()]),
        ("home", vec![replicas[3].url()]),
    ] {
        config.gateway.upstreams.insert(name.to_owned(), Upstream::of(targets));
    }
    for token in tokens {
        config.token.url = token;
        replicas.push(Replica::start(Role::Gateway, &config, clock).await);
    }
    let ready = join_all(
        replicas
            .iter()
            .filter_map(|replica| replica.running.as_ref())
            .map(Running::ready),
    );
    tokio::time::timeout(START, ready)
        .await
        .expect("every role becomes ready");
    replicas
}

impl Portcullis {
    /// Makes a superuser as the operator's command does, and signs in.
    pub(crate) async fn superuser(&self, name: &str) -> SignedIn {
        let accounts = Accounts::open(&self.config.identity, self.clock.clone()).await.unwrap();
        let new = NewUser {
            username: name.to_owned(),
            email: format!("{name}@example.com"),
            password: PASSWORD.into(),
            is_superuser: true,
            is_staff: true,
        };
        accounts.create(new).await.unwrap();
        self.client.login(name).await
    }

    /// Starts one more gateway, which follows the token service at `token`, with a configuration that `change` has changed.
    pub(crate) async fn gateway_that_follows(&mut self, token: &str, change: impl FnOnce(&mut Config)) -> Client {
        let known = self.replicas.iter().find(|replica| replica.role == Role::Gateway);
        let mut config = known.expect("a gateway").config.clone();
        config.gateway.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.token.url = token.parse().unwrap();
        change(&mut config);
        let replica = Replica::start(Role::Gateway, &config, &self.clock).await;
        let ready = replica.running.as_ref().map(Running::ready);
        tokio::time::timeout(START, ready.expect("it runs"))
            .await
            .expect("it becomes ready");
        let client = Client::new(replica.url().as_str().trim_end_matches('/'));
        self.replicas.push(replica);
        client
    }

    /// The token store and its key ring, as an operator's command has them.
    pub(crate) async fn keys(&self) -> (Arc<dyn Store>, KeyRing) {
        let store = portcullis_token::open_store(&self.config.token).await.unwrap();
        let ring = portcullis_token::open_ring(&self.config.token, &*store, &self.clock);
        let ring = ring.await.unwrap();
        (store, ring)
    }

    /// The base URL of each replica of a role.
    pub(crate) fn urls(&self, role: Role) -> Vec<String> {
        let of_role = self.replicas.iter().filter(|replica| replica.role == role);
        of_role.map(|replica| format!("http://{}", replica.address)).collect()
    }

    /// Stops every replica of a role in order.
    pub(crate) async fn stop(&mut self, role: Role) {
        join_all(self.running(role).map(|replica| replica.end(Running::stop))).await;
    }

    /// Stops every replica of a role at once.
    pub(crate) async fn kill(&mut self, role: Role) {
        join_all(self.running(role).map(|replica| replica.end(Running::kill))).await;
    }

    /// Stops one replica of a role at once.
    pub(crate) async fn kill_one(&mut self, role: Role, number: usize) {
        let replica = self.running(role).nth(number).expect("it runs");
        replica.end(Running::kill).await;
    }

    fn running(&mut self, role: Role) -> impl Iterator<Item = &mut Replica> {
        let running = move |replica: &&mut Replica| replica.role == role && replica.running.is_some();
        self.replicas.iter_mut().filter(running)
    }

    /// Changes the configuration with which a role is started the next time.
    pub(crate) fn reconfigure(&mut self, role: Role, change: impl Fn(&mut Config)) {
        let of_role = self.replicas.iter_mut().filter(|replica| replica.role == role);
        of_role.for_each(|replica| change(&mut replica.config));
    }

    /// Starts what was stopped of a role again, where it was, and waits until it can do its work.
    pub(crate) async fn start(&mut self, role: Role) {
        let stopped = |replica: &&mut Replica| replica.role == role && replica.running.is_none();
        for replica in self.replicas.iter_mut().filter(stopped) {
            let running = start(role, &replica.config, &self.clock).await;
            tokio::time::timeout(START, running.ready())
                .await
                .expect("it becomes ready");
            replica.running = Some(running);
            replica.kept = None;
        }
    }
}
