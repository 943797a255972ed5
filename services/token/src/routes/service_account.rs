//! How service accounts show who they are: by id and secret at the OAuth endpoints, by token at the internal ones.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use portcullis_client::{Claims, Verifier, bearer_token, wire};
use serde_json::json;
use service_kit::{Fields, Form, FromFields, Problem};

use crate::account::{Account, Accounts, basic_credentials};
use crate::error::Error;

/// A scope that an endpoint asks for.
pub(super) trait Scope: 'static {
    /// Its name.
    const NAME: &'static str;
}

/// `tokens:issue`
#[derive(Debug)]
pub(super) struct Issue;
/// `tokens:revoke`
#[derive(Debug)]
pub(super) struct Revoke;
/// `feed:read`
#[derive(Debug)]
pub(super) struct ReadFeed;

impl Scope for Issue {
    const NAME: &'static str = wire::scope::ISSUE;
}
impl Scope for Revoke {
    const NAME: &'static str = wire::scope::REVOKE;
}
impl Scope for ReadFeed {
    const NAME: &'static str = wire::scope::FEED;
}

/// A service account whose token has the scope `S`. A handler that takes one cannot be reached without.
#[derive(Debug)]
pub(super) struct ServiceAccount<S> {
    /// What its token says.
    pub(super) claims: Arc<Claims>,
    scope: PhantomData<S>,
}

impl<S: Scope> FromRequest for ServiceAccount<S> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let token = bearer_token(request.headers())?;
            let verifier = request
                .app_data::<Data<Verifier>>()
                .ok_or_else(|| Problem::internal(anyhow::anyhow!("no Data<Verifier> among the app's data")))?;
            let claims = verifier.service(token).await?;
            if claims.has_scope(S::NAME) {
                Ok(Self {
                    claims,
                    scope: PhantomData,
                })
            } else {
                Err(Error::InsufficientScope(S::NAME).into())
            }
        })
    }
}

/// A [`Form`] of an OAuth endpoint: what is wrong with it also has the `error` of RFC 6749 section 5.2.
#[derive(Debug)]
pub(super) struct OAuthForm<T>(pub(super) T);

impl<T: FromFields + 'static> FromRequest for OAuthForm<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let form = Form::from_request(request, payload);
        Box::pin(async move {
            match form.await {
                Ok(Form(form)) => Ok(Self(form)),
                Err(problem) => Err(problem.member("error", json!("invalid_request"))),
            }
        })
    }
}

/// The id and secret of a client, as far as the body has them (RFC 6749 section 2.3.1).
#[derive(Debug)]
pub(super) struct BodyCredentials(Option<(String, String)>);

impl BodyCredentials {
    /// Reads `client_id` and `client_secret`.
    pub(super) fn read(fields: &mut Fields) -> Option<Self> {
        let id = fields.optional_text("client_id")?;
        let secret = fields.optional_text("client_secret")?;
        Some(Self(id.zip(secret)))
    }

    /// The account they belong to; the header goes first.
    pub(super) async fn authenticate(self, request: &HttpRequest, accounts: &Accounts) -> Result<Account, Error> {
        let (id, secret) = basic_credentials(request.headers())
            .or(self.0)
            .ok_or(Error::InvalidClient)?;
        accounts.authenticate(&id, &secret).await
    }
}
