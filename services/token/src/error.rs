//! What can go wrong in the token service, in its own words, and the one place that turns it into HTTP.

use actix_web::http::StatusCode;
use portcullis_client::wire::Reason;
use serde_json::json;
use service_kit::Problem;

use crate::store::StoreError;

/// Why the token service did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token is not one of ours, or its session is gone and forgotten.
    #[error("Token is invalid")]
    InvalidToken,
    /// An access token where a refresh token belongs.
    #[error("Token has wrong type")]
    WrongTokenType,
    /// The session has expired.
    #[error("Token is expired")]
    SessionExpired,
    /// The session has ended, for this reason.
    #[error("Token is blacklisted")]
    SessionEnded(Reason),
    /// A superseded token was shown, and its session has been ended for it.
    #[error("Token is blacklisted")]
    Reused,
    /// A superseded token was shown and refused; its session lives on.
    #[error("Token is blacklisted")]
    Superseded,
    /// The token to log out with belongs to nobody who could be logged out by it.
    #[error("{0}")]
    CannotLogOut(&'static str),
    /// The session belongs to somebody else.
    #[error("The refresh token belongs to another user.")]
    AnothersSession,
    /// The user has no live session of that id.
    #[error("Not found.")]
    NoSuchSession,
    /// A session was to be opened with an epoch older than one that is known.
    #[error("The account has changed meanwhile.")]
    StaleEpoch,
    /// A service account could not show who it is (RFC 6749 section 5.2).
    #[error("The client is unknown or its secret is wrong.")]
    InvalidClient,
    /// A request to an OAuth endpoint says too little, or two things at once (RFC 6749 section 5.2).
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The client may not use this grant (RFC 6749 section 5.2).
    #[error("{0}")]
    UnauthorizedClient(&'static str),
    /// A client asked for what it does not hold.
    #[error("The client may not have this scope: {0}")]
    InvalidScope(String),
    /// The token was issued to another client (RFC 6749 section 5.2, RFC 7009 section 2.1).
    #[error("The token was not issued to this client.")]
    AnothersToken,
    /// What a client shows for a token is not good (RFC 6749 section 5.2).
    #[error("{0}")]
    InvalidGrant(String),
    /// `grant_type` is missing or not offered.
    #[error("This grant type is not offered: use client_credentials or refresh_token.")]
    UnsupportedGrantType,
    /// The service token lacks the scope this endpoint asks for.
    #[error("The scope {0} is needed here.")]
    InsufficientScope(&'static str),
    /// The identity service, which knows whose a token of the system before is, did not answer.
    #[error("the identity service is not available: {0:#}")]
    IdentityUnavailable(anyhow::Error),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault of ours.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl Error {
    /// Whether the refresh token that was shown is of no more use to anybody, so that a browser should forget it. After a
    /// superseded one its session may have a successor, which the browser may hold by now.
    #[must_use]
    pub fn spends_refresh_token(&self) -> bool {
        matches!(
            self,
            Self::InvalidToken | Self::WrongTokenType | Self::SessionExpired | Self::SessionEnded(_) | Self::Reused
        )
    }

    /// The same at the token endpoint, where a refresh token that is not good is an `invalid_grant`, and 400.
    #[must_use]
    pub fn of_grant(self) -> Self {
        match self {
            Self::InvalidToken
            | Self::WrongTokenType
            | Self::SessionExpired
            | Self::SessionEnded(_)
            | Self::Reused
            | Self::Superseded => Self::InvalidGrant(self.to_string()),
            other => other,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        const NOT_VALID: &str = "token_not_valid";
        const INVALID: Option<&str> = Some("invalid_token");
        let text = error.to_string();
        match error {
            Error::InvalidToken | Error::WrongTokenType | Error::SessionExpired | Error::Reused | Error::Superseded => {
                Self::unauthorized(NOT_VALID, text, INVALID)
            }
            Error::SessionEnded(Reason::Deactivated | Reason::Deleted) => Self::unauthorized(
                "no_active_account",
                "No active account found for the given token.",
                INVALID,
            ),
            Error::SessionEnded(_) => Self::unauthorized(NOT_VALID, text, INVALID),
            Error::CannotLogOut(_) => Self::bad_request(NOT_VALID, text),
            Error::AnothersSession => Self::new(StatusCode::FORBIDDEN, "permission_denied", text),
            Error::NoSuchSession => Self::not_found(),
            Error::StaleEpoch => Self::new(StatusCode::CONFLICT, "stale_epoch", text),
            Error::InvalidClient => {
                let challenge = "Basic realm=\"clients\"";
                Self::new(StatusCode::UNAUTHORIZED, "invalid_client", text)
                    .header(actix_web::http::header::WWW_AUTHENTICATE, challenge)
                    .member("error", json!("invalid_client"))
            }
            Error::InvalidRequest(_) => Self::bad_request("invalid", text).member("error", json!("invalid_request")),
            Error::UnauthorizedClient(_) => {
                Self::bad_request("unauthorized_client", text).member("error", json!("unauthorized_client"))
            }
            Error::InvalidScope(_) => Self::bad_request("invalid_scope", text).member("error", json!("invalid_scope")),
            Error::AnothersToken | Error::InvalidGrant(_) => {
                Self::bad_request("invalid_grant", text).member("error", json!("invalid_grant"))
            }
            Error::UnsupportedGrantType => {
                Self::bad_request("unsupported_grant_type", text).member("error", json!("unsupported_grant_type"))
            }
            Error::InsufficientScope(_) => Self::new(StatusCode::FORBIDDEN, "insufficient_scope", text),
            Error::IdentityUnavailable(_) => Self::unavailable(
                "identity_unavailable",
                "Accounts cannot be reached at the moment. Try again in a moment.",
            )
            .caused_by(error),
            Error::Store(StoreError::Busy(full)) => full.into(),
            Error::Store(error) => Self::unavailable(
                "store_unavailable",
                "The token store does not answer. Try again in a moment.",
            )
            .caused_by(error),
            Error::Internal(error) => Self::internal(error),
        }
    }
}
