//! `POST /api/auth/logout` and `/logout`: end the session, so that its access tokens are refused too.

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpResponse, HttpResponseBuilder};
use portcullis_client::{Caller, OptionalCaller};
use service_kit::{Fields, FromFields, Problem};

use super::shown::{Shown, forget};
use crate::sessions::Sessions;

/// `{refresh}` or `{refresh_token}`, when either is there.
#[derive(Debug)]
pub(super) struct LogoutRequest {
    refresh: Option<String>,
}

impl FromFields for LogoutRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let name = if fields.has("refresh_token") {
            "refresh_token"
        } else {
            "refresh"
        };
        Some(Self {
            refresh: fields.optional_text(name)?,
        })
    }
}

/// 205 as the frontends expect it; `Content-Length: 0` says that nothing follows (RFC 9110 section 15.3.6).
fn reset_content() -> HttpResponseBuilder {
    let mut response = HttpResponse::build(StatusCode::RESET_CONTENT);
    response.insert_header((header::CONTENT_LENGTH, "0"));
    response
}

/// The same to a browser, which forgets its cookie.
fn reset_content_and_cookie() -> HttpResponse {
    let mut response = reset_content();
    for header in forget() {
        response.insert_header(header);
    }
    response.finish()
}

fn required() -> Problem {
    Problem::invalid(vec![(
        "refresh_token".to_owned(),
        vec!["This field is required.".to_owned()],
    )])
}

/// `/api/auth/logout`: by a refresh token, by a bearer token, or by both, which must then belong to one user. A bearer
/// token that is no longer good does not keep anybody from logging out, nor does a cookie that is not.
pub(super) async fn logout(
    sessions: Data<Sessions>,
    caller: OptionalCaller,
    shown: Shown<LogoutRequest>,
) -> Result<HttpResponse, Problem> {
    let caller = caller.0.as_deref();
    match shown {
        Shown::Cookie(cookie) => {
            sessions.sign_out(cookie.as_deref(), caller).await?;
            Ok(reset_content_and_cookie())
        }
        Shown::Body(form) => {
            match &form.refresh {
                Some(refresh) => sessions.log_out_by_refresh_token(refresh, caller).await?,
                None => sessions.log_out(caller.ok_or_else(required)?).await?,
            }
            Ok(reset_content().finish())
        }
    }
}

/// `/logout`: asks for a bearer token, as Django REST framework's does, and for a refresh token of the same user, which a
/// cookie need not hold any more.
pub(super) async fn logout_of_caller(
    sessions: Data<Sessions>,
    caller: Caller,
    shown: Shown<LogoutRequest>,
) -> Result<HttpResponse, Problem> {
    match shown {
        Shown::Cookie(cookie) => {
            sessions.sign_out(cookie.as_deref(), Some(&caller)).await?;
            Ok(reset_content_and_cookie())
        }
        Shown::Body(form) => {
            let refresh = form.refresh.ok_or_else(required)?;
            sessions.log_out_by_refresh_token(&refresh, Some(&caller)).await?;
            Ok(reset_content().finish())
        }
    }
}
