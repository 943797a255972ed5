//! What happens once to every request of every role: an id, the error shape, the log of failures, the request metrics.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse};

use crate::meter::Histogram;
use crate::{Problem, clock};

/// The header that carries a request's id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: the caller's own when it is short and plain, else a new one.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id of a request with these `headers`: of one without an id of its own, a new one each time.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let plain = |value: &&HeaderValue| {
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
            (1..=64).contains(&value.len()) && value.as_bytes().iter().all(is_plain)
        };
        let id = headers.get(X_REQUEST_ID).filter(plain).cloned();
        let new = || {
            let mut text = [0; 24];
            crate::random::label(&mut text);
            HeaderValue::from_bytes(&text).ok()
        };
        Self(id.or_else(new).unwrap_or(HeaderValue::from_static("none")))
    }

    /// As text; 1 to 64 letters, digits, hyphens, underscores and dots.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Middleware for a role named `role`: wrap every app in it, outermost.
pub async fn handle(
    role: &'static str,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = RequestId::of(request.headers());
    let started = clock::instant();
    let (request, response) = next.call(request).await?.map_into_boxed_body().into_parts();
    let response = settle(role, &id, &request, response);
    let (method, status) = (known_method(request.method()), status_class(response.status()));
    metrics::counter!("http_requests_total", "role" => role, "method" => method, "status" => status).increment(1);
    Histogram::of("http_request_duration_seconds", &[("role", role)]).record(started.elapsed());
    Ok(ServiceResponse::new(request, response))
}

/// Gives `response` its last form: an error ours, every answer the `id` of its request. Failures of the role named `role`
/// are logged.
pub fn settle(role: &'static str, id: &RequestId, request: &HttpRequest, mut response: HttpResponse) -> HttpResponse {
    if let Some(error) = response.error() {
        let id = id.as_str();
        let problem = error.as_error::<Problem>();
        if response.status().is_server_error() {
            let cause = problem
                .and_then(Problem::cause)
                .map_or_else(|| error.to_string(), |cause| format!("{cause:#}"));
            log::error!(role, request_id = id, status = response.status().as_u16(), cause = cause.as_str(); "request failed");
        }
        let accept = request.headers().get(header::ACCEPT);
        let accept = accept.and_then(|value| value.to_str().ok());
        let shaped = match problem {
            Some(problem) => problem.response(Some(id), accept),
            None => foreign(error).response(Some(id), accept),
        };
        response = with_headers_of(&response, shaped);
    }
    response.headers_mut().insert(X_REQUEST_ID, id.0.clone());
    response
}

/// `shaped` with the headers that whoever is further in (CORS, say) gave to `response`, unless it has its own.
fn with_headers_of(response: &HttpResponse, mut shaped: HttpResponse) -> HttpResponse {
    let own: Vec<_> = shaped.headers().keys().cloned().collect();
    for (name, value) in response.headers() {
        if !own.contains(name) {
            shaped.headers_mut().append(name.clone(), value.clone());
        }
    }
    shaped
}

/// An error that actix itself raised (a malformed path, a broken body), in our shape.
fn foreign(error: &Error) -> Problem {
    let status = error.as_response_error().status_code();
    if status.is_server_error() {
        return Problem::internal(anyhow::anyhow!("{error}"));
    }
    Problem::new(status, "bad_request", error.to_string())
}

/// Methods outside the standard ones are counted as one, so that a client cannot make metrics grow.
#[must_use]
pub fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The class of a status, as metrics name it.
#[must_use]
pub fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
