//! `POST /oauth/revoke` (RFC 7009).

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use portcullis_client::Verifier;
use portcullis_client::wire::{FIRST_PARTY_CLIENT, scope};
use service_kit::{Form, Problem};

use super::introspect::TokenForm;
use crate::account::Accounts;
use crate::error::Error;
use crate::sessions::Sessions;

/// Ends the session of a refresh token or of an access token. A token that is not good is revoked already (section 2.2).
pub(super) async fn revoke(
    request: HttpRequest,
    accounts: Data<Accounts>,
    sessions: Data<Sessions>,
    verifier: Data<Verifier>,
    form: Form<TokenForm>,
) -> Result<HttpResponse, Problem> {
    let account = form.0.credentials.authenticate(&request, &accounts).await?;
    if let Ok(own) = verifier.service(&form.0.token).await {
        sessions.revoke_token_of(&account, &own).await?;
        return Ok(HttpResponse::Ok().finish());
    }
    // Section 2.1: only the client that a token was issued to, or one that may end any session.
    if account.id != FIRST_PARTY_CLIENT && !account.may(scope::REVOKE) {
        return Err(Error::AnothersToken.into());
    }
    let outcome = match verifier.user(&form.0.token).await {
        Ok(claims) => sessions.log_out(&claims).await,
        Err(_) => sessions.log_out_by_refresh_token(&form.0.token, None).await,
    };
    match outcome {
        Ok(()) | Err(Error::CannotLogOut(_)) => Ok(HttpResponse::Ok().finish()),
        Err(error) => Err(error.into()),
    }
}
