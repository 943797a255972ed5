//! What pages of other origins may do, and the headers that every answer has (the Fetch standard, section 3.3).

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::{Method, header};

use crate::client::Request;
use crate::headers;
use crate::http1::Fields;
use crate::state::State;

const METHODS: &str = "DELETE, GET, OPTIONS, PATCH, POST, PUT";
const REQUEST_HEADERS: &str = "accept, accept-encoding, authorization, baggage, content-type, dnt, idempotency-key, \
                               if-match, if-none-match, origin, traceparent, tracestate, user-agent, x-csrftoken, x-request-id, x-requested-with, x-token-delivery";
const EXPOSED_HEADERS: &str = "content-disposition, etag, link, location, ratelimit, ratelimit-limit, ratelimit-policy, \
                               ratelimit-remaining, ratelimit-reset, retry-after, www-authenticate, x-request-id";
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

/// The answer to a preflight, in which a browser asks whether a page may ask something; nobody else hears of it. `None` when
/// `request` is none. One that is refused is an empty 200 which permits nothing.
pub(crate) fn preflight(request: &Request, state: &State) -> Option<HttpResponse> {
    if request.method != Method::OPTIONS {
        return None;
    }
    let received = &request.fields;
    let method = received.get("access-control-request-method")?;
    let mut answer = HttpResponse::Ok();
    let is_allowed = may_read(request, state).filter(|_| {
        let mut wanted = received.all("access-control-request-headers");
        METHODS.split(", ").any(|known| known.as_bytes() == method) && wanted.all(are_known)
    });
    if let Some(origin) = is_allowed {
        answer
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin))
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
            .insert_header((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE));
    }
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    Some(answer.insert_header((header::VARY, vary)).finish())
}

/// Lets the page that asked read the answer to `request`, if it may. What upstreams say of that does not get here.
pub(crate) fn allow(request: &Request, state: &State, fields: &mut Fields) {
    if let Some(origin) = may_read(request, state) {
        fields.push(b"access-control-allow-origin", origin.as_bytes());
        fields.push(b"access-control-allow-credentials", b"true");
        fields.push(b"access-control-expose-headers", EXPOSED_HEADERS.as_bytes());
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

/// The origin that `request` comes from, if its pages may read the answer.
fn may_read<'a>(request: &Request, state: &'a State) -> Option<&'a str> {
    let origin = request.fields.get("origin")?;
    let mut origins = state.origins_for(request).iter();
    origins.find(|known| known.as_bytes() == origin).map(String::as_str)
}

/// Whether pages may send all the headers that `names` lists.
fn are_known(names: &[u8]) -> bool {
    let known = |name: &str| {
        REQUEST_HEADERS
            .split(", ")
            .any(|known| known.eq_ignore_ascii_case(name.trim()))
    };
    std::str::from_utf8(names).is_ok_and(|names| names.split(',').all(known))
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
