//! Reading what clients send: JSON, URL-encoded and multipart bodies alike, field by field, with every mistake named.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_multipart::Multipart;
use actix_web::dev::Payload;
use actix_web::http::{StatusCode, header};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::StreamExt;
use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::Problem;

/// The largest body a form may have, in bytes.
pub const LIMIT: usize = 64 * 1024;
/// How long a whole form may take to arrive, however steadily it trickles.
const ARRIVAL: Duration = Duration::from_secs(30);
/// How much more than the limit is read and thrown away, so that a client still hears the answer.
const DRAIN: usize = 32 * 1024 * 1024;

/// A request body read into a `T`. Anything that cannot be read is answered 400, 413 or 415 before the handler runs.
#[derive(Debug)]
pub struct Form<T>(pub T);

/// A request type that knows its fields.
pub trait FromFields: Sized {
    /// Reads each field from `fields`, which remembers what is wrong with them. `None` when something is.
    fn from_fields(fields: &mut Fields) -> Option<Self>;
}

/// The fields of one request body, and the mistakes found in them so far.
#[derive(Debug, Default)]
pub struct Fields {
    values: Map<String, Value>,
    /// Those that a URL-encoded body has several times; the last one counts.
    repeated: Vec<String>,
    errors: Vec<(String, Vec<String>)>,
}

