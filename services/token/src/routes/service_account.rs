//! How service accounts show who they are at the internal endpoints: by a token with a scope.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use portcullis_client::{Claims, Verifier, bearer_token, wire};
use service_kit::Problem;

pub(super) use super::oauth::{BodyCredentials, OAuthForm};
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
