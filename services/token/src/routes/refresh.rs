//! `POST /api/auth/refresh`, `/token/refresh`.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use serde::Serialize;
use service_kit::{Fields, Form, FromFields, Problem};

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
    refresh: String,
}

/// Trades a refresh token for a fresh pair. The `Authorization` header plays no part: it may well have expired.
pub(super) async fn refresh(sessions: Data<Sessions>, form: Form<RefreshRequest>) -> Result<HttpResponse, Problem> {
    let pair = sessions.refresh(&form.0.refresh).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(RefreshResponse {
            access: pair.access,
            refresh: pair.refresh,
        }))
}
