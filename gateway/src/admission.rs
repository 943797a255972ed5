//! From a token to a caller.

use portcullis_client::{TokenError, TokenType, bearer_token_of};

use crate::config::{Auth, Stale};
use crate::http1::Fields;
use crate::identity::{Identity, Verifier};
use crate::routes::Route;

/// A user whose token is good.
#[derive(Clone, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) identity: Identity,
    /// The token that was verified: visible ASCII.
    pub(crate) token: &'a str,
}

/// Who asks for `route`, if it wants to know: by the token `beside` the headers, if there is one, or the one among them.
/// Tokens of service accounts are refused: they are not users.
pub(crate) async fn admit<'a>(
    verifier: &Verifier,
    route: &Route,
    fields: &'a Fields,
    beside: Option<&'a str>,
) -> Result<Option<Caller<'a>>, TokenError> {
    let read = || bearer_token_of(fields.all("authorization"));
    let token = match (route.auth, beside.map_or_else(read, Ok)) {
        (Auth::None, _) | (Auth::Optional, Err(TokenError::Missing)) => return Ok(None),
        (Auth::Required | Auth::Optional, token) => token?,
    };
    let identity = match route.stale {
        Stale::Deny => verifier.user(token).await?,
        Stale::Allow => verifier.verify(token, TokenType::Access).await?,
    };
    Ok(Some(Caller { identity, token }))
}
