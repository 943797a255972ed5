//! Two token services on one store: what one does the other knows. Only with `PORTCULLIS_TEST_TOPOLOGY=servers`.

use std::collections::HashSet;
use std::time::Duration;

use portcullis::role::Role;
use portcullis_test_servers::on_servers;
use portcullis_token::keys::KeyState;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use service_kit::clock;

use crate::helpers::{Client, Portcullis, signed_by, spawn};
use crate::process::command;

const ROUNDS: usize = 100;
const PARALLEL: usize = 32;

/// A client of each token service, past the gateways.
fn token_services(portcullis: &Portcullis) -> Vec<Client> {
    let clients = Client::of_all(portcullis.urls(Role::Token)).each();
    assert_eq!(clients.len(), 2);
    clients
}

#[tokio::test]
async fn a_logout_through_one_token_service_reaches_the_followers_of_the_other_in_milliseconds() {
    if !on_servers() {
        return;
    }
    let portcullis = spawn().await;
    let tokens = token_services(&portcullis);
    let home = Client::of_all(portcullis.urls(Role::Home));
    portcullis.client.register("ada").await;
    let mut took = Vec::new();
    for round in 0..20 {
        let user = portcullis.client.login("ada").await;
        portcullis.client.home_becomes(&user.access, 200).await;
        let logout = json!({"refresh": user.refresh});
        tokens[round % 2]
            .post("/api/auth/logout", logout)
            .await
            .expect(205, Value::Null);
        let began = clock::instant();
        // Home follows one of them, each gateway one.
        home.home_becomes(&user.access, 401).await;
        portcullis.client.home_becomes(&user.access, 401).await;
        took.push(began.elapsed());
    }
    // A follower that had to look for itself would need more than this half of the time.
    took.sort_unstable();
    assert!(took[took.len() / 2] < Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn of_presentations_at_both_token_services_one_makes_a_generation() {
    if !on_servers() {
        return;
    }
    let portcullis = spawn().await;
    let both = Client::of_all(portcullis.urls(Role::Token));
    let mut user = portcullis.client.register("ada").await;
    let mut seen = HashSet::from([user.refresh.clone()]);
    for _ in 0..ROUNDS {
        portcullis.clock.advance(Duration::from_secs(11));
        let answers = both.refresh_all_at_once(&user.refresh, PARALLEL).await;
        let refreshed: HashSet<String> = answers
            .iter()
            .map(|answer| answer.expect(200, json!({})).field("refresh"))
            .collect();
        assert_eq!(refreshed.len(), 1, "one chain");
        user.refresh = refreshed.into_iter().next().unwrap();
        assert!(seen.insert(user.refresh.clone()), "a new generation each time");
    }
}

/// Waits until each token service signs with `kid`, and gives what they signed.
async fn both_sign_with(portcullis: &Portcullis, refresh: &str, kid: &str) -> Vec<String> {
    let mut signed = Vec::new();
    for token in token_services(portcullis) {
        let began = clock::instant();
        loop {
            let access = token.refresh(refresh).await.expect(200, json!({})).field("access");
            if signed_by(&access) == kid {
                signed.push(access);
                break;
            }
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "still another key than {kid}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    signed
}

#[tokio::test]
async fn a_rotation_by_an_operator_is_followed_by_both_token_services() {
    if !on_servers() {
        return;
    }
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    let directory = tempfile::tempdir().unwrap();
    let config = &portcullis.config.token;
    let output = command(directory.path())
        .args(["keys", "rotate"])
        .env("PORTCULLIS_TOKEN__STORE_URL", &config.store_url)
        .env("PORTCULLIS_TOKEN__ROOT_SECRET", config.root_secret.expose_secret())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let store = portcullis_token::open_store(config).await.unwrap();
    let keys = store.ring().await.unwrap().keys;
    let of_state = |state| {
        keys.iter()
            .filter(move |key| key.state == state)
            .map(|key| key.kid.clone())
    };
    assert_eq!(
        of_state(KeyState::Retiring).collect::<Vec<_>>(),
        [signed_by(&user.access)]
    );
    let active = of_state(KeyState::Active).next().unwrap();
    for access in both_sign_with(&portcullis, &user.refresh, &active).await {
        portcullis.client.home_becomes(&access, 200).await;
    }
    portcullis.client.home(&user.access).await.expect(200, json!({}));
}

#[tokio::test]
async fn a_rotation_that_is_due_happens_once_however_many_token_services_see_it() {
    if !on_servers() {
        return;
    }
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    let config = &portcullis.config.token;
    let open = || async {
        let store = portcullis_token::open_store(config).await.unwrap();
        let ring = portcullis_token::open_ring(config, &*store, &portcullis.clock)
            .await
            .unwrap();
        (store, ring)
    };
    let services = [open().await, open().await, open().await];
    let due = portcullis.clock.now_ms() + i64::try_from(config.key_rotation.as_millis()).unwrap() + 1;
    let maintained = services.iter().map(|(store, ring)| ring.maintain(&**store, due));
    for outcome in futures_util::future::join_all(maintained).await {
        outcome.unwrap();
    }
    let keys = services[0].0.ring().await.unwrap().keys;
    let count = |state| keys.iter().filter(|key| key.state == state).count();
    assert_eq!(
        (
            count(KeyState::Retiring),
            count(KeyState::Active),
            count(KeyState::Next)
        ),
        (1, 1, 1)
    );
    let active = keys.iter().find(|key| key.state == KeyState::Active).unwrap();
    both_sign_with(&portcullis, &user.refresh, &active.kid).await;
}
