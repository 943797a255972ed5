//! What pages of other origins may do, and the headers that every answer has (the Fetch standard, section 3.3).

use std::rc::Rc;

use actix_cors::Cors;
use actix_web::body::BoxBody;
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use crate::headers;
use crate::serve::Worker;

const METHODS: &str = "DELETE, GET, OPTIONS, PATCH, POST, PUT";
const REQUEST_HEADERS: &str = "accept, accept-encoding, authorization, content-type, dnt, origin, traceparent, user-agent, \
                               x-csrftoken, x-request-id, x-requested-with, x-token-delivery";
const EXPOSED_HEADERS: &str = "link, retry-after, www-authenticate, x-request-id";
const MAX_AGE: usize = 86_400;

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

/// The middleware that answers preflights and marks answers for the origins that `worker` knows at that moment.
pub(crate) fn allow(worker: Rc<Worker>) -> Cors {
    let may_read = move |origin: &HeaderValue, request: &RequestHead| {
        let view = worker.view();
        let mut origins = view.state.origins_for(request).iter();
        origins.any(|known| known.as_bytes() == origin.as_bytes())
    };
    Cors::default()
        .allowed_origin_fn(may_read)
        .allowed_methods(METHODS.split(", "))
        .allowed_headers(REQUEST_HEADERS.split(", "))
        .expose_headers(EXPOSED_HEADERS.split(", "))
        .supports_credentials()
        .max_age(MAX_AGE)
}

/// Whether the browser asks if it may ask.
pub(crate) fn is_preflight(request: &ServiceRequest) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Gives an answer that went through [`allow`] its last form: a preflight that is refused is an empty 200 which permits
/// nothing, other origins are told nothing, and lists are in one order.
pub(crate) fn settle(response: ServiceResponse<BoxBody>, preflight: bool) -> ServiceResponse<BoxBody> {
    let allowed = response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    let mut response = if preflight && !allowed {
        let mut answer = HttpResponse::Ok();
        answer.insert_header((header::VARY, "Origin"));
        response.into_response(answer.finish())
    } else {
        response
    };
    let headers = response.headers_mut();
    if !allowed {
        // actix-cors gives these to everybody, and what upstreams say of them does not get here.
        headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
        headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
    } else if preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(REQUEST_HEADERS),
        );
    } else {
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED_HEADERS),
        );
    }
    secure(headers);
    let request = response.request();
    if request.app_config().secure() && !is_local(request) {
        let headers = response.headers_mut();
        if !headers.contains_key(header::STRICT_TRANSPORT_SECURITY) {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, ONLY_TLS);
        }
    }
    response
}

/// Whether `request` is for a name of this very machine. Told to use TLS only, a browser would do so for whatever else is
/// developed there.
fn is_local(request: &HttpRequest) -> bool {
    let host = headers::host(request.head()).unwrap_or_default();
    let name = host.split(':').next().unwrap_or(host);
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

/// Adds what the upstream did not say itself.
fn secure(headers: &mut HeaderMap) {
    for (name, value) in &SECURITY {
        if !headers.contains_key(name) {
            headers.append(name.clone(), value.clone());
        }
    }
}
