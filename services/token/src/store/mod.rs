//! What the token service remembers, in the domain's words. Two implementations, one contract suite (`contract.rs`).

use async_trait::async_trait;
use portcullis_client::wire::{Reason, Revocation};
use service_kit::blocking::BlockingError;

use crate::config::OnReuse;
use crate::keys::StoredKey;
use crate::rotation::{Serial, Windows};
use crate::session::{Session, SessionId};

#[cfg(test)]
mod contract;
pub mod redis;
pub mod sqlite;

/// How many revocations a piece of the feed holds at most, of each of its streams.
const BATCH: u16 = 1000;
/// How many sessions a list shows at most.
const LISTED: u16 = 1000;
/// How long a revocation outlives the last token it concerns: the largest leeway a verifier may have.
const LEEWAY_MS: i64 = 60_000;

/// Why a store could not do what was asked; nothing was changed then, or the change is whole and a retry finds it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Too many calls are waiting already.
    #[error(transparent)]
    Busy(#[from] BlockingError),
    /// It cannot be reached, is locked, or failed.
    #[error(transparent)]
    Unavailable(#[from] anyhow::Error),
}

/// What a session is opened with that is good for one session only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What tells it from every other: a hash of it.
    pub id: String,
    /// When it is no longer good in any case, and may be forgotten.
    pub expires_at: i64,
}

/// What opening a session with a [`Proof`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The session is kept.
    Opened,
    /// The proof had opened this session before, which may have ended since; nothing was kept.
    Before(SessionId),
    /// The subject's epoch is higher than the session's, and nothing was kept.
    StaleEpoch,
}

/// What showing a refresh token did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The session lives; its chain says which token to give.
    Granted(Box<Session>),
    /// The token was superseded; the session has been ended for it.
    Reused {
        /// Whose session it was.
        subject: String,
    },
    /// The token was superseded; the session lives on (`on_reuse = "deny"`).
    Denied,
    /// The session had ended before.
    Ended(Reason),
    /// The session has expired.
    Expired,
    /// There is no such session, or no longer.
    Unknown,
}

/// How a rotation is to be decided, and what a grant changes.
#[derive(Clone, Copy, Debug)]
pub struct RotationTerms {
    /// The present, in milliseconds since the epoch; so are the other times.
    pub now: i64,
    /// The replay and recovery windows.
    pub windows: Windows,
    /// What reuse does.
    pub on_reuse: OnReuse,
    /// When the session expires if it is not refreshed again.
    pub idle_expires_at: i64,
    /// When the access token that a grant brings expires.
    pub access_expires_at: i64,
}

/// A piece of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// In the order they happened.
    pub revocations: Vec<Revocation>,
    /// Where the next piece begins.
    pub cursor: String,
    /// Whether there was more than fits a piece.
    pub more: bool,
    /// How often the key ring had changed.
    pub ring_version: i64,
}

/// The key ring as it was read: a change is accepted only against the version it was made from.
#[derive(Clone, Debug)]
pub struct StoredRing {
    /// How often the ring has changed.
    pub version: i64,
    /// Its keys.
    pub keys: Vec<StoredKey>,
}

/// A service account that an operator created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredClient {
    /// Its id.
    pub id: String,
    /// [`crate::secret::fingerprint`] of its secret.
    pub secret_hash: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was created, in milliseconds since the epoch.
    pub created_at: i64,
}

/// A store of sessions, revocations, keys and service accounts. Every method is one atomic step: of any number of callers
/// at once, in any number of processes, each sees the store before or after another's step, and a step that was
/// acknowledged survives a crash.
#[async_trait]
pub trait Store: Send + Sync {
    /// Keeps a new session. `false`: the subject's epoch is higher than the session's, and nothing was kept.
    async fn open_session(&self, session: Session) -> Result<bool, StoreError>;

    /// Keeps a new session, and that `proof` opened it. Of any number of concurrent calls with one proof for one subject at
    /// most one opens its session; all others are told which one that was, until the proof expires.
    async fn open_session_once(&self, session: Session, proof: Proof) -> Result<Opening, StoreError>;

    /// The session of that id, as long as it is remembered.
    async fn find_session(&self, id: SessionId) -> Result<Option<Session>, StoreError>;

    /// Shows an authentic refresh token and does what the rules of [`crate::rotation`] say. Of any number of concurrent
    /// presentations of one token at most one makes a new generation. Reuse ends the session (unless the terms say deny)
    /// and publishes its revocation in the same step.
    async fn rotate(&self, id: SessionId, presented: Serial, terms: RotationTerms) -> Result<Rotation, StoreError>;

    /// The sessions of `subject` that are live at `now`, in any order; where there are very many, those that expire last.
    async fn list_sessions(&self, subject: &str, now: i64) -> Result<Vec<Session>, StoreError>;

    /// Ends a session, which has to be `subject`'s where one is named, and publishes its revocation. `false`: it is not, or
    /// was not live at `now`, and nothing changed.
    async fn end_session(
        &self,
        id: SessionId,
        subject: Option<&str>,
        reason: Reason,
        now: i64,
    ) -> Result<bool, StoreError>;

    /// Ends every session of `subject` but `kept`, and publishes their revocations. Gives how many ended. `None`: `kept`
    /// is not a session of `subject` that is live at `now`, and nothing changed; of two sessions that end each other, one
    /// stays. A session that is opened meanwhile either ends, or was opened after.
    async fn end_others(
        &self,
        subject: &str,
        kept: SessionId,
        reason: Reason,
        now: i64,
    ) -> Result<Option<u64>, StoreError>;

    /// Ends every session of `subject` whose epoch is below `epoch`, publishes their revocations, and remembers the epoch,
    /// so that none can be opened with an older one. Gives how many ended.
    ///
    /// The session `except`, if it is one of them and live at `now`, goes on, and keeps its epoch: it survives this change
    /// of the account and no other. So any number of these, each any number of times, come to the same in every order.
    async fn end_subject(
        &self,
        subject: &str,
        epoch: i64,
        except: Option<SessionId>,
        reason: Reason,
        now: i64,
    ) -> Result<u64, StoreError>;

    /// Publishes a revocation that is not of a session.
    async fn revoke(&self, revocation: Revocation) -> Result<(), StoreError>;

    /// Revocations after `cursor`, or every one alive at `now` when the cursor is absent, malformed or of another feed.
    async fn revocations_after(&self, cursor: Option<&str>, now: i64) -> Result<Batch, StoreError>;

    /// Waits until there may be something new to read from [`Store::revocations_after`]; may return early.
    async fn changed(&self);

    /// The key ring.
    async fn ring(&self) -> Result<StoredRing, StoreError>;

    /// Replaces the key ring. `false`: somebody else has changed it since `version`, and nothing was replaced.
    async fn replace_ring(&self, version: i64, keys: Vec<StoredKey>) -> Result<bool, StoreError>;

    /// Keeps a new service account. `false`: there is one of that id.
    async fn create_client(&self, client: StoredClient) -> Result<bool, StoreError>;

    /// The service account of that id.
    async fn find_client(&self, id: &str) -> Result<Option<StoredClient>, StoreError>;

    /// Every service account, by id.
    async fn list_clients(&self) -> Result<Vec<StoredClient>, StoreError>;

    /// Removes a service account and publishes its revocation, which lasts until `revoked_until`. `false`: there is none.
    async fn delete_client(&self, id: &str, revoked_until: i64) -> Result<bool, StoreError>;

    /// Forgets what expired before `now`; gives how many records went.
    async fn sweep(&self, now: i64) -> Result<usize, StoreError>;
}
