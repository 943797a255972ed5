//! A client of the real thing, and what it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use service_kit::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) use crate::topology::{Portcullis, spawn, spawn_with};

pub(crate) const PASSWORD: &str = "correct horse";

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body, or null when it is empty.
    pub(crate) fn json(&self) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn field(&self, name: &str) -> String {
        self.json()[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .to_owned()
    }

    /// Asserts the status, and that the body has the members of `expected`; other members may stand beside them.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16, expected: Value) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        if let Value::Object(members) = expected {
            let body = self.json();
            for (name, value) in members {
                assert_eq!(body[&name], value, "{name} in {self:?}");
            }
        }
        if status >= 400 {
            let body = self.json();
            assert!(body["detail"].is_string() && body["code"].is_string(), "{self:?}");
            assert_eq!(
                (&body["status"], &body["request_id"]),
                (&json!(status), &json!(self.header("x-request-id"))),
                "{self:?}"
            );
            assert_eq!(status == 401, self.headers.contains_key("www-authenticate"), "{self:?}");
        }
        self
    }
}

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    pub(crate) id: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// A client of the gateways, with methods named after endpoints. Requests take turns among several.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    urls: Vec<String>,
    turn: Arc<AtomicUsize>,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        Self::of_all(vec![url.to_owned()])
    }

    /// One that takes turns among all of `urls`.
    pub(crate) fn of_all(urls: Vec<String>) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        Self {
            urls,
            turn: Arc::default(),
            http,
        }
    }

    /// The base URL whose turn it is.
    pub(crate) fn url(&self) -> &str {
        &self.urls[self.turn.fetch_add(1, Ordering::Relaxed) % self.urls.len()]
    }

    /// A client of each gateway alone.
    pub(crate) fn each(&self) -> Vec<Self> {
        let alone = |url: &String| Self {
            urls: vec![url.clone()],
            ..self.clone()
        };
        self.urls.iter().map(alone).collect()
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.http.request(
            Method::from_bytes(method.as_bytes()).unwrap(),
            format!("{}{path}", self.url()),
        )
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("POST", path).json(&body)).await
    }

    pub(crate) async fn get(&self, path: &str, access: &str) -> Answer {
        self.send(self.request("GET", path).bearer_auth(access)).await
    }

    pub(crate) async fn home(&self, access: &str) -> Answer {
        self.get("/home", access).await
    }

    pub(crate) async fn register(&self, name: &str) -> SignedIn {
        let body = json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD});
        let answer = self.post("/api/auth/register", body).await;
        answer.expect(201, json!({}));
        SignedIn {
            id: answer.json()["user"]["id"].as_str().unwrap().to_owned(),
            access: answer.field("access"),
            refresh: answer.field("refresh"),
        }
    }

    pub(crate) async fn try_login(&self, name: &str) -> Answer {
        self.post(
            "/api/auth/login",
            json!({"email": format!("{name}@example.com"), "password": PASSWORD}),
        )
        .await
    }

    pub(crate) async fn login(&self, name: &str) -> SignedIn {
        let answer = self.try_login(name).await;
        answer.expect(200, json!({}));
        SignedIn {
            id: answer.json()["user"]["id"].as_str().unwrap().to_owned(),
            access: answer.field("access"),
            refresh: answer.field("refresh"),
        }
    }

    pub(crate) async fn refresh(&self, refresh: &str) -> Answer {
        self.post("/api/auth/refresh", json!({"refresh": refresh})).await
    }

    /// `count` presentations of one refresh token at the same time.
    pub(crate) async fn refresh_all_at_once(&self, refresh: &str, count: usize) -> Vec<Answer> {
        join_all((0..count).map(|_| self.refresh(refresh))).await
    }

    pub(crate) async fn logout(&self, user: &SignedIn) -> Answer {
        let request = self.request("POST", "/logout").bearer_auth(&user.access);
        self.send(request.json(&json!({"refresh_token": user.refresh}))).await
    }

    /// Asks for `/home` until the answer has this status at every gateway: for what arrives there by the feed.
    #[track_caller]
    pub(crate) fn home_becomes(&self, access: &str, status: u16) -> impl Future<Output = Answer> {
        self.becomes("/home", access, status)
    }

    /// The same of any path.
    #[track_caller]
    pub(crate) fn becomes(&self, path: &str, access: &str, status: u16) -> impl Future<Output = Answer> {
        let caller = std::panic::Location::caller();
        let (gateways, path, access) = (self.each(), path.to_owned(), access.to_owned());
        async move {
            let started = clock::instant();
            loop {
                let answers = join_all(gateways.iter().map(|gateway| gateway.get(&path, &access))).await;
                match answers.iter().find(|answer| answer.status.as_u16() != status) {
                    None => return answers[0].clone(),
                    Some(answer) => assert!(in_time(started), "{caller}: still {answer:?}"),
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    /// Sends bytes as they are, which an HTTP library would not, and reads the status line and all that follows.
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let address = self.url().strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        // A server that refuses early may close before everything is sent; what it said counts.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer))
            .await
            .expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// The id of the key that signed an access token.
pub(crate) fn signed_by(access: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(access.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Whether a condition may still come true; generous, since machines may be busy.
pub(crate) fn in_time(since: Instant) -> bool {
    since.elapsed() < Duration::from_secs(20)
}
