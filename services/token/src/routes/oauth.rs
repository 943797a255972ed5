//! What the OAuth endpoints have in common: their forms, and how clients show who they are (RFC 6749 section 2.3).

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpRequest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_client::wire::FIRST_PARTY_CLIENT;
use serde_json::json;
use service_kit::{Fields, Form, FromFields, Problem};
use url::form_urlencoded;

use crate::account::{Account, Accounts};
use crate::error::Error;

/// Answers with tokens, and refusals beside them, are kept by nobody (RFC 6749 section 5.1).
pub(super) const UNSTORED: [(header::HeaderName, &str); 2] =
    [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];

/// A [`Form`] of an OAuth endpoint: a parameter without a value is as if it were not there, none may be there twice
/// (section 3.2), and what is wrong with one also has the `error` of section 5.2.
#[derive(Debug)]
pub(super) struct OAuthForm<T>(pub(super) T);

struct Parameters<T>(T);

impl<T: FromFields> FromFields for Parameters<T> {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        fields.omit_empty();
        fields.reject_repeated();
        T::from_fields(fields).map(Self)
    }
}

impl<T: FromFields + 'static> FromRequest for OAuthForm<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let form = Form::<Parameters<T>>::from_request(request, payload);
        Box::pin(async move {
            match form.await {
                Ok(Form(Parameters(form))) => Ok(Self(form)),
                Err(problem) => Err(unstored(problem.member("error", json!("invalid_request")))),
            }
        })
    }
}

/// The refusal with the headers that keep it from being stored.
pub(super) fn unstored(problem: Problem) -> Problem {
    UNSTORED
        .into_iter()
        .fold(problem, |problem, (name, value)| problem.header(name, value))
}

/// Who asks at an OAuth endpoint.
#[derive(Debug)]
pub(super) enum Client {
    /// A client that has shown its secret.
    Confidential(Account),
    /// The one through which people log in, by its name alone: it has no secret, since browsers and phones keep none
    /// (section 2.1). Whoever shows a refresh token of it shows enough.
    FirstParty,
}

/// What the body says of the client.
#[derive(Debug)]
pub(super) struct BodyCredentials {
    id: Option<String>,
    secret: Option<String>,
}

impl BodyCredentials {
    /// Reads `client_id` and `client_secret`.
    pub(super) fn read(fields: &mut Fields) -> Option<Self> {
        let id = fields.optional_text("client_id");
        let secret = fields.optional_text("client_secret");
        Some(Self {
            id: id?,
            secret: secret?,
        })
    }

    /// The client, where one without a secret will do.
    pub(super) async fn identify(self, request: &HttpRequest, accounts: &Accounts) -> Result<Client, Error> {
        let (id, secret) = match basic_credentials(request.headers())? {
            Some(_) if self.secret.is_some() => {
                return Err(Error::InvalidRequest(
                    "Send the client's secret in the Authorization header or in the body, not in both.",
                ));
            }
            Some(basic) if basic.secret.is_empty() => (Some(form_decoded(&basic.id)), None),
            Some(basic) => {
                let account = basic.authenticate(self.id.as_deref(), accounts).await?;
                return Ok(Client::Confidential(account));
            }
            None => (self.id, self.secret),
        };
        match (id, secret) {
            (Some(id), Some(secret)) => accounts.authenticate(&id, &secret).await.map(Client::Confidential),
            // With an account of that name it has a secret, and has to show it (section 3.2.1).
            (Some(id), None) if id == FIRST_PARTY_CLIENT && !accounts.exists(&id).await? => Ok(Client::FirstParty),
            (None, Some(_)) => Err(Error::InvalidRequest("client_secret is there, but no client_id.")),
            (_, None) => Err(Error::InvalidClient),
        }
    }

    /// The account of a client that has to show its secret.
    pub(super) async fn authenticate(self, request: &HttpRequest, accounts: &Accounts) -> Result<Account, Error> {
        match self.identify(request, accounts).await? {
            Client::Confidential(account) => Ok(account),
            Client::FirstParty => Err(Error::InvalidClient),
        }
    }
}

/// The id and secret of a Basic header, as they stand there.
struct Basic {
    id: String,
    secret: String,
}

impl Basic {
    /// The account they belong to. They are form-encoded, by section 2.3.1; many clients leave that out, so that what
    /// stands there is tried, too.
    async fn authenticate(&self, named: Option<&str>, accounts: &Accounts) -> Result<Account, Error> {
        let (id, secret) = (form_decoded(&self.id), form_decoded(&self.secret));
        if named.is_some_and(|named| named != id && named != self.id) {
            return Err(Error::InvalidRequest(
                "client_id in the body is another than in the Authorization header.",
            ));
        }
        match accounts.authenticate(&id, &secret).await {
            Err(Error::InvalidClient) if (&id, &secret) != (&self.id, &self.secret) => {
                accounts.authenticate(&self.id, &self.secret).await
            }
            outcome => outcome,
        }
    }
}

/// A value of `application/x-www-form-urlencoded`, decoded.
fn form_decoded(text: &str) -> String {
    // Encoded it has no separators; whoever did not encode may have some.
    let pair = format!("={}", text.replace('&', "%26"));
    let decoded = form_urlencoded::parse(pair.as_bytes()).next();
    decoded.map_or_else(String::new, |(_, value)| value.into_owned())
}

/// What a Basic `Authorization` header says (RFC 7617), if there is one. Headers of other schemes say nothing about a client.
fn basic_credentials(headers: &HeaderMap) -> Result<Option<Basic>, Error> {
    let mut found = headers.get_all(header::AUTHORIZATION);
    let Some(value) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err(Error::InvalidRequest("There are several Authorization headers."));
    }
    let text = value.to_str().unwrap_or_default();
    let (scheme, encoded) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| Error::InvalidClient)?;
    let decoded = String::from_utf8(decoded).map_err(|_| Error::InvalidClient)?;
    let (id, secret) = decoded.split_once(':').ok_or(Error::InvalidClient)?;
    Ok(Some(Basic {
        id: id.to_owned(),
        secret: secret.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_decoded_as_forms_are() {
        for (encoded, decoded) in [
            ("plain", "plain"),
            ("a+b%2Bc%3A%25", "a b+c:%"),
            ("a&b=c", "a&b=c"),
            ("%zz", "%zz"),
            ("", ""),
        ] {
            assert_eq!(form_decoded(encoded), decoded);
        }
    }
}
