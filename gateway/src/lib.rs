//! The gateway: matches a request to a route, finds out who asks, decides whether they may, and forwards it.
//!
//! Nobody is asked on the way: tokens are verified with the keys and revocations that a follower keeps in memory.

mod access_log;
mod admission;
mod alive;
mod body;
mod client;
mod client_address;
mod config;
mod connection;
mod cookie;
mod cors;
mod ending;
mod error;
mod events;
mod header_rules;
mod headers;
mod http1;
mod http2;
mod identity;
mod limits;
mod listen;
mod mistakes;
mod path;
mod policy;
mod proxy;
mod record;
mod reload;
mod routes;
mod serve;
mod state;
mod tally;
mod tls;
mod trace;
mod tunnel;
mod upstream;
mod web_app;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use portcullis_client::{Follower, FollowerConfig};
use service_kit::health::Readiness;
use service_kit::{Clock, Running, server};

pub use config::{AccessLog, Auth, By, Config, HealthCheck, RateLimit, RouteConfig, Stale, Tls, Upstream};
use connection::Bounds;
use events::Events;
pub use header_rules::HeaderRules;
use identity::Identity;
pub use reload::{Reloader, is_reloaded};
use serve::Gateway;
use state::State;
use web_app::WebApp;

/// How long a client that was told that its connection ends may pause before it is cut: over HTTP/1.1 while it goes on sending,
/// for three times as long at most.
const LINGER: Duration = Duration::from_secs(2);

/// Starts the gateway. Returns once it listens; until the follower has heard from the token service, routes that need a
/// token answer 503.
///
/// # Errors
/// When `config` has a mistake, an address is taken, or TLS cannot be set up on this machine.
#[expect(
    clippy::unused_async,
    reason = "every role is started in the same way, from within a runtime"
)]
pub async fn start(config: Config, follower: FollowerConfig, clock: Clock) -> anyhow::Result<Running> {
    Ok(start_reloadable(&config, follower, clock)?.0)
}

/// The same, with what replaces the configuration of the running gateway.
///
/// # Errors
/// The same.
pub fn start_reloadable(
    config: &Config,
    follower: FollowerConfig,
    clock: Clock,
) -> anyhow::Result<(Running, Reloader)> {
    if let Some(mistake) = config.mistakes().into_iter().next() {
        return Err(mistake.into());
    }
    let web = WebApp::load(&config.web_root)?;
    let certificate = config.tls.as_ref().map(tls::Certificate::load).transpose()?;
    raise_descriptor_limit(config.max_connections);
    let listener = server::bind("gateway.listen", config.listen)?;
    alive::look_after(&listener, Some(config.body_timeout)).context("while setting up the listener")?;
    let admin = server::bind("gateway.admin_listen", config.admin_listen)?;
    let address = listener
        .local_addr()
        .context("while asking the listener for its address")?;
    let follower = Follower::<Identity>::start_keeping(follower, clock.clone())
        .context("while starting to follow the token service")?;
    let readiness = Readiness::default().with("token", follower.readiness());

    let events = Arc::new(Events::new(config.max_event_streams));
    let closing = Arc::clone(&events);
    let gateway = Arc::new(Gateway {
        state: Arc::new(ArcSwap::from_pointee(State::new(config, None)?)),
        web,
        events,
        verifier: follower.verifier(),
        access_log: config.access_log,
        sink: access_log::open(config.access_log)?,
        clock,
        present: Arc::default(),
    });
    gateway.present.show();
    let sink = gateway.sink.clone();
    let limits = Arc::clone(&gateway.state.load().limits);
    let reloader = Reloader::of(&gateway, certificate.clone());
    let bounds = Bounds {
        keep_alive: config.keep_alive,
        header: config.header_timeout,
        standstill: config.body_timeout,
        most: config.max_connections,
    };
    let is_secure = certificate.is_some();
    let tls = certificate.map(tls::server_config).transpose()?;
    let workers = server::workers(config.workers, usize::MAX);
    let server = listen::serve(listener, gateway, bounds, workers, tls).context("while opening the listener")?;
    let following = tokio::spawn(async move {
        let _follower = follower;
        std::future::pending::<()>().await;
    });
    let sweeping = tokio::spawn(async move { limits.sweep().await });
    let tasks = vec![following, sweeping];
    let running = Running::begin("gateway", (address, server), admin, readiness, tasks)?;
    let running = running.before_stop(move || closing.close());
    let running = running.at_end(move || {
        if let Some(sink) = sink {
            sink.close();
        }
    });
    let running = if is_secure { running.over_tls() } else { running };
    Ok((running, reloader))
}

/// Files that are open beside the connections of clients: those to upstreams, databases, logs.
const OTHER_FILES: u64 = 1024;

/// Lets this process open as many files as the system allows it, since each connection is one. Warns when one worker's
/// `max_connections` would be too many for that.
fn raise_descriptor_limit(max_connections: usize) {
    let wanted = u64::try_from(max_connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHER_FILES);
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < wanted => log::warn!(
            limit, wanted;
            "the system allows fewer open files than gateway.max_connections needs: raise the limit (LimitNOFILE, ulimit -n), or lower gateway.max_connections"
        ),
        Ok(_) => {}
        Err(error) => {
            log::warn!(cause = error.to_string().as_str(); "the limit of open files cannot be read or raised");
        }
    }
}
