//! Where a client shows its refresh token: in a field of the body, or in the cookie.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use portcullis_client::{Delivery, forget_cookie, refresh_cookie};
use service_kit::{Fields, Form, FromFields, Problem};

/// What a request shows: the fields of its body, or the cookie, and never both.
#[derive(Debug)]
pub(super) enum Shown<T> {
    /// The fields of the body.
    Body(T),
    /// What the cookie holds, if there is one. Of the body no field counts.
    Cookie(Option<String>),
}

/// A body whose fields are all ignored.
struct Nothing;

impl FromFields for Nothing {
    fn from_fields(_: &mut Fields) -> Option<Self> {
        Some(Self)
    }
}

impl<T: FromFields + 'static> FromRequest for Shown<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        Box::pin(async move {
            match Delivery::extract(&request).await? {
                Delivery::Body => {
                    let form = Form::from_request(&request, &mut payload).await?;
                    Ok(Self::Body(form.0))
                }
                Delivery::Cookie => {
                    let _: Form<Nothing> = Form::from_request(&request, &mut payload).await?;
                    Ok(Self::Cookie(refresh_cookie(request.headers())))
                }
            }
        })
    }
}

/// The headers by which a browser forgets its refresh token.
pub(super) fn forget() -> [(header::HeaderName, String); 2] {
    [
        (header::SET_COOKIE, forget_cookie()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ]
}
