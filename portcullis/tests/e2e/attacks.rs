//! Forged, borrowed and bent: each attack, and that it fails.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use portcullis::role::Role;
use portcullis_token::keys::KeyState;
use portcullis_token::secret::RootSecrets;
use serde_json::{Value, json};

use crate::helpers::{Portcullis, SignedIn, spawn};

/// Everything needed to sign what the real token service would never sign.
struct Forge {
    kid: String,
    key: EncodingKey,
    public: String,
    claims: Value,
}

async fn forge(portcullis: &Portcullis, user: &SignedIn) -> Forge {
    let store = portcullis_token::open_store(&portcullis.config.token).await.unwrap();
    let active = store
        .ring()
        .await
        .unwrap()
        .keys
        .into_iter()
        .find(|key| key.state == KeyState::Active)
        .unwrap();
    let private = RootSecrets::new(&portcullis.config.token.root_secret, &[])
        .open(&active.kid, &active.sealed)
        .unwrap();
    let claims = URL_SAFE_NO_PAD.decode(user.access.split('.').nth(1).unwrap()).unwrap();
    Forge {
        kid: active.kid,
        key: EncodingKey::from_ec_der(&private),
        public: active.public_jwk,
        claims: serde_json::from_slice(&claims).unwrap(),
    }
}

impl Forge {
    fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        header
    }

    /// A token whose signature is good and whose claims are the user's with `changes`; null removes a claim.
    fn claiming(&self, changes: &Value) -> String {
        let mut claims = self.claims.clone();
        for (name, value) in changes.as_object().unwrap() {
            claims.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        encode(&self.header(), &claims, &self.key).unwrap()
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    )
}

async fn refused(portcullis: &Portcullis, what: &str, token: &str) {
    for path in ["/home", "/api/user"] {
        let answer = portcullis.client.get(path, token).await;
        assert_eq!(answer.status.as_u16(), 401, "{what} at {path}: {answer:?}");
        answer.expect(
            401,
            json!({"code": "token_not_valid", "detail": "Given token not valid for any token type"}),
        );
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer realm=\"api\", error=\"invalid_token\"",
            "{what}"
        );
    }
}

#[tokio::test]
async fn the_forge_makes_good_tokens_when_nothing_is_changed() {
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    let forge = forge(&portcullis, &user).await;
    portcullis
        .client
        .home(&forge.claiming(&json!({})))
        .await
        .expect(200, json!({}));
}

#[tokio::test]
async fn tokens_without_a_signature_of_ours_are_refused() {
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    let forge = forge(&portcullis, &user).await;
    let (kid, claims) = (&forge.kid, &forge.claims);
    for alg in ["none", "None", "NONE", "nOnE"] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": kid});
        refused(&portcullis, alg, &unsigned(&header, claims)).await;
        refused(&portcullis, alg, unsigned(&header, claims).trim_end_matches('.')).await;
    }
    let mut symmetric = Header::new(Algorithm::HS256);
    symmetric.typ = Some("at+jwt".to_owned());
    symmetric.kid = Some(kid.clone());
    let jwk: Value = serde_json::from_str(&forge.public).unwrap();
    let point = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let uncompressed = [vec![4], point("x"), point("y")].concat();
    for secret in [
        forge.public.as_bytes(),
        &uncompressed,
        &uncompressed[1..],
        jwk["x"].as_str().unwrap().as_bytes(),
        b"",
    ] {
        let token = encode(&symmetric, claims, &EncodingKey::from_secret(secret)).unwrap();
        refused(&portcullis, "HS256 with the public key as secret", &token).await;
    }
    let (head, signature) = user.access.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let raised = URL_SAFE_NO_PAD.encode(json!({"roles": ["superuser"], "sub": "root"}).to_string());
    refused(
        &portcullis,
        "other claims under a good signature",
        &format!("{header}.{raised}.{signature}"),
    )
    .await;
    refused(
        &portcullis,
        "a cut signature",
        &format!("{head}.{}", &signature[..signature.len() - 4]),
    )
    .await;
    refused(&portcullis, "no signature", &format!("{head}.")).await;
    refused(&portcullis, "two parts", head).await;
    refused(&portcullis, "four parts", &format!("{}.x", user.access)).await;
    refused(&portcullis, "garbage", "garbage").await;
    refused(&portcullis, "a huge token", &"a".repeat(10_000)).await;
}

