//! Who is asking: the extractors that handlers name in their arguments.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use service_kit::Problem;

use crate::{Claims, Verifier, bearer_token};

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// A user with a good bearer token. A handler that takes a `Caller` cannot be reached without one.
///
/// Needs a `Data<Verifier>` among the app's data.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Claims>);

impl Deref for Caller {
    type Target = Claims;
    fn deref(&self) -> &Claims {
        &self.0
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let token = bearer_token(request.headers())?;
            let verifier = request
                .app_data::<Data<Verifier>>()
                .ok_or_else(|| Problem::internal(anyhow::anyhow!("no Data<Verifier> among the app's data")))?;
            Ok(Self(verifier.user(token).await?))
        })
    }
}

/// A [`Caller`], or nobody: for endpoints that a bearer token is optional at. A bad token counts as none.
#[derive(Clone, Debug)]
pub struct OptionalCaller(pub Option<Caller>);

impl FromRequest for OptionalCaller {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = Caller::from_request(request, payload);
        Box::pin(async move {
            match caller.await {
                Ok(caller) => Ok(Self(Some(caller))),
                Err(problem) if problem.status().is_client_error() => Ok(Self(None)),
                Err(problem) => Err(problem),
            }
        })
    }
}
