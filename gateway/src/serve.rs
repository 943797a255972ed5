//! A request's way through: match, authenticate, authorize, forward.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, web};
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use portcullis_client::{Claims, Verifier};
use service_kit::{Problem, RequestId, clock};

use crate::config::Purpose;
use crate::connection::Connection;
use crate::error::ProxyError;
use crate::events::Events;
use crate::proxy::Passage;
use crate::routes::{Found, Route};
use crate::state::{State, View, Views};
use crate::tunnel::Handshake;
use crate::web_app::WebApp;
use crate::{admission, cookie, cors, headers, path, policy};

/// The largest head of a request that is taken, in bytes of names and values.
const HEADERS: usize = 64 * 1024;
/// How much of a body that is refused is read and thrown away, so that a client that is still sending hears the answer.
const DRAIN: usize = 32 * 1024 * 1024;
/// And for how long, at most.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// How much of a path is logged, in bytes.
const LOGGED_PATH: usize = 512;

/// What all workers share.
pub(crate) struct Gateway {
    /// What a reload replaces.
    pub(crate) state: Arc<ArcSwap<State>>,
    pub(crate) web: WebApp,
    pub(crate) events: Arc<Events>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) access_log: bool,
}

/// A worker: the gateway, and this thread's own connections.
pub(crate) struct Worker {
    gateway: Arc<Gateway>,
    views: Views,
}

/// What was found out about a request, for the log.
struct Seen {
    route: Arc<Route>,
    claims: Option<Arc<Claims>>,
}

impl Worker {
    pub(crate) fn new(gateway: &Arc<Gateway>) -> Self {
        Self {
            gateway: Arc::clone(gateway),
            views: Views::of(&gateway.state),
        }
    }

    /// What a request that begins now goes by, to its end.
    pub(crate) fn view(&self) -> Rc<View> {
        self.views.current()
    }

    async fn answer(&self, request: &HttpRequest, payload: &mut Payload) -> Result<HttpResponse, Problem> {
        if headers::size(request.headers()) > HEADERS {
            return Err(Problem::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                format!("The request headers are larger than the {HEADERS} bytes allowed here."),
            ));
        }
        let method = request.method();
        if matches!(*method, Method::TRACE | Method::CONNECT) {
            let allow = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";
            return Err(Problem::method_not_allowed(method.as_str(), allow));
        }
        let host = headers::host(request.head()).ok_or_else(|| {
            Problem::bad_request("bad_host", "The Host header is not a host name and perhaps a port.")
        })?;
        let path = path::normalise(request.uri().path())?;
        if path::is_internal(&path) {
            return Err(Problem::not_found());
        }
        let view = self.view();
        let route = match view.state.table.find(host, method, &path) {
            Found::Route(route) => Arc::clone(route),
            Found::OtherMethods(allow) => return Err(Problem::method_not_allowed(method.as_str(), &allow)),
            Found::Nothing => return self.gateway.web.answer(request, &path),
        };
        self.pass(&view, request, payload, host, &path, route).await
    }

    async fn pass(
        &self,
        view: &View,
        request: &HttpRequest,
        payload: &mut Payload,
        host: &str,
        path: &str,
        route: Arc<Route>,
    ) -> Result<HttpResponse, Problem> {
        see(request, &route, None);
        if headers::content_length(request.headers()).is_some_and(|length| length > route.body_limit) {
            return Err(ProxyError::TooLarge(route.body_limit).into());
        }
        if cookie::is_asked_for(request.headers()) {
            cookie::check(request.headers(), host, view.state.origins_of(&route))?;
        }
        let handshake = Handshake::of(request, route.auth)?;
        let beside = handshake.as_ref().and_then(Handshake::token);
        let caller = admission::admit(&self.gateway.verifier, &route, request.headers(), beside).await?;
        if let Some(caller) = &caller {
            see(request, &route, Some(&caller.claims));
            policy::check(&route, &caller.claims)?;
            if route.purpose == Purpose::Events {
                return self
                    .gateway
                    .events
                    .answer(request, &route, path, &self.gateway.verifier, caller);
            }
        }
        let path = forwarded_path(&route, path);
        if path::is_internal(path) {
            return Err(Problem::not_found());
        }
        let pool = route.upstream.and_then(|upstream| view.pools.get(upstream));
        let pool = pool.ok_or_else(Problem::not_found)?;
        let passage = Passage {
            request,
            route: &route,
            caller: caller.as_ref(),
            host,
            path,
            body_timeout: view.state.body_timeout,
            handshake: handshake.as_ref(),
            verifier: &self.gateway.verifier,
            events: &self.gateway.events,
        };
        Ok(passage.forward(pool, payload.take()).await?)
    }
}

