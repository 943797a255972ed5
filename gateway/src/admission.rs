//! From a token to a caller.

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use portcullis_client::{TokenError, TokenType, bearer_token};

use crate::config::{Auth, Stale};
use crate::identity::{Identity, Verifier};
use crate::routes::Route;

const SCHEME: &str = "Bearer ";

/// A user whose token is good.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) identity: Identity,
    /// The one header that was verified, in the one spelling that every reader understands alike.
    pub(crate) authorization: HeaderValue,
}

impl Caller {
    /// The token that was verified.
    pub(crate) fn token(&self) -> &str {
        let header = self.authorization.to_str().unwrap_or_default();
        header.strip_prefix(SCHEME).unwrap_or_default()
    }
}

/// Who asks for `route`, if it wants to know: by the token `beside` the headers, if there is one, or the one among them.
/// Tokens of service accounts are refused: they are not users.
pub(crate) async fn admit(
    verifier: &Verifier,
    route: &Route,
    headers: &HeaderMap,
    beside: Option<&str>,
) -> Result<Option<Caller>, TokenError> {
    let token = match (route.auth, beside.map_or_else(|| bearer_token(headers), Ok)) {
        (Auth::None, _) | (Auth::Optional, Err(TokenError::Missing)) => return Ok(None),
        (Auth::Required | Auth::Optional, token) => token?,
    };
    let identity = verifier.verify(token, TokenType::Access).await?;
    if route.stale == Stale::Deny && verifier.is_stale() {
        return Err(TokenError::Stale);
    }
    let authorization = canonical(headers, token).ok_or(TokenError::BadHeader)?;
    Ok(Some(Caller {
        identity,
        authorization,
    }))
}

/// `Bearer <token>`; the header that came, when it reads so already.
fn canonical(headers: &HeaderMap, token: &str) -> Option<HeaderValue> {
    let came = headers.get(AUTHORIZATION);
    let plain = |value: &&HeaderValue| {
        value.len() == SCHEME.len() + token.len() && value.as_bytes().starts_with(SCHEME.as_bytes())
    };
    if let Some(value) = came.filter(plain) {
        return Some(value.clone());
    }
    HeaderValue::from_str(&format!("{SCHEME}{token}")).ok()
}
