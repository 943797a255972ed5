//! Two token services on one Redis, and a verifier that follows one of them: what a client and a gateway see.

use std::collections::HashMap;
use std::time::Duration;

use portcullis_client::wire::{OpenSessionRequest, TokenPair};
use portcullis_client::{DELIVERY_HEADER, Follower, FollowerConfig, REFRESH_COOKIE, TokenClient, TokenServiceError};
use redis::AsyncCommands;
use reqwest::{Response, StatusCode};
use secrecy::SecretString;
use serde_json::json;
use service_kit::{Clock, Running, clock};

use super::PATIENCE;
use super::server::{DURABLE, Server};
use crate::Config;

const SECRET: &str = "a secret of at least thirty-two characters";

fn config(store_url: &str) -> Config {
    let text = format!(
        r#"
        listen = "127.0.0.1:0"
        admin_listen = "127.0.0.1:0"
        workers = 1
        url = "http://127.0.0.1"
        store_url = "{store_url}"
        store_timeout = "1s"
        root_secret = "{SECRET}"
        issuer = "http://issuer"
        audience = "tests"
        algorithm = "ES256"
        access_ttl = "5m"
        refresh_idle_ttl = "1h"
        refresh_absolute_ttl = "2h"
        replay_window = "10s"
        recovery_window = "5m"
        on_reuse = "revoke"
        key_rotation = "30days"
        leeway = "5s"
        max_staleness = "10s"
        verified_tokens = 100
        [clients.tests]
        secret = "{SECRET}"
        scopes = ["tokens:issue", "tokens:revoke", "feed:read"]
        "#
    );
    service_kit::config::load(&text, None, []).unwrap()
}

struct Replica {
    running: Running,
    tokens: TokenClient,
}

impl Replica {
    async fn start(server: &Server) -> Self {
        let running = crate::start(config(&server.url()), Clock::system()).await.unwrap();
        running.ready().await;
        let url = running.url().parse().unwrap();
        let tokens = TokenClient::new(url, "tests", SecretString::from(SECRET)).unwrap();
        Self { running, tokens }
    }

    async fn follower(&self, server: &Server) -> Follower {
        let config = FollowerConfig {
            token_url: self.running.url().parse().unwrap(),
            client_id: "tests".to_owned(),
            client_secret: SecretString::from(SECRET),
            verifier: config(&server.url()).verifier(),
        };
        let follower = Follower::start(config, Clock::system()).unwrap();
        follower.synced().await;
        follower
    }

    async fn try_log_in(&self) -> Result<TokenPair, TokenServiceError> {
        let request = OpenSessionRequest {
            subject: "somebody".to_owned(),
            epoch: 0,
            roles: Vec::new(),
            user_agent: None,
            ip: None,
        };
        self.tokens.open_session(&request).await
    }

    async fn log_in(&self) -> TokenPair {
        self.try_log_in().await.unwrap()
    }

    async fn post(&self, path: &str, refresh: &str) -> Response {
        let request = reqwest::Client::new().post(format!("{}{path}", self.running.url()));
        request.json(&json!({ "refresh": refresh })).send().await.unwrap()
    }

    async fn post_by_cookie(&self, path: &str, refresh: &str) -> Response {
        let request = reqwest::Client::new().post(format!("{}{path}", self.running.url()));
        let request = request.header(DELIVERY_HEADER, "cookie");
        let cookie = format!("{REFRESH_COOKIE}={refresh}");
        request.header("cookie", cookie).send().await.unwrap()
    }
}

async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let began = clock::instant();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[actix_web::test]
async fn a_logout_through_one_replica_is_refused_by_who_follows_the_other() {
    let Some(server) = Server::start(DURABLE) else { return };
    let (one, other) = (Replica::start(&server).await, Replica::start(&server).await);
    let follower = other.follower(&server).await;
    let pair = one.log_in().await;
    assert!(
        follower.verifier().user(&pair.access).await.is_ok(),
        "both sign with the same keys"
    );
    let answer = other.post("/api/auth/refresh", &pair.refresh).await;
    let renewed: HashMap<String, String> = answer.json().await.unwrap();
    let logout = one.post("/api/auth/logout", &renewed["refresh"]).await;
    assert_eq!(logout.status(), StatusCode::RESET_CONTENT);
    until("the follower refuses both", || async {
        let verifier = follower.verifier();
        verifier.user(&pair.access).await.is_err() && verifier.user(&renewed["access"]).await.is_err()
    })
    .await;
    let ended = other.post("/api/auth/refresh", &renewed["refresh"]).await;
    assert_eq!(ended.status(), StatusCode::UNAUTHORIZED);
}

#[actix_web::test]
async fn while_redis_is_gone_the_answer_is_503_and_afterwards_everything_goes_on() {
    let Some(mut server) = Server::start(DURABLE) else {
        return;
    };
    let replica = Replica::start(&server).await;
    let follower = replica.follower(&server).await;
    let pair = replica.log_in().await;
    server.kill();
    for path in ["/api/auth/refresh", "/api/auth/logout"] {
        for refused in [
            replica.post(path, &pair.refresh).await,
            replica.post_by_cookie(path, &pair.refresh).await,
        ] {
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert!(refused.headers().contains_key("retry-after"));
            assert!(
                !refused.headers().contains_key("set-cookie"),
                "a browser keeps its token"
            );
            let said: serde_json::Value = refused.json().await.unwrap();
            assert_eq!(said["code"], "store_unavailable");
        }
    }
    assert!(
        follower.verifier().user(&pair.access).await.is_ok(),
        "verifiers go on for a while"
    );
    server.restart();
    until("a refresh works again", || async {
        replica.post("/api/auth/refresh", &pair.refresh).await.status() == StatusCode::OK
    })
    .await;
}

#[actix_web::test]
async fn after_redis_lost_its_data_no_old_token_is_good_and_new_ones_are() {
    let Some(server) = Server::start(DURABLE) else { return };
    let (one, other) = (Replica::start(&server).await, Replica::start(&server).await);
    let follower = other.follower(&server).await;
    let (kept, left) = (one.log_in().await, one.log_in().await);
    assert_eq!(
        one.post("/api/auth/logout", &left.refresh).await.status(),
        StatusCode::RESET_CONTENT
    );
    server.connection().await.flushall::<()>().await.unwrap();

    until("old access tokens are refused", || async {
        let verifier = follower.verifier();
        verifier.user(&kept.access).await.is_err() && verifier.user(&left.access).await.is_err()
    })
    .await;
    for pair in [&kept, &left] {
        let refused = other.post("/api/auth/refresh", &pair.refresh).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
    until("a new login is good", || async {
        match one.try_log_in().await {
            Ok(pair) => follower.verifier().user(&pair.access).await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
    let newcomer = one.follower(&server).await;
    assert!(
        newcomer.verifier().user(&left.access).await.is_err(),
        "nor does a new follower take an old one"
    );
}
