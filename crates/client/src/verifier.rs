//! Deciding whether a bearer token is good, without asking anyone (RFC 9068 section 4, RFC 8725).

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use aws_lc_rs::digest;
use foldhash::fast::RandomState;
use jsonwebtoken::crypto::verify;
use metrics::Counter;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use serde_json::Value;
use service_kit::Clock;

use crate::compact::Compact;
use crate::follower::KeyFetcher;
use crate::mark::Mark;
use crate::revocation::{AsOf, Revocable};
use crate::wire::LONGEST_TOKEN;
use crate::{Claims, TokenError, TokenType, Trust, Watch};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN_LENGTH: usize = 8 * 1024;
/// What is said of most tokens that are refused: the details are of use to nobody but attackers.
const INVALID: TokenError = TokenError::Invalid("Token is invalid");

/// What a verifier insists on.
#[derive(Clone, Debug)]
pub struct VerifierConfig {
    /// The only `iss` that is accepted.
    pub issuer: String,
    /// The only `aud` that is accepted.
    pub audience: String,
    /// How far clocks may differ when `exp`, `nbf` and `iat` are compared; at most 60 s.
    pub leeway: Duration,
    /// How long after the last news from the token service tokens are still accepted.
    pub max_staleness: Duration,
    /// How many verified tokens are remembered (by chance some more), so that a signature is checked once a token and not once
    /// a request.
    pub cache_size: usize,
}

impl VerifierConfig {
    /// The defaults of `[token]`, for tokens of `issuer` that are meant for `audience`: 5 s of leeway, 10 s without news,
    /// and 10,000 tokens remembered.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            leeway: Duration::from_secs(5),
            max_staleness: Duration::from_secs(10),
            cache_size: 10_000,
        }
    }
}

/// A token whose signature was checked. As little as possible, and as close together: with many of them the memory that a
/// request has to look at is what costs it.
#[derive(Clone)]
struct Verified<Kept> {
    key: Mark,
    /// From when it is good, in seconds since the epoch.
    from: u32,
    /// When it expires.
    until: u32,
    /// As of when it is known not to be revoked.
    good: AsOf,
    revocable: Revocable,
    kept: Kept,
}

/// Checks tokens against a [`Trust`]. Cheap to share; every method may be called from any thread.
///
/// Of each token that was found good it remembers, and gives to whoever shows it again, what `Kept` makes of its claims: all of
/// them, unless somebody knows that less will do.
pub struct Verifier<Kept = Arc<Claims>> {
    config: VerifierConfig,
    clock: Clock,
    trust: Arc<Trust>,
    fetcher: Option<KeyFetcher>,
    verified: Cache<[u8; digest::SHA256_OUTPUT_LEN], Verified<Kept>, UnitWeighter, RandomState>,
    hits: Counter,
    misses: Counter,
}

impl<Kept> std::fmt::Debug for Verifier<Kept> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Verifier")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier of what `trust` knows; whoever fills `trust` decides where that comes from.
    #[must_use]
    pub fn new(config: VerifierConfig, trust: Arc<Trust>, clock: Clock) -> Self {
        Self::keeping(config, trust, clock)
    }
}

impl<Kept> Verifier<Kept> {
    pub(crate) fn trust(&self) -> &Trust {
        &self.trust
    }
}

impl<Kept: From<Claims> + Clone> Verifier<Kept> {
    /// The same, where something else than the claims is to be kept.
    #[must_use]
    pub fn keeping(config: VerifierConfig, trust: Arc<Trust>, clock: Clock) -> Self {
        let room = room_for(config.cache_size);
        let verified = Cache::with(
            room,
            room.try_into().unwrap_or(u64::MAX),
            UnitWeighter,
            RandomState::default(),
            DefaultLifecycle::default(),
        );
        Self {
            config,
            clock,
            trust,
            fetcher: None,
            verified,
            hits: metrics::counter!("token_cache_hits_total"),
            misses: metrics::counter!("token_cache_misses_total"),
        }
    }

    /// Lets the verifier ask for the key set when it meets a key it does not know.
    #[must_use]
    pub fn with_fetcher(self, fetcher: KeyFetcher) -> Self {
        Self {
            fetcher: Some(fetcher),
            ..self
        }
    }

    /// What is kept of a user's token that is good now, with revocations known to be fresh.
    pub async fn user(&self, token: &str) -> Result<Kept, TokenError> {
        self.typed(token, TokenType::Access).await
    }

