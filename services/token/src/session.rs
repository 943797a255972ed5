//! Sessions and the ids they go by.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_client::wire::Reason;
use service_kit::random;

use crate::rotation::Chain;

const TAG_LENGTH: usize = 9;
/// The length of a session id in bytes.
pub const ID_LENGTH: usize = 24;

/// A session's id: 9 bytes that every session of one subject shares, so that a sharded store keeps them together, and 15
/// random ones. As text: 32 characters of URL-safe base64, the first 12 of them the shared part.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; ID_LENGTH]);

impl SessionId {
    /// A new id for a session of `subject`.
    #[must_use]
    pub fn new(subject: &str) -> Self {
        let mut id = [0; ID_LENGTH];
        let tag = digest::digest(&digest::SHA256, subject.as_bytes());
        id[..TAG_LENGTH].copy_from_slice(&tag.as_ref()[..TAG_LENGTH]);
        id[TAG_LENGTH..].copy_from_slice(&random::bytes::<{ ID_LENGTH - TAG_LENGTH }>());
        Self(id)
    }

    /// The id with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; ID_LENGTH]) -> Self {
        Self(bytes)
    }

    /// The id as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; ID_LENGTH] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The text is not a session id.
#[derive(Debug, thiserror::Error)]
#[error("not a session id")]
pub struct NotASessionId;

impl FromStr for SessionId {
    type Err = NotASessionId;

    fn from_str(text: &str) -> Result<Self, NotASessionId> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotASessionId)?;
        bytes.try_into().map(Self).map_err(|_| NotASessionId)
    }
}

/// One login of one user on one device, until it ends; times in milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id: `sid` of its access tokens.
    pub id: SessionId,
    /// Whose it is.
    pub subject: String,
    /// The subject's epoch when it was opened.
    pub epoch: i64,
    /// The `roles` of its access tokens.
    pub roles: Vec<String>,
    /// Where its refresh tokens stand.
    pub chain: Chain,
    /// When it was opened.
    pub created_at: i64,
    /// When it was last refreshed, or opened.
    pub last_used_at: i64,
    /// When it expires unless it is refreshed before.
    pub idle_expires_at: i64,
    /// When it expires in any case.
    pub absolute_expires_at: i64,
    /// When the last of its access tokens expires.
    pub access_expires_at: i64,
    /// What logged in, as it calls itself.
    pub user_agent: Option<String>,
    /// Where from.
    pub ip: Option<String>,
    /// Why it ended, once it has.
    pub ended: Option<Reason>,
}

impl Session {
    /// Whether it has neither ended nor expired at `now`.
    #[must_use]
    pub fn is_live(&self, now: i64) -> bool {
        self.ended.is_none() && now < self.idle_expires_at.min(self.absolute_expires_at)
    }
}
