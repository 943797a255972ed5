//! Why a token was refused, and why the token service could not help.

use serde_json::json;
use service_kit::Problem;

use crate::wire::Reason;

/// Why a bearer token does not get its holder in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is no `Authorization: Bearer` header.
    #[error("Authentication credentials were not provided.")]
    Missing,
    /// There is one, but not of two parts, or there are several.
    #[error("Authorization header must contain two space-delimited values")]
    BadHeader,
    /// The token is not one of ours, or not whole; the text says what is wrong with it.
    #[error("{0}")]
    Invalid(&'static str),
    /// The token names a key that is not known (yet).
    #[error("Token is invalid")]
    UnknownKey,
    /// The token was good and is past its `exp`.
    #[error("Token is expired")]
    Expired,
    /// The token names a key that is not known, and nobody could be asked whether there is such a key.
    #[error("Signing keys cannot be asked for at the moment. Try again in a moment.")]
    KeysUnavailable,
    /// The token is good, but of the other [`crate::TokenType`].
    #[error("Token has wrong type")]
    WrongType,
    /// What the token belongs to was revoked.
    #[error("Token is revoked")]
    Revoked(Reason),
    /// The verifier has not heard from the token service for too long to know what is revoked.
    #[error("Revocations are not known at the moment. Try again in a moment.")]
    Stale,
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        const INVALID: Option<&str> = Some("invalid_token");
        match &error {
            TokenError::Missing => Self::unauthorized("not_authenticated", error.to_string(), None),
            TokenError::BadHeader => {
                Self::unauthorized("bad_authorization_header", error.to_string(), Some("invalid_request"))
            }
            TokenError::Revoked(Reason::Deleted) => Self::unauthorized("user_not_found", "User not found", INVALID),
            TokenError::Revoked(Reason::Deactivated) => {
                Self::unauthorized("user_inactive", "User is inactive", INVALID)
            }
            TokenError::Stale => Self::unavailable("revocations_unknown", error.to_string()),
            TokenError::KeysUnavailable => Self::unavailable("keys_unavailable", error.to_string()),
            TokenError::Invalid(_)
            | TokenError::UnknownKey
            | TokenError::Expired
            | TokenError::WrongType
            | TokenError::Revoked(_) => {
                Self::unauthorized("token_not_valid", "Given token not valid for any token type", INVALID).member(
                    "messages",
                    json!([{"token_class": "AccessToken", "token_type": "access", "message": error.to_string()}]),
                )
            }
        }
    }
}

/// Why a call to the token service failed.
#[derive(Debug, thiserror::Error)]
pub enum TokenServiceError {
    /// It cannot be reached, took too long, or said 5xx: trying again later may help.
    #[error("the token service is not available: {0}")]
    Unavailable(String),
    /// The session was opened with an epoch that is no longer the user's newest.
    #[error("the account changed while the session was being opened")]
    StaleEpoch,
    /// It refused: our own credentials or our request are wrong, and trying again will not help.
    #[error("the token service refused: {0}")]
    Refused(String),
}

impl From<TokenServiceError> for Problem {
    fn from(error: TokenServiceError) -> Self {
        match error {
            TokenServiceError::Unavailable(_) => Self::unavailable(
                "store_unavailable",
                "Tokens cannot be issued at the moment. Try again in a moment.",
            )
            .caused_by(error),
            // Whoever meets this logged in with what was true a moment ago.
            TokenServiceError::StaleEpoch => Self::unauthorized(
                "no_active_account",
                "No active account found with the given credentials",
                None,
            ),
            TokenServiceError::Refused(_) => Self::internal(error),
        }
    }
}
