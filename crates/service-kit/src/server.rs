//! Starting and stopping a role: its public listener, its admin listener, its background tasks.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Route, web};
use anyhow::Context;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::health::Readiness;
use crate::{Problem, meter};

/// How long requests in flight have to finish once a role is told to stop, in seconds.
pub const GRACE_SECONDS: u64 = 10;

/// A role that is running: where to reach it, and how to stop it.
#[must_use = "a role that is dropped is not stopped"]
pub struct Running {
    /// The address of the public listener, with the port that was really bound.
    pub address: SocketAddr,
    /// The address of the admin listener (`/healthz`, `/readyz`, `/metrics`).
    pub admin_address: SocketAddr,
    public: (ServerHandle, JoinHandle<std::io::Result<()>>),
    admin: ServerHandle,
    tasks: Vec<JoinHandle<()>>,
    before_stop: Option<Box<dyn FnOnce() + Send + Sync>>,
    at_end: Option<Box<dyn FnOnce() + Send + Sync>>,
    scheme: &'static str,
    readiness: Readiness,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Running({})", self.address)
    }
}

impl Running {
    /// Puts a public server that is ready to run, the admin listener and the role's background tasks to work.
    ///
    /// # Errors
    /// When the admin listener cannot be served.
    pub fn begin(
        role: &'static str,
        (listener_address, server): (SocketAddr, Server),
        admin: TcpListener,
        readiness: Readiness,
        tasks: Vec<JoinHandle<()>>,
    ) -> anyhow::Result<Self> {
        let admin_address = admin
            .local_addr()
            .context("while asking the admin listener for its address")?;
        let admin = admin_server(role, admin, readiness.clone())?;
        let (handle, admin_handle) = (server.handle(), admin.handle());
        let public = tokio::spawn(server);
        tokio::spawn(admin);
        log::info!(role, address:% = listener_address, admin:% = admin_address; "listening");
        Ok(Self {
            address: listener_address,
            admin_address,
            public: (handle, public),
            admin: admin_handle,
            tasks,
            before_stop: None,
            at_end: None,
            scheme: "http",
            readiness,
        })
    }

    /// Calls `end` first when the role is stopped: for streams that would otherwise never finish by themselves.
    pub fn before_stop(self, end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self {
            before_stop: Some(Box::new(end)),
            ..self
        }
    }

    /// Calls `end` last, when nothing is served any more.
    pub fn at_end(self, end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self {
            at_end: Some(Box::new(end)),
            ..self
        }
    }

    /// Says that the public listener speaks TLS.
    pub fn over_tls(self) -> Self {
        Self {
            scheme: "https",
            ..self
        }
    }

    /// The base URL of the public listener.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Waits until the role can do its work.
    pub async fn ready(&self) {
        while !self.readiness.failures().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops accepting, lets what is in flight finish for up to [`GRACE_SECONDS`], then ends the background tasks.
    pub async fn stop(mut self) {
        if let Some(end) = self.before_stop.take() {
            end();
        }
        self.public.0.stop(true).await;
        self.end().await;
    }

    /// Stops at once, cutting off what is in flight.
    pub async fn kill(self) {
        self.public.0.stop(false).await;
        self.end().await;
    }

    async fn end(self) {
        for task in &self.tasks {
            task.abort();
        }
        self.admin.stop(false).await;
        let _ = self.public.1.await;
        if let Some(end) = self.at_end {
            end();
        }
    }
}

/// Binds `address`, the value of the configuration key `key`; what is counted from then on is shown in `/metrics`.
///
/// # Errors
/// With the key and a remedy, when the address is taken or not ours.
pub fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    meter::start();
    let listener = TcpListener::bind(address).with_context(|| {
        format!(
            "cannot listen on {address}: free the port, or set {key} (PORTCULLIS_{}) to another one",
            key.replacen('.', "__", 1).to_uppercase()
        )
    })?;
    Ok(listener)
}

/// How many worker threads serve a role: `configured`, or, for 0, one a core, at most `most`.
#[must_use]
pub fn workers(configured: usize, most: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(most),
        n => n,
    }
}

/// What a resource answers to methods it does not have: 405 with what it allows, as in `"GET, HEAD"`.
#[must_use]
pub fn allow_only(allow: &'static str) -> Route {
    web::to(move |request: HttpRequest| async move {
        Err::<HttpResponse, _>(Problem::method_not_allowed(request.method().as_str(), allow))
    })
}

fn admin_server(role: &'static str, listener: TcpListener, readiness: Readiness) -> anyhow::Result<Server> {
    let server = HttpServer::new(move || {
        let readiness = readiness.clone();
        App::new()
            .route(
                "/healthz",
                web::get().to(move || async move { HttpResponse::Ok().json(json!({"role": role, "status": "alive"})) }),
            )
            .route(
                "/readyz",
                web::get().to(move || {
                    let readiness = readiness.clone();
                    async move { ready(role, &readiness).await }
                }),
            )
            .route(
                "/metrics",
                web::get().to(|| async {
                    HttpResponse::Ok()
                        .content_type("text/plain; version=0.0.4")
                        .body(meter::render())
                }),
            )
            .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::not_found()) }))
    })
    .workers(1)
    .max_connections(64)
    .shutdown_timeout(0)
    .client_request_timeout(Duration::from_secs(5))
    .disable_signals()
    .listen(listener)
    .context("while opening the admin listener")?
    .run();
    Ok(server)
}

async fn ready(role: &'static str, readiness: &Readiness) -> HttpResponse {
    let failures = readiness.failures().await;
    if failures.is_empty() {
        return HttpResponse::Ok().json(json!({"role": role, "status": "ready"}));
    }
    let failures: serde_json::Map<String, serde_json::Value> = failures
        .into_iter()
        .map(|(name, reason)| (name.to_owned(), json!(reason)))
        .collect();
    HttpResponse::ServiceUnavailable().json(json!({"role": role, "status": "not ready", "failures": failures}))
}
