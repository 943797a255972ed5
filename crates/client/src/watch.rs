//! Hearing at once that a token is no longer good: for what was opened with it and goes on, such as a stream.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;

use crate::compact::Compact;
use crate::{Claims, TokenError, TokenType, Verifier};

/// At least this often it is looked, without any news, whether the token is still good: the clock may have been set.
const LOOK: Duration = Duration::from_secs(15);

/// Who is to be woken when something is revoked, by the ids that a revocation may name. Whoever is woken looks for himself.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<HashMap<Box<str>, Vec<Arc<Notify>>>>);

impl Watchers {
    fn add(&self, id: &str, watcher: &Arc<Notify>) {
        let mut by_id = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        by_id.entry(id.into()).or_default().push(Arc::clone(watcher));
    }

    fn remove(&self, id: &str, watcher: &Arc<Notify>) {
        let mut by_id = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watchers) = by_id.get_mut(id) {
            watchers.retain(|known| !Arc::ptr_eq(known, watcher));
            if watchers.is_empty() {
                by_id.remove(id);
            }
        }
    }

    /// Wakes those whom a revocation of `id` concerns. It has to be in effect already.
    pub(crate) fn wake(&self, id: &str) {
        let by_id = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        by_id
            .get(id)
            .into_iter()
            .flatten()
            .for_each(|watcher| watcher.notify_one());
    }

    /// Wakes everybody: the keys have changed, which names nobody.
    pub(crate) fn wake_all(&self) {
        let by_id = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        by_id.values().flatten().for_each(|watcher| watcher.notify_one());
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Watches over one token that was good when this was made; see [`Verifier::watch`].
pub struct Watch<Kept = Arc<Claims>> {
    verifier: Arc<Verifier<Kept>>,
    token: Box<str>,
    /// What a revocation of the token may be of.
    ids: Vec<Box<str>>,
    news: Arc<Notify>,
    /// How long it goes by what it knows.
    look: Duration,
}

impl<Kept> fmt::Debug for Watch<Kept> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Watch")
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

impl<Kept> Watch<Kept> {
    pub(crate) fn new(verifier: &Arc<Verifier<Kept>>, token: &str) -> Self {
        let news = Arc::default();
        let ids = ids(token);
        for id in &ids {
            verifier.trust().watchers().add(id, &news);
        }
        Self {
            verifier: Arc::clone(verifier),
            token: token.into(),
            ids,
            news,
            look: LOOK,
        }
    }
}

impl<Kept: From<Claims> + Clone> Watch<Kept> {
    /// Waits until the token is no longer good, and says why: at once when it is revoked or its key is dropped, and when it
    /// expires. May be given up and asked again.
    pub async fn ended(&self) -> TokenError {
        loop {
            // Whatever is revoked after this has been looked at leaves a permit to go on.
            let left = match self.verifier.left(&self.token) {
                Ok(left) => left.min(self.look),
                Err(error) => return error,
            };
            let _ = tokio::time::timeout(left, self.news.notified()).await;
        }
    }
}

impl<Kept> Drop for Watch<Kept> {
    fn drop(&mut self) {
        for id in &self.ids {
            self.verifier.trust().watchers().remove(id, &self.news);
        }
    }
}

/// What a revocation of `token` may be of. One that cannot be read is not good either, and nobody waits for its end.
fn ids(token: &str) -> Vec<Box<str>> {
    let payload = Compact::read(token).and_then(|compact| compact.payload());
    let claims = payload.and_then(|members| serde_json::from_value::<Claims>(Value::Object(members)).ok());
    let Some(claims) = claims else { return Vec::new() };
    let client = (claims.token_type == TokenType::Service).then_some(claims.client_id);
    let ids = claims.sid.into_iter().chain([claims.jti]).chain(client);
    ids.map(String::into_boxed_str).collect()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::JwkSet};
    use serde_json::json;
    use service_kit::{Clock, clock};

    use super::*;
    use crate::wire::{Reason, Revocation, RevokedKind};
    use crate::{KeySet, Trust, VerifierConfig};

    /// The private key of RFC 8037 appendix A.1, as PKCS#8.
    const PRIVATE: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20\
        \x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4\
        \x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60";
    const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    struct Example {
        trust: Arc<Trust>,
        clock: Clock,
        verifier: Arc<Verifier>,
    }

    fn example() -> Example {
        let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "key", "x": PUBLIC}]});
        let trust = Arc::new(Trust::default());
        trust.set_keys(KeySet::from_jwks(&serde_json::from_value::<JwkSet>(jwks).unwrap()));
        let clock = Clock::standing();
        let config = VerifierConfig {
            issuer: "issuer".to_owned(),
            audience: "audience".to_owned(),
            leeway: Duration::from_secs(5),
            max_staleness: Duration::from_secs(10),
            cache_size: 10,
        };
        let verifier = Arc::new(Verifier::new(config, Arc::clone(&trust), clock.clone()));
        Example { trust, clock, verifier }
    }

    impl Example {
        /// Watches over a token of `session` that lives for a minute.
        async fn watch(&self, session: &str) -> Watch {
            let now = self.clock.now().as_second();
            let claims = json!({"token_type": "access", "iss": "issuer", "sub": "7", "aud": "audience", "client_id": "c",
                "iat": now, "exp": now + 60, "jti": format!("jti-{session}"), "sid": session, "scope": "", "roles": []});
            let mut header = Header::new(Algorithm::EdDSA);
            header.typ = Some("at+jwt".to_owned());
            header.kid = Some("key".to_owned());
            let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(PRIVATE)).unwrap();
            self.verifier.verify(&token, TokenType::Access).await.unwrap();
            self.verifier.watch(&token)
        }

        fn revoke(&self, kind: RevokedKind, id: &str) {
            self.trust.revoke(&Revocation {
                kind,
                id: id.to_owned(),
                reason: Reason::LoggedOut,
                expires_at: self.clock.now_ms() + 600_000,
            });
        }
    }

    const REVOKED: TokenError = TokenError::Revoked(Reason::LoggedOut);

    #[tokio::test]
    async fn a_revocation_is_heard_at_once_by_those_whom_it_concerns() {
        let example = example();
        let (mine, same) = (example.watch("mine").await, example.watch("mine").await);
        let (by_token, other) = (example.watch("another").await, example.watch("other").await);
        let started = clock::instant();
        let revoking = async {
            tokio::task::yield_now().await;
            example.revoke(RevokedKind::Session, "mine");
            example.revoke(RevokedKind::Token, "jti-another");
        };
        let ended = tokio::join!(mine.ended(), same.ended(), by_token.ended(), revoking);
        assert_eq!((ended.0, ended.1, ended.2), (REVOKED, REVOKED, REVOKED));
        assert!(started.elapsed() < LOOK, "and not when somebody looks the next time");
        assert_eq!(other.ended().now_or_never(), None);
        // What was revoked while nobody waited is not missed.
        example.revoke(RevokedKind::Session, "other");
        assert_eq!(other.ended().await, REVOKED);
    }

    #[tokio::test]
    async fn a_key_that_is_dropped_ends_what_was_opened_with_it() {
        let example = example();
        let watch = example.watch("mine").await;
        let dropping = async {
            tokio::task::yield_now().await;
            example.trust.set_keys(KeySet::default());
        };
        let started = clock::instant();
        let (ended, ()) = tokio::join!(watch.ended(), dropping);
        assert_eq!(ended, TokenError::Invalid("Token is invalid"));
        assert!(started.elapsed() < LOOK);
    }

    #[tokio::test]
    async fn so_does_one_that_is_missing_among_those_that_were_fetched() {
        let example = example();
        let watch = example.watch("mine").await;
        let fetching = async {
            tokio::task::yield_now().await;
            example.trust.set_fetched_keys(KeySet::default(), example.trust.told());
        };
        let started = clock::instant();
        let (ended, ()) = tokio::join!(watch.ended(), fetching);
        assert_eq!(ended, TokenError::Invalid("Token is invalid"));
        assert!(started.elapsed() < LOOK);
    }

    #[tokio::test]
    async fn expiry_is_the_clocks_to_say_however_long_it_takes() {
        let example = example();
        let mut watch = example.watch("mine").await;
        watch.look = Duration::from_millis(1);
        // Many times it is looked, and the clock stands.
        let looking = tokio::time::timeout(Duration::from_millis(50), watch.ended());
        assert!(looking.await.is_err());
        example.clock.advance(Duration::from_secs(64));
        assert_eq!(watch.ended().now_or_never(), None, "there is leeway");
        example.clock.advance(Duration::from_secs(1));
        assert_eq!(watch.ended().await, TokenError::Expired);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_is_noticed_at_the_next_look() {
        let example = example();
        let mut watch = example.watch("mine").await;
        watch.look = Duration::from_millis(1);
        let setting = async {
            tokio::task::yield_now().await;
            example.clock.advance(Duration::from_hours(1));
        };
        let (ended, ()) = tokio::join!(watch.ended(), setting);
        assert_eq!(ended, TokenError::Expired);
    }

    #[tokio::test]
    async fn whoever_stops_watching_leaves_nothing_behind() {
        let example = example();
        let (one, two) = (example.watch("mine").await, example.watch("mine").await);
        assert_eq!(one.ended().now_or_never(), None);
        drop(one);
        assert!(!example.trust.watchers().is_empty());
        example.revoke(RevokedKind::Session, "mine");
        assert_eq!(two.ended().await, REVOKED);
        drop(two);
        assert!(example.trust.watchers().is_empty());
    }
}
