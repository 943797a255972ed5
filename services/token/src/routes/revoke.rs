//! `POST /oauth/revoke` (RFC 7009).

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use portcullis_client::wire::{FIRST_PARTY_CLIENT, scope};
use portcullis_client::{TokenError, TokenType, Verifier};
use service_kit::Problem;

use super::introspect::TokenForm;
use super::oauth::{Client, OAuthForm};
use crate::account::Accounts;
use crate::error::Error;
use crate::sessions::Sessions;

/// Revokes a service account's own token, or ends the session of a user's access or refresh token. A token that is not
/// good, or no longer, is revoked already (section 2.2).
pub(super) async fn revoke(
    request: HttpRequest,
    accounts: Data<Accounts>,
    sessions: Data<Sessions>,
    verifier: Data<Verifier>,
    form: OAuthForm<TokenForm>,
) -> Result<HttpResponse, Problem> {
    let client = form.0.credentials.identify(&request, &accounts).await?;
    let token = form.0.token.as_str();
    // Whether it is revoked already need not be known here, so that news may be old.
    let outcome = match verifier.verify(token, TokenType::Service).await {
        Ok(own) => match &client {
            Client::Confidential(account) => sessions.revoke_token_of(account, &own).await,
            Client::FirstParty => Err(Error::AnothersToken),
        },
        Err(TokenError::Stale) => return Err(TokenError::Stale.into()),
        Err(TokenError::WrongType) => {
            may_end_sessions(&client)?;
            let claims = verifier.verify(token, TokenType::Access).await?;
            sessions.log_out(&claims).await
        }
        Err(_) if !sessions.is_refresh_token(token) => Ok(()),
        Err(_) => {
            may_end_sessions(&client)?;
            sessions.log_out_by_refresh_token(token, None).await
        }
    };
    match outcome {
        Ok(()) | Err(Error::CannotLogOut(_)) => Ok(HttpResponse::Ok().finish()),
        Err(error) => Err(error.into()),
    }
}

/// Section 2.1: only the client that a token was issued to, or one that may end any session.
fn may_end_sessions(client: &Client) -> Result<(), Error> {
    match client {
        Client::Confidential(account) if account.id != FIRST_PARTY_CLIENT && !account.may(scope::REVOKE) => {
            Err(Error::AnothersToken)
        }
        Client::Confidential(_) | Client::FirstParty => Ok(()),
    }
}
