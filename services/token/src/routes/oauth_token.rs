//! `POST /oauth/token`: client credentials (RFC 6749 section 4.4) and refresh (section 6).

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use portcullis_client::wire::FIRST_PARTY_CLIENT;
use serde::Serialize;
use service_kit::{Fields, FromFields, Problem};

use super::oauth::{BodyCredentials, Client, OAuthForm, UNSTORED, unstored};
use crate::account::{Accounts, narrowed};
use crate::error::Error;
use crate::issuer::Issuer;
use crate::sessions::Sessions;

/// `grant_type` and what belongs to it.
#[derive(Debug)]
pub(super) struct TokenRequest {
    grant_type: String,
    scope: Option<String>,
    refresh_token: Option<String>,
    credentials: BodyCredentials,
}

impl FromFields for TokenRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let grant_type = fields.text("grant_type");
        let scope = fields.optional_text("scope");
        let refresh_token = fields.optional_text("refresh_token");
        let credentials = BodyCredentials::read(fields);
        Some(Self {
            grant_type: grant_type?,
            scope: scope?,
            refresh_token: refresh_token?,
            credentials: credentials?,
        })
    }
}

#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
}

/// Gives a service account its token, or the first-party client a fresh pair for a refresh token of somebody's.
pub(super) async fn token(
    request: HttpRequest,
    accounts: Data<Accounts>,
    sessions: Data<Sessions>,
    issuer: Data<Issuer>,
    form: OAuthForm<TokenRequest>,
) -> Result<HttpResponse, Problem> {
    let granted = grant(&request, &accounts, &sessions, &issuer, form.0).await;
    let granted = granted.map_err(|error| unstored(Problem::from(error)))?;
    let mut response = HttpResponse::Ok();
    for header in UNSTORED {
        response.insert_header(header);
    }
    Ok(response.json(granted))
}

async fn grant(
    request: &HttpRequest,
    accounts: &Accounts,
    sessions: &Sessions,
    issuer: &Issuer,
    form: TokenRequest,
) -> Result<TokenResponse, Error> {
    let client = form.credentials.identify(request, accounts).await?;
    match (form.grant_type.as_str(), client) {
        ("client_credentials", Client::Confidential(account)) => {
            let id = account.id.clone();
            let scopes = account.grant(form.scope.as_deref())?;
            Ok(TokenResponse {
                access_token: issuer.service_token(&id, &scopes)?,
                token_type: "Bearer",
                expires_in: issuer.access_ttl.as_secs(),
                refresh_token: None,
                scope: scopes.join(" "),
            })
        }
        ("client_credentials", Client::FirstParty) => Err(Error::UnauthorizedClient(
            "A client without a secret cannot have a token of its own: create a service account.",
        )),
        // People log in through the first-party client, and a refresh token is good for the client it was issued to.
        ("refresh_token", Client::Confidential(account)) if account.id != FIRST_PARTY_CLIENT => {
            Err(Error::UnauthorizedClient(
                "Service accounts have no refresh tokens: ask with grant_type=client_credentials.",
            ))
        }
        ("refresh_token", _) => {
            let refresh = form
                .refresh_token
                .ok_or(Error::InvalidRequest("refresh_token is missing."))?;
            // People's tokens have roles and no scopes, so that none can be asked for.
            narrowed(form.scope.as_deref(), Vec::new())?;
            let pair = sessions.refresh(&refresh).await.map_err(Error::of_grant)?;
            Ok(TokenResponse {
                access_token: pair.access,
                token_type: "Bearer",
                // No access token outlives its session.
                expires_in: issuer.access_ttl.as_secs().min(pair.refresh_expires_in),
                refresh_token: Some(pair.refresh),
                scope: String::new(),
            })
        }
        _ => Err(Error::UnsupportedGrantType),
    }
}
