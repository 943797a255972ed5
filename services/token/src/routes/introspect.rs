//! `POST /oauth/introspect` (RFC 7662).

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use portcullis_client::{TokenError, TokenType, Verifier};
use serde_json::{Value, json};
use service_kit::{Fields, FromFields, Problem};

use super::service_account::{BodyCredentials, OAuthForm};
use crate::account::Accounts;

/// `{token}`; `token_type_hint` is not needed to tell them apart.
#[derive(Debug)]
pub(super) struct TokenForm {
    /// The token to look at.
    pub(super) token: String,
    /// Who is asking.
    pub(super) credentials: BodyCredentials,
}

impl FromFields for TokenForm {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let token = fields.text("token");
        let credentials = BodyCredentials::read(fields);
        Some(Self {
            token: token?,
            credentials: credentials?,
        })
    }
}

/// Whether an access token is good now, and what it says. Of a token that is not good nothing is told (section 2.2).
pub(super) async fn introspect(
    request: HttpRequest,
    accounts: Data<Accounts>,
    verifier: Data<Verifier>,
    form: OAuthForm<TokenForm>,
) -> Result<HttpResponse, Problem> {
    form.0.credentials.authenticate(&request, &accounts).await?;
    let claims = match verifier.user(&form.0.token).await {
        Err(TokenError::WrongType) => verifier.verify(&form.0.token, TokenType::Service).await,
        outcome => outcome,
    };
    let mut answer = json!({"active": false});
    match claims {
        Ok(claims) => {
            answer = serde_json::to_value(&*claims).map_err(Problem::internal)?;
            if let Value::Object(members) = &mut answer {
                members.insert("active".to_owned(), json!(true));
                members.insert("token_type".to_owned(), json!("Bearer"));
            }
        }
        Err(TokenError::Stale) => return Err(TokenError::Stale.into()),
        Err(_) => {}
    }
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(answer))
}
