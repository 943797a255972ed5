//! The key ring: what signs, what is about to, what still verifies. It lives in the store, private parts sealed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyOperations, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{EncodingKey, Header};
use portcullis_client::{Claims, KeySet};
use serde::Deserialize;
use service_kit::blocking::BlockingPool;
use service_kit::{Clock, clock};
use tokio::sync::Mutex;

use crate::config::LONGEST_ACCESS_TTL;
use crate::secret::RootSecrets;
use crate::store::{Store, StoreError, StoredRing};

/// How long a key verifies once another is active: as long as it may still sign, the longest life of a token, and the
/// largest leeway.
const RETIRING_MS: i64 = (HEARD.as_secs() + LONGEST_ACCESS_TTL.as_secs() + 60).cast_signed() * 1000;
/// How long a key is published before it signs by itself, so that whoever caches the key set has seen it.
const PUBLISHED_MS: i64 = 10 * 60 * 1000;
/// How long this process has published a key before it signs with it on demand, as long as another may sign: more than the
/// feed needs, and as long as a verifier that has just fetched the key set waits before it does so again.
const HEARD: Duration = Duration::from_secs(5);
/// How many keys the ring holds at most: a key set that large still fits a line of the feed.
const MAX_KEYS: usize = 1500;

/// What keys sign with. Nothing symmetric, never `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 (RFC 7518 section 3.4).
    ES256,
    /// Ed25519 (RFC 8037).
    EdDSA,
    /// RSASSA-PKCS1-v1_5 with a 2048-bit key (RFC 7518 section 3.3).
    RS256,
}

impl Algorithm {
    /// The name in `alg`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
            Self::RS256 => "RS256",
        }
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::ES256, Self::EdDSA, Self::RS256]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == name)
    }

    fn jwa(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
        }
    }

    /// A new private key, as PKCS #8.
    fn generate(self) -> anyhow::Result<Vec<u8>> {
        let failed = |_| anyhow!("a {} key could not be made", self.as_str());
        Ok(match self {
            Self::ES256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .and_then(|pair| pair.to_pkcs8v1())
                .map_err(failed)?
                .as_ref()
                .to_vec(),
            Self::EdDSA => Ed25519KeyPair::generate()
                .and_then(|pair| pair.to_pkcs8v1())
                .map_err(failed)?
                .as_ref()
                .to_vec(),
            Self::RS256 => {
                let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                der.as_ref().to_vec()
            }
        })
    }

    fn encoding_key(self, pkcs8: &[u8]) -> anyhow::Result<EncodingKey> {
        Ok(match self {
            Self::ES256 => EncodingKey::from_ec_der(pkcs8),
            Self::EdDSA => EncodingKey::from_ed_der(pkcs8),
            // The library takes RSA keys as PKCS #1 only, but finds that inside a PKCS #8 PEM.
            Self::RS256 => {
                let pem = format!(
                    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
                    STANDARD.encode(pkcs8)
                );
                EncodingKey::from_rsa_pem(pem.as_bytes())?
            }
        })
    }
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, not yet signing.
    Next,
    /// Signing.
    Active,
    /// Verifies until its last token is dead.
    Retiring,
}

impl KeyState {
    /// The name in stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Next, Self::Active, Self::Retiring]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// A key as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Its id: the RFC 7638 thumbprint.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// Where it is in its life.
    pub state: KeyState,
    /// Since when it is in this state, in milliseconds since the epoch.
    pub since: i64,
    /// The public part, as a JWK (RFC 7517).
    pub public_jwk: String,
    /// The private part (PKCS #8), sealed under the root secret and bound to `kid`.
    pub sealed: Vec<u8>,
}

struct Signer {
    kid: String,
    header: Header,
    key: EncodingKey,
}

/// The ring as it is used: read once, replaced whole.
struct Loaded {
    version: i64,
    /// The active key, last, and before it those that sign as long as nobody can have heard of what comes after them; each
    /// with when it may sign.
    signers: Vec<(Arc<Signer>, Instant)>,
    /// Since when this process has published each key.
    published: HashMap<String, Instant>,
    jwks: JwkSet,
}

