//! What a verifier goes by: the keys, the revocations, and how long ago it heard of them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use service_kit::clock;

use crate::wire::{Reason, Revocation};
use crate::{Claims, KeySet, Revocations};

/// Shared between the follower, which writes it, and verifiers, which read it on every request.
#[derive(Debug)]
pub struct Trust {
    keys: ArcSwap<KeySet>,
    revocations: RwLock<Revocations>,
    origin: std::time::Instant,
    /// Milliseconds after `origin` at which everything was last known; negative: never yet.
    heard_at: AtomicI64,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            keys: ArcSwap::default(),
            revocations: RwLock::default(),
            origin: clock::instant(),
            heard_at: AtomicI64::new(-1),
        }
    }
}

impl Trust {
    /// The keys as they are now.
    #[must_use]
    pub fn keys(&self) -> arc_swap::Guard<std::sync::Arc<KeySet>> {
        self.keys.load()
    }

    /// Replaces the whole key set.
    pub fn set_keys(&self, keys: KeySet) {
        self.keys.store(std::sync::Arc::new(keys));
    }

    /// Adds a revocation; it holds for every request from now on.
    pub fn revoke(&self, revocation: &Revocation) {
        self.revocations
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .add(revocation);
    }

    /// Why the token with these claims is revoked, if it is.
    #[must_use]
    pub fn revoked(&self, claims: &Claims) -> Option<Reason> {
        self.revocations
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .find(claims)
    }

    /// Notes that everything up to now is known, and forgets what expired before `now_ms`.
    pub fn heard(&self, now_ms: i64) {
        let since = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.heard_at.store(since, Ordering::Release);
        self.revocations
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .sweep(now_ms);
    }

    /// How long ago everything was known; `None`: never yet.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        let heard = u64::try_from(self.heard_at.load(Ordering::Acquire)).ok()?;
        Some(self.origin.elapsed().saturating_sub(Duration::from_millis(heard)))
    }

    /// How many revocations are held.
    #[must_use]
    pub fn revocations(&self) -> usize {
        self.revocations.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}