    /// What is kept of a service account's token that is good now, with revocations known to be fresh.
    pub async fn service(&self, token: &str) -> Result<Kept, TokenError> {
        self.typed(token, TokenType::Service).await
    }

    async fn typed(&self, token: &str, wanted: TokenType) -> Result<Kept, TokenError> {
        // Before: the token is looked up among all that had been heard by then. And after: that may have taken a while.
        let was_stale = self.is_stale();
        let kept = self.verify(token, wanted).await?;
        if was_stale || self.is_stale() {
            Err(TokenError::Stale)
        } else {
            Ok(kept)
        }
    }

    /// Whether the last news from the token service is older than `max_staleness`.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.trust.staleness().is_none_or(|age| age > self.config.max_staleness)
    }

    /// What is kept of a token that is good as far as is known, however long ago that was. Whoever asks [`Verifier::is_stale`]
    /// itself asks before this, and after it: what makes old news fresh may also be what revokes the token.
    pub async fn verify(&self, token: &str, wanted: TokenType) -> Result<Kept, TokenError> {
        let mut outcome = self.verify_now(token);
        if let (Err(TokenError::UnknownKey), Some(fetcher)) = (&outcome, &self.fetcher) {
            let fetched = fetcher.fetch(&self.trust).await;
            outcome = self.verify_now(token);
            // The key may be one that we have not heard of: that is no reason to refuse the token for good.
            if !fetched && matches!(outcome, Err(TokenError::UnknownKey)) {
                return Err(TokenError::KeysUnavailable);
            }
        }
        let verified = match outcome {
            Err(TokenError::UnknownKey) if self.is_stale() => return Err(TokenError::Stale),
            outcome => outcome?,
        };
        if verified.revocable.token_type() == wanted {
            Ok(verified.kept)
        } else {
            Err(TokenError::WrongType)
        }
    }

    /// Watches over `token`, which was found good, without costing anybody else anything.
    #[must_use]
    pub fn watch(self: &Arc<Self>, token: &str) -> Watch<Kept> {
        Watch::new(self, token)
    }

    fn leeway(&self) -> i64 {
        i64::try_from(self.config.leeway.as_secs().min(60)).unwrap_or(0)
    }

    /// How long `token`, if it is good, may be used yet.
    pub(crate) fn left(&self, token: &str) -> Result<Duration, TokenError> {
        let until = i64::from(self.verify_now(token)?.until);
        let end = until.saturating_add(self.leeway()).saturating_mul(1000);
        let left = end.saturating_sub(self.clock.now_ms());
        Ok(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    }

    fn verify_now(&self, token: &str) -> Result<Verified<Kept>, TokenError> {
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(INVALID);
        }
        let mut key = [0; digest::SHA256_OUTPUT_LEN];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let mut verified = match self.verified.get(&key) {
            Some(verified) if self.trust.keys().has(verified.key) => {
                self.hits.increment(1);
                verified
            }
            Some(_) => {
                self.verified.remove(&key);
                return Err(INVALID);
            }
            None => {
                self.misses.increment(1);
                let mut verified = self.verify_signature(token)?;
                // One that is revoked is remembered, too: its signature is not checked again.
                verified.good = self.trust.good(&verified.revocable, AsOf::NEVER).unwrap_or(AsOf::NEVER);
                self.verified.insert(key, verified.clone());
                verified
            }
        };
        let now = self.clock.now().as_second();
        let leeway = self.leeway();
        if now >= i64::from(verified.until) + leeway {
            self.verified.remove(&key);
            return Err(TokenError::Expired);
        }
        if now < i64::from(verified.from) - leeway {
            return Err(TokenError::Invalid("Token is not yet valid"));
        }
        let found = verified.good;
        verified.good = self
            .trust
            .good(&verified.revocable, found)
            .map_err(TokenError::Revoked)?;
        if verified.good != found {
            // Unless it is no longer remembered: then there is nothing to note.
            let _ = self.verified.replace(key, verified.clone(), true);
        }
        Ok(verified)
    }

    /// Everything about a token that does not change with time.
    fn verify_signature(&self, token: &str) -> Result<Verified<Kept>, TokenError> {
        let compact = Compact::read(token).ok_or(INVALID)?;
        let keys = self.trust.keys();
        let (algorithm, key) = keys.get(&compact.kid).ok_or(TokenError::UnknownKey)?;
        if compact.algorithm != *algorithm {
            return Err(INVALID);
        }
        metrics::counter!("signature_checks_total").increment(1);
        if !matches!(
            verify(compact.signature, compact.signed.as_bytes(), key, *algorithm),
            Ok(true)
        ) {
            return Err(INVALID);
        }
        let members = compact.payload().ok_or(INVALID)?;
        for (claim, missing) in [
            ("exp", "Token has no 'exp' claim"),
            ("jti", "Token has no id"),
            ("token_type", "Token has no type"),
        ] {
            if !members.contains_key(claim) {
                return Err(TokenError::Invalid(missing));
            }
        }
        let claims: Claims = serde_json::from_value(Value::Object(members)).map_err(|_| INVALID)?;
        if claims.iss != self.config.issuer || claims.aud != self.config.audience || !is_ours(&claims) {
            return Err(INVALID);
        }
        Ok(Verified {
            key: Mark::of(&compact.kid),
            from: second(claims.nbf.unwrap_or(claims.iat).max(claims.iat)),
            until: second(claims.exp),
            good: AsOf::NEVER,
            revocable: Revocable::of(&claims),
            kept: claims.into(),
        })
    }
}