impl Loaded {
    /// Where among `signers` that stands which signs now: the last that may, or else the one that was published first.
    fn current(&self) -> usize {
        let now = clock::instant();
        self.signers.iter().rposition(|(_, from)| *from <= now).unwrap_or(0)
    }

    /// What signs now.
    fn signer(&self) -> &Signer {
        &self.signers[self.current()].0
    }

    /// The same ring when `known` was in use before.
    fn after(mut self, known: &Self) -> Self {
        for (kid, since) in &mut self.published {
            if let Some(known) = known.published.get(kid) {
                *since = *known;
            }
        }
        let mut signers = known.signers[known.current()..].to_vec();
        signers.retain(|(signer, _)| self.published.contains_key(&signer.kid));
        for (signer, _) in self.signers {
            if signers.iter().all(|(earlier, _)| earlier.kid != signer.kid) {
                let from = self
                    .published
                    .get(&signer.kid)
                    .map_or_else(clock::instant, |since| *since + HEARD);
                signers.push((signer, from));
            }
        }
        Self { signers, ..self }
    }
}

/// What keys of a ring are made and changed by.
#[derive(Clone)]
struct Rules {
    secrets: Arc<RootSecrets>,
    algorithm: Algorithm,
    rotation_ms: i64,
    /// Making an RSA key takes long enough to be noticed elsewhere.
    threads: BlockingPool,
}

/// The key ring of this process, in step with the store's.
pub struct KeyRing {
    rules: Rules,
    loaded: ArcSwap<Loaded>,
    /// Held from reading the store until what was read is in use, so that an older ring never replaces a newer one.
    loading: Mutex<()>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KeyRing")
            .field("version", &self.loaded.load().version)
            .finish_non_exhaustive()
    }
}

/// What to do to the ring.
#[derive(Clone, Debug)]
enum Change {
    /// Whatever is due by now.
    Due,
    /// The next key signs from now on.
    Rotate,
    /// This key is gone at once, and every token that it signed.
    Kill(String),
}

fn load(ring: &StoredRing, secrets: &RootSecrets) -> anyhow::Result<Loaded> {
    let active = ring
        .keys
        .iter()
        .find(|key| key.state == KeyState::Active)
        .ok_or_else(|| anyhow!("the key ring has no active key"))?;
    let private = secrets.open(&active.kid, &active.sealed).with_context(|| {
        format!(
            "the signing key {} cannot be opened: start with the root secret it was made under (token.root_secret or \
             token.previous_root_secrets)",
            active.kid
        )
    })?;
    let now = clock::instant();
    let mut header = Header::new(active.algorithm.jwa());
    header.typ = Some("at+jwt".to_owned());
    header.kid = Some(active.kid.clone());
    let signer = Signer {
        kid: active.kid.clone(),
        header,
        key: active.algorithm.encoding_key(&private)?,
    };
    let jwks = ring
        .keys
        .iter()
        .map(|key| serde_json::from_str(&key.public_jwk))
        .collect::<Result<_, _>>();
    Ok(Loaded {
        version: ring.version,
        signers: vec![(Arc::new(signer), now)],
        published: ring.keys.iter().map(|key| (key.kid.clone(), now)).collect(),
        jwks: JwkSet {
            keys: jwks.context("while reading the public keys of the ring")?,
        },
    })
}

impl KeyRing {
    /// Reads the ring from `store`, making its first keys when it has none.
    pub async fn open(
        store: &dyn Store,
        secrets: Arc<RootSecrets>,
        algorithm: Algorithm,
        rotation: Duration,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let rules = Rules {
            secrets,
            algorithm,
            rotation_ms: i64::try_from(rotation.as_millis()).unwrap_or(i64::MAX),
            threads: BlockingPool::new("keys", 1, 8),
        };
        // A ring that these secrets do not open is not ours to change.
        let found = store.ring().await?;
        if !found.keys.is_empty() {
            load(&found, &rules.secrets)?;
        }
        let ring = rules.change(store, Change::Due, clock.now_ms()).await?;
        let loaded = ArcSwap::from_pointee(load(&ring, &rules.secrets)?);
        Ok(Self {
            rules,
            loaded,
            loading: Mutex::default(),
        })
    }

