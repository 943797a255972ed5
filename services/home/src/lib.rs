//! The example protected service: one endpoint that only a good bearer token opens. Copy it to begin your own.
//!
//! [`Follower`] keeps keys and revocations in memory; [`Caller`] in a handler's arguments is all the protection there
//! is to write. Nothing here trusts a header that it has not verified.

use std::net::SocketAddr;

use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::web::{self, Data, Json};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context;
use portcullis_client::{Caller, Follower, FollowerConfig};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service_kit::health::Readiness;
use service_kit::server::{self, GRACE_SECONDS, allow_only};
use service_kit::{Clock, Problem, Running, edge};

/// The `[home]` section of the configuration; `defaults.toml` says what each key means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml documents every key")]
pub struct Config {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub workers: usize,
    pub client_id: String,
    pub client_secret: SecretString,
}

#[derive(Serialize)]
struct HomeResponse {
    message: String,
}

/// `GET /home`: greets whoever is signed in.
async fn home(caller: Caller) -> Json<HomeResponse> {
    Json(HomeResponse {
        message: format!("Welcome! Your access token is good, and you are user {}.", caller.sub),
    })
}

/// Starts the service, from within a tokio runtime, and returns once it listens.
///
/// # Errors
/// When an address is taken.
pub fn start(config: &Config, follower: FollowerConfig, clock: Clock) -> anyhow::Result<Running> {
    let listener = server::bind("home.listen", config.listen)?;
    let admin = server::bind("home.admin_listen", config.admin_listen)?;
    let address = listener.local_addr()?;
    let follower = Data::new(Follower::start(follower, clock)?);
    let verifier = Data::from(follower.verifier());
    let readiness = Readiness::default().with("token", follower.readiness());

    let server = HttpServer::new(move || {
        App::new()
            .app_data(follower.clone())
            .app_data(verifier.clone())
            .wrap(NormalizePath::trim())
            .wrap(from_fn(|request, next| edge::handle("home", request, next)))
            .service(
                web::resource("/home")
                    .route(web::get().to(home))
                    .route(web::head().to(home))
                    .default_service(allow_only("GET, HEAD, OPTIONS")),
            )
            .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::not_found()) }))
    })
    .workers(server::workers(config.workers, 2))
    .shutdown_timeout(GRACE_SECONDS)
    .disable_signals()
    .listen(listener)
    .context("while opening the home service's listener")?
    .run();
    Running::begin("home", (address, server), admin, readiness, Vec::new())
}
