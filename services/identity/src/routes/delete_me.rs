//! `DELETE /api/auth/me`: the end of the caller's own account.

use actix_web::HttpResponse;
use actix_web::web::Data;
use portcullis_client::TokenClient;
use secrecy::SecretString;
use service_kit::{Fields, FromFields, Problem};

use super::caller::{ActiveUser, Asked};
use crate::outbox;
use crate::password::PasswordHasher;
use crate::store::UserStore;

/// A bearer token alone, which might be copied, does not end an account.
#[derive(Debug)]
pub(crate) struct DeleteMeRequest {
    current_password: SecretString,
}

impl FromFields for DeleteMeRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        Some(Self {
            current_password: fields.secret("current_password")?,
        })
    }
}

/// 204; every session has ended.
pub(crate) async fn delete_me(
    Asked(ActiveUser(user), request): Asked<ActiveUser, DeleteMeRequest>,
    users: Data<UserStore>,
    hasher: Data<PasswordHasher>,
    tokens: Data<TokenClient>,
) -> Result<HttpResponse, Problem> {
    hasher.confirm(&user, request.current_password).await?;
    users.delete_own(&user).await?;
    log::info!(user_id:% = user.id; "an account was deleted by its owner");
    outbox::deliver_now(&users, &tokens).await;
    Ok(HttpResponse::NoContent().finish())
}