    /// The public keys: active, next and retiring.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        self.loaded.load().jwks.clone()
    }

    /// The same, ready for verifying.
    #[must_use]
    pub fn key_set(&self) -> KeySet {
        KeySet::from_jwks(&self.loaded.load().jwks)
    }

    /// How often the ring had changed when it was last read.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.loaded.load().version
    }

    /// Signs an access token with the active key.
    pub fn sign(&self, claims: &Claims) -> anyhow::Result<String> {
        let loaded = self.loaded.load();
        let signer = loaded.signer();
        Ok(jsonwebtoken::encode(&signer.header, claims, &signer.key)?)
    }

    /// Reads the ring again, after somebody changed it. When the store has lost it, a new one is made: what was signed
    /// before is refused from then on, since nobody can say any more which of it was revoked.
    pub async fn reload(&self, store: &dyn Store, now: i64) -> anyhow::Result<()> {
        let _loading = self.loading.lock().await;
        let mut ring = store.ring().await?;
        if ring.keys.is_empty() {
            log::error!("the token store has lost its data: everybody has to log in again");
            ring = self.rules.change(store, Change::Due, now).await?;
        }
        self.put(&ring)
    }

    /// Goes by `ring` from now on.
    fn put(&self, ring: &StoredRing) -> anyhow::Result<()> {
        let loaded = load(ring, &self.rules.secrets)?;
        self.loaded.store(Arc::new(loaded.after(&self.loaded.load())));
        Ok(())
    }

    /// Does what is due: rotates a key that has signed long enough, drops those whose tokens are all dead.
    pub async fn maintain(&self, store: &dyn Store, now: i64) -> anyhow::Result<()> {
        self.apply(store, Change::Due, now).await
    }

    /// Lets the next key sign, from now on or as soon as everybody has heard of it; what it replaces goes on verifying.
    /// Errors when the ring holds too many keys to make another.
    pub async fn rotate(&self, store: &dyn Store, now: i64) -> anyhow::Result<()> {
        self.apply(store, Change::Rotate, now).await
    }

    /// Drops the key `kid` at once: every token it signed is refused from now on. Errors when there is no such key.
    pub async fn kill(&self, store: &dyn Store, kid: &str, now: i64) -> anyhow::Result<()> {
        self.apply(store, Change::Kill(kid.to_owned()), now).await
    }

    async fn apply(&self, store: &dyn Store, what: Change, now: i64) -> anyhow::Result<()> {
        let _loading = self.loading.lock().await;
        let ring = self.rules.change(store, what, now).await?;
        if ring.version != self.version() {
            self.put(&ring)?;
        }
        Ok(())
    }
}

impl Rules {
    /// Changes the ring in the store, against whatever others do at the same time, and gives what it is then.
    async fn change(&self, store: &dyn Store, what: Change, now: i64) -> anyhow::Result<StoredRing> {
        loop {
            let ring = store.ring().await?;
            let (rules, what, before) = (self.clone(), what.clone(), ring.keys.clone());
            let change = move || {
                let make = || make(rules.algorithm, &rules.secrets, now);
                changed(before, rules.algorithm, rules.rotation_ms, &what, now, make)
            };
            let keys = self.threads.run(change).await??;
            if keys == ring.keys {
                return Ok(ring);
            }
            if store.replace_ring(ring.version, keys.clone()).await? {
                let version = ring.version + 1;
                return Ok(StoredRing { version, keys });
            }
            // Somebody else was first; what they did may be what we wanted.
        }
    }
}

