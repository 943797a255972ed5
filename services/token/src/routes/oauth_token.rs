//! `POST /oauth/token`: client credentials (RFC 6749 section 4.4) and refresh (section 6).

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use portcullis_client::wire::FIRST_PARTY_CLIENT;
use serde::Serialize;
use serde_json::json;
use service_kit::{Fields, FromFields, Problem};

use super::service_account::{BodyCredentials, OAuthForm};
use crate::account::Accounts;
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
        Some(Self {
            grant_type: fields.text("grant_type")?,
            scope: fields.optional_text("scope")?,
            refresh_token: fields.optional_text("refresh_token")?,
            credentials: BodyCredentials::read(fields)?,
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

/// Gives a service account its token, or a confidential client a fresh pair for a refresh token that it holds.
pub(super) async fn token(
    request: HttpRequest,
    accounts: Data<Accounts>,
    sessions: Data<Sessions>,
    issuer: Data<Issuer>,
    form: OAuthForm<TokenRequest>,
) -> Result<HttpResponse, Problem> {
    let form = form.0;
    let account = form.credentials.authenticate(&request, &accounts).await?;
    let (access_token, refresh_token, scope) = match (form.grant_type.as_str(), form.refresh_token) {
        ("client_credentials", _) => {
            let id = account.id.clone();
            let scopes = account.grant(form.scope.as_deref())?;
            (
                issuer.service_token(&id, &scopes).map_err(Error::from)?,
                None,
                scopes.join(" "),
            )
        }
        // A refresh token is good for the client it was issued to (section 6), and people log in through one.
        ("refresh_token", Some(_)) if account.id != FIRST_PARTY_CLIENT => return Err(Error::AnothersToken.into()),
        ("refresh_token", Some(refresh)) => {
            let pair = sessions.refresh(&refresh).await.map_err(Error::of_grant)?;
            (pair.access, Some(pair.refresh), String::new())
        }
        ("refresh_token", None) => {
            let missing = vec!["This field is required.".to_owned()];
            let problem = Problem::invalid(vec![("refresh_token".to_owned(), missing)]);
            return Err(problem.member("error", json!("invalid_request")));
        }
        _ => return Err(Error::UnsupportedGrantType.into()),
    };
    let expires_in = issuer.access_ttl.as_secs();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(TokenResponse {
            access_token,
            token_type: "Bearer",
            expires_in,
            refresh_token,
            scope,
        }))
}
