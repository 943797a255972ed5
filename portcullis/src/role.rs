//! Starting roles: one of them, or all of them in this process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use portcullis_gateway::{Reloader, Upstream};
use service_kit::config::Mistake;
use service_kit::{Clock, Running};

use crate::config::Config;

/// How long all roles together may take to be ready.
const START: Duration = Duration::from_secs(30);

/// What a process can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Verifies tokens and proxies.
    Gateway,
    /// Knows users and passwords.
    Identity,
    /// Issues and revokes tokens.
    Token,
    /// The example protected service.
    Home,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Identity, Self::Token, Self::Home];
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Gateway => "gateway",
            Self::Identity => "identity",
            Self::Token => "token",
            Self::Home => "home",
        })
    }
}

/// Starts one role; returns once it listens.
pub async fn start(role: Role, config: &Config, clock: Clock) -> anyhow::Result<Running> {
    let config = config.clone();
    match role {
        Role::Gateway => start_gateway(&config, clock, BTreeMap::new()).map(|(running, _)| running),
        Role::Identity => {
            let follower = config.follower(&config.identity.client_id, &config.identity.client_secret);
            portcullis_identity::start(config.identity, follower, clock).await
        }
        Role::Token => portcullis_token::start(config.token, clock).await,
        Role::Home => {
            let follower = config.follower(&config.home.client_id, &config.home.client_secret);
            portcullis_home::start(&config.home, follower, clock)
        }
    }
    .with_context(|| format!("the {role} role could not start"))
}

/// Starts the gateway, in front of `built_in` upstreams that take the place of those that `config` describes.
fn start_gateway(
    config: &Config,
    clock: Clock,
    built_in: BTreeMap<String, Upstream>,
) -> anyhow::Result<(Running, GatewayReloader)> {
    let follower = config.follower(&config.gateway.client_id, &config.gateway.client_secret);
    let mut gateway = config.gateway.clone();
    gateway.upstreams.extend(built_in.clone());
    let (running, reloader) = portcullis_gateway::start_reloadable(&gateway, follower, clock)?;
    Ok((running, GatewayReloader { reloader, built_in }))
}

/// Starts the gateway alone; returns once it listens.
pub fn start_gateway_alone(config: &Config, clock: Clock) -> anyhow::Result<(Running, GatewayReloader)> {
    let started = start_gateway(config, clock, BTreeMap::new());
    started.context("the gateway role could not start")
}

/// Replaces what a running gateway goes by.
#[derive(Clone, Debug)]
pub struct GatewayReloader {
    reloader: Reloader,
    built_in: BTreeMap<String, Upstream>,
}

impl GatewayReloader {
    /// Makes the section `[gateway]` of `config` count for requests that begin from now on.
    ///
    /// # Errors
    /// Everything that is wrong with it; nothing has changed then.
    pub fn reload(&self, config: &Config) -> Result<(), Vec<Mistake>> {
        let mut gateway = config.gateway.clone();
        gateway.upstreams.extend(self.built_in.clone());
        self.reloader.reload(&gateway)
    }
}

/// All roles in one process. They talk HTTP over loopback with service tokens, as they would in separate containers.
#[derive(Debug)]
#[must_use = "roles that are dropped are not stopped"]
pub struct All {
    /// The gateway: the one that clients see.
    pub gateway: Running,
    /// The identity service.
    pub identity: Running,
    /// The token service.
    pub token: Running,
    /// The example protected service.
    pub home: Running,
    /// Replaces what the gateway goes by.
    pub reloader: GatewayReloader,
}

impl All {
    /// Starts everything and returns once all of it is ready. Ports that the configuration leaves to the system (0) are
    /// passed on to the roles that need them.
    pub async fn start(mut config: Config, clock: Clock) -> anyhow::Result<Self> {
        let own = |running: &Running| {
            running
                .url()
                .parse::<url::Url>()
                .context("while naming a role's address")
        };
        let legacy = config.token.legacy.as_ref();
        let identity_found = legacy.map(|legacy| Arc::clone(&legacy.identity));
        let token = start(Role::Token, &config, clock.clone()).await?;
        config.token.url = own(&token)?;
        let identity = start(Role::Identity, &config, clock.clone()).await?;
        if let Some(found) = identity_found {
            let _ = found.set(own(&identity)?);
        }
        let home = start(Role::Home, &config, clock.clone()).await?;
        let mut built_in = BTreeMap::new();
        for (name, role) in [("token", &token), ("identity", &identity), ("home", &home)] {
            built_in.insert(name.to_owned(), Upstream::of(vec![own(role)?]));
        }
        let gateway = start_gateway(&config, clock, built_in);
        let (gateway, reloader) = gateway.context("the gateway role could not start")?;
        let all = Self {
            gateway,
            identity,
            token,
            home,
            reloader,
        };
        let ready = async {
            for role in [&all.token, &all.identity, &all.home, &all.gateway] {
                role.ready().await;
            }
        };
        tokio::time::timeout(START, ready)
            .await
            .context("not every role became ready; the log says why")?;
        Ok(all)
    }

    /// Stops from the outside inwards, so that what is in flight can finish.
    pub async fn stop(self) {
        self.gateway.stop().await;
        self.identity.stop().await;
        self.home.stop().await;
        self.token.stop().await;
    }
}