fn make(algorithm: Algorithm, secrets: &RootSecrets, now: i64) -> anyhow::Result<StoredKey> {
    let private = algorithm.generate()?;
    let mut jwk = Jwk::from_encoding_key(&algorithm.encoding_key(&private)?, algorithm.jwa())?;
    let kid = jwk.thumbprint(ThumbprintHash::SHA256)?;
    jwk.common.key_id = Some(kid.clone());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    jwk.common.key_operations = None::<Vec<KeyOperations>>;
    Ok(StoredKey {
        sealed: secrets.seal(&kid, &private)?,
        kid,
        algorithm,
        state: KeyState::Next,
        since: now,
        public_jwk: serde_json::to_string(&jwk)?,
    })
}

/// The ring after `what`: exactly one active key and one next, of the wanted algorithm, and those that are retiring.
fn changed(
    mut keys: Vec<StoredKey>,
    algorithm: Algorithm,
    rotation_ms: i64,
    what: &Change,
    now: i64,
    make: impl Fn() -> anyhow::Result<StoredKey>,
) -> anyhow::Result<Vec<StoredKey>> {
    if let Change::Kill(kid) = what {
        let before = keys.len();
        keys.retain(|key| key.kid != *kid);
        anyhow::ensure!(keys.len() < before, "there is no key {kid}");
    }
    keys.retain(|key| match key.state {
        KeyState::Retiring => now.saturating_sub(key.since) < RETIRING_MS,
        // The configuration asks for another algorithm than this one was made for.
        KeyState::Next => key.algorithm == algorithm,
        KeyState::Active => true,
    });
    if !keys.iter().any(|key| key.state == KeyState::Next) {
        keys.push(make()?);
    }
    let next_since = keys
        .iter()
        .find(|key| key.state == KeyState::Next)
        .map_or(now, |key| key.since);
    let active = keys.iter().find(|key| key.state == KeyState::Active);
    let promote = match (active, what) {
        (None, _) | (_, Change::Rotate) => true,
        (Some(active), _) => {
            let due = active.algorithm != algorithm || now.saturating_sub(active.since) >= rotation_ms;
            due && now.saturating_sub(next_since) >= PUBLISHED_MS
        }
    };
    let full = active.is_some() && keys.len() >= MAX_KEYS;
    if promote {
        anyhow::ensure!(
            !full,
            "the key ring holds {} keys already: wait until some have retired, which takes an hour",
            keys.len()
        );
        for key in &mut keys {
            key.state = match key.state {
                KeyState::Active => KeyState::Retiring,
                KeyState::Next => KeyState::Active,
                KeyState::Retiring => continue,
            };
            key.since = now;
        }
        keys.push(make()?);
    }
    Ok(keys)
}