impl Fields {
    /// The text of a required field, without surrounding white space. Numbers count as their digits.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.optional_text(name)? {
            Some(text) => Some(text),
            None => self.reject(name, "This field is required."),
        }
    }

    /// The text of a field that may be absent: `None` for a mistake, `Some(None)` for absence.
    pub fn optional_text(&mut self, name: &str) -> Option<Option<String>> {
        let Some(value) = self.values.get(name) else {
            return Some(None);
        };
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null => return self.reject(name, "This field may not be null."),
            _ => return self.reject(name, "Not a valid string."),
        };
        if text.contains('\0') {
            return self.reject(name, "Null characters are not allowed.");
        }
        match text.trim() {
            "" => self.reject(name, "This field may not be blank."),
            trimmed => Some(Some(trimmed.to_owned())),
        }
    }

    /// A required secret: like [`Fields::text`], but spaces around it are part of it.
    pub fn secret(&mut self, name: &str) -> Option<SecretString> {
        self.text(name)?;
        match self.values.get(name) {
            Some(Value::String(text)) => Some(SecretString::from(text.as_str())),
            Some(other) => Some(SecretString::from(other.to_string())),
            None => None,
        }
    }

    /// A secret that may be absent.
    pub fn optional_secret(&mut self, name: &str) -> Option<Option<SecretString>> {
        if self.has(name) {
            self.secret(name).map(Some)
        } else {
            Some(None)
        }
    }

    /// A field that, if there, must be a list of texts.
    pub fn texts(&mut self, name: &str) -> Option<Option<Vec<String>>> {
        let items = match self.values.get(name) {
            None => return Some(None),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        match items {
            Some(items) => Some(Some(items)),
            None => self.reject(name, "Expected a list of strings."),
        }
    }

    /// A field that, if there, must be a boolean as Django REST framework understands one.
    pub fn boolean(&mut self, name: &str) -> Option<Option<bool>> {
        let Some(value) = self.values.get(name) else {
            return Some(None);
        };
        let text = match value {
            Value::Bool(value) => return Some(Some(*value)),
            Value::String(text) => text.to_ascii_lowercase(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        match text.as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(Some(true)),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(Some(false)),
            _ => self.reject(name, "Must be a valid boolean."),
        }
    }

    /// Turns the text of a field into something that cannot be wrong, or says why not.
    pub fn parse<T>(
        &mut self,
        name: &str,
        text: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&text?) {
            Ok(value) => Some(value),
            Err(message) => self.reject(name, &message),
        }
    }

    /// [`Fields::parse`] of a field that may be absent.
    pub fn optional_parse<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match self.optional_text(name)? {
            Some(text) => self.parse(name, Some(text), parse).map(Some),
            None => Some(None),
        }
    }

    /// Remembers a mistake in the field `name`.
    pub fn reject<T>(&mut self, name: &str, message: &str) -> Option<T> {
        match self.errors.iter_mut().find(|(field, _)| field == name) {
            Some((_, messages)) => messages.push(message.to_owned()),
            None => self.errors.push((name.to_owned(), vec![message.to_owned()])),
        }
        None
    }

    /// Forgets every field whose text is empty, as if it had not been sent.
    pub fn omit_empty(&mut self) {
        self.values.retain(|_, value| value.as_str() != Some(""));
    }

    /// Rejects every field that was sent several times.
    pub fn reject_repeated(&mut self) {
        for name in std::mem::take(&mut self.repeated) {
            self.reject::<()>(&name, "This field may be sent only once.");
        }
    }

    /// Whether the body has a field of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Reads a `T`, or the problem that says everything that is wrong.
    pub fn read<T: FromFields>(mut self) -> Result<T, Problem> {
        match T::from_fields(&mut self) {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ if self.errors.is_empty() => Err(Problem::bad_request("invalid", "The request body cannot be read.")),
            _ => Err(Problem::invalid(self.errors)),
        }
    }

    fn from_json(body: &[u8]) -> Result<Self, Problem> {
        let parsed: Value = serde_json::from_slice(body)
            .map_err(|error| Problem::bad_request("parse_error", format!("JSON parse error - {error}")))?;
        let kind = match parsed {
            Value::Object(values) => {
                return Ok(Self {
                    values,
                    ..Self::default()
                });
            }
            Value::Null => return Err(whole("No data provided")),
            Value::Array(_) => "list",
            Value::String(_) => "str",
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_f64() => "float",
            Value::Number(_) => "int",
        };
        Err(whole(&format!("Invalid data. Expected a dictionary, but got {kind}.")))
    }

    fn from_urlencoded(body: &[u8]) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(body)
            .map_err(|error| Problem::bad_request("parse_error", format!("Form parse error - {error}")))?;
        let mut fields = Self::default();
        for (name, value) in pairs {
            if fields.values.insert(name.clone(), Value::String(value)).is_some() {
                fields.repeated.push(name);
            }
        }
        Ok(fields)
    }

    async fn from_multipart(request: &HttpRequest, body: Vec<u8>) -> Result<Self, Problem> {
        let broken = |error: &dyn std::fmt::Display| {
            Problem::bad_request("parse_error", format!("Multipart form parse error - {error}"))
        };
        let body = futures_util::stream::iter([Ok::<_, actix_web::error::PayloadError>(body.into())]);
        let mut parts = Multipart::new(request.headers(), body);
        let mut values = Map::new();
        while let Some(part) = parts.next().await {
            let mut part = part.map_err(|error| broken(&error))?;
            let Some(name) = part.name().map(str::to_owned) else {
                continue;
            };
            let mut bytes = Vec::new();
            while let Some(chunk) = part.next().await {
                bytes.extend_from_slice(&chunk.map_err(|error| broken(&error))?);
            }
            let text = String::from_utf8(bytes).map_err(|error| broken(&error))?;
            values.insert(name, Value::String(text));
        }
        Ok(Self {
            values,
            ..Self::default()
        })
    }
}

fn whole(message: &str) -> Problem {
    Problem::invalid(vec![("non_field_errors".to_owned(), vec![message.to_owned()])])
}

/// Reads a body of at most `limit` bytes. Of a larger one a bounded rest is read and dropped, so that the client, which
/// is still sending, gets to see the 413.
pub async fn read_body(payload: &mut Payload, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    let mut read = 0_usize;
    while let Some(chunk) = payload.next().await {
        let chunk =
            chunk.map_err(|error| Problem::bad_request("parse_error", format!("The body broke off: {error}")))?;
        read = read.saturating_add(chunk.len());
        if read <= limit {
            body.extend_from_slice(&chunk);
        } else if read > limit.saturating_add(DRAIN) {
            break;
        } else {
            body = Vec::new();
        }
    }
    if read > limit {
        Err(Problem::too_large(limit))
    } else {
        Ok(body)
    }
}

