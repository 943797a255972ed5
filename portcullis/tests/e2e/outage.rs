//! When a part is down: who answers what, and that nothing is lost.

use std::time::Duration;

use futures_util::future::join_all;
use portcullis::role::{self, Role};
use serde_json::json;

use crate::helpers::{Client, PASSWORD, spawn_with};

#[tokio::test]
async fn without_the_token_service_logins_wait_and_known_tokens_go_on() {
    let mut portcullis = spawn_with(|config| config.token.max_staleness = Duration::from_mins(1)).await;
    let client = portcullis.client.clone();
    let user = client.register("ada").await;
    portcullis.stop(Role::Token).await;

    client.home(&user.access).await.expect(200, json!({}));
    for (path, body) in [
        (
            "/api/auth/login",
            json!({"email": "ada@example.com", "password": PASSWORD}),
        ),
        (
            "/api/auth/register",
            json!({"username": "bob", "email": "bob@example.com", "password": PASSWORD}),
        ),
    ] {
        let answer = client.post(path, body).await;
        answer.expect(503, json!({}));
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    }
    for path in ["/api/auth/refresh", "/token/refresh"] {
        let answer = client.post(path, json!({"refresh": user.refresh})).await;
        answer.expect(503, json!({}));
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    }

    portcullis.start(Role::Token).await;
    client.refresh(&user.refresh).await.expect(200, json!({}));
    // What was answered 503 can be repeated.
    client.register("bob").await;
    client.logout(&user).await.expect(205, json!(null));
    client.home_becomes(&user.access, 401).await;
}

#[tokio::test]
async fn a_gateway_that_has_not_heard_for_too_long_says_503_and_recovers() {
    let mut portcullis = spawn_with(|config| config.token.max_staleness = Duration::from_millis(1500)).await;
    let client = portcullis.client.clone();
    let user = client.register("ada").await;
    portcullis.kill(Role::Token).await;
    let answer = client.home_becomes(&user.access, 503).await;
    answer.expect(503, json!({"code": "revocations_unknown"}));
    assert_eq!(answer.header("retry-after"), "1");
    // A bad token is a bad token all the same.
    client.home("garbage").await.expect(401, json!({}));

    portcullis.start(Role::Token).await;
    client.home_becomes(&user.access, 200).await;
}

#[tokio::test]
async fn without_identity_everything_but_accounts_goes_on() {
    let mut portcullis = spawn_with(|_| {}).await;
    let client = portcullis.client.clone();
    let user = client.register("ada").await;
    // In order: a connection that is cut off just as a request goes out over it is 502.
    portcullis.stop(Role::Identity).await;
    client.try_login("ada").await.expect(503, json!({}));
    client.home(&user.access).await.expect(200, json!({}));
    client.refresh(&user.refresh).await.expect(200, json!({}));
    client.logout(&user).await.expect(205, json!(null));
}

#[tokio::test]
async fn without_home_the_rest_goes_on() {
    let mut portcullis = spawn_with(|_| {}).await;
    let client = portcullis.client.clone();
    let user = client.register("ada").await;
    portcullis.kill(Role::Home).await;
    client
        .home(&user.access)
        .await
        .expect(503, json!({"code": "upstream_unavailable"}));
    client
        .get(&format!("/api/user/{}", user.id), &user.access)
        .await
        .expect(200, json!({}));
}

#[tokio::test]
async fn a_token_service_that_hangs_is_not_waited_for_in_turn() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut portcullis = spawn_with(|_| {}).await;
    portcullis.client.register("ada").await;
    portcullis.config.token.url = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
    let identity = role::start(Role::Identity, &portcullis.config, portcullis.clock.clone())
        .await
        .unwrap();
    let client = Client::new(&identity.url());
    let logins = join_all((0..8).map(|_| client.try_login("ada")));
    // In turn they would take eight times as long as one may take.
    for answer in tokio::time::timeout(Duration::from_secs(20), logins)
        .await
        .expect("answers")
    {
        answer.expect(503, json!({"code": "store_unavailable"}));
    }
    identity.kill().await;
}
