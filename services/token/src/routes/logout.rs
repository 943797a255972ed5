//! `POST /api/auth/logout` and `/logout`: end the session, so that its access tokens are refused too.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use portcullis_client::{Caller, OptionalCaller};
use service_kit::{Fields, Form, FromFields, Problem};

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
fn reset_content() -> HttpResponse {
    HttpResponse::build(StatusCode::RESET_CONTENT)
        .insert_header((header::CONTENT_LENGTH, "0"))
        .finish()
}

fn required() -> Problem {
    Problem::invalid(vec![(
        "refresh_token".to_owned(),
        vec!["This field is required.".to_owned()],
    )])
}

/// `/api/auth/logout`: by a refresh token, by a bearer token, or by both, which must then belong to one user. A bearer
/// token that is no longer good does not keep anybody from logging out.
pub(super) async fn logout(
    sessions: Data<Sessions>,
    caller: OptionalCaller,
    form: Form<LogoutRequest>,
) -> Result<HttpResponse, Problem> {
    match (&form.0.refresh, &caller.0) {
        (Some(refresh), caller) => sessions.log_out_by_refresh_token(refresh, caller.as_deref()).await?,
        (None, Some(caller)) => sessions.log_out(caller).await?,
        (None, None) => return Err(required()),
    }
    Ok(reset_content())
}

/// `/logout`: asks for a bearer token, as Django REST framework's does, and for a refresh token of the same user.
pub(super) async fn logout_of_caller(
    sessions: Data<Sessions>,
    caller: Caller,
    form: Form<LogoutRequest>,
) -> Result<HttpResponse, Problem> {
    let refresh = form.0.refresh.ok_or_else(required)?;
    sessions.log_out_by_refresh_token(&refresh, Some(&caller)).await?;
    Ok(reset_content())
}
