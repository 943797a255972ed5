//! The real service on port 0, with a fresh database, a clock that stands, and an issuer of its own.

use std::time::Duration;

use futures_util::StreamExt;
use portcullis_test_servers::runtime;

use crate::database::TestDatabase;
use crate::issuer::{AUDIENCE, CLIENT, ISSUER, Issuer, SECRET};
use portcullis_client::{FollowerConfig, VerifierConfig};
use portcullis_identity::{Accounts, Config, NewUser, User};
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use service_kit::{Clock, Running};

pub(crate) const PASSWORD: &str = "12345678";

/// An identity service that runs, and what a test needs to talk to it.
pub(crate) struct Service {
    pub(crate) issuer: Issuer,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    running: Option<Running>,
    http: reqwest::Client,
    pub(crate) database: TestDatabase,
}

/// The service ends before its database does.
impl Drop for Service {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let (ended, end) = std::sync::mpsc::channel();
            runtime().spawn(async move {
                running.kill().await;
                let _ = ended.send(());
            });
            let _ = end.recv_timeout(Duration::from_secs(20));
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    /// `null` when the body is not JSON.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        self.body.as_object().unwrap().keys().map(String::as_str).collect()
    }

    /// Asserts a 400 whose body has exactly these fields' messages, in `errors` and at top level.
    #[track_caller]
    pub(crate) fn is_invalid(&self, errors: &Value) {
        assert_eq!(
            (self.status.as_u16(), &self.body["errors"]),
            (400, errors),
            "{}",
            self.text
        );
        for (field, messages) in errors.as_object().unwrap() {
            assert_eq!(&self.body[field], messages, "{}", self.text);
        }
        assert!(self.body["detail"].is_string(), "{}", self.text);
    }

    /// Asserts a status, a code and a detail.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str, detail: &str) {
        let said = (self.status.as_u16(), &self.body["code"], &self.body["detail"]);
        assert_eq!(said, (status, &json!(code), &json!(detail)), "{}", self.text);
    }
}

/// The service as most tests want it.
pub(crate) async fn spawn() -> Service {
    spawn_with(|_| ()).await
}

/// The service with some of its configuration changed.
pub(crate) async fn spawn_with(change: impl FnOnce(&mut Config)) -> Service {
    let database = TestDatabase::fresh();
    let clock = Clock::standing();
    let issuer = Issuer::start(clock.clone());
    let mut config = config(&database);
    change(&mut config);
    let follower = FollowerConfig {
        token_url: issuer.url.clone(),
        client_id: CLIENT.to_owned(),
        client_secret: SecretString::from(SECRET),
        verifier: VerifierConfig {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            leeway: Duration::ZERO,
            max_staleness: Duration::from_mins(1),
            cache_size: 100,
        },
    };
    let starting = portcullis_identity::start(config.clone(), follower, clock.clone());
    let running = runtime().spawn(starting).await.unwrap().unwrap();
    let service = Service {
        issuer,
        config,
        clock,
        running: Some(running),
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        database,
    };
    let ready = async { while service.admin("/readyz").await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(20), ready)
        .await
        .expect("the service becomes ready");
    service
}

impl Service {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.running().url()))
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Answer {
            status,
            headers,
            text,
            body,
        }
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Sends `body` as it is, as `content_type`, or, when that is empty, without saying what it is.
    pub(crate) async fn post_raw(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        let mut request = self.request(Method::POST, path).body(body);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(token)).await
    }

    pub(crate) async fn admin(&self, path: &str) -> Answer {
        self.send(self.http.get(format!("http://{}{path}", self.running().admin_address)))
            .await
    }

    /// Registers `NAME` with `NAME@example.com` and the usual password; the answer's body.
    pub(crate) async fn register(&self, name: &str) -> Value {
        let answer = self.post("/api/auth/register", &registration(name)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.body
    }

    /// Logs `NAME@example.com` in with the usual password.
    pub(crate) async fn login(&self, name: &str) -> Answer {
        let body = json!({"email": format!("{name}@example.com"), "password": PASSWORD});
        self.post("/api/auth/login", &body).await
    }

    /// What the operator's commands use, on the same database.
    pub(crate) async fn accounts(&self) -> Accounts {
        Accounts::open(&self.config, self.clock.clone()).await.unwrap()
    }

    /// Makes a superuser `NAME` beside the service, and a token for it.
    pub(crate) async fn superuser(&self, name: &str) -> (User, String) {
        let new = NewUser {
            is_superuser: true,
            ..new_user(name)
        };
        let user = self.accounts().await.create(new).await.unwrap();
        let token = self.token_for(&user.id.to_string());
        (user, token)
    }

    /// A good access token for a subject, as the issuer gives it.
    pub(crate) fn token_for(&self, subject: &str) -> String {
        self.issuer.state.access_token(subject, &[])
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub(crate) async fn stop(mut self) {
        self.running.take().expect("it runs").stop().await;
    }
}

/// What `NAME` sends to register.
pub(crate) fn registration(name: &str) -> Value {
    json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD})
}

/// What an operator types to make `NAME`.
pub(crate) fn new_user(name: &str) -> NewUser {
    NewUser {
        username: name.to_owned(),
        email: format!("{name}@example.com"),
        password: SecretString::from(PASSWORD),
        is_superuser: false,
        is_staff: false,
    }
}

/// A configuration with that database, and the cheapest hashes.
pub(crate) fn config(database: &TestDatabase) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        admin_listen: "127.0.0.1:0".parse().unwrap(),
        workers: 1,
        client_id: CLIENT.to_owned(),
        client_secret: SecretString::from(SECRET),
        database_url: database.url(),
        database_pool: 4,
        bcrypt_cost: 4,
        hashing_threads: 1,
        hashing_queue: 32,
    }
}

/// `request` with a JSON `body`, whose last byte is sent only when the other half says so.
pub(crate) fn slowly(request: RequestBuilder, body: &str) -> (RequestBuilder, tokio::sync::oneshot::Sender<()>) {
    let (finish, finished) = tokio::sync::oneshot::channel();
    let (start, end) = body.split_at(body.len() - 1);
    let (start, end) = (start.to_owned(), end.to_owned());
    let rest = futures_util::stream::once(async move {
        finished.await.unwrap();
        Ok(end)
    });
    let body = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(start)]).chain(rest);
    let request = request
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(body));
    (request, finish)
}
