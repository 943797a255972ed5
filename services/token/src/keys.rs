//! The key ring: what signs, what is about to, what still verifies. It lives in the store, private parts sealed.

mod algorithm;
mod life;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{EncodingKey, Header};
use portcullis_client::{Claims, KeySet};
use service_kit::blocking::BlockingPool;
use service_kit::{Clock, clock};
use tokio::sync::Mutex;

pub use self::algorithm::Algorithm;
use self::algorithm::make;
pub use self::life::KeyState;
use self::life::{Change, changed};
use crate::secret::RootSecrets;
use crate::store::{Store, StoreError, StoredRing};

/// How long this process has published a key before it signs with it on demand, as long as another may sign: more than the
/// feed needs, and as long as a verifier that has just fetched the key set waits before it does so again.
const HEARD: Duration = Duration::from_secs(5);

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

/// The keys of the ring, for an operator to look at.
pub async fn list(store: &dyn Store) -> Result<Vec<StoredKey>, StoreError> {
    Ok(store.ring().await?.keys)
}
