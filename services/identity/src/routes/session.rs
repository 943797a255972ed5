//! Opening a session for somebody who has just proved who they are.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, SET_COOKIE};
use portcullis_client::TokenClient;
use portcullis_client::wire::{OpenSessionRequest, TokenPair};
use serde::Serialize;
use service_kit::Device;

use crate::IdentityError;
use crate::user::User;

/// Opens a session for `user` as the account is now.
pub(super) async fn open(tokens: &TokenClient, user: &User, device: Device) -> Result<TokenPair, IdentityError> {
    let request = OpenSessionRequest {
        subject: user.id.to_string(),
        epoch: user.epoch,
        roles: user.all_roles(),
        user_agent: device.user_agent,
        ip: device.ip,
    };
    Ok(tokens.open_session(&request).await?)
}

/// An answer with tokens in it, which nothing may keep (RFC 6749 section 5.1); the refresh token is in its body or in a
/// cookie.
pub(super) fn answer(status: StatusCode, cookie: Option<String>, body: impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    response.insert_header((CACHE_CONTROL, "no-store"));
    if let Some(cookie) = cookie {
        response.insert_header((SET_COOKIE, cookie));
    }
    response.json(body)
}
