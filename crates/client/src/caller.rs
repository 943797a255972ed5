//! Who is asking: the extractors that handlers name in their arguments.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use service_kit::Problem;

use crate::requirement::{Anybody, Denied, Requirement};
use crate::{Claims, TokenType, Verifier, bearer_token};

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// The claims of the bearer token in `request`, when it is good, of that kind, and meets `R`.
async fn admit<R: Requirement>(request: &HttpRequest, kind: TokenType) -> Result<Arc<Claims>, Problem> {
    let token = bearer_token(request.headers())?;
    let verifier = request
        .app_data::<Data<Verifier>>()
        .ok_or_else(|| Problem::internal(anyhow::anyhow!("no Data<Verifier> among the app's data")))?;
    let claims = match kind {
        TokenType::Access => verifier.user(token).await?,
        TokenType::Service => verifier.service(token).await?,
    };
    Denied::check::<R>(&claims)?;
    Ok(claims)
}

/// An extractor of callers whose tokens are of `$kind`.
macro_rules! extractor {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        pub struct $name<R = Anybody>(Arc<Claims>, PhantomData<fn() -> R>);

        impl<R> Clone for $name<R> {
            fn clone(&self) -> Self {
                Self(Arc::clone(&self.0), PhantomData)
            }
        }

        impl<R> fmt::Debug for $name<R> {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_tuple(stringify!($name)).field(&self.0).finish()
            }
        }

        impl<R> Deref for $name<R> {
            type Target = Claims;
            fn deref(&self) -> &Claims {
                &self.0
            }
        }

        impl<R: Requirement> FromRequest for $name<R> {
            type Error = Problem;
            type Future = Extracting<Self>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                let request = request.clone();
                Box::pin(async move { Ok(Self(admit::<R>(&request, $kind).await?, PhantomData)) })
            }
        }
    };
}

extractor! {
    /// A user with a good bearer token that meets the [`Requirement`] `R`. A handler that takes a `Caller` cannot be reached
    /// without one: 401 when there is no good token, 403 when it is good and lacks a scope or a role.
    ///
    /// Needs a `Data<Verifier>` among the app's data.
    Caller, TokenType::Access
}

extractor! {
    /// The same for a service account: another service that asks in its own name, with a token from its
    /// [`TokenClient`](crate::TokenClient).
    ServiceAccount, TokenType::Service
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
