//! The life of a key: next, active, retiring, gone. A pure function of the ring, what is asked for, and the time.

use super::{Algorithm, HEARD, StoredKey};
use crate::config::LONGEST_ACCESS_TTL;

/// How long a key verifies once another is active: as long as it may still sign, the longest life of a token, and the
/// largest leeway.
pub(super) const RETIRING_MS: i64 = (HEARD.as_secs() + LONGEST_ACCESS_TTL.as_secs() + 60).cast_signed() * 1000;
/// How long a key is published before it signs by itself, so that whoever caches the key set has seen it.
pub(super) const PUBLISHED_MS: i64 = 10 * 60 * 1000;
/// How many keys the ring holds at most: a key set that large still fits a line of the feed.
pub(super) const MAX_KEYS: usize = 1500;

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

/// What to do to the ring.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Whatever is due by now.
    Due,
    /// The next key signs from now on.
    Rotate,
    /// This key is gone at once, and every token that it signed.
    Kill(String),
}

/// The ring after `what`: exactly one active key and one next, of the wanted algorithm, and those that are retiring.
pub(super) fn changed(
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
