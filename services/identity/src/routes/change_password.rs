//! `POST /api/auth/password`: another password, and the end of every other session.

use actix_web::HttpResponse;
use actix_web::web::Data;
use portcullis_client::{Caller, TokenClient};
use secrecy::SecretString;
use service_kit::{Fields, FromFields, Problem};

use super::caller::{ActiveUser, Asked};
use crate::outbox;
use crate::password::{Password, PasswordHasher};
use crate::store::UserStore;

/// The password as it is, and as it is to be.
#[derive(Debug)]
pub(crate) struct ChangePasswordRequest {
    current_password: SecretString,
    new_password: Password,
}

impl FromFields for ChangePasswordRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let current_password = fields.secret("current_password");
        let new_password = fields.secret("new_password");
        let new_password = new_password.and_then(|secret| match Password::parse(secret) {
            Ok(password) => Some(password),
            Err(message) => fields.reject("new_password", message),
        });
        Some(Self {
            current_password: current_password?,
            new_password: new_password?,
        })
    }
}

/// 204; the caller's own session goes on, and whoever else was signed in to the account is not any more.
pub(crate) async fn change_password(
    caller: Caller,
    Asked(ActiveUser(user), request): Asked<ActiveUser, ChangePasswordRequest>,
    users: Data<UserStore>,
    hasher: Data<PasswordHasher>,
    tokens: Data<TokenClient>,
) -> Result<HttpResponse, Problem> {
    hasher.confirm(&user, request.current_password).await?;
    let hash = hasher.hash(request.new_password).await?;
    users.set_password(&user, hash, caller.sid.clone()).await?;
    log::info!(user_id:% = user.id; "a password was changed");
    outbox::deliver_now(&users, &tokens).await;
    Ok(HttpResponse::NoContent().finish())
}
