//! The ring against a store and a clock.

use std::cell::Cell;

use proptest::prelude::*;
use secrecy::SecretString;

use super::life::{MAX_KEYS, PUBLISHED_MS, RETIRING_MS};
use super::*;
use crate::config::LONGEST_ACCESS_TTL;
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

/// What happens to a ring: time passes, and somebody asks.
fn requests() -> impl Strategy<Value = Vec<(i64, u8)>> {
    let pause = prop_oneof![
        0_i64..120_000,
        PUBLISHED_MS - 1..PUBLISHED_MS + 2,
        RETIRING_MS - 1..RETIRING_MS + 2,
        0_i64..40 * 86_400_000,
    ];
    prop::collection::vec((pause, any::<u8>()), 1..60)
}

proptest! {
    /// One key signs and one is next, whatever is asked for whenever; a key is published before it signs by itself, and
    /// verifies until the last token that it may have signed is dead, unless it is killed.
    #[test]
    fn a_key_is_next_then_active_then_retiring_then_gone(requests in requests()) {
        let algorithms = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];
        let rotation_ms = 30 * 86_400_000;
        let (mut keys, mut now, made) = (Vec::<StoredKey>::new(), 0, Cell::new(0));
        for (pause, dice) in requests {
            now += pause;
            let algorithm = algorithms[usize::from(dice / 16) % 3];
            let active = keys.iter().find(|key| key.state == KeyState::Active).map(|key| key.kid.clone());
            let what = match (dice % 16, &active) {
                (0 | 1, _) => Change::Rotate,
                (2, Some(kid)) => Change::Kill(kid.clone()),
                _ => Change::Due,
            };
            let before = keys.clone();
            let make = || Ok(StoredKey {
                kid: made.replace(made.get() + 1).to_string(),
                algorithm,
                state: KeyState::Next,
                since: now,
                public_jwk: String::new(),
                sealed: Vec::new(),
            });
            keys = changed(before.clone(), algorithm, rotation_ms, &what, now, make).unwrap();
            let state = |kid: &str| keys.iter().find(|key| key.kid == kid).map(|key| key.state);
            for (wanted, count) in [(KeyState::Active, 1), (KeyState::Next, 1)] {
                prop_assert_eq!(keys.iter().filter(|key| key.state == wanted).count(), count, "{:?}", keys);
            }
            for key in &before {
                let killed = matches!(&what, Change::Kill(kid) if *kid == key.kid);
                let after = state(&key.kid);
                match (key.state, after) {
                    (_, None) if killed => {}
                    (KeyState::Next, Some(KeyState::Active)) => {
                        let published = now - key.since >= PUBLISHED_MS;
                        prop_assert!(published || !matches!(what, Change::Due), "it signs too soon");
                    }
                    (KeyState::Next, None) => prop_assert!(key.algorithm != algorithm),
                    (KeyState::Active, Some(KeyState::Retiring)) => {
                        let due = now - key.since >= rotation_ms || key.algorithm != algorithm;
                        prop_assert!(due || !matches!(what, Change::Due), "it signed too short");
                    }
                    (KeyState::Retiring, None) => prop_assert!(now - key.since >= RETIRING_MS),
                    (KeyState::Retiring, Some(_)) => prop_assert!(now - key.since < RETIRING_MS),
                    (was, is) => prop_assert_eq!(Some(was), is, "after {:?}", what),
                }
            }
            if let (Change::Due, Some(active)) = (&what, before.iter().find(|key| key.state == KeyState::Active))
                && let Some(next) = before.iter().find(|key| key.state == KeyState::Next && key.algorithm == algorithm)
            {
                let due = now - active.since >= rotation_ms && now - next.since >= PUBLISHED_MS;
                prop_assert!(!due || state(&active.kid) != Some(KeyState::Active), "it signs for ever");
            }
        }
    }
}
