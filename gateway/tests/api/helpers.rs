//! Starting the gateway in front of an upstream that says what it received, and talking to it.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use portcullis_client::{FollowerConfig, VerifierConfig};
use portcullis_gateway::{AccessLog, Config, Reloader, RouteConfig, Upstream};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::SecretString;
use serde_json::{Value, json};
use service_kit::{Clock, Running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::issuer::{AUDIENCE, ISSUER, Issuer};

/// The origin whose pages may read answers.
pub(crate) const ORIGIN: &str = "http://localhost:3000";
/// How long a test waits for something before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway, its issuer and its upstream.
pub(crate) struct TestApp {
    pub(crate) address: SocketAddr,
    pub(crate) issuer: Issuer,
    pub(crate) echo: Echo,
    pub(crate) http: reqwest::Client,
    pub(crate) running: Running,
    pub(crate) reloader: Reloader,
    /// What it was started with.
    pub(crate) config: Config,
}

/// An upstream that answers with what it received.
#[derive(Clone)]
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    seen: Arc<AtomicUsize>,
}

impl Echo {
    pub(crate) fn start() -> Self {
        let seen = Arc::<AtomicUsize>::default();
        let data = Data::from(Arc::clone(&seen));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .app_data(web::PayloadConfig::new(256 * 1024 * 1024))
                .default_service(web::to(echo))
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        let address = server.addrs()[0];
        tokio::spawn(server.run());
        Self { address, seen }
    }

    /// How many requests it got.
    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

async fn echo(request: HttpRequest, body: web::Bytes, seen: Data<AtomicUsize>) -> HttpResponse {
    seen.fetch_add(1, Ordering::SeqCst);
    let status = request
        .path()
        .rsplit('/')
        .next()
        .and_then(|last| last.parse().ok())
        .unwrap_or(200);
    let status = actix_web::http::StatusCode::from_u16(status).unwrap();
    let mut headers = serde_json::Map::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        match headers.entry(name.as_str()).or_insert_with(|| json!([])) {
            Value::Array(values) => values.push(json!(value)),
            _ => unreachable!("only arrays are put there"),
        }
    }
    let mut response = HttpResponse::build(status);
    response
        .insert_header(("access-control-allow-origin", "*"))
        .insert_header(("x-frame-options", "SAMEORIGIN"));
    if request.path().ends_with("/vary") {
        response.append_header(("vary", "Accept, Accept-Language"));
        response.append_header(("vary", "Cookie"));
    }
    if matches!(status.as_u16(), 204 | 205 | 304) {
        return response.finish();
    }
    response.json(json!({
        "method": request.method().as_str(),
        "path": request.path(),
        "target": request.uri().to_string(),
        "headers": headers,
        "length": body.len(),
        "body": String::from_utf8_lossy(&body[..body.len().min(1000)]),
        "connection": request.peer_addr().unwrap().port(),
    }))
}

/// A route of the test configuration.
pub(crate) fn route(text: &str) -> RouteConfig {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn url(address: SocketAddr) -> Url {
    Url::parse(&format!("http://{address}")).unwrap()
}

/// The gateway with its usual routes.
pub(crate) async fn spawn() -> TestApp {
    spawn_with(|_| {}).await
}

/// The gateway with a configuration that `change` has the last word on; returns once it follows the issuer.
pub(crate) async fn spawn_with(change: impl FnOnce(&mut Config)) -> TestApp {
    let app = spawn_unsynced(change, Duration::from_mins(1), Issuer::start());
    app.until_ready().await;
    app
}

/// The usual configuration, with the upstream at `echo`.
pub(crate) fn config(echo: SocketAddr) -> Config {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let upstreams: BTreeMap<String, Upstream> = [
        ("identity", echo),
        ("token", echo),
        ("home", echo),
        ("echo", echo),
        ("nobody", nobody),
    ]
    .map(|(name, address)| (name.to_owned(), Upstream::of(vec![url(address)])))
    .into();
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        admin_listen: "127.0.0.1:0".parse().unwrap(),
        workers: 1,
        client_id: "gateway".to_owned(),
        client_secret: SecretString::from("secret"),
        cors_origins: vec![ORIGIN.to_owned()],
        cors_headers: Vec::new(),
        cors_exposed_headers: Vec::new(),
        web_root: PathBuf::new(),
        access_log: AccessLog::Text,
        trusted_proxies: Vec::new(),
        tls: None,
        max_connections: 1000,
        max_event_streams: 500,
        header_timeout: Duration::from_secs(5),
        keep_alive: Duration::from_secs(30),
        body_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(4),
        upstreams,
        routes: [
            r#"{"path": "/open", "upstream": "echo", "auth": "none"}"#,
            r#"{"path": "/optional", "upstream": "echo", "auth": "optional"}"#,
            r#"{"path": "/down", "upstream": "nobody", "auth": "none"}"#,
            r#"{"path": "/small", "upstream": "echo", "auth": "none", "body_limit": 1000}"#,
        ]
        .map(route)
        .to_vec(),
    }
}

