//! The `[gateway]` section of the configuration.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use service_kit::config::{list, word};
use url::Url;

use crate::header_rules::HeaderRules;

/// The section `[gateway]`. The defaults stand in the binary's `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where `/healthz`, `/readyz` and `/metrics` are served; never the public address.
    pub admin_listen: SocketAddr,
    /// Worker threads; 0 means one a core.
    pub workers: usize,
    /// The service account that follows the feed of the token service.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// Origins whose pages may read our answers, each exactly as browsers send it: `http://localhost:3000`.
    #[serde(deserialize_with = "list")]
    pub cors_origins: Vec<String>,
    /// Names of request headers that those pages may send, beside the usual ones.
    #[serde(deserialize_with = "list")]
    pub cors_headers: Vec<String>,
    /// Names of response headers that they may read, beside the usual ones.
    #[serde(deserialize_with = "list")]
    pub cors_exposed_headers: Vec<String>,
    /// The directory of the built web app; empty: none is served. Where none has been built, a page says how.
    pub web_root: PathBuf,
    /// Whether, and in which form, each request is logged in a line.
    #[serde(deserialize_with = "word")]
    pub access_log: AccessLog,
    /// Addresses and networks of proxies in front of us, whose `X-Forwarded-*` and `Forwarded` are believed.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// What clients are spoken to with; absent: HTTP without TLS.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// How many client connections a worker holds at once; further ones wait in the listener's backlog.
    pub max_connections: usize,
    /// How many streams of `/api/auth/events` may be open at once; the next is answered 503. At most half of what all
    /// workers hold.
    pub max_event_streams: usize,
    /// How long a client may take to send the head of a request.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a client's connection may stay open without a request.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// The longest pause between two pieces of a body, in either direction.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// How long connecting to an upstream may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a connection to an upstream is kept without being used; less than upstreams keep theirs.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// What routes lead to, by name. `identity`, `token` and `home` are needed by the routes that always exist.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Routes beside those that always exist; one with the same path, host and methods takes the other's place.
    #[serde(default)]
    pub routes: Vec<RouteConfig>,
}

impl Config {
    /// The files that it names and that a reload reads again.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.tls.iter().flat_map(|tls| [&tls.certificate, &tls.key]);
        files.map(PathBuf::as_path)
    }
}

/// The files that TLS needs, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, and after it those that lead to one that clients know.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The form of the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// Lines of `key=value` on standard error, beside the log.
    #[default]
    Text,
    /// A JSON object a line on standard output.
    Json,
    /// None.
    Off,
}

/// What requests are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The client's address.
    Address,
    /// The user whose token it is.
    User,
}

impl By {
    /// How it is called in the configuration and in headers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::User => "user",
        }
    }
}

/// One entry of a route's `rate_limit`: `requests` in each `per`, and `burst` of them at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Whose requests are counted together.
    #[serde(deserialize_with = "word")]
    pub by: By,
    /// How many are allowed in the long run.
    pub requests: u32,
    /// In what time.
    #[serde(with = "humantime_serde")]
    pub per: Duration,
    /// How many are allowed at once; as many as `requests` unless it is said.
    #[serde(default)]
    pub burst: Option<u32>,
    /// Whether requests from this machine are not counted: there it is the operator, or a proxy that is not trusted yet,
    /// with all of its clients.
    #[serde(skip)]
    pub(crate) spares_loopback: bool,
}

/// Interchangeable targets that requests are spread over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Base URLs, as in `http://127.0.0.1:8003`.
    #[serde(deserialize_with = "urls")]
    pub targets: Vec<Url>,
    /// How many connections each target gets at most; beyond it requests are answered 503.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// How many unused connections each worker keeps for each target.
    #[serde(default = "default_max_idle")]
    pub max_idle: usize,
    /// How many requests in a row may fail, whatever target they are brought to, before the next ones are answered 503 at
    /// once for a moment; 0: as many as like.
    #[serde(default = "default_max_failures")]
    pub max_failures: u32,
    /// How targets are asked whether they are well; absent: only requests find out.
    #[serde(default)]
    pub health: Option<HealthCheck>,
}

/// How a target is asked whether it is well: a GET that 2xx or 3xx answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// The path below the target's base URL, as in `/healthz`.
    pub path: String,
    /// How long after a check the next one begins, give or take a fifth.
    #[serde(default = "default_interval", with = "humantime_serde")]
    pub interval: Duration,
    /// How long the answer may take.
    #[serde(default = "default_check_timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// How many checks in a row have to succeed before a target gets requests again.
    #[serde(default = "default_healthy_after")]
    pub healthy_after: u32,
    /// How many checks in a row have to fail before it gets none.
    #[serde(default = "default_unhealthy_after")]
    pub unhealthy_after: u32,
}

impl Upstream {
    /// An upstream of these targets, with the default limits.
    #[must_use]
    pub fn of(targets: Vec<Url>) -> Self {
        Self {
            targets,
            max_connections: default_max_connections(),
            max_idle: default_max_idle(),
            max_failures: default_max_failures(),
            health: None,
        }
    }
}

/// Who gets through a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Whoever has a good token of a user.
    #[default]
    Required,
    /// Anybody, but a token that is presented must be good.
    Optional,
    /// Anybody; the `Authorization` header is passed on as it is.
    None,
}

