//! The token service's public keys, parsed once.

use std::collections::HashMap;

use jsonwebtoken::jwk::{JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey};

use crate::mark::Mark;

/// Keys by id, each pinned to the one algorithm it may verify (RFC 8725 section 3.1).
#[derive(Clone, Default)]
pub struct KeySet {
    keys: HashMap<String, (Algorithm, DecodingKey)>,
    /// The marks of their ids, in order.
    marks: Vec<Mark>,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.keys.keys()).finish()
    }
}

impl KeySet {
    /// The keys of `jwks` that can be used: asymmetric, with an id and an algorithm of ours. Others are passed over.
    #[must_use]
    pub fn from_jwks(jwks: &JwkSet) -> Self {
        let keys = jwks.keys.iter().filter_map(|jwk| {
            let algorithm = match jwk.common.key_algorithm? {
                KeyAlgorithm::ES256 => Algorithm::ES256,
                KeyAlgorithm::EdDSA => Algorithm::EdDSA,
                KeyAlgorithm::RS256 => Algorithm::RS256,
                _ => return None,
            };
            Some((
                jwk.common.key_id.clone()?,
                (algorithm, DecodingKey::from_jwk(jwk).ok()?),
            ))
        });
        let keys: HashMap<_, _> = keys.collect();
        let mut marks: Vec<_> = keys.keys().map(|kid| Mark::of(kid)).collect();
        marks.sort_unstable();
        Self { keys, marks }
    }

    /// The key of that id with its algorithm.
    #[must_use]
    pub fn get(&self, kid: &str) -> Option<&(Algorithm, DecodingKey)> {
        self.keys.get(kid)
    }

    /// Whether there is a key with the id of that mark.
    pub(crate) fn has(&self, mark: Mark) -> bool {
        self.marks.binary_search(&mark).is_ok()
    }

    /// Whether `other` has all of these keys.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.marks.iter().all(|mark| other.has(*mark))
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
