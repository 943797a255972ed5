//! What pages of other origins may do, and the headers that every answer has (the Fetch standard, section 3.3).

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::{Method, header};

use crate::client::Request;
use crate::config::{Config, RouteConfig};
use crate::headers;
use crate::http1::Fields;
use crate::state::State;

const METHODS: &str = "DELETE, GET, OPTIONS, PATCH, POST, PUT";
/// What pages may send, whatever is configured.
const REQUEST_HEADERS: [&str; 17] = [
    "accept",
    "accept-encoding",
    "authorization",
    "baggage",
    "content-type",
    "dnt",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "origin",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-csrftoken",
    "x-request-id",
    "x-requested-with",
    "x-token-delivery",
];
/// And read, beside what browsers always let them.
const EXPOSED_HEADERS: [&str; 12] = [
    "content-disposition",
    "etag",
    "link",
    "location",
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "www-authenticate",
    "x-request-id",
];
const MAX_AGE: &str = "86400";

/// RFC 6797, for a year; not for other names below this one, of which we know nothing.
const ONLY_TLS: &[u8] = b"max-age=31536000";

/// What every answer has.
static SECURITY: LazyLock<Fields> = LazyLock::new(|| {
    let mut fields = Fields::new();
    fields.push(b"x-frame-options", b"DENY");
    fields.push(b"x-content-type-options", b"nosniff");
    fields.push(b"referrer-policy", b"same-origin");
    fields.push(b"cross-origin-opener-policy", b"same-origin");
    fields
});

/// What pages of other origins may do: those of one route, or of whatever has none of its own.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Whose pages may read answers.
    pub(crate) origins: Vec<String>,
    /// The names of the headers that they may send, in lower case.
    request_headers: Vec<String>,
    /// The same, and of those of answers that they may read, as browsers are told.
    allowed: String,
    exposed: String,
}

impl Rules {
    pub(crate) fn of(config: &Config) -> Self {
        Self::new(&config.cors_origins, &config.cors_headers, &config.cors_exposed_headers)
    }

    /// Those of `route`, if it says anything of them; where it says nothing, it goes by `config`.
    pub(crate) fn of_route(route: &RouteConfig, config: &Config) -> Option<Self> {
        let own = [&route.cors_origins, &route.cors_headers, &route.cors_exposed_headers];
        let general = [&config.cors_origins, &config.cors_headers, &config.cors_exposed_headers];
        let says_nothing = own.iter().all(|own| own.is_none());
        let [origins, sent, exposed] = [0, 1, 2].map(|which| own[which].as_ref().unwrap_or(general[which]));
        (!says_nothing).then(|| Self::new(origins, sent, exposed))
    }

    fn new(origins: &[String], sent: &[String], exposed: &[String]) -> Self {
        let request_headers = with(&REQUEST_HEADERS, sent);
        Self {
            origins: origins.to_vec(),
            allowed: request_headers.join(", "),
            request_headers,
            exposed: with(&EXPOSED_HEADERS, exposed).join(", "),
        }
    }

    /// The origin that `request` comes from, if its pages may read the answer.
    fn may_read(&self, request: &Request) -> Option<&str> {
        let origin = request.fields.get("origin")?;
        let mut origins = self.origins.iter();
        origins.find(|known| known.as_bytes() == origin).map(String::as_str)
    }

    /// Whether pages may send all the headers that `names` lists.
    fn may_send(&self, names: &[u8]) -> bool {
        let known = |name: &str| {
            self.request_headers
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name.trim()))
        };
        std::str::from_utf8(names).is_ok_and(|names| names.split(',').all(known))
    }
}

/// Whether pages may send the header of this name, in lower case, whatever is configured.
pub(crate) fn is_usual(name: &str) -> bool {
    REQUEST_HEADERS.contains(&name)
}

/// The names that are `always` there, and `more`, in lower case.
fn with(always: &[&str], more: &[String]) -> Vec<String> {
    let mut names: Vec<String> = always.iter().map(|name| (*name).to_owned()).collect();
    for name in more {
        let name = name.to_ascii_lowercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The answer to a preflight, in which a browser asks whether a page may ask something; nobody else hears of it. `None` when
/// `request` is none. One that is refused is an empty 200 which permits nothing.
pub(crate) fn preflight(request: &Request, state: &State) -> Option<HttpResponse> {
    if request.method != Method::OPTIONS {
        return None;
    }
    let received = &request.fields;
    let method = received.get("access-control-request-method")?;
    let mut answer = HttpResponse::Ok();
    let rules = state.cors_for(request);
    let is_allowed = rules.may_read(request).filter(|_| {
        let mut wanted = received.all("access-control-request-headers");
        // HEAD is always safe (the Fetch standard, section 2.2.1), and never listed.
        let mut known = METHODS.split(", ").chain(["HEAD"]);
        known.any(|known| known.as_bytes() == method) && wanted.all(|names| rules.may_send(names))
    });
    if let Some(origin) = is_allowed {
        answer
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin))
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, rules.allowed.as_str()))
            .insert_header((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE));
    }
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    Some(answer.insert_header((header::VARY, vary)).finish())
}

/// Lets the page that asked read the answer to `request`, if it may. What upstreams say of that does not get here.
pub(crate) fn allow(request: &Request, state: &State, fields: &mut Fields) {
    if request.fields.contains("origin") {
        let rules = state.cors_for(request);
        if let Some(origin) = rules.may_read(request) {
            fields.push(b"access-control-allow-origin", origin.as_bytes());
            fields.push(b"access-control-allow-credentials", b"true");
            fields.push(b"access-control-expose-headers", rules.exposed.as_bytes());
        }
    }
    // Whoever keeps the answer must not give it to a page of another origin.
    let mut vary: Vec<&[u8]> = fields.all("vary").collect();
    if vary.is_empty() {
        fields.push(b"vary", b"Origin");
    } else {
        vary.push(b"Origin");
        let vary = vary.join(&b", "[..]);
        fields.set("vary", &vary);
    }
}

/// Adds what every answer has, unless the upstream says something else.
pub(crate) fn secure(fields: &mut Fields) {
    fields.append_missing(&SECURITY);
}

/// Adds, to the answer to a `request` over TLS, that there is no other way here, unless the upstream says something else.
pub(crate) fn only_tls(request: &Request, fields: &mut Fields) {
    if !fields.contains("strict-transport-security") && !is_local(request) {
        fields.push(b"strict-transport-security", ONLY_TLS);
    }
}

/// Whether `request` is for a name of this very machine. Told to use TLS only, a browser would do so for whatever else is
/// developed there.
fn is_local(request: &Request) -> bool {
    let host = headers::host(request).unwrap_or_default();
    let name = host.split(':').next().unwrap_or(host);
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}