/// A time of a claim as it is kept: seconds since the epoch, which are enough until 2106.
fn second(claim: i64) -> u32 {
    u32::try_from(claim.max(0)).unwrap_or(u32::MAX)
}

/// How much room the cache has to have so that it holds `tokens`. It is made of parts, four a core, each with a lock and a limit
/// of its own, and chance gives some of them more tokens than others: so each has room for six standard deviations more.
fn room_for(tokens: usize) -> usize {
    let parts = available_parallelism().map_or(1, NonZero::get).saturating_mul(4);
    let spare = tokens.saturating_mul(parts.next_power_of_two()).isqrt();
    tokens.saturating_add(spare.saturating_mul(6))
}

/// Whether the claims go together as in the tokens that are issued. A token that lived longer than those would outlive its
/// revocation.
fn is_ours(claims: &Claims) -> bool {
    let longest = i64::try_from(LONGEST_TOKEN.as_secs()).unwrap_or(i64::MAX);
    let whole = [&claims.sub, &claims.jti, &claims.client_id];
    whole.iter().all(|claim| !claim.is_empty())
        && claims.exp.saturating_sub(claims.iat) <= longest
        && match claims.token_type {
            TokenType::Access => claims.sid.as_ref().is_some_and(|sid| !sid.is_empty()),
            TokenType::Service => claims.sid.is_none(),
        }
        // Readers go by the one or by the other.
        && claims.user_id.as_ref().is_none_or(|id| *id == claims.sub)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Nothing;

    impl From<Claims> for Nothing {
        fn from(_: Claims) -> Self {
            Self
        }
    }

    #[test]
    fn as_many_tokens_as_are_configured_are_remembered_and_not_many_more() {
        const TOKENS: u64 = 20_000;
        let config = VerifierConfig {
            cache_size: usize::try_from(TOKENS).unwrap(),
            ..VerifierConfig::new("issuer", "audience")
        };
        let verifier = Verifier::<Nothing>::keeping(config, Arc::default(), Clock::standing());
        let key = |number: u64| {
            let mut key = [0; digest::SHA256_OUTPUT_LEN];
            key.copy_from_slice(digest::digest(&digest::SHA256, &number.to_be_bytes()).as_ref());
            key
        };
        let remember = |number| {
            let claims = serde_json::json!({"token_type": "access", "iss": "i", "sub": "s", "aud": "a", "client_id": "c",
                "iat": 1, "exp": 2, "jti": "j", "sid": "s"});
            let remembered = Verified {
                key: Mark::of("key"),
                from: 1,
                until: 2,
                good: AsOf::NEVER,
                revocable: Revocable::of(&serde_json::from_value(claims).unwrap()),
                kept: Nothing,
            };
            verifier.verified.insert(key(number), remembered);
        };
        (0..TOKENS).for_each(remember);
        assert!((0..TOKENS).all(|number| verifier.verified.get(&key(number)).is_some()));
        (TOKENS..3 * TOKENS).for_each(remember);
        let room = room_for(20_000);
        assert!(verifier.verified.len() <= room + 64 && room < 30_000, "{room}");
        assert_eq!(size_of::<Verified<Nothing>>(), 64);
    }
}
