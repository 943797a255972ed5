//! What pages of other origins may do, and the headers that every answer has (the Fetch standard, section 3.3).

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use crate::headers;
use crate::state::State;

const METHODS: &str = "DELETE, GET, OPTIONS, PATCH, POST, PUT";
const REQUEST_HEADERS: &str = "accept, accept-encoding, authorization, content-type, dnt, origin, traceparent, user-agent, \
                               x-csrftoken, x-request-id, x-requested-with, x-token-delivery";
const EXPOSED_HEADERS: &str = "link, retry-after, www-authenticate, x-request-id";
const MAX_AGE: &str = "86400";

/// RFC 6797, for a year; not for other names below this one, of which we know nothing.
const ONLY_TLS: HeaderValue = HeaderValue::from_static("max-age=31536000");

static SECURITY: [(HeaderName, HeaderValue); 4] = [
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// The answer to a preflight, in which a browser asks whether a page may ask something; nobody else hears of it. `None` when
/// `request` is none. One that is refused is an empty 200 which permits nothing.
pub(crate) fn preflight(request: &HttpRequest, state: &State) -> Option<HttpResponse> {
    let received = request.headers();
    let method = received.get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let method = method.filter(|_| request.method() == Method::OPTIONS)?;
    let mut answer = HttpResponse::Ok();
    let is_allowed = may_read(request, state).filter(|_| {
        let mut wanted = received.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS);
        METHODS.split(", ").any(|known| known == method) && wanted.all(are_known)
    });
    if let Some(origin) = is_allowed {
        answer
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()))
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
            .insert_header((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE));
    }
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    Some(answer.insert_header((header::VARY, vary)).finish())
}

/// Lets the page that asked read the answer to `request`, if it may. What upstreams say of that does not get here.
pub(crate) fn allow(request: &HttpRequest, state: &State, headers: &mut HeaderMap) {
    if let Some(origin) = may_read(request, state) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED_HEADERS),
        );
    }
    // Whoever keeps the answer must not give it to a page of another origin.
    let mut vary: Vec<&[u8]> = headers.get_all(header::VARY).map(HeaderValue::as_bytes).collect();
    let vary = if vary.is_empty() {
        HeaderValue::from_static("Origin")
    } else {
        vary.push(b"Origin");
        HeaderValue::from_bytes(&vary.join(&b", "[..])).unwrap_or(HeaderValue::from_static("*"))
    };
    headers.insert(header::VARY, vary);
}

/// The origin that `request` comes from, if its pages may read the answer.
fn may_read<'a>(request: &'a HttpRequest, state: &State) -> Option<&'a HeaderValue> {
    let origin = request.headers().get(header::ORIGIN)?;
    let mut origins = state.origins_for(request.head()).iter();
    origins
        .any(|known| known.as_bytes() == origin.as_bytes())
        .then_some(origin)
}

/// Whether pages may send all the headers that `names` lists.
fn are_known(names: &HeaderValue) -> bool {
    let known = |name: &str| {
        REQUEST_HEADERS
            .split(", ")
            .any(|known| known.eq_ignore_ascii_case(name.trim()))
    };
    names.to_str().is_ok_and(|names| names.split(',').all(known))
}

/// Adds what every answer has, unless the upstream says something else.
pub(crate) fn secure(request: &HttpRequest, headers: &mut HeaderMap) {
    for (name, value) in &SECURITY {
        if !headers.contains_key(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    if request.app_config().secure() && !headers.contains_key(header::STRICT_TRANSPORT_SECURITY) && !is_local(request) {
        headers.append(header::STRICT_TRANSPORT_SECURITY, ONLY_TLS);
    }
}

/// Whether `request` is for a name of this very machine. Told to use TLS only, a browser would do so for whatever else is
/// developed there.
fn is_local(request: &HttpRequest) -> bool {
    let host = headers::host(request.head()).unwrap_or_default();
    let name = host.split(':').next().unwrap_or(host);
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}