async fn read_fields(request: &HttpRequest, payload: &mut Payload) -> Result<Fields, Problem> {
    let body = tokio::time::timeout(ARRIVAL, read_body(payload, LIMIT)).await;
    let body = body.map_err(|_| {
        let detail = format!("The request body did not arrive within {} s.", ARRIVAL.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
    })??;
    if body.is_empty() {
        return Ok(Fields::default());
    }
    match request.content_type().to_ascii_lowercase().as_str() {
        "application/json" => Fields::from_json(&body),
        "application/x-www-form-urlencoded" => Fields::from_urlencoded(&body),
        "multipart/form-data" => Fields::from_multipart(request, body).await,
        other => {
            let named = if request.headers().contains_key(header::CONTENT_TYPE) {
                other
            } else {
                "text/plain"
            };
            Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                format!("Unsupported media type \"{named}\" in request."),
            ))
        }
    }
}

impl<T: FromFields + 'static> FromRequest for Form<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        Box::pin(async move { Ok(Self(read_fields(&request, &mut payload).await?.read()?)) })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use actix_web::web::Bytes;

    use super::*;

    #[derive(Debug)]
    struct Named(String);

    impl FromFields for Named {
        fn from_fields(fields: &mut Fields) -> Option<Self> {
            fields.text("name").map(Self)
        }
    }

    fn answer(json: &str) -> String {
        match Fields::from_json(json.as_bytes()).and_then(Fields::read::<Named>) {
            Ok(named) => named.0,
            Err(problem) => problem.to_string(),
        }
    }

    #[test]
    fn each_kind_of_mistake_has_its_message() {
        assert_eq!(answer(r#"{"name":" ada "}"#), "ada");
        assert_eq!(answer(r#"{"name":12}"#), "12");
        assert_eq!(answer("{}"), "400 invalid: name: This field is required.");
        assert_eq!(
            answer(r#"{"name":null}"#),
            "400 invalid: name: This field may not be null."
        );
        assert_eq!(
            answer(r#"{"name":"  "}"#),
            "400 invalid: name: This field may not be blank."
        );
        assert_eq!(answer(r#"{"name":true}"#), "400 invalid: name: Not a valid string.");
        assert_eq!(
            answer(r#"{"name":"a\u0000"}"#),
            "400 invalid: name: Null characters are not allowed."
        );
        assert_eq!(
            answer("[]"),
            "400 invalid: Invalid data. Expected a dictionary, but got list."
        );
        assert_eq!(answer("null"), "400 invalid: No data provided");
        assert!(answer("{nope").starts_with("400 parse_error: JSON parse error - "));
        assert!(answer(r#"{"name":"\ud800"}"#).starts_with("400 parse_error: JSON parse error - "));
        assert!(answer(&"[".repeat(2000)).starts_with("400 parse_error: JSON parse error - "));
    }

    #[tokio::test(start_paused = true)]
    async fn a_form_that_trickles_in_is_not_waited_for_without_end() {
        let request = TestRequest::post().insert_header(("content-type", "application/json"));
        let trickle = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok(Bytes::from_static(b" ")), ()))
        });
        let mut payload = Payload::from(trickle.boxed_local());
        let began = tokio::time::Instant::now();
        let refused = Form::<Named>::from_request(&request.to_http_request(), &mut payload).await;
        let problem = refused.err().map(|problem| problem.to_string()).unwrap_or_default();
        assert_eq!(
            problem,
            "408 request_timeout: The request body did not arrive within 30 s."
        );
        assert_eq!(began.elapsed(), ARRIVAL);
    }
}
