//! What keys sign with, and how one is made.

use anyhow::anyhow;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::{Jwk, KeyOperations, PublicKeyUse, ThumbprintHash};
use serde::Deserialize;

use super::{KeyState, StoredKey};
use crate::secret::RootSecrets;

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

    pub(super) fn jwa(self) -> jsonwebtoken::Algorithm {
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

    pub(super) fn encoding_key(self, pkcs8: &[u8]) -> anyhow::Result<EncodingKey> {
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

/// A new key that is about to sign.
pub(super) fn make(algorithm: Algorithm, secrets: &RootSecrets, now: i64) -> anyhow::Result<StoredKey> {
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
