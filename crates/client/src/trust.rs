//! What a verifier goes by: the keys, the revocations, and how long ago it heard of them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use service_kit::clock;

use crate::revocation::{AsOf, Changes, Revocable};
use crate::watch::Watchers;
use crate::wire::{Reason, Revocation};
use crate::{Claims, KeySet, Revocations};

/// Shared between the follower, which writes it, and verifiers, which read it on every request.
#[derive(Debug)]
pub struct Trust {
    keys: ArcSwap<KeySet>,
    /// How often the feed has told the keys; guards `keys` against older ones that arrive later by another way.
    told: Mutex<u64>,
    revocations: RwLock<Revocations>,
    changes: Changes,
    origin: std::time::Instant,
    /// Milliseconds after `origin` at which everything was last known; negative: never yet.
    heard_at: AtomicI64,
    watchers: Watchers,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            keys: ArcSwap::default(),
            told: Mutex::default(),
            revocations: RwLock::default(),
            changes: Changes::default(),
            origin: clock::instant(),
            heard_at: AtomicI64::new(-1),
            watchers: Watchers::default(),
        }
    }
}

impl Trust {
    /// The keys as they are now.
    #[must_use]
    pub fn keys(&self) -> arc_swap::Guard<Arc<KeySet>> {
        self.keys.load()
    }

    /// Replaces the whole key set with what the feed, whose order counts, has told.
    pub fn set_keys(&self, keys: KeySet) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told += 1;
        self.replace(keys);
    }

    /// How often the feed has told the keys: to be asked before they are fetched by another way.
    pub(crate) fn told(&self) -> u64 {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the key set with one that was fetched, unless the feed has told the keys since it stood at `told`: a key
    /// that was killed meanwhile must not come back.
    pub(crate) fn set_fetched_keys(&self, keys: KeySet, told: u64) {
        let now = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == told {
            self.replace(keys);
        }
    }

    /// Wakes those who watch over tokens, if one of their keys may be gone.
    fn replace(&self, keys: KeySet) {
        let keys = Arc::new(keys);
        let before = self.keys.swap(Arc::clone(&keys));
        if !before.is_within(&keys) {
            self.watchers.wake_all();
        }
    }

    /// Adds a revocation; it holds for every request from now on.
    pub fn revoke(&self, revocation: &Revocation) {
        self.revocations
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .add(revocation);
        self.changes.note(revocation);
        self.watchers.wake(&revocation.id);
    }

    pub(crate) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// Why the token with these claims is revoked, if it is.
    #[must_use]
    pub fn revoked(&self, claims: &Claims) -> Option<Reason> {
        self.revocations
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .find(claims)
    }

    /// As of when this token is not revoked, or else why it is. One that was `found` good is looked up again only when there
    /// is something new.
    pub(crate) fn good(&self, token: &Revocable, found: AsOf) -> Result<AsOf, Reason> {
        self.good_by(token, found, || {
            let revocations = self.revocations.read();
            revocations.unwrap_or_else(PoisonError::into_inner).of(token)
        })
    }

    fn good_by(&self, token: &Revocable, found: AsOf, look: impl FnOnce() -> Option<Reason>) -> Result<AsOf, Reason> {
        let now = self.changes.now(token);
        if now == found {
            return Ok(found);
        }
        look().map_or(Ok(now), Err)
    }

    /// Notes that everything up to now is known, and forgets what expired before `now_ms`.
    pub fn heard(&self, now_ms: i64) {
        let since = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.heard_at.store(since, Ordering::Release);
        let sweep = || {
            let revocations = self.revocations.write();
            revocations.unwrap_or_else(PoisonError::into_inner).sweep(now_ms)
        };
        // Requests come in between.
        while sweep() {}
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

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;

    use super::*;
    use crate::wire::RevokedKind;

    fn keys(kid: &str) -> KeySet {
        let jwk = format!(
            r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"{kid}","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}]}}"#
        );
        KeySet::from_jwks(&serde_json::from_str::<JwkSet>(&jwk).unwrap())
    }

    #[test]
    fn what_is_revoked_just_after_a_token_was_looked_up_is_not_missed() {
        for kind in [RevokedKind::Session, RevokedKind::Token] {
            let trust = Trust::default();
            let claims = serde_json::json!({"token_type": "access", "iss": "i", "sub": "s", "aud": "a", "client_id": "c",
                "iat": 1, "exp": 2, "jti": "it", "sid": "it"});
            let token = Revocable::of(&serde_json::from_value(claims).unwrap());
            let found = trust.good_by(&token, AsOf::NEVER, || {
                // Nothing was there to be found, and then:
                trust.revoke(&Revocation {
                    kind,
                    id: "it".to_owned(),
                    reason: Reason::LoggedOut,
                    expires_at: i64::MAX,
                });
                None
            });
            assert_eq!(trust.good(&token, found.unwrap()), Err(Reason::LoggedOut));
        }
    }

    #[test]
    fn keys_that_were_fetched_before_the_feed_told_others_do_not_come_back() {
        let trust = Trust::default();
        let asked = trust.told();
        trust.set_keys(keys("new"));
        trust.set_fetched_keys(keys("killed"), asked);
        assert!(trust.keys().get("new").is_some() && trust.keys().get("killed").is_none());
        trust.set_fetched_keys(keys("newest"), trust.told());
        assert!(trust.keys().get("newest").is_some());
    }
}
