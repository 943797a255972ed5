//! `POST /api/auth/refresh`, `/token/refresh`.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use portcullis_client::{Delivery, TokenError};
use serde::Serialize;
use service_kit::{Device, Fields, FromFields, Problem};

use super::shown::{Shown, forget};
use crate::error::Error;
use crate::sessions::Sessions;

/// `{refresh}`
#[derive(Debug)]
pub(super) struct RefreshRequest {
    refresh: String,
}

impl FromFields for RefreshRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        Some(Self {
            refresh: fields.text("refresh")?,
        })
    }
}

#[derive(Serialize)]
struct RefreshResponse {
    access: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<String>,
}

/// Trades a refresh token for a fresh pair, which goes back the way the old one came. The `Authorization` header plays no
/// part: it may well have expired.
/// A token of the system before comes in a body: no cookie of ours holds one.
pub(super) async fn refresh(
    sessions: Data<Sessions>,
    device: Device,
    shown: Shown<RefreshRequest>,
) -> Result<HttpResponse, Problem> {
    let (delivery, pair) = match shown {
        Shown::Body(form) => {
            let pair = sessions.refresh_or_exchange(&form.refresh, device).await?;
            (Delivery::Body, pair)
        }
        Shown::Cookie(cookie) => {
            let cookie = cookie.ok_or(TokenError::Missing)?;
            (Delivery::Cookie, sessions.refresh(&cookie).await.map_err(forgetting)?)
        }
    };
    let delivered = delivery.deliver(&pair);
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(cookie) = delivered.cookie {
        response.insert_header((header::SET_COOKIE, cookie));
    }
    Ok(response.json(RefreshResponse {
        access: pair.access,
        refresh: delivered.refresh,
    }))
}

/// A cookie that is good for nothing any more is not kept; one that was not looked at is.
fn forgetting(error: Error) -> Problem {
    let spent = error.spends_refresh_token();
    let problem = Problem::from(error);
    if !spent {
        return problem;
    }
    forget()
        .into_iter()
        .fold(problem, |problem, (name, value)| problem.header(name, &value))
}
