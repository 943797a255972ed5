//! What happens once to every request of every role: an id, the error shape, the log of failures, the request metrics.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse, ResponseError};

use crate::meter::Histogram;
use crate::{Problem, clock};

/// The header that carries a request's id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a request that is taken from its caller.
const LONGEST: usize = 64;

/// The id of a request: the caller's own when it is short and plain, else a new one.
#[derive(Clone, Debug)]
pub struct RequestId {
    text: [u8; LONGEST],
    length: usize,
}

impl RequestId {
    /// A new one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        let (mut text, length) = ([0; LONGEST], 24);
        crate::random::label(&mut text[..length]);
        Self { text, length }
    }

    /// The id of a request with this value of [`X_REQUEST_ID`]: of one without an id of its own, a new one each time.
    #[must_use]
    pub fn of(received: Option<&[u8]>) -> Self {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let own = received.filter(|id| (1..=LONGEST).contains(&id.len()) && id.iter().all(is_plain));
        own.map_or_else(Self::new, |own| {
            let mut text = [0; LONGEST];
            text[..own.len()].copy_from_slice(own);
            Self {
                text,
                length: own.len(),
            }
        })
    }

    /// As text; 1 to 64 letters, digits, hyphens, underscores and dots.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The same, as the value of a header.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

/// Middleware for a role named `role`: wrap every app in it, outermost.
pub async fn handle(
    role: &'static str,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = RequestId::of(request.headers().get(X_REQUEST_ID).map(HeaderValue::as_bytes));
    let started = clock::instant();
    let (request, response) = next.call(request).await?.map_into_boxed_body().into_parts();
    let response = settle(role, &id, &request, response);
    let (method, status) = (known_method(request.method()), response.status().as_str().to_owned());
    metrics::counter!("http_requests_total", "role" => role, "method" => method, "status" => status).increment(1);
    Histogram::of("http_request_duration_seconds", &[("role", role)]).record(started.elapsed());
    Ok(ServiceResponse::new(request, response))
}

/// Gives `response` its last form: an error ours, every answer the `id` of its request.
fn settle(role: &'static str, id: &RequestId, request: &HttpRequest, mut response: HttpResponse) -> HttpResponse {
    if let Some(error) = response.error() {
        let accept = request.headers().get(header::ACCEPT);
        let accept = accept.and_then(|value| value.to_str().ok());
        let shaped = match error.as_error::<Problem>() {
            Some(problem) => shape(role, id, accept, problem),
            None => shape(role, id, accept, &foreign(error)),
        };
        response = with_headers_of(&response, shaped);
    }
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}

/// What `problem` is answered with, in the form that the client accepts. Failures of the role named `role` are logged.
#[must_use]
pub fn shape(role: &'static str, id: &RequestId, accept: Option<&str>, problem: &Problem) -> HttpResponse {
    let id = id.as_str();
    if problem.status_code().is_server_error() {
        let cause = problem
            .cause()
            .map_or_else(|| problem.to_string(), |cause| format!("{cause:#}"));
        log::error!(role, request_id = id, status = problem.status_code().as_u16(), cause = cause.as_str(); "request failed");
    }
    problem.response(Some(id), accept)
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
