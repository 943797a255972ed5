//! A verifier with three keys, everything needed to sign with them, and rows of attacks.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256};
use aws_lc_rs::signature::{RsaEncoding, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_client::{Claims, KeySet, TokenError, TokenType, Trust, Verifier, VerifierConfig};
use serde_json::{Value, json};
use service_kit::Clock;

pub(crate) const INVALID: TokenError = TokenError::Invalid("Token is invalid");
pub(crate) const NOT_YET: TokenError = TokenError::Invalid("Token is not yet valid");

/// One attack, and what is said of it.
pub(crate) struct Row {
    what: String,
    token: String,
    refused: TokenError,
}

/// An attack that is refused as most are.
pub(crate) fn row(what: impl Into<String>, token: impl Into<String>) -> Row {
    because(INVALID, what, token)
}

/// An attack that is refused for a reason that is told.
pub(crate) fn because(refused: TokenError, what: impl Into<String>, token: impl Into<String>) -> Row {
    Row {
        what: what.into(),
        token: token.into(),
        refused,
    }
}

/// The three keys that the verifier knows, each under the name of its algorithm.
pub(crate) struct Keys {
    pub(crate) es256: EcdsaKeyPair,
    pub(crate) eddsa: Ed25519KeyPair,
    pub(crate) rs256: RsaKeyPair,
}

impl Keys {
    fn new() -> Self {
        Self {
            es256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            eddsa: Ed25519KeyPair::generate().unwrap(),
            rs256: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        }
    }

    /// A signature by the key of that algorithm.
    pub(crate) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        match algorithm {
            "ES256" => self
                .es256
                .sign(&SystemRandom::new(), message)
                .unwrap()
                .as_ref()
                .to_vec(),
            "EdDSA" => self.eddsa.sign(message).as_ref().to_vec(),
            _ => self.rsa(&RSA_PKCS1_SHA256, message),
        }
    }

    pub(crate) fn rsa(&self, padding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rs256.public_modulus_len()];
        self.rs256
            .sign(padding, &SystemRandom::new(), message, &mut signature)
            .unwrap();
        signature
    }

    /// The modulus of the RSA key, out of its PKCS #1 form: two headers, and a zero that makes it positive.
    pub(crate) fn modulus(&self) -> Vec<u8> {
        self.rs256.public_key().as_ref()[9..265].to_vec()
    }

    pub(crate) fn jwk(&self, algorithm: &str) -> Value {
        match algorithm {
            "ES256" => {
                let point = self.es256.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "ES256", "use": "sig",
                    "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            "EdDSA" => json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "EdDSA", "use": "sig",
                "x": encode(self.eddsa.public_key().as_ref())}),
            _ => json!({"kty": "RSA", "alg": "RS256", "kid": "RS256", "use": "sig", "n": encode(self.modulus()),
                "e": "AQAB"}),
        }
    }

    /// The public key as others have it in their files: DER of X.509.
    pub(crate) fn der(&self, algorithm: &str) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match algorithm {
            "ES256" => self.es256.public_key().as_der().unwrap(),
            "EdDSA" => self.eddsa.public_key().as_der().unwrap(),
            _ => self.rs256.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    pub(crate) fn pem(&self, algorithm: &str) -> String {
        let text = STANDARD.encode(self.der(algorithm));
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }
}

/// Made once: an RSA key takes its time.
static KEYS: LazyLock<Arc<Keys>> = LazyLock::new(|| Arc::new(Keys::new()));

/// A verifier that knows the keys, whose clock stands.
pub(crate) struct Example {
    pub(crate) keys: Arc<Keys>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) verifier: Verifier,
    pub(crate) now: i64,
}

impl Example {
    pub(crate) fn new() -> Self {
        Self::with_keys(Arc::clone(&KEYS))
    }

    /// Another one, whose keys go by the same names.
    pub(crate) fn other() -> Self {
        Self::with_keys(Arc::new(Keys::new()))
    }

