//! The token service: issues, rotates, verifies and revokes. It never sees a password and knows no users table.

pub mod account;
pub mod config;
pub mod error;
pub mod feed;
pub mod issuer;
pub mod keys;
pub mod legacy;
pub mod refresh_token;
pub mod rotation;
mod routes;
pub mod secret;
pub mod session;
pub mod sessions;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::web::{Data, JsonConfig, QueryConfig};
use actix_web::{App, HttpServer, ResponseError};
use anyhow::Context;
use portcullis_client::{Trust, Verifier};
use service_kit::health::Readiness;
use service_kit::server::{self, GRACE_SECONDS};
use service_kit::{Clock, Problem, Running, edge, sqlite};

use crate::account::Accounts;
pub use crate::config::{ClientConfig, Config, OnReuse};
use crate::feed::Feed;
use crate::issuer::Issuer;
use crate::keys::KeyRing;
use crate::legacy::Legacy;
use crate::rotation::Windows;
use crate::secret::RootSecrets;
use crate::sessions::Sessions;
use crate::store::Store;
pub use crate::store::redis::Findings;
use crate::store::redis::RedisStore;
use crate::store::sqlite::SqliteStore;

/// How often keys are looked after and what has expired is forgotten.
const MAINTENANCE: Duration = Duration::from_mins(1);

/// Opens the store that the configuration names.
pub async fn open_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    match sqlite::path(&config.store_url) {
        Some(path) => Ok(Arc::new(SqliteStore::open(path).await?)),
        None => Ok(Arc::new(
            RedisStore::open(&config.store_url, config.store_timeout).await?,
        )),
    }
}

/// What is wrong with the store that the configuration names, beyond what [`Config::mistakes`] sees: whether a Redis keeps
/// what it is given. Changes nothing.
///
/// # Errors
/// When the store cannot be reached.
pub async fn examine_store(config: &Config) -> anyhow::Result<Findings> {
    match sqlite::path(&config.store_url) {
        Some(_) => Ok(Findings::default()),
        None => store::redis::examine(&config.store_url, config.store_timeout).await,
    }
}

/// Opens the key ring in `store` by the root secrets and rules of the configuration.
pub async fn open_ring(config: &Config, store: &dyn Store, clock: &Clock) -> anyhow::Result<KeyRing> {
    let secrets = Arc::new(RootSecrets::new(&config.root_secret, &config.previous_root_secrets));
    KeyRing::open(store, secrets, config.algorithm, config.key_rotation, clock).await
}

/// Starts the token service and returns once it listens.
///
/// # Errors
/// When an address is taken, the store cannot be opened, or its keys belong to another root secret.
pub async fn start(config: Config, clock: Clock) -> anyhow::Result<Running> {
    let listener = server::bind("token.listen", config.listen)?;
    let admin = server::bind("token.admin_listen", config.admin_listen)?;
    let address = listener.local_addr()?;

    let store = open_store(&config)
        .await
        .context("while opening the token store (token.store_url)")?;
    let ring = Arc::new(open_ring(&config, &*store, &clock).await?);
    let trust = Arc::new(Trust::default());
    let verifier = Arc::new(Verifier::new(config.verifier(), Arc::clone(&trust), clock.clone()));
    let issuer = Arc::new(Issuer {
        ring: Arc::clone(&ring),
        secrets: Arc::new(RootSecrets::new(&config.root_secret, &config.previous_root_secrets)),
        issuer: config.issuer.clone(),
        audience: config.audience.clone(),
        access_ttl: config.access_ttl,
        clock: clock.clone(),
    });
    let sessions = Data::new(Sessions {
        store: Arc::clone(&store),
        issuer: Arc::clone(&issuer),
        verifier: Arc::clone(&verifier),
        idle_ttl: config.refresh_idle_ttl,
        absolute_ttl: config.refresh_absolute_ttl,
        windows: Windows::new(config.replay_window, config.recovery_window),
        on_reuse: config.on_reuse,
        legacy: config
            .legacy
            .clone()
            .map(|legacy| Legacy::new(legacy, config.leeway))
            .transpose()?,
        clock: clock.clone(),
    });
    let accounts = Data::new(Accounts::new(&config.clients, Arc::clone(&store)));
    let feed = Arc::new(Feed::new(
        Arc::clone(&store),
        Arc::clone(&ring),
        Arc::clone(&trust),
        clock.clone(),
    ));
    let tasks = vec![
        tokio::spawn(Arc::clone(&feed).run()),
        tokio::spawn(maintain(Arc::clone(&ring), Arc::clone(&store), clock.clone())),
    ];
    let readiness = Readiness::default().with("store", {
        let verifier = Arc::clone(&verifier);
        move || {
            let stale = verifier.is_stale();
            async move {
                if stale {
                    Err("the token store does not answer".to_owned())
                } else {
                    Ok(())
                }
            }
        }
    });

    let closing = Arc::clone(&feed);
    let (ring, issuer, verifier, feed) = (
        Data::from(ring),
        Data::from(issuer),
        Data::from(verifier),
        Data::from(feed),
    );
    let server = HttpServer::new(move || {
        App::new()
            .app_data(sessions.clone())
            .app_data(accounts.clone())
            .app_data(ring.clone())
            .app_data(issuer.clone())
            .app_data(verifier.clone())
            .app_data(feed.clone())
            .app_data(JsonConfig::default().error_handler(|error, _| unreadable(&error).into()))
            .app_data(QueryConfig::default().error_handler(|error, _| unreadable(&error).into()))
            .wrap(NormalizePath::trim())
            .wrap(from_fn(|request, next| edge::handle("token", request, next)))
            .configure(routes::register)
    })
    .workers(server::workers(config.workers, 4))
    .shutdown_timeout(GRACE_SECONDS)
    .disable_signals()
    .listen(listener)
    .context("while opening the token service's listener")?
    .run();
    let running = Running::begin("token", (address, server), admin, readiness, tasks)?;
    Ok(running.before_stop(move || closing.close()))
}

fn unreadable(error: &impl ResponseError) -> Problem {
    Problem::new(error.status_code(), "parse_error", error.to_string())
}

async fn maintain(ring: Arc<KeyRing>, store: Arc<dyn Store>, clock: Clock) {
    loop {
        tokio::time::sleep(MAINTENANCE).await;
        let now = clock.now_ms();
        let kept = ring.maintain(&*store, now).await;
        let swept = store.sweep(now).await.map_err(anyhow::Error::from);
        if let Err(error) = kept.and(swept.map(drop)) {
            log::error!(cause = format!("{error:#}").as_str(); "maintenance of the token store failed; it is tried again");
        }
    }
}