pub(crate) fn spawn_unsynced(change: impl FnOnce(&mut Config), max_staleness: Duration, issuer: Issuer) -> TestApp {
    let echo = Echo::start();
    let mut config = config(echo.address);
    change(&mut config);
    let (running, reloader) = portcullis_gateway::start_reloadable(
        &config,
        follower(&config, issuer.address, max_staleness),
        Clock::system(),
    )
    .unwrap();
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .unwrap();
    TestApp {
        address: running.address,
        issuer,
        echo,
        http,
        running,
        reloader,
        config,
    }
}

/// Starts the gateway with `config`, which follows the issuer at `issuer`.
pub(crate) async fn start(config: Config, issuer: SocketAddr, max_staleness: Duration) -> anyhow::Result<Running> {
    let follower = follower(&config, issuer, max_staleness);
    portcullis_gateway::start(config, follower, Clock::system()).await
}

fn follower(config: &Config, issuer: SocketAddr, max_staleness: Duration) -> FollowerConfig {
    FollowerConfig {
        token_url: url(issuer),
        client_id: config.client_id.clone(),
        client_secret: config.client_secret.clone(),
        verifier: VerifierConfig {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            leeway: Duration::ZERO,
            max_staleness,
            cache_size: 100,
        },
    }
}

impl TestApp {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    /// `GET path` with `token`: the status and the body.
    pub(crate) async fn get_as(&self, path: &str, token: &str) -> (u16, Value) {
        read(self.request(Method::GET, path).bearer_auth(token).send().await.unwrap()).await
    }

    /// A good token of the user 7.
    pub(crate) fn token(&self) -> String {
        self.issuer.token("7", "session-7")
    }

    pub(crate) async fn until_ready(&self) {
        let ready = format!("http://{}/readyz", self.running.admin_address);
        until(|| async { self.http.get(&ready).send().await.unwrap().status() == 200 }).await;
    }

    /// Sends `bytes` as they are and reads until the connection ends, so `bytes` had better ask for that.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // What is refused halfway may not be taken to its end.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("an answer in time");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// `GET target`, exactly so, with `headers` (each with its line's end).
    pub(crate) async fn raw_get(&self, target: &str, headers: &str) -> (u16, Value) {
        let head = format!("GET {target} HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n{headers}\r\n");
        parse(&self.raw(head.as_bytes()).await)
    }
}

/// The status and the body of an answer; a body that is not JSON as a string.
pub(crate) async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// The status and the body of an answer as it stands on the wire, without chunks.
pub(crate) fn parse(answer: &str) -> (u16, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    (status, serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
}

/// Asks again and again until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(so: impl Fn() -> F) {
    let asking = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("it came to be in time");
}

/// Reads the head of a request from `stream`, and no more than what came with it.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap() == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A listener on a port of its own, for an upstream that misbehaves.
pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Adds an upstream `odd` at `address`, and a route `/odd` to it that `settings` (JSON members) describe.
pub(crate) fn odd(config: &mut Config, address: SocketAddr, settings: &str) {
    config
        .upstreams
        .insert("odd".to_owned(), Upstream::of(vec![url(address)]));
    config.routes.push(route(&format!(
        r#"{{"path": "/odd", "upstream": "odd", "auth": "none"{settings}}}"#
    )));
}