    fn with_keys(keys: Arc<Keys>) -> Self {
        let published = ["ES256", "EdDSA", "RS256"].map(|algorithm| keys.jwk(algorithm));
        let jwks = json!({"keys": published});
        let (trust, clock) = (Arc::new(Trust::default()), Clock::standing());
        trust.set_keys(KeySet::from_jwks(&serde_json::from_value(jwks).unwrap()));
        trust.heard(clock.now_ms());
        let now = clock.now().as_second();
        let config = VerifierConfig::new("https://issuer.test", "audience");
        Self {
            keys,
            verifier: Verifier::new(config, Arc::clone(&trust), clock),
            trust,
            now,
        }
    }

    /// The header of a good token.
    pub(crate) fn header(algorithm: &str) -> Value {
        json!({"typ": "at+jwt", "alg": algorithm, "kid": algorithm})
    }

    /// The claims of a good token.
    pub(crate) fn claims(&self) -> Value {
        json!({"token_type": "access", "iss": "https://issuer.test", "sub": "7", "aud": "audience",
            "client_id": "portcullis", "iat": self.now, "exp": self.now + 300, "jti": "j", "sid": "s",
            "scope": "orders:read", "roles": ["staff"], "user_id": "7"})
    }

    /// Those claims with `changes`, where null stands for null.
    pub(crate) fn claims_with(&self, changes: &Value) -> Value {
        merged(self.claims(), changes)
    }

    /// A token of exactly these two texts or bytes, signed well by the key of `algorithm`.
    pub(crate) fn sign(&self, algorithm: &str, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = encode(self.keys.sign(algorithm, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// A good token.
    pub(crate) fn good(&self, algorithm: &str) -> String {
        self.sign(
            algorithm,
            Self::header(algorithm).to_string(),
            self.claims().to_string(),
        )
    }

    /// A token signed with ES256 whose header has `changes`.
    pub(crate) fn with_header(&self, changes: &Value) -> String {
        let header = merged(Self::header("ES256"), changes);
        self.sign("ES256", header.to_string(), self.claims().to_string())
    }

    /// A token signed with ES256 whose claims have `changes`.
    pub(crate) fn with_claims(&self, changes: &Value) -> String {
        self.with_payload(self.claims_with(changes).to_string())
    }

    /// A token signed with ES256 whose payload is this.
    pub(crate) fn with_payload(&self, payload: impl AsRef<[u8]>) -> String {
        self.sign("ES256", Self::header("ES256").to_string(), payload)
    }

    pub(crate) async fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        self.verifier.user(token).await
    }

    /// Every row is refused, as it says, twice: the second time nothing may have been remembered of the first.
    pub(crate) async fn refuses(&self, rows: impl IntoIterator<Item = Row>) {
        let (mut wrong, mut tried) = (Vec::new(), 0);
        for Row { what, token, refused } in rows {
            tried += 1;
            for _ in 0..2 {
                match self.verifier.verify(&token, TokenType::Access).await {
                    Err(error) if error == refused => {}
                    other => wrong.push(format!("{what}: {other:?} instead of {refused:?}")),
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        println!("{tried} attacks refused");
    }

    /// Every token is taken: what the rows beside these are refused for is not missing here.
    pub(crate) async fn takes(&self, tokens: impl IntoIterator<Item = (&str, String)>) {
        for (what, token) in tokens {
            let taken = self.verify(&token).await;
            assert_eq!(taken.map(|claims| claims.sub.clone()), Ok("7".to_owned()), "{what}");
        }
    }
}

/// `value` with the members of `changes`.
pub(crate) fn merged(mut value: Value, changes: &Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        value[name] = change.clone();
    }
    value
}

/// `value` without a member.
pub(crate) fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name).unwrap();
    value
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is signed of a token, and its signature.
pub(crate) fn parts(token: &str) -> (&str, Vec<u8>) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    (signed, URL_SAFE_NO_PAD.decode(signature).unwrap())
}
