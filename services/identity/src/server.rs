//! Starting the service.

use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use anyhow::Context;
use portcullis_client::{Follower, FollowerConfig};
use service_kit::health::Readiness;
use service_kit::server::{GRACE_SECONDS, bind, workers};
use service_kit::{Clock, Running, edge};

use crate::password::PasswordHasher;
use crate::store::UserStore;
use crate::{Config, outbox, routes};

/// The most workers that are chosen without being asked for: they wait for others most of the time.
const MOST_WORKERS: usize = 2;

/// Starts the service and returns once it listens. The calls to the token service are made as the account of `follower`.
///
/// # Errors
/// When an address is taken, the database cannot be opened, or its schema cannot be made.
pub async fn start(config: Config, follower: FollowerConfig, clock: Clock) -> anyhow::Result<Running> {
    let listener = bind("identity.listen", config.listen)?;
    let admin = bind("identity.admin_listen", config.admin_listen)?;
    let address = listener
        .local_addr()
        .context("while asking the listener for its address")?;

    let users = UserStore::open(&config, clock.clone())
        .await
        .context("while opening the users' database")?;
    let hasher = PasswordHasher::new(config.bcrypt_cost, config.hashing_threads, config.hashing_queue)?;
    let follower = Follower::start(follower, clock)?;
    let tokens = follower.client();

    let pinged = users.clone();
    let readiness = Readiness::default()
        .with("database", move || {
            let users = pinged.clone();
            async move { users.ping().await.map_err(|error| error.to_string()) }
        })
        .with("token", follower.readiness());
    let worker = tokio::spawn(outbox::work(users.clone(), tokens.clone()));

    let verifier = Data::from(follower.verifier());
    let (users, hasher, tokens) = (Data::new(users), Data::new(hasher), Data::new(tokens));
    // Followed for as long as the server runs.
    let follower = Data::new(follower);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(users.clone())
            .app_data(hasher.clone())
            .app_data(tokens.clone())
            .app_data(verifier.clone())
            .app_data(follower.clone())
            .configure(routes::configure)
            .wrap(NormalizePath::trim())
            .wrap(from_fn(|request, next| edge::handle("identity", request, next)))
    })
    .workers(workers(config.workers, MOST_WORKERS))
    .shutdown_timeout(GRACE_SECONDS)
    .disable_signals()
    .listen(listener)
    .context("while opening the listener")?
    .run();
    Running::begin("identity", (address, server), admin, readiness, vec![worker])
}
