//! Who is asking, as the database knows them now.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use portcullis_client::wire::Reason;
use portcullis_client::{Caller, TokenError};
use service_kit::{Form, FromFields, Problem};

use crate::store::UserStore;
use crate::user::User;

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// A caller with a good token whose account exists and is active.
#[derive(Debug)]
pub(crate) struct ActiveUser(pub(crate) User);

/// An [`ActiveUser`] who is a superuser now, whatever the token says.
#[derive(Debug)]
pub(crate) struct Superuser(pub(crate) User);

impl FromRequest for ActiveUser {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (caller, users) = (
            <Caller>::from_request(request, payload),
            request.app_data::<Data<UserStore>>().cloned(),
        );
        Box::pin(async move {
            let caller = caller.await?;
            let users =
                users.ok_or_else(|| Problem::internal(anyhow::anyhow!("no Data<UserStore> among the app's data")))?;
            let user = match caller.sub.parse() {
                Ok(id) => users.find_by_id(id).await?,
                Err(_) => None,
            };
            match user {
                None => Err(TokenError::Revoked(Reason::Deleted).into()),
                Some(user) if !user.is_active => Err(TokenError::Revoked(Reason::Deactivated).into()),
                Some(user) => Ok(Self(user)),
            }
        })
    }
}

impl FromRequest for Superuser {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let user = ActiveUser::from_request(request, payload);
        Box::pin(async move {
            let ActiveUser(user) = user.await?;
            if user.is_superuser {
                Ok(Self(user))
            } else {
                Err(Problem::forbidden())
            }
        })
    }
}

/// What somebody asks for in a body, and who that is once the body is there: a request that is kept open on purpose is
/// not let in by what was true when it began.
#[derive(Debug)]
pub(crate) struct Asked<Who, T>(pub(crate) Who, pub(crate) T);

impl<Who, T> FromRequest for Asked<Who, T>
where
    Who: FromRequest<Error = Problem> + 'static,
    T: FromFields + 'static,
{
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, body) = (request.clone(), Form::<T>::from_request(request, payload));
        Box::pin(async move {
            let body = body.await;
            // Whoever may not ask is not told what is wrong with the question.
            let who = Who::from_request(&request, &mut Payload::None).await?;
            Ok(Self(who, body?.0))
        })
    }
}