#[tokio::test]
async fn keys_that_a_token_brings_along_are_not_used() {
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    let forge = forge(&portcullis, &user).await;
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let own = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
    let mut header = forge.header();
    refused(
        &portcullis,
        "another key under a known kid",
        &encode(&header, &forge.claims, &own).unwrap(),
    )
    .await;
    header.jwk = Some(Jwk::from_encoding_key(&own, Algorithm::ES256).unwrap());
    refused(
        &portcullis,
        "embedded jwk",
        &encode(&header, &forge.claims, &own).unwrap(),
    )
    .await;
    header.kid = Some("foreign".to_owned());
    refused(
        &portcullis,
        "embedded jwk, foreign kid",
        &encode(&header, &forge.claims, &own).unwrap(),
    )
    .await;
    header.jwk = None;
    header.jku = Some("http://127.0.0.1:9/keys".to_owned());
    refused(&portcullis, "jku", &encode(&header, &forge.claims, &own).unwrap()).await;
    header.jku = None;
    header.x5u = Some("http://127.0.0.1:9/chain".to_owned());
    refused(&portcullis, "x5u", &encode(&header, &forge.claims, &own).unwrap()).await;
    header.x5u = None;
    for kid in ["", "../../../etc/passwd", "' OR 1=1 --", "\0"] {
        header.kid = Some(kid.to_owned());
        refused(&portcullis, "odd kid", &encode(&header, &forge.claims, &own).unwrap()).await;
    }
    header.kid = None;
    refused(
        &portcullis,
        "no kid",
        &encode(&header, &forge.claims, &forge.key).unwrap(),
    )
    .await;
}

#[tokio::test]
async fn good_signatures_over_wrong_claims_are_refused() {
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    let forge = forge(&portcullis, &user).await;
    let now = portcullis.clock.now().as_second();
    for changes in [
        json!({"iss": "https://evil.example"}),
        json!({"iss": null}),
        json!({"aud": "another-service"}),
        json!({"aud": null}),
        json!({"aud": ["portcullis", "another-service"], "sid": null}),
        json!({"exp": now - 6}),
        json!({"exp": null}),
        json!({"exp": "never"}),
        json!({"exp": 1e300}),
        json!({"nbf": now + 60}),
        json!({"iat": now + 60}),
        json!({"jti": null}),
        json!({"token_type": null}),
        json!({"token_type": "refresh"}),
        json!({"sub": null}),
        json!({"sid": null}),
    ] {
        refused(&portcullis, &changes.to_string(), &forge.claiming(&changes)).await;
    }
    for typ in [Some("JWT"), Some("rt+jwt"), Some(""), None] {
        let mut header = forge.header();
        header.typ = typ.map(str::to_owned);
        refused(
            &portcullis,
            "wrong typ",
            &encode(&header, &forge.claims, &forge.key).unwrap(),
        )
        .await;
    }
    let mut header = forge.header();
    header.crit = Some(vec!["exp".to_owned()]);
    refused(
        &portcullis,
        "a critical extension",
        &encode(&header, &forge.claims, &forge.key).unwrap(),
    )
    .await;
}

#[tokio::test]
async fn refresh_and_service_tokens_are_no_access_tokens_of_users() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    refused(&portcullis, "refresh token", &user.refresh).await;
    let account = &portcullis.config.identity;
    let secret = secrecy::ExposeSecret::expose_secret(&account.client_secret).to_owned();
    let granted = client
        .request("POST", "/oauth/token")
        .basic_auth(&account.client_id, Some(secret));
    let granted = client.send(granted.form(&[("grant_type", "client_credentials")])).await;
    let service = granted
        .expect(200, json!({"token_type": "Bearer"}))
        .field("access_token");
    refused(&portcullis, "service token", &service).await;
    let messages = client.home(&service).await.json()["messages"][0]["message"].clone();
    assert_eq!(messages, "Token has wrong type");
    // And a user's token opens no internal endpoint of the token service.
    let token = crate::helpers::Client::of_all(portcullis.urls(Role::Token));
    for (method, path) in [
        ("POST", "/internal/sessions"),
        ("POST", "/internal/revoke"),
        ("GET", "/internal/feed"),
    ] {
        let request = token.request(method, path).bearer_auth(&user.access).json(&json!({}));
        token
            .send(request)
            .await
            .expect(401, json!({"code": "token_not_valid"}));
        token
            .send(token.request(method, path))
            .await
            .expect(401, json!({"code": "not_authenticated"}));
    }
    let gateway = &portcullis.config.gateway;
    let secret = secrecy::ExposeSecret::expose_secret(&gateway.client_secret).to_owned();
    let granted = client
        .request("POST", "/oauth/token")
        .basic_auth(&gateway.client_id, Some(secret));
    let narrow = client
        .send(granted.form(&[("grant_type", "client_credentials")]))
        .await
        .field("access_token");
    let request = token
        .request("POST", "/internal/sessions")
        .bearer_auth(&narrow)
        .json(&json!({}));
    token
        .send(request)
        .await
        .expect(403, json!({"code": "insufficient_scope"}));
}

