//! A small token service, with keys of its own, that says whatever a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis_client::wire::{Reason, Revocation, RevokedKind};
use serde_json::{Value, json};
use service_kit::random;
use tokio::sync::broadcast;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

pub(crate) const ISSUER: &str = "http://issuer.test";
pub(crate) const AUDIENCE: &str = "portcullis";
const BEAT: Duration = Duration::from_millis(100);

/// A signing key.
pub(crate) struct Key {
    pub(crate) kid: String,
    pub(crate) encoding: EncodingKey,
    pub(crate) public: Vec<u8>,
}

impl Key {
    pub(crate) fn new(kid: &str) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        Self {
            kid: kid.to_owned(),
            encoding: EncodingKey::from_ec_der(document.as_ref()),
            public: pair.public_key().as_ref().to_vec(),
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
               "x": coordinate(&self.public[1..33]), "y": coordinate(&self.public[33..])})
    }

    pub(crate) fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        header
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&self.header(), claims, &self.encoding).unwrap()
    }
}

/// The claims of a user's token that is good.
pub(crate) fn claims(user: &str, session: &str) -> Value {
    let now = service_kit::Clock::system().now().as_second();
    json!({"token_type": "access", "iss": ISSUER, "sub": user, "aud": AUDIENCE, "client_id": "portcullis",
           "iat": now, "exp": now + 300, "jti": random::hex(&random::bytes::<8>()), "sid": session,
           "scope": "profile orders", "roles": ["staff", "support"], "user_id": user})
}

struct State {
    keys: Value,
    lines: broadcast::Sender<Bytes>,
    revoked: Mutex<Vec<String>>,
    silent: Mutex<bool>,
}

/// A running issuer.
#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) address: SocketAddr,
    pub(crate) key: Arc<Key>,
    state: Arc<State>,
}

impl Issuer {
    pub(crate) fn start() -> Self {
        let key = Arc::new(Key::new("key-1"));
        let state = Arc::new(State {
            keys: json!({"keys": [key.jwk()]}),
            lines: broadcast::channel(64).0,
            revoked: Mutex::default(),
            silent: Mutex::default(),
        });
        let data = Data::from(Arc::clone(&state));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .route("/oauth/token", web::post().to(token))
                .route("/internal/feed", web::get().to(feed))
                .route("/.well-known/jwks.json", web::get().to(jwks))
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        let address = server.addrs()[0];
        tokio::spawn(server.run());
        let beating = Arc::clone(&state);
        tokio::spawn(async move {
            let mut beats = tokio::time::interval(BEAT);
            loop {
                beats.tick().await;
                if !*beating.silent.lock().unwrap() {
                    let _ = beating.lines.send(line(&heartbeat()));
                }
            }
        });
        Self { address, key, state }
    }

    /// Refuses whatever belongs to `session` from now on.
    pub(crate) fn revoke_session(&self, session: &str, reason: Reason) {
        let revocation = Revocation {
            kind: RevokedKind::Session,
            id: session.to_owned(),
            reason,
            expires_at: service_kit::Clock::system().now_ms() + 600_000,
        };
        let mut value = serde_json::to_value(revocation).unwrap();
        value["type"] = json!("revoked");
        self.state.revoked.lock().unwrap().push(value.to_string());
        let _ = self.state.lines.send(line(&value));
    }

    /// Says nothing any more, and takes no new follower.
    pub(crate) fn fall_silent(&self) {
        *self.state.silent.lock().unwrap() = true;
    }

    /// A good token of `user` in `session`.
    pub(crate) fn token(&self, user: &str, session: &str) -> String {
        self.key.sign(&claims(user, session))
    }

    /// A token with `change`d claims, signed with the right key.
    pub(crate) fn token_with(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = claims("7", "session-7");
        change(&mut claims);
        self.key.sign(&claims)
    }
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}

fn heartbeat() -> Value {
    json!({"type": "heartbeat", "cursor": "1"})
}

async fn token() -> HttpResponse {
    HttpResponse::Ok().json(json!({"access_token": "service", "token_type": "Bearer", "expires_in": 300}))
}

async fn jwks(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(&state.keys)
}

async fn feed(state: Data<State>) -> HttpResponse {
    if *state.silent.lock().unwrap() {
        return HttpResponse::ServiceUnavailable().finish();
    }
    let news = BroadcastStream::new(state.lines.subscribe()).filter_map(Result::ok);
    let mut known = vec![line(&json!({"type": "keys", "jwks": state.keys}))];
    known.extend(
        state
            .revoked
            .lock()
            .unwrap()
            .iter()
            .map(|text| Bytes::from(format!("{text}\n"))),
    );
    known.push(line(&heartbeat()));
    let lines = tokio_stream::iter(known).chain(news).map(Ok::<_, actix_web::Error>);
    HttpResponse::Ok().streaming(lines)
}
