//! What happens once to every request of every role: an id, the error shape, the log of failures, the request metrics.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};

use crate::{Problem, clock};

/// The header that carries a request's id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: the caller's own when it is short and plain, else a new one.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

impl RequestId {
    /// The id that [`handle`] gave to `request`; empty outside of it.
    #[must_use]
    pub fn of(request: &HttpRequest) -> String {
        request
            .extensions()
            .get::<Self>()
            .map(|id| id.0.clone())
            .unwrap_or_default()
    }

    fn adopt(header: Option<&HeaderValue>) -> Self {
        let plain = |text: &&str| {
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        match header.and_then(|value| value.to_str().ok()).filter(plain) {
            Some(id) => Self(id.to_owned()),
            None => Self(crate::random::label::<12>()),
        }
    }
}

/// Middleware for a role named `role`: wrap every app in it, outermost.
pub async fn handle(
    role: &'static str,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = RequestId::adopt(request.headers().get(X_REQUEST_ID));
    let method = request.method().clone();
    request.extensions_mut().insert(id.clone());
    let started = clock::instant();

    let response = next.call(request).await?.map_into_boxed_body();
    let (request, mut response) = response.into_parts();
    if let Some(error) = response.error() {
        let problem = error.as_error::<Problem>();
        if response.status().is_server_error() {
            let cause = problem
                .and_then(Problem::cause)
                .map_or_else(|| error.to_string(), |cause| format!("{cause:#}"));
            log::error!(role, request_id = id.0.as_str(), status = response.status().as_u16(), cause = cause.as_str(); "request failed");
        }
        let accept = request.headers().get(header::ACCEPT);
        let accept = accept.and_then(|value| value.to_str().ok());
        let shaped = match problem {
            Some(problem) => problem.response(Some(&id.0), accept),
            None => foreign(error).response(Some(&id.0), accept),
        };
        response = with_headers_of(&response, shaped);
    }
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    metrics::counter!("http_requests_total", "role" => role, "method" => known_method(&method), "status" => status_label(status)).increment(1);
    metrics::histogram!("http_request_duration_seconds", "role" => role).record(started.elapsed().as_secs_f64());
    Ok(ServiceResponse::new(request, response))
}

/// `shaped` with the headers that middleware further in (CORS, say) gave to `response`, unless it has its own.
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
fn known_method(method: &actix_web::http::Method) -> &'static str {
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

fn status_label(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