/// The keys of the ring, for an operator to look at.
pub async fn list(store: &dyn Store) -> Result<Vec<StoredKey>, StoreError> {
    Ok(store.ring().await?.keys)
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::store::sqlite::SqliteStore;

    const DAY: Duration = Duration::from_hours(24);

    fn secrets(text: &str) -> Arc<RootSecrets> {
        Arc::new(RootSecrets::new(&SecretString::from(text), &[]))
    }

    struct Bench {
        _directory: tempfile::TempDir,
        store: SqliteStore,
        clock: Clock,
    }

    impl Bench {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = SqliteStore::open(&directory.path().join("token.db")).await.unwrap();
            Self {
                _directory: directory,
                store,
                clock: Clock::standing(),
            }
        }

        async fn open(&self, algorithm: Algorithm) -> KeyRing {
            KeyRing::open(&self.store, secrets("root"), algorithm, 30 * DAY, &self.clock)
                .await
                .unwrap()
        }

        async fn states(&self) -> Vec<(String, KeyState)> {
            self.store
                .ring()
                .await
                .unwrap()
                .keys
                .into_iter()
                .map(|key| (key.kid, key.state))
                .collect()
        }

        async fn kid(&self, state: KeyState) -> String {
            self.states().await.into_iter().find(|(_, s)| *s == state).unwrap().0
        }
    }

    #[tokio::test]
    async fn every_algorithm_makes_keys_that_verify_what_they_sign() {
        for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256] {
            let bench = Bench::new().await;
            let ring = bench.open(algorithm).await;
            let claims = crate::issuer::tests::claims();
            let token = ring.sign(&claims).unwrap();
            let header = jsonwebtoken::decode_header(&token).unwrap();
            assert_eq!(header.alg, algorithm.jwa());
            let keys = ring.key_set();
            let (pinned, key) = keys.get(&header.kid.unwrap()).unwrap();
            let mut validation = jsonwebtoken::Validation::new(*pinned);
            validation.set_audience(&[&claims.aud]);
            validation.validate_exp = false;
            assert_eq!(
                jsonwebtoken::decode::<Claims>(&token, key, &validation).unwrap().claims,
                claims
            );
            let public = serde_json::to_string(&ring.jwks()).unwrap();
            for private in ["\"d\"", "\"p\"", "\"q\"", "\"dp\""] {
                assert!(!public.contains(private), "{public}");
            }
        }
    }

    #[tokio::test]
    async fn a_key_is_published_before_it_signs_and_verifies_after() {
        let bench = Bench::new().await;
        let ring = bench.open(Algorithm::ES256).await;
        let (first, second) = (bench.kid(KeyState::Active).await, bench.kid(KeyState::Next).await);
        bench.clock.advance(30 * DAY);
        ring.maintain(&bench.store, bench.clock.now_ms()).await.unwrap();
        assert_eq!(
            (bench.kid(KeyState::Retiring).await, bench.kid(KeyState::Active).await),
            (first.clone(), second)
        );
        assert!(ring.key_set().get(&first).is_some());
        bench
            .clock
            .advance(HEARD + LONGEST_ACCESS_TTL + Duration::from_secs(61));
        ring.maintain(&bench.store, bench.clock.now_ms()).await.unwrap();
        assert!(ring.key_set().get(&first).is_none());
        assert_eq!(bench.states().await.len(), 2);
    }

    #[tokio::test]
    async fn a_killed_key_is_gone_at_once_and_another_signs() {
        let bench = Bench::new().await;
        let ring = bench.open(Algorithm::ES256).await;
        let (first, second) = (bench.kid(KeyState::Active).await, bench.kid(KeyState::Next).await);
        ring.kill(&bench.store, &first, bench.clock.now_ms()).await.unwrap();
        assert!(ring.key_set().get(&first).is_none());
        assert_eq!(bench.kid(KeyState::Active).await, second);
        assert!(ring.kill(&bench.store, "unknown", 0).await.is_err());
    }

    /// The id of the key that signs.
    fn signs(ring: &KeyRing) -> String {
        ring.loaded.load().signer().kid.clone()
    }

    #[tokio::test]
    async fn a_key_that_nobody_can_have_heard_of_does_not_sign_unless_it_has_to() {
        let bench = Bench::new().await;
        let ring = bench.open(Algorithm::ES256).await;
        let first = bench.kid(KeyState::Active).await;
        let now = bench.clock.now_ms();
        for _ in 0..3 {
            ring.rotate(&bench.store, now).await.unwrap();
            assert_eq!(signs(&ring), first);
        }
        let fourth = bench.kid(KeyState::Active).await;
        // As if what is published now had been for a while.
        let rotate = async || {
            let mut now = load(&bench.store.ring().await.unwrap(), &ring.rules.secrets)
                .unwrap()
                .after(&ring.loaded.load());
            now.published.values_mut().for_each(|since| *since -= HEARD);
            now.signers.iter_mut().for_each(|(_, from)| *from -= HEARD);
            ring.loaded.store(Arc::new(now));
            ring.rotate(&bench.store, bench.clock.now_ms()).await.unwrap();
        };
        let fifth = bench.kid(KeyState::Next).await;
        rotate().await;
        assert_eq!(signs(&ring), fifth, "at once, since it was known");
        ring.rotate(&bench.store, now).await.unwrap();
        ring.rotate(&bench.store, now).await.unwrap();
        assert_eq!(signs(&ring), fifth);
        ring.kill(&bench.store, &fifth, now).await.unwrap();
        assert!(
            ![&first, &fourth, &fifth].contains(&&signs(&ring)),
            "what was superseded does not come back"
        );
        let active = bench.kid(KeyState::Active).await;
        rotate().await;
        assert_ne!(signs(&ring), active, "it goes on");
    }

    #[test]
    fn a_ring_with_too_many_keys_is_not_rotated_and_any_of_them_can_be_killed() {
        let secrets = secrets("root");
        let make = || make(Algorithm::EdDSA, &secrets, 0);
        let change = |keys, what: &Change| changed(keys, Algorithm::EdDSA, i64::MAX, what, 0, make);
        let mut keys = change(Vec::new(), &Change::Due).unwrap();
        while keys.len() < MAX_KEYS {
            keys = change(keys, &Change::Rotate).unwrap();
        }
        let refused = change(keys.clone(), &Change::Rotate).unwrap_err();
        assert!(refused.to_string().contains("wait"), "{refused}");
        let jwks = keys.iter().map(|key| key.public_jwk.len() + 1).sum::<usize>();
        assert!(jwks < 1024 * 1024 / 2, "{jwks} bytes");
        let active = keys
            .iter()
            .find(|key| key.state == KeyState::Active)
            .unwrap()
            .kid
            .clone();
        let after = change(keys, &Change::Kill(active.clone())).unwrap();
        assert!(after.iter().all(|key| key.kid != active));
        assert!(after.iter().any(|key| key.state == KeyState::Active));
    }

    #[tokio::test]
    async fn replicas_that_rotate_at_once_rotate_once() {
        let bench = Bench::new().await;
        let (one, other) = (bench.open(Algorithm::ES256).await, bench.open(Algorithm::ES256).await);
        bench.clock.advance(31 * DAY);
        let now = bench.clock.now_ms();
        let (a, b) = tokio::join!(one.maintain(&bench.store, now), other.maintain(&bench.store, now));
        a.and(b).unwrap();
        assert_eq!(bench.states().await.len(), 3);
        assert_eq!(one.jwks(), other.jwks());
    }

    #[tokio::test]
    async fn another_algorithm_in_the_configuration_arrives_by_rotation() {
        let bench = Bench::new().await;
        let _ = bench.open(Algorithm::ES256).await;
        let ring = bench.open(Algorithm::EdDSA).await;
        assert!(
            matches!(bench.store.ring().await.unwrap().keys.as_slice(), [active, next]
            if active.algorithm == Algorithm::ES256 && next.algorithm == Algorithm::EdDSA)
        );
        bench.clock.advance(Duration::from_hours(1));
        ring.maintain(&bench.store, bench.clock.now_ms()).await.unwrap();
        let active = bench.kid(KeyState::Active).await;
        assert!(
            bench
                .store
                .ring()
                .await
                .unwrap()
                .keys
                .iter()
                .any(|key| key.kid == active && key.algorithm == Algorithm::EdDSA)
        );
    }

    #[tokio::test]
    async fn private_keys_do_not_open_under_another_root_secret() {
        let bench = Bench::new().await;
        let _ = bench.open(Algorithm::ES256).await;
        let before = bench.store.ring().await.unwrap().version;
        bench.clock.advance(40 * DAY);
        let error = KeyRing::open(&bench.store, secrets("other"), Algorithm::ES256, DAY, &bench.clock)
            .await
            .unwrap_err();
        assert!(format!("{error:#}").contains("token.root_secret"), "{error:#}");
        assert_eq!(
            bench.store.ring().await.unwrap().version,
            before,
            "and the ring is left alone"
        );
    }
}