/// What a route does when revocations have not been heard of for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stale {
    /// Answers 503.
    #[default]
    Deny,
    /// Goes by what was known last.
    Allow,
}

/// What a route has to do with refresh tokens, if it is one of ours or an operator's that goes on for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Leads to a service that has nothing to do with refresh tokens: it never sees or sets their cookie.
    #[default]
    Service,
    /// Leads to a service that gives out refresh tokens: it may set their cookie.
    Tokens,
    /// The same, and the cookie is brought to it.
    Refresh,
    /// Leads nowhere: the gateway itself answers, with a stream of events.
    Events,
}

/// One entry of `[[gateway.routes]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The path prefix, which ends at a segment's border: `/home` leads `/home` and `/home/x`, not `/homework`.
    pub path: String,
    /// Only for this host name.
    #[serde(default)]
    pub host: Option<String>,
    /// Only for these methods (`GET` includes `HEAD`); empty means all.
    #[serde(default, deserialize_with = "list")]
    pub methods: Vec<String>,
    /// The name of the upstream.
    pub upstream: String,
    /// Who gets through.
    #[serde(default, deserialize_with = "word")]
    pub auth: Auth,
    /// Scopes that the token must have, all of them.
    #[serde(default, deserialize_with = "list")]
    pub scopes: Vec<String>,
    /// Roles of which the user must have one.
    #[serde(default, deserialize_with = "list")]
    pub roles: Vec<String>,
    /// What happens when revocations are not known to be fresh.
    #[serde(default, deserialize_with = "word")]
    pub stale: Stale,
    /// How many requests are allowed; empty: any number.
    #[serde(default)]
    pub rate_limit: Vec<RateLimit>,
    /// The largest request body, in bytes.
    #[serde(default = "default_body_limit")]
    pub body_limit: u64,
    /// How long the upstream may take to begin its answer.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// The longest pause in a body of a request or an answer, and in a WebSocket's being taken, instead of
    /// `gateway.body_timeout`.
    #[serde(default, with = "humantime_serde")]
    pub body_timeout: Option<Duration>,
    /// Whether the upstream gets the path without `path`.
    #[serde(default)]
    pub strip_prefix: bool,
    /// Origins whose pages may read answers, instead of `gateway.cors_origins`.
    #[serde(default, deserialize_with = "some_list")]
    pub cors_origins: Option<Vec<String>>,
    /// Names of request headers that those pages may send beside the usual ones, instead of `gateway.cors_headers`.
    #[serde(default, deserialize_with = "some_list")]
    pub cors_headers: Option<Vec<String>>,
    /// Names of response headers that they may read beside the usual ones, instead of `gateway.cors_exposed_headers`.
    #[serde(default, deserialize_with = "some_list")]
    pub cors_exposed_headers: Option<Vec<String>>,
    /// Headers that the upstream gets, and does not get.
    #[serde(default)]
    pub request_headers: HeaderRules,
    /// Headers that clients get, and do not get, of the upstream's answer.
    #[serde(default)]
    pub response_headers: HeaderRules,
    /// What the route is for, which no configuration can say: it follows from path and upstream.
    #[serde(skip)]
    pub(crate) purpose: Purpose,
}

impl RouteConfig {
    /// The route from `path` to `upstream` with every other setting at its default.
    #[must_use]
    pub fn new(path: &str, upstream: &str) -> Self {
        Self {
            path: path.to_owned(),
            host: None,
            methods: Vec::new(),
            upstream: upstream.to_owned(),
            auth: Auth::default(),
            scopes: Vec::new(),
            roles: Vec::new(),
            stale: Stale::default(),
            rate_limit: Vec::new(),
            body_limit: default_body_limit(),
            timeout: default_timeout(),
            body_timeout: None,
            strip_prefix: false,
            cors_origins: None,
            cors_headers: None,
            cors_exposed_headers: None,
            request_headers: HeaderRules::default(),
            response_headers: HeaderRules::default(),
            purpose: Purpose::default(),
        }
    }
}

fn default_max_connections() -> usize {
    1024
}

fn default_max_idle() -> usize {
    64
}

fn default_max_failures() -> u32 {
    20
}

fn default_interval() -> Duration {
    Duration::from_secs(5)
}

fn default_check_timeout() -> Duration {
    Duration::from_secs(2)
}

fn default_healthy_after() -> u32 {
    2
}

fn default_unhealthy_after() -> u32 {
    3
}

fn default_body_limit() -> u64 {
    10 * 1024 * 1024
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: &String| {
        let network = text
            .parse()
            .ok()
            .or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)));
        network.ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is neither an address nor a network, as in \"10.0.0.7\" or \"10.0.0.0/8\""
            ))
        })
    };
    list(deserializer)?.iter().map(network).collect()
}

fn some_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    list(deserializer).map(Some)
}

fn urls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Url>, D::Error> {
    list(deserializer)?
        .iter()
        .map(|text| {
            Url::parse(text).map_err(|error| {
                serde::de::Error::custom(format!(
                    "{text:?} is not a URL ({error}); write it as in \"http://127.0.0.1:8003\""
                ))
            })
        })
        .collect()
}
