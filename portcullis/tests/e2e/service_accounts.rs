//! Service accounts and the OAuth endpoints.

mod oauth;

use std::time::Duration;

use portcullis::role::Role;
use portcullis_token::account;
use serde_json::{Value, json};

use crate::helpers::{Answer, Client, Portcullis, spawn};

/// A service account made as an operator makes one, and its secret.
async fn create(portcullis: &Portcullis, id: &str, scopes: &[&str]) -> String {
    let store = portcullis_token::open_store(&portcullis.config.token).await.unwrap();
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    account::create(&*store, id, scopes, &portcullis.clock)
        .await
        .unwrap()
        .unwrap()
}

async fn delete(portcullis: &Portcullis, id: &str) {
    let store = portcullis_token::open_store(&portcullis.config.token).await.unwrap();
    assert!(account::delete(&*store, id, &portcullis.clock).await.unwrap());
}

async fn ask(client: &Client, path: &str, (id, secret): (&str, &str), form: &[(&str, &str)]) -> Answer {
    let request = client.request("POST", path).basic_auth(id, Some(secret));
    client.send(request.form(form)).await
}

async fn service_token(client: &Client, account: (&str, &str)) -> String {
    let granted = ask(client, "/oauth/token", account, &[("grant_type", "client_credentials")]).await;
    granted.expect(200, json!({})).field("access_token")
}

#[tokio::test]
async fn deleting_an_account_named_like_the_first_party_client_concerns_no_user() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    let other = client.register("eve").await;
    create(&portcullis, "portcullis", &[]).await;
    delete(&portcullis, "portcullis").await;
    // Revocations arrive in order: when this later one has, so has that one.
    client.logout(&other).await.expect(205, Value::Null);
    client.home_becomes(&other.access, 401).await;
    client.home(&user.access).await.expect(200, json!({}));
    client
        .home(&client.login("ada").await.access)
        .await
        .expect(200, json!({}));
}

#[tokio::test]
async fn an_account_that_is_deleted_is_refused_and_one_created_anew_is_not() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let secret = create(&portcullis, "billing", &["feed:read"]).await;
    let watcher = create(&portcullis, "watcher", &[]).await;
    let watcher = ("watcher", watcher.as_str());
    let first = service_token(client, ("billing", &secret)).await;
    portcullis.clock.advance(Duration::from_secs(10));
    delete(&portcullis, "billing").await;
    // The feed tells the token service itself, too.
    loop {
        let told = ask(client, "/oauth/introspect", watcher, &[("token", &first)]).await;
        if told.expect(200, json!({})).json()["active"] == json!(false) {
            break;
        }
    }
    portcullis.clock.advance(Duration::from_secs(10));
    let secret = create(&portcullis, "billing", &["feed:read"]).await;
    let second = service_token(client, ("billing", &secret)).await;
    let told = ask(client, "/oauth/introspect", watcher, &[("token", &second)]).await;
    told.expect(200, json!({"active": true, "client_id": "billing"}));
    let told = ask(client, "/oauth/introspect", watcher, &[("token", &first)]).await;
    told.expect(200, json!({"active": false}));
}

#[tokio::test]
async fn the_feed_of_an_account_that_is_deleted_ends() {
    let portcullis = spawn().await;
    let secret = create(&portcullis, "follower", &["feed:read"]).await;
    let token = service_token(&portcullis.client, ("follower", &secret)).await;
    let service = Client::of_all(portcullis.urls(Role::Token));
    let mut feed = service
        .request("GET", "/internal/feed")
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert!(feed.chunk().await.unwrap().is_some());
    delete(&portcullis, "follower").await;
    let ended = async { while feed.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .expect("the stream ends");
}

#[tokio::test]
async fn revoking_again_or_nonsense_is_200_and_the_session_of_a_user_needs_the_scope() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let plain = create(&portcullis, "plain", &[]).await;
    let strong = create(&portcullis, "strong", &["tokens:revoke"]).await;
    let (plain, strong) = (("plain", plain.as_str()), ("strong", strong.as_str()));
    let own = service_token(client, plain).await;
    for token in [own.as_str(), own.as_str(), "garbage", "a.b.c", "pcr_garbage"] {
        ask(client, "/oauth/revoke", plain, &[("token", token)])
            .await
            .expect(200, Value::Null);
    }
    let user = client.register("ada").await;
    let foreign = service_token(client, strong).await;
    for token in [&user.access, &user.refresh, &foreign] {
        let refused = ask(client, "/oauth/revoke", plain, &[("token", token)]).await;
        refused.expect(400, json!({"error": "invalid_grant"}));
    }
    client.home(&user.access).await.expect(200, json!({}));
    ask(client, "/oauth/revoke", strong, &[("token", &user.refresh)])
        .await
        .expect(200, Value::Null);
    client.home_becomes(&user.access, 401).await;
}
