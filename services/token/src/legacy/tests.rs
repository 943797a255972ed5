//! Which tokens are read, and which are not.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::*;

const SECRET: &str = "django-insecure-0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_800_000_000;

fn legacy(change: impl FnOnce(&mut LegacyConfig)) -> Legacy {
    let mut config = LegacyConfig {
        secret: SECRET.into(),
        until: at(NOW + 1000),
        issuer: None,
        audience: None,
        user_claim: user_claim(),
        identity_url: identity_url(),
        identity: Arc::default(),
    };
    change(&mut config);
    assert!(config.mistakes().is_empty());
    Legacy::new(config, Duration::from_secs(5)).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What simplejwt signs, with these claims instead; null takes one away.
fn token_with(algorithm: Algorithm, secret: &str, changes: &Value) -> String {
    let mut claims = json!({
        "token_type": "refresh",
        "exp": NOW + 86_400,
        "iat": NOW,
        "jti": "5b1c7ac1c5f34f0a8a5d4cf8a0e0e1d2",
        "user_id": 5,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    jsonwebtoken::encode(
        &Header::new(algorithm),
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap()
}

fn token(changes: &Value) -> String {
    token_with(Algorithm::HS256, SECRET, changes)
}

#[test]
fn a_refresh_token_of_simplejwt_is_read_whatever_kind_of_id_its_user_has() {
    let legacy = legacy(|_| {});
    for (id, read) in [(json!(5), "5"), (json!("5"), "5"), (json!("a-uuid"), "a-uuid")] {
        let found = legacy.read(&token(&json!({ "user_id": id })), at(NOW)).unwrap();
        assert_eq!(
            (found.user_id.as_str(), found.expires_at),
            (read, (NOW + 86_400) * 1000)
        );
    }
    // Old versions of simplejwt do not write when.
    legacy.read(&token(&json!({"iat": null})), at(NOW)).unwrap();
}

#[test]
fn what_that_system_did_not_sign_or_not_as_this_is_not_read() {
    let legacy = legacy(|_| {});
    let good = token(&json!({}));
    let unsigned = {
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let payload = good.split('.').nth(1).unwrap();
        format!("{}.{payload}.", encode(r#"{"alg":"none","typ":"JWT"}"#))
    };
    let refused = [
        String::new(),
        "garbage".to_owned(),
        "a.b.c".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}.{good}"),
        unsigned,
        token_with(Algorithm::HS256, "another secret of at least 32 characters", &json!({})),
        token_with(Algorithm::HS384, SECRET, &json!({})),
        token_with(Algorithm::HS512, SECRET, &json!({})),
        token(&json!({"jti": null})),
        token(&json!({"jti": ""})),
        token(&json!({"jti": 7})),
        token(&json!({"exp": null})),
        token(&json!({"exp": "tomorrow"})),
        token(&json!({"exp": 1e300})),
        token(&json!({"iat": NOW + 6})),
        token(&json!({"nbf": NOW + 6})),
        token(&json!({"nbf": "now"})),
        token(&json!({"user_id": null})),
        token(&json!({"user_id": ""})),
        token(&json!({"user_id": 5.5})),
        token(&json!({"user_id": [5]})),
        token(&json!({"padding": "x".repeat(8 * 1024)})),
    ];
    for token in refused {
        let found = legacy.read(&token, at(NOW));
        assert!(matches!(found, Err(Error::InvalidToken)), "{found:?} of {token}");
    }
    legacy.read(&good, at(NOW)).unwrap();
}

#[test]
fn an_access_token_and_an_expired_one_are_refused_by_name() {
    let legacy = legacy(|_| {});
    for kind in [json!("access"), json!("sliding"), Value::Null] {
        let found = legacy.read(&token(&json!({ "token_type": kind })), at(NOW));
        assert!(matches!(found, Err(Error::WrongTokenType)), "{found:?}");
    }
    let brief = token(&json!({"exp": NOW + 10}));
    legacy.read(&brief, at(NOW + 9)).unwrap();
    let found = legacy.read(&brief, at(NOW + 10));
    assert!(matches!(found, Err(Error::SessionExpired)), "{found:?}");
}

#[test]
fn when_the_time_has_passed_nothing_is_read() {
    let legacy = legacy(|_| {});
    legacy.read(&token(&json!({})), at(NOW + 999)).unwrap();
    let found = legacy.read(&token(&json!({})), at(NOW + 1000));
    assert!(matches!(found, Err(Error::InvalidToken)), "{found:?}");
}

#[test]
fn issuer_audience_and_the_claim_of_the_user_are_what_was_configured() {
    let legacy = legacy(|config| {
        config.issuer = Some("https://old.example.com".to_owned());
        config.audience = Some("web".to_owned());
        config.user_claim = "uid".to_owned();
    });
    let good = json!({"iss": "https://old.example.com", "aud": ["app", "web"], "uid": 7});
    assert_eq!(legacy.read(&token(&good), at(NOW)).unwrap().user_id, "7");
    for wrong in [
        json!({"iss": null}),
        json!({"iss": "https://other.example.com"}),
        json!({"aud": null}),
        json!({"aud": "app"}),
        json!({"uid": null}),
    ] {
        let mut claims = good.clone();
        for (name, value) in wrong.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let found = legacy.read(&token(&claims), at(NOW));
        assert!(matches!(found, Err(Error::InvalidToken)), "{found:?} of {claims}");
    }
}

#[test]
fn one_token_proves_one_thing_to_each_user() {
    let legacy = legacy(|_| {});
    let proof = |changes: &Value, subject| legacy.read(&token(changes), at(NOW)).unwrap().proof(subject);
    assert_eq!(proof(&json!({}), "u1"), proof(&json!({}), "u1"));
    assert_ne!(proof(&json!({}), "u1").id, proof(&json!({}), "u2").id);
    assert_ne!(proof(&json!({}), "u1").id, proof(&json!({"jti": "other"}), "u1").id);
}

#[test]
fn every_mistake_names_its_key_and_no_secret_is_shown() {
    let wrong = LegacyConfig {
        secret: "hidden".into(),
        until: at(NOW),
        issuer: None,
        audience: None,
        user_claim: String::new(),
        identity_url: "identity:8001".to_owned(),
        identity: Arc::default(),
    };
    let mistakes = wrong.mistakes();
    let places: Vec<_> = mistakes.iter().map(|mistake| mistake.place.as_str()).collect();
    let keys = ["secret", "user_claim", "identity_url"].map(|key| format!("token.legacy.{key}"));
    assert_eq!(places, keys);
    assert!(!format!("{wrong:?} {mistakes:?}").contains("hidden"));
}
