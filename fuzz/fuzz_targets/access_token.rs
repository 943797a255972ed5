//! Access tokens: what is taken was signed by us, is an access token by its header, and says whole what it has to say.

#![no_main]

use std::sync::{Arc, LazyLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;
use portcullis_client::{Claims, KeySet, TokenError, TokenType, Trust, Verifier, VerifierConfig};
use serde_json::{Value, json};
use service_kit::Clock;

const HEADER: &str = r#"{"typ":"at+jwt","alg":"EdDSA","kid":"key"}"#;
const ISSUER: &str = "https://issuer.test";
const AUDIENCE: &str = "audience";

struct World {
    pair: Ed25519KeyPair,
    verifier: Verifier,
    now: i64,
    good: String,
}

/// One key, which signs the same token the same way each time, and a clock that stands.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed of 32 bytes");
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "key", "x": x}]});
    let (trust, clock) = (Arc::new(Trust::default()), Clock::standing());
    trust.set_keys(KeySet::from_jwks(&serde_json::from_value(jwks).expect("a key set")));
    trust.heard(clock.now_ms());
    let now = clock.now().as_second();
    let verifier = Verifier::new(VerifierConfig::new(ISSUER, AUDIENCE), trust, clock);
    let claims = json!({"token_type": "access", "iss": ISSUER, "sub": "7", "aud": AUDIENCE, "client_id": "c",
        "iat": now, "exp": now + 300, "jti": "j", "sid": "s"});
    let good = sign(&pair, HEADER.as_bytes(), claims.to_string().as_bytes());
    World {
        pair,
        verifier,
        now,
        good,
    }
});

fn sign(pair: &Ed25519KeyPair, header: &[u8], payload: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn verify(token: &str) -> Result<Arc<Claims>, TokenError> {
    let verified = WORLD.verifier.verify(token, TokenType::Access);
    verified.now_or_never().expect("nobody is asked")
}

/// The first byte says what the rest is.
fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind {
        b'r' => raw(rest),
        b'c' => changed(rest),
        _ => signed(rest),
    }
});

/// As it comes: nobody finds a signature by trying.
fn raw(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(verify(text).is_err(), "{text}");
    }
}

/// Changes of a good token: places, and what is to stand there. Only where nothing has changed is it good.
fn changed(bytes: &[u8]) {
    let mut token = WORLD.good.clone().into_bytes();
    for change in bytes.chunks(3) {
        let [high, low, letter] = change else { break };
        let place = usize::from(u16::from_be_bytes([*high, *low]));
        match token.get_mut(place) {
            Some(there) => *there = *letter,
            None if place % 2 == 0 => token.push(*letter),
            None => token.insert(place % (token.len() + 1), *letter),
        }
    }
    if let Ok(token) = std::str::from_utf8(&token) {
        assert_eq!(verify(token).is_ok(), token == WORLD.good, "{token}");
    }
}

/// A header and, after a line break, a payload, signed by us whatever they are; `@` stands for now, `#` for five minutes
/// later.
fn signed(bytes: &[u8]) {
    let mut text = Vec::with_capacity(bytes.len() + 64);
    for byte in bytes {
        match byte {
            b'@' => text.extend_from_slice(WORLD.now.to_string().as_bytes()),
            b'#' => text.extend_from_slice((WORLD.now + 300).to_string().as_bytes()),
            other => text.push(*other),
        }
    }
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let (header, payload) = (&text[..end], text.get(end + 1..).unwrap_or_default());
    let token = sign(&WORLD.pair, header, payload);
    let Ok(claims) = verify(&token) else { return };
    // A reader who does not know ours agrees on all of it.
    let header: Value = serde_json::from_slice(header).expect("JSON");
    let payload: Value = serde_json::from_slice(payload).expect("JSON");
    let typ = header["typ"].as_str().expect("a type").to_ascii_lowercase();
    assert!(typ == "at+jwt" || typ == "application/at+jwt");
    assert_eq!((&header["alg"], &header["kid"]), (&json!("EdDSA"), &json!("key")));
    assert!(["crit", "b64", "cty"].iter().all(|name| header.get(name).is_none()));
    assert_eq!((&payload["iss"], &payload["aud"]), (&json!(ISSUER), &json!(AUDIENCE)));
    assert_eq!(payload["token_type"], json!("access"));
    for (name, value) in [
        ("sub", &claims.sub),
        ("jti", &claims.jti),
        ("client_id", &claims.client_id),
    ] {
        assert!(payload[name] == json!(value) && !value.is_empty(), "{name}");
    }
    assert_eq!(payload["sid"], json!(claims.sid));
    assert!(claims.sid.is_some());
    assert!(
        payload
            .get("user_id")
            .is_none_or(|id| id.is_null() || id == &payload["sub"])
    );
    let (iat, exp) = (
        payload["iat"].as_i64().expect("whole seconds"),
        payload["exp"].as_i64().expect("whole seconds"),
    );
    assert!(exp > WORLD.now - 5 && iat <= WORLD.now + 5 && exp - iat <= 3600);
    assert!(claims.nbf.is_none_or(|nbf| nbf <= WORLD.now + 5));
}
