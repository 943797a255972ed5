//! Deciding whether a bearer token is good, without asking anyone (RFC 9068 section 4, RFC 8725).

use std::sync::Arc;
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
use crate::keyset::KeyMark;
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
    /// How many verified tokens are remembered, so that a signature is checked once a token and not once a request.
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
struct Verified {
    key: KeyMark,
    claims: Arc<Claims>,
}

/// Checks tokens against a [`Trust`]. Cheap to share; every method may be called from any thread.
pub struct Verifier {
    config: VerifierConfig,
    clock: Clock,
    trust: Arc<Trust>,
    fetcher: Option<KeyFetcher>,
    verified: Cache<[u8; digest::SHA256_OUTPUT_LEN], Verified, UnitWeighter, RandomState>,
    hits: Counter,
    misses: Counter,
}

impl std::fmt::Debug for Verifier {
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
        let (size, weight) = (config.cache_size, config.cache_size.try_into().unwrap_or(u64::MAX));
        let verified = Cache::with(
            size,
            weight,
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

    /// The claims of a user's token that is good now, with revocations known to be fresh.
    pub async fn user(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        self.typed(token, TokenType::Access).await
    }

    /// The claims of a service account's token that is good now, with revocations known to be fresh.
    pub async fn service(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        self.typed(token, TokenType::Service).await
    }

    async fn typed(&self, token: &str, wanted: TokenType) -> Result<Arc<Claims>, TokenError> {
        let claims = self.verify(token, wanted).await?;
        if self.is_stale() {
            Err(TokenError::Stale)
        } else {
            Ok(claims)
        }
    }

    /// Whether the last news from the token service is older than `max_staleness`.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.trust.staleness().is_none_or(|age| age > self.config.max_staleness)
    }

    /// The claims of a token that is good as far as is known; the caller asks [`Verifier::is_stale`] itself.
    pub async fn verify(&self, token: &str, wanted: TokenType) -> Result<Arc<Claims>, TokenError> {
        let mut outcome = self.verify_now(token);
        if let (Err(TokenError::UnknownKey), Some(fetcher)) = (&outcome, &self.fetcher) {
            let fetched = fetcher.fetch(&self.trust).await;
            outcome = self.verify_now(token);
            // The key may be one that we have not heard of: that is no reason to refuse the token for good.
            if !fetched && matches!(outcome, Err(TokenError::UnknownKey)) {
                return Err(TokenError::KeysUnavailable);
            }
        }
        let claims = match outcome {
            Err(TokenError::UnknownKey) if self.is_stale() => return Err(TokenError::Stale),
            outcome => outcome?,
        };
        if claims.token_type == wanted {
            Ok(claims)
        } else {
            Err(TokenError::WrongType)
        }
    }

    /// Watches over `token`, which was found good and has these `claims`, without costing anybody else anything.
    #[must_use]
    pub fn watch(self: &Arc<Self>, token: &str, claims: &Arc<Claims>) -> Watch {
        Watch::new(self, token, claims)
    }

    pub(crate) fn trust(&self) -> &Trust {
        &self.trust
    }

    fn leeway(&self) -> i64 {
        i64::try_from(self.config.leeway.as_secs().min(60)).unwrap_or(0)
    }

    /// How long a token with these claims may be used yet.
    pub(crate) fn left(&self, claims: &Claims) -> Duration {
        let end = claims.exp.saturating_add(self.leeway()).saturating_mul(1000);
        Duration::from_millis(u64::try_from(end.saturating_sub(self.clock.now_ms())).unwrap_or(0))
    }

    pub(crate) fn verify_now(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(INVALID);
        }
        let mut key = [0; digest::SHA256_OUTPUT_LEN];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let verified = match self.verified.get(&key) {
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
                let verified = self.verify_signature(token)?;
                self.verified.insert(key, verified.clone());
                verified
            }
        };
        let claims = verified.claims;
        let now = self.clock.now().as_second();
        let leeway = self.leeway();
        if now >= claims.exp.saturating_add(leeway) {
            self.verified.remove(&key);
            return Err(TokenError::Expired);
        }
        if now < claims.nbf.unwrap_or(claims.iat).max(claims.iat).saturating_sub(leeway) {
            return Err(TokenError::Invalid("Token is not yet valid"));
        }
        match self.trust.revoked(&claims) {
            Some(reason) => Err(TokenError::Revoked(reason)),
            None => Ok(claims),
        }
    }

    /// Everything about a token that does not change with time.
    fn verify_signature(&self, token: &str) -> Result<Verified, TokenError> {
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
            key: KeyMark::of(&compact.kid),
            claims: Arc::new(claims),
        })
    }
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
