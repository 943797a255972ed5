//! A token service that counts what it is asked, and whose keys a test chooses.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis_client::{Clock, Follower, FollowerConfig, VerifierConfig};
use serde_json::{Value, json};
use service_kit::random;
use tokio::sync::Semaphore;
use url::Url;

const ISSUER: &str = "https://issuer.test";
const AUDIENCE: &str = "portcullis";

/// A signing key.
pub(crate) struct Key {
    kid: String,
    pair: EcdsaKeyPair,
}

impl Key {
    pub(crate) fn new(kid: &str) -> Self {
        Self {
            kid: kid.to_owned(),
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": coordinate(&point[1..33]), "y": coordinate(&point[33..])})
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        let key = EncodingKey::from_ec_der(self.pair.to_pkcs8v1().unwrap().as_ref());
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }

    /// A user's token.
    pub(crate) fn user(&self, scope: &str, roles: &[&str]) -> String {
        self.sign(&claims(
            "access",
            "7",
            &json!({"sid": "s", "scope": scope, "roles": roles}),
        ))
    }

    /// A service account's token.
    pub(crate) fn service(&self, account: &str, scope: &str) -> String {
        self.sign(&claims("service", account, &json!({"scope": scope})))
    }
}

fn claims(token_type: &str, subject: &str, more: &Value) -> Value {
    let now = Clock::system().now().as_second();
    let mut claims = json!({"token_type": token_type, "iss": ISSUER, "sub": subject, "aud": AUDIENCE,
        "client_id": subject, "iat": now, "exp": now + 300, "jti": random::hex(&random::bytes::<8>())});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// What the token service knows and was asked.
pub(crate) struct State {
    pub(crate) key: Key,
    /// What the key set endpoint answers; `None`: 503. The feed tells the first key alone.
    pub(crate) published: Mutex<Option<Vec<Value>>>,
    /// Answers of the key set endpoint that may go out.
    pub(crate) may_answer: Semaphore,
    pub(crate) key_fetches: AtomicUsize,
    /// Whether the feed says nothing any more.
    pub(crate) is_silent: AtomicBool,
    pub(crate) token_fetches: AtomicUsize,
}

/// A running one.
pub(crate) struct Issuer {
    pub(crate) state: Arc<State>,
    url: Url,
}

impl Issuer {
    pub(crate) fn start() -> Self {
        let key = Key::new("first");
        let state = Arc::new(State {
            published: Mutex::new(Some(vec![key.jwk()])),
            may_answer: Semaphore::new(Semaphore::MAX_PERMITS),
            key,
            key_fetches: AtomicUsize::new(0),
            is_silent: AtomicBool::new(false),
            token_fetches: AtomicUsize::new(0),
        });
        let data = Data::from(Arc::clone(&state));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .route("/oauth/token", web::post().to(token))
                .route("/.well-known/jwks.json", web::get().to(jwks))
                .route("/internal/feed", web::get().to(feed))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.addrs()[0]).parse().unwrap();
        tokio::spawn(server.run());
        Self { state, url }
    }

    /// Somebody who follows it, and knows everything by now.
    pub(crate) async fn follower(&self) -> Follower {
        self.follower_with(VerifierConfig::new(ISSUER, AUDIENCE)).await
    }

    /// The same, who goes by news no longer than `max_staleness`.
    pub(crate) async fn impatient(&self, max_staleness: Duration) -> Follower {
        let config = VerifierConfig::new(ISSUER, AUDIENCE);
        self.follower_with(VerifierConfig {
            max_staleness,
            ..config
        })
        .await
    }

    async fn follower_with(&self, verifier: VerifierConfig) -> Follower {
        let config = FollowerConfig {
            token_url: self.url.clone(),
            client_id: "tests".to_owned(),
            client_secret: "secret".into(),
            verifier,
        };
        let follower = Follower::start(config, Clock::system()).unwrap();
        follower.synced().await;
        follower
    }
}

/// A service token whose scope tells which one it is.
async fn token(state: Data<State>) -> HttpResponse {
    let count = state.token_fetches.fetch_add(1, Ordering::SeqCst) + 1;
    let token = state.key.service("tests", &format!("token-{count}"));
    HttpResponse::Ok().json(json!({"access_token": token, "token_type": "Bearer", "expires_in": 300}))
}

async fn jwks(state: Data<State>) -> HttpResponse {
    state.key_fetches.fetch_add(1, Ordering::SeqCst);
    state.may_answer.acquire().await.unwrap().forget();
    match &*state.published.lock().unwrap() {
        Some(keys) => HttpResponse::Ok().json(json!({"keys": keys})),
        None => HttpResponse::ServiceUnavailable().finish(),
    }
}

async fn feed(state: Data<State>) -> HttpResponse {
    let keys = json!({"type": "keys", "jwks": {"keys": [state.key.jwk()]}});
    let heartbeat = json!({"type": "heartbeat", "cursor": "1"});
    let beats = futures_util::stream::unfold(state, |state| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if state.is_silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Some((format!("{}\n", json!({"type": "heartbeat", "cursor": "1"})), state))
    });
    let lines = futures_util::stream::iter([format!("{keys}\n{heartbeat}\n")]).chain(beats);
    HttpResponse::Ok().streaming(lines.map(|line| Ok::<_, actix_web::Error>(Bytes::from(line))))
}
