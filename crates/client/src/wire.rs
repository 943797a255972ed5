//! What roles say to each other on the internal endpoints of the token service, and what the feed carries.

use serde::{Deserialize, Serialize};

/// The `client_id` of tokens that people get by logging in (RFC 9068 section 2.2 asks for one).
pub const FIRST_PARTY_CLIENT: &str = "portcullis";

/// Scopes that service accounts may hold; each opens one kind of internal endpoint.
pub mod scope {
    /// May open sessions.
    pub const ISSUE: &str = "tokens:issue";
    /// May end sessions.
    pub const REVOKE: &str = "tokens:revoke";
    /// May follow the feed of keys and revocations.
    pub const FEED: &str = "feed:read";
    /// May ask the identity service who somebody was in the system before; the token service gives it to itself.
    pub const LEGACY: &str = "users:legacy";
}

/// Why something was revoked; decides what a refusal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its owner logged out or ended the session from another one.
    LoggedOut,
    /// The account was deactivated.
    Deactivated,
    /// The account was deleted.
    Deleted,
    /// The password was changed.
    PasswordChanged,
    /// A superseded refresh token was shown outside its windows.
    Reuse,
    /// An administrator ended it.
    Administrator,
}

impl Reason {
    /// The name on the wire and in stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged_out",
            Self::Deactivated => "deactivated",
            Self::Deleted => "deleted",
            Self::PasswordChanged => "password_changed",
            Self::Reuse => "reuse",
            Self::Administrator => "administrator",
        }
    }

    /// The reason of that name, as [`Reason::as_str`] gives it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::LoggedOut,
            Self::Deactivated,
            Self::Deleted,
            Self::PasswordChanged,
            Self::Reuse,
            Self::Administrator,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == name)
    }
}

/// `POST /internal/sessions` (scope `tokens:issue`): opens a session for somebody who has just proved who they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenSessionRequest {
    /// The user's id: `sub` of the tokens.
    pub subject: String,
    /// The user's epoch. Opening with an older one than the token service has seen is refused (409 `stale_epoch`).
    pub epoch: i64,
    /// What the user may do: the `roles` claim.
    pub roles: Vec<String>,
    /// The browser or program that logged in, as it calls itself.
    #[serde(default)]
    pub user_agent: Option<String>,
    /// The address that logged in.
    #[serde(default)]
    pub ip: Option<String>,
}

/// What opening or refreshing a session yields.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenPair {
    /// The access token: a JWT.
    pub access: String,
    /// The refresh token: opaque.
    pub refresh: String,
    /// In how many seconds the session ends unless it is refreshed.
    pub refresh_expires_in: u64,
}

/// `POST /internal/revoke` (scope `tokens:revoke`): ends every session of a subject. Idempotent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeSubjectRequest {
    /// The user's id.
    pub subject: String,
    /// The user's new epoch: sessions opened with an older one end, and can no longer be opened.
    pub epoch: i64,
    /// What refusals will say.
    pub reason: Reason,
    /// A session that goes on all the same, until another change of the account ends it. Ignored if it is not one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub except: Option<String>,
}

/// The answer to [`RevokeSubjectRequest`], given once the revocation is durable and published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokeSubjectResponse {
    /// How many sessions ended by this call.
    pub ended: u64,
}

/// `POST /internal/legacy-user` of the identity service (scope `users:legacy`): who that is here, whom the system before
/// knew by this id.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegacyUserRequest {
    /// The id there, or the user's id here.
    pub user_id: String,
}

/// The answer to [`LegacyUserRequest`]. Nobody is an answer too: a status of its own could be a stranger's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LegacyUserResponse {
    /// The account, if there is one whose tokens of the system before still count.
    pub user: Option<LegacyUser>,
}

/// What a session of such an account is opened with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LegacyUser {
    /// The user's id: `sub` of the tokens.
    pub subject: String,
    /// The user's epoch.
    pub epoch: i64,
    /// The `roles` claim.
    pub roles: Vec<String>,
}

/// The longest life that a token is issued with (`token.access_ttl`).
pub const LONGEST_TOKEN: std::time::Duration = std::time::Duration::from_hours(1);

/// How long the revocation of a service account lasts: the longest life of a token, and the largest leeway. It concerns
/// what was issued before it was made, so that an account that is created anew under the same id is a new one.
pub const CLIENT_REVOCATION: std::time::Duration = std::time::Duration::from_mins(61);

/// What a revocation matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokedKind {
    /// A session id (`sid`).
    Session,
    /// One token (`jti`).
    Token,
    /// The service tokens that were issued to a service account (`client_id`) until then; see [`CLIENT_REVOCATION`].
    Client,
}

/// One revocation, as stored and as carried by the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What `id` is.
    pub kind: RevokedKind,
    /// The id of what is revoked.
    pub id: String,
    /// Why.
    pub reason: Reason,
    /// When no token it concerns can still be alive, in milliseconds since the epoch; it may be forgotten then.
    pub expires_at: i64,
}

/// One line of `GET /internal/feed?after=CURSOR` (scope `feed:read`).
///
/// The stream begins with the key set and every revocation after `CURSOR` (or all that are alive, when the cursor is
/// absent or unknown), then a heartbeat, which says: now you know everything. After that lines come as things happen,
/// and a heartbeat every second.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FeedLine {
    /// The whole key set (RFC 7517), which replaces the one known before.
    Keys {
        /// Every key that tokens may be signed with now.
        jwks: jsonwebtoken::jwk::JwkSet,
    },
    /// Something was revoked.
    Revoked {
        /// What, and why.
        #[serde(flatten)]
        revocation: Revocation,
    },
    /// Everything up to `cursor` has been sent.
    Heartbeat {
        /// Where to resume: opaque.
        cursor: String,
    },
}
