//! A small token service: real HTTP, real keys, real tokens, and nothing kept beyond the test.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Bytes, Data, Json};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use futures_util::{StreamExt, stream};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis_client::wire::{FeedLine, OpenSessionRequest, RevokeSubjectRequest, RevokeSubjectResponse, TokenPair};
use portcullis_client::{Claims, TokenClient, TokenType};
use secrecy::SecretString;
use serde_json::json;
use service_kit::{Clock, random};
use tokio::sync::watch;

pub(crate) const ISSUER: &str = "http://issuer.test";
pub(crate) const AUDIENCE: &str = "portcullis";
pub(crate) const CLIENT: &str = "identity";
pub(crate) const SECRET: &str = "a secret of the test";
const KID: &str = "k1";

/// How the issuer answers calls about sessions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    Good,
    Unavailable,
    /// Does what it is asked to and says that it could not.
    LosesReplies,
    Refuses,
}

pub(crate) struct State {
    clock: Clock,
    key: EncodingKey,
    jwks: JwkSet,
    mood: Mutex<Mood>,
    epochs: Mutex<HashMap<String, i64>>,
    opened: Mutex<Vec<OpenSessionRequest>>,
    revoked: watch::Sender<Vec<RevokeSubjectRequest>>,
}

impl State {
    fn new(clock: Clock) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(KID.to_owned());
        Self {
            clock,
            key,
            jwks: JwkSet { keys: vec![jwk] },
            mood: Mutex::new(Mood::Good),
            epochs: Mutex::default(),
            opened: Mutex::default(),
            revoked: watch::Sender::default(),
        }
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    /// A user's token for `subject`, good for five minutes.
    pub(crate) fn access_token(&self, subject: &str, roles: &[String]) -> String {
        let iat = self.clock.now().as_second();
        let claims = Claims {
            token_type: TokenType::Access,
            iss: ISSUER.to_owned(),
            sub: subject.to_owned(),
            aud: AUDIENCE.to_owned(),
            client_id: "portcullis".to_owned(),
            iat,
            exp: iat + 300,
            nbf: None,
            jti: random::uuid().to_string(),
            sid: Some(random::uuid().to_string()),
            scope: String::new(),
            roles: roles.to_vec(),
            user_id: Some(subject.to_owned()),
        };
        let header = Header {
            typ: Some("at+jwt".to_owned()),
            kid: Some(KID.to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

/// The running issuer; it ends with the test.
pub(crate) struct Issuer {
    pub(crate) url: url::Url,
    pub(crate) state: Data<State>,
    handle: ServerHandle,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

impl Issuer {
    pub(crate) fn start(clock: Clock) -> Self {
        let state = Data::new(State::new(clock));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let shared = state.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .route("/oauth/token", web::post().to(grant))
                .route("/internal/sessions", web::post().to(open_session))
                .route("/internal/revoke", web::post().to(revoke_subject))
                .route("/internal/feed", web::get().to(feed))
                .route("/.well-known/jwks.json", web::get().to(jwks))
        })
        .workers(1)
        .shutdown_timeout(0)
        .disable_signals()
        .listen(listener)
        .unwrap()
        .run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { url, state, handle }
    }

    pub(crate) fn becomes(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// A service account's line to it.
    pub(crate) fn client(&self) -> TokenClient {
        TokenClient::new(self.url.clone(), CLIENT, SecretString::from(SECRET)).unwrap()
    }

    /// Every session that was opened so far.
    pub(crate) fn opened(&self) -> Vec<OpenSessionRequest> {
        self.state.opened.lock().unwrap().clone()
    }

    /// Every call to end a user's sessions that was accepted so far.
    pub(crate) fn revoked(&self) -> Vec<RevokeSubjectRequest> {
        self.state.revoked.borrow().clone()
    }

    /// The first `count` calls to end a user's sessions, once there are that many.
    pub(crate) async fn revocations(&self, count: usize) -> Vec<RevokeSubjectRequest> {
        let mut revoked = self.state.revoked.subscribe();
        let come = revoked.wait_for(|revoked| revoked.len() >= count);
        let come = tokio::time::timeout(Duration::from_secs(20), come).await;
        come.expect("the outbox is delivered in time").unwrap().clone()
    }
}

fn refusal(status: u16, code: &str) -> HttpResponse {
    HttpResponse::build(status.try_into().unwrap()).json(json!({"code": code, "detail": "by the test"}))
}

fn is_client(request: &HttpRequest) -> bool {
    let header = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    header == Some("Bearer service-token")
}

async fn grant(request: HttpRequest) -> HttpResponse {
    use base64::Engine;
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT}:{SECRET}"));
    let header = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    if header != Some(&format!("Basic {credentials}")) {
        return refusal(401, "invalid_client");
    }
    HttpResponse::Ok().json(json!({"access_token": "service-token", "token_type": "Bearer", "expires_in": 300}))
}

async fn open_session(request: HttpRequest, asked: Json<OpenSessionRequest>, state: Data<State>) -> HttpResponse {
    if !is_client(&request) {
        return refusal(401, "token_not_valid");
    }
    match state.mood() {
        Mood::Unavailable => return refusal(503, "store_unavailable"),
        Mood::Refuses => return refusal(403, "permission_denied"),
        Mood::Good | Mood::LosesReplies => {}
    }
    let known = state.epochs.lock().unwrap().get(&asked.subject).copied();
    if known.is_some_and(|epoch| asked.epoch < epoch) {
        return refusal(409, "stale_epoch");
    }
    state.opened.lock().unwrap().push(asked.clone());
    if state.mood() == Mood::LosesReplies {
        return refusal(503, "store_unavailable");
    }
    HttpResponse::Ok().json(TokenPair {
        access: state.access_token(&asked.subject, &asked.roles),
        refresh: format!("pcr_{}", random::hex(&random::bytes::<16>())),
        refresh_expires_in: 86_400,
    })
}

async fn revoke_subject(request: HttpRequest, asked: Json<RevokeSubjectRequest>, state: Data<State>) -> HttpResponse {
    if !is_client(&request) {
        return refusal(401, "token_not_valid");
    }
    match state.mood() {
        Mood::Unavailable => return refusal(503, "store_unavailable"),
        Mood::Refuses => return refusal(403, "permission_denied"),
        Mood::Good | Mood::LosesReplies => {}
    }
    state
        .epochs
        .lock()
        .unwrap()
        .entry(asked.subject.clone())
        .and_modify(|epoch| *epoch = asked.epoch.max(*epoch))
        .or_insert(asked.epoch);
    state.revoked.send_modify(|revoked| revoked.push(asked.into_inner()));
    HttpResponse::Ok().json(RevokeSubjectResponse { ended: 1 })
}

async fn jwks(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(&state.jwks)
}

async fn feed(request: HttpRequest, state: Data<State>) -> HttpResponse {
    if !is_client(&request) {
        return refusal(401, "token_not_valid");
    }
    let line = |line: &FeedLine| Bytes::from(format!("{}\n", serde_json::to_string(line).unwrap()));
    let keys = line(&FeedLine::Keys {
        jwks: state.jwks.clone(),
    });
    let beat = line(&FeedLine::Heartbeat { cursor: "1".to_owned() });
    let beats = stream::unfold(
        tokio::time::interval(Duration::from_millis(500)),
        move |mut interval| {
            let beat = beat.clone();
            async move {
                interval.tick().await;
                Some((beat, interval))
            }
        },
    );
    let lines = stream::once(async { keys }).chain(beats).map(Ok::<_, std::io::Error>);
    HttpResponse::Ok().streaming(Box::pin(lines))
}