/// `path` without the prefix, if the route strips it.
fn forwarded_path<'a>(route: &Route, path: &'a str) -> &'a str {
    if !route.strip_prefix || route.name == "/" {
        return path;
    }
    match path.strip_prefix(route.name.as_str()) {
        Some("") | None => "/",
        Some(rest) => rest,
    }
}

fn see(request: &HttpRequest, route: &Arc<Route>, claims: Option<&Arc<Claims>>) {
    request.extensions_mut().insert(Seen {
        route: Arc::clone(route),
        claims: claims.map(Arc::clone),
    });
}

/// Every request that is no preflight.
pub(crate) async fn serve(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let mut payload = payload.into_inner();
    let worker = request
        .app_data::<Rc<Worker>>()
        .map(Rc::clone)
        .ok_or_else(|| Problem::internal(anyhow::anyhow!("no worker among the app's data")))?;
    if Connection::begin(&request) {
        let refusal = Problem::bad_request(
            "connection_over",
            "The connection was to be closed before this request.",
        );
        let mut response = refusal.response(Some(&RequestId::of(&request)), None);
        response.head_mut().set_connection_type(ConnectionType::Close);
        return Ok(response);
    }
    let outcome = worker.answer(&request, &mut payload).await;
    // Whoever said that it expects to hear something first is ready to hear this first.
    if outcome.is_err() && headers::has_body(request.headers()) && !request.head().expect() {
        drain(&mut payload).await;
    }
    outcome
}

async fn drain(payload: &mut Payload) {
    let read = async {
        let mut read = 0;
        while let Some(Ok(piece)) = payload.next().await {
            read += piece.len();
            if read > DRAIN {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, read).await;
}

/// What happens around every request: the last word on its headers, and its line in the log.
pub(crate) async fn surround(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = clock::instant();
    let preflight = cors::is_preflight(&request);
    let logged = request
        .app_data::<Rc<Worker>>()
        .is_some_and(|worker| worker.gateway.access_log);
    let response = cors::settle(next.call(request).await?.map_into_boxed_body(), preflight);
    if !matches!(response.response().body().size(), BodySize::Stream) {
        Connection::wait(response.request());
    }
    if logged {
        write_log(&response, started.elapsed());
    }
    Ok(response)
}

/// One line a request. The query is left out: it may hold secrets.
fn write_log(response: &ServiceResponse<BoxBody>, took: Duration) {
    let request = response.request();
    let extensions = request.extensions();
    let seen = extensions.get::<Seen>();
    let path = request.uri().path();
    log::info!(
        target: "access",
        method = request.method().as_str(),
        path = path.get(..LOGGED_PATH).unwrap_or(path),
        status = response.status().as_u16(),
        ms:% = format_args!("{:.2}", took.as_secs_f64() * 1000.0),
        request_id = extensions.get::<RequestId>().map_or("", |id| id.0.as_str()),
        route = seen.map_or("", |seen| seen.route.name.as_str()),
        user_id = seen.and_then(|seen| seen.claims.as_ref()).map_or("", |claims| claims.sub.as_str());
        "request"
    );
}
