//! The one error shape: RFC 9457, and a superset of what Django REST framework answers.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value, json};

/// What a handler answers when it cannot do what was asked.
///
/// `detail` is for the person who made the request; what went wrong inside stays in `cause`, which is logged and never sent.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<(String, Vec<String>)>,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<anyhow::Error>,
}

impl Problem {
    /// A problem of `status`; `code` is for programs, `detail` for people.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            members: Map::new(),
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// 400: the request as a whole cannot be understood.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 400: some fields are not acceptable; `errors` has the messages of each.
    #[must_use]
    pub fn invalid(errors: Vec<(String, Vec<String>)>) -> Self {
        let detail = errors
            .iter()
            .map(|(field, messages)| match field.as_str() {
                "non_field_errors" => messages.join(" "),
                field => format!("{field}: {}", messages.join(" ")),
            })
            .collect::<Vec<_>>()
            .join(" ");
        let mut problem = Self::bad_request("invalid", detail);
        problem.0.errors = errors;
        problem
    }

    /// 401 with a `WWW-Authenticate` challenge. `error` is RFC 6750's code (section 3.1) when a token was presented.
    pub fn unauthorized(code: &'static str, detail: impl Into<String>, error: Option<&str>) -> Self {
        let challenge = match error {
            None => "Bearer realm=\"api\"".to_owned(),
            Some(error) => format!("Bearer realm=\"api\", error=\"{error}\""),
        };
        Self::new(StatusCode::UNAUTHORIZED, code, detail).header(header::WWW_AUTHENTICATE, &challenge)
    }

    /// 403: known, but not allowed.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "permission_denied",
            "You do not have permission to perform this action.",
        )
    }

    /// 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found.")
    }

    /// 405 with what is allowed instead, in `allow` (`"GET, HEAD"`).
    #[must_use]
    pub fn method_not_allowed(method: &str, allow: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("Method \"{method}\" not allowed."),
        )
        .header(header::ALLOW, allow)
    }

    /// 413: more than the `limit` bytes that are taken here.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("The request body is larger than the {limit} bytes allowed here."),
        )
    }

    /// 503 with `Retry-After`: a dependency is down or a queue is full, and the same request may succeed soon.
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).header(header::RETRY_AFTER, "1")
    }

    /// 500: our own fault. The client learns nothing of `cause`; the log gets all of it.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on our side. The request id finds it in the log.",
        )
        .caused_by(cause)
    }

    /// Adds what went wrong inside, for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Adds a response header; a value that cannot stand in one is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.push((name, value));
        }
        self
    }

    /// Adds a member beside the standard ones (RFC 9457 section 3.2).
    #[must_use]
    pub fn member(mut self, name: &str, value: Value) -> Self {
        self.0.members.insert(name.to_owned(), value);
        self
    }

    /// The status this will be answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// What went wrong inside, if it is known.
    #[must_use]
    pub fn cause(&self) -> Option<&anyhow::Error> {
        self.0.cause.as_ref()
    }

    fn body(&self, request_id: Option<&str>) -> Map<String, Value> {
        let title = self.0.status.canonical_reason().unwrap_or("Error");
        let mut body = Map::new();
        body.insert("type".to_owned(), json!("about:blank"));
        body.insert("title".to_owned(), json!(title));
        body.insert("status".to_owned(), json!(self.0.status.as_u16()));
        body.insert("detail".to_owned(), json!(self.0.detail));
        body.insert("code".to_owned(), json!(self.0.code));
        if let Some(id) = request_id {
            body.insert("request_id".to_owned(), json!(id));
        }
        if !self.0.errors.is_empty() {
            let errors: Map<String, Value> = self.0.errors.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
            for (field, messages) in &errors {
                body.entry(field.clone()).or_insert_with(|| messages.clone());
            }
            body.insert("errors".to_owned(), Value::Object(errors));
        }
        for (name, value) in &self.0.members {
            body.entry(name.clone()).or_insert_with(|| value.clone());
        }
        body
    }

    /// The answer, with the id of the request, in the media type that `accept` prefers (RFC 9457 section 3).
    #[must_use]
    pub fn response(&self, request_id: Option<&str>, accept: Option<&str>) -> HttpResponse {
        let media = match accept {
            Some(accept) if accept.contains("application/problem+json") => "application/problem+json",
            _ => "application/json",
        };
        let mut response = HttpResponse::build(self.0.status);
        for (name, value) in &self.0.headers {
            response.insert_header((name, value));
        }
        response
            .insert_header((header::CONTENT_TYPE, media))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .body(Value::Object(self.body(request_id)).to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {}: {}",
            self.0.status.as_u16(),
            self.0.code,
            self.0.detail
        )
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.status
    }

    fn error_response(&self) -> HttpResponse {
        self.response(None, None)
    }
}

impl From<crate::blocking::BlockingError> for Problem {
    fn from(error: crate::blocking::BlockingError) -> Self {
        match error {
            crate::blocking::BlockingError::Full(_) => {
                Self::unavailable("busy", "Too many requests are waiting already. Try again in a moment.")
                    .caused_by(error)
            }
            crate::blocking::BlockingError::Panicked(_) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_messages_stand_in_errors_and_at_top_level_and_never_hide_a_standard_member() {
        let problem = Problem::invalid(vec![
            ("email".to_owned(), vec!["Enter a valid email address.".to_owned()]),
            ("status".to_owned(), vec!["No.".to_owned()]),
        ]);
        let body = Value::Object(problem.body(Some("r1")));
        assert_eq!(
            body,
            json!({
                "type": "about:blank", "title": "Bad Request", "status": 400,
                "detail": "email: Enter a valid email address. status: No.", "code": "invalid", "request_id": "r1",
                "email": ["Enter a valid email address."],
                "errors": {"email": ["Enter a valid email address."], "status": ["No."]},
            })
        );
    }

    #[test]
    fn what_went_wrong_inside_is_not_sent() {
        let problem = Problem::internal(anyhow::anyhow!("password of the database is 1234"));
        assert!(!Value::Object(problem.body(None)).to_string().contains("1234"));
    }
}
