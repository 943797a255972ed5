//! The root secret, and everything that is derived from it: the tags of refresh tokens, the seal on private keys.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hkdf, hmac};
use secrecy::{ExposeSecret, SecretString};

/// The length of the id of a root secret, in bytes.
pub const KEY_ID_LENGTH: usize = 4;
/// The length of a refresh token's tag: 192 bits of HMAC-SHA-256.
pub const TAG_LENGTH: usize = 24;

/// The shortest text that is accepted as a root secret: 32 bytes in base64 or hexadecimal are longer.
pub const MIN_SECRET_LENGTH: usize = 32;

struct Root {
    id: [u8; KEY_ID_LENGTH],
    tag_key: hmac::Key,
    seal_key: [u8; 32],
}

/// The root secrets: the first one makes tags and seals, all of them check and open.
pub struct RootSecrets(Vec<Root>);

impl std::fmt::Debug for RootSecrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RootSecrets(…)")
    }
}

/// What is sealed was sealed under another root secret, or was changed.
#[derive(Debug, thiserror::Error)]
#[error("sealed under another root secret, or damaged")]
pub struct CannotOpen;

fn derive(root: &hkdf::Prk, purpose: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    // HKDF-SHA-256 gives up to 255 times 32 bytes (RFC 5869 section 2.3), so asking for 32 cannot fail.
    if let Ok(okm) = root.expand(&[purpose], hkdf::HKDF_SHA256) {
        let _ = okm.fill(&mut key);
    }
    key
}

impl RootSecrets {
    /// The newest secret, and older ones that are still honoured.
    #[must_use]
    pub fn new(current: &SecretString, previous: &[SecretString]) -> Self {
        let roots = std::iter::once(current).chain(previous).map(|secret| {
            let root =
                hkdf::Salt::new(hkdf::HKDF_SHA256, b"portcullis root v1").extract(secret.expose_secret().as_bytes());
            let mut id = [0; KEY_ID_LENGTH];
            id.copy_from_slice(&derive(&root, b"id")[..KEY_ID_LENGTH]);
            Root {
                id,
                tag_key: hmac::Key::new(hmac::HMAC_SHA256, &derive(&root, b"refresh token tag")),
                seal_key: derive(&root, b"key ring seal"),
            }
        });
        Self(roots.collect())
    }

    fn find(&self, id: &[u8]) -> Option<&Root> {
        self.0.iter().find(|root| root.id == id)
    }

    /// The id of the newest secret.
    #[must_use]
    pub fn current_id(&self) -> [u8; KEY_ID_LENGTH] {
        self.0.first().map_or([0; KEY_ID_LENGTH], |root| root.id)
    }

    /// The tag of `message` under the secret `id`, if that is known.
    #[must_use]
    pub fn tag(&self, id: &[u8], message: &[u8]) -> Option<[u8; TAG_LENGTH]> {
        let full = hmac::sign(&self.find(id)?.tag_key, message);
        let mut tag = [0; TAG_LENGTH];
        tag.copy_from_slice(&full.as_ref()[..TAG_LENGTH]);
        Some(tag)
    }

    /// `plain`, encrypted with AES-256-GCM and bound to `context`, which has to be named again to open it.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, CannotOpen> {
        let root = self.0.first().ok_or(CannotOpen)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &root.seal_key).map_err(|_| CannotOpen)?;
        let mut cipher = plain.to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut cipher)
            .map_err(|_| CannotOpen)?;
        Ok([root.id.as_slice(), nonce.as_ref(), &cipher].concat())
    }

    /// What [`RootSecrets::seal`] sealed with the same `context`.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, CannotOpen> {
        let (id, rest) = sealed.split_at_checked(KEY_ID_LENGTH).ok_or(CannotOpen)?;
        let (nonce, cipher) = rest.split_at_checked(aws_lc_rs::aead::NONCE_LEN).ok_or(CannotOpen)?;
        let root = self.find(id).ok_or(CannotOpen)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &root.seal_key).map_err(|_| CannotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CannotOpen)?;
        let mut plain = cipher.to_vec();
        let length = key
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut plain)
            .map_err(|_| CannotOpen)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

/// The SHA-256 of a service account's secret in hexadecimal: those secrets are random, so a slow hash would add nothing.
#[must_use]
pub fn fingerprint(secret: &str) -> String {
    service_kit::random::hex(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(current: &str, previous: &[&str]) -> RootSecrets {
        let previous: Vec<_> = previous.iter().map(|text| SecretString::from(*text)).collect();
        RootSecrets::new(&SecretString::from(current), &previous)
    }

    #[test]
    fn what_was_sealed_opens_under_the_same_root_and_context_only() {
        let old = secrets("old", &[]);
        let sealed = old.seal("kid", b"private").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"private"));
        assert_eq!(secrets("new", &["old"]).open("kid", &sealed).unwrap(), b"private");
        assert!(old.open("other", &sealed).is_err());
        assert!(secrets("new", &[]).open("kid", &sealed).is_err());
        let mut damaged = sealed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(old.open("kid", &damaged).is_err());
        assert!(old.open("kid", &sealed[..10]).is_err());
    }
}