#[tokio::test]
async fn clients_with_wrong_secrets_get_no_service_token() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    for (id, secret) in [("identity", "wrong"), ("nobody", "x"), ("identity", ""), ("", "")] {
        let request = client.request("POST", "/oauth/token").basic_auth(id, Some(secret));
        let answer = client.send(request.form(&[("grant_type", "client_credentials")])).await;
        answer.expect(401, json!({"error": "invalid_client"}));
    }
    let none = client
        .request("POST", "/oauth/token")
        .form(&[("grant_type", "client_credentials")]);
    client.send(none).await.expect(401, json!({"error": "invalid_client"}));
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    let twice = portcullis
        .client
        .request("GET", "/home")
        .bearer_auth(&user.access)
        .bearer_auth(&user.access);
    portcullis
        .client
        .send(twice)
        .await
        .expect(401, json!({"code": "bad_authorization_header"}));
}

#[tokio::test]
async fn a_header_of_a_megabyte_is_refused_and_the_gateway_lives() {
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    for name in ["X-Large", "Authorization"] {
        let request = format!(
            "GET /home HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{name}: {}\r\n\r\n",
            "a".repeat(1 << 20)
        );
        let answer = portcullis.client.raw(request.as_bytes()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{}",
            &answer[..answer.len().min(300)]
        );
    }
    portcullis.client.home(&user.access).await.expect(200, json!({}));
}

#[tokio::test]
async fn bent_paths_do_not_lead_around_the_gate() {
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    for (path, with_token) in [
        ("/api/../home", 200),
        ("//home", 200),
        ("/%68ome", 200),
        ("/home%2f..", 400),
        ("/home%2F", 400),
        ("/home%00", 400),
        ("/home\\", 400),
        ("/home%5c..", 400),
        ("/../home", 400),
        ("/%2e%2e/home", 400),
        ("/home/%2e", 200),
        ("/home%", 400),
        ("/home%zz", 400),
        ("/token/../home", 200),
        ("/HOME", 404),
        ("/home;a=b", 404),
        ("/internal/feed", 404),
        ("/home/../internal/feed", 404),
        ("/api/auth/login/../../../internal/feed", 404),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let anonymous = portcullis.client.raw(format!("{head}\r\n").as_bytes()).await;
        let expected = if with_token == 200 { 401 } else { with_token };
        assert!(
            anonymous.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{path}: {anonymous}"
        );
        let signed_in = portcullis
            .client
            .raw(format!("{head}Authorization: Bearer {}\r\n\r\n", user.access).as_bytes())
            .await;
        assert!(
            signed_in.starts_with(&format!("HTTP/1.1 {with_token} ")),
            "{path}: {signed_in}"
        );
    }
}

#[tokio::test]
async fn guessing_refresh_tokens_of_a_known_session_ends_nothing() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    for place in 4..user.refresh.len() {
        let mut guess = user.refresh.clone().into_bytes();
        guess[place] = if guess[place] == b'a' { b'b' } else { b'a' };
        let guess = String::from_utf8(guess).unwrap();
        client
            .refresh(&guess)
            .await
            .expect(401, json!({"detail": "Token is invalid"}));
        client
            .post("/api/auth/logout", json!({"refresh": guess}))
            .await
            .expect(400, json!({}));
    }
    client.refresh(&user.refresh).await.expect(200, json!({}));
}
