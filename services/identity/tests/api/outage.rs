//! When something that is needed is down or busy, the answer is 503 and the same request works later.

use std::time::Duration;

use portcullis_client::wire::Reason;
use serde_json::json;

use crate::helpers::{Answer, PASSWORD, registration, spawn, spawn_with};
use crate::issuer::Mood;

#[track_caller]
fn is_unavailable(answer: &Answer, code: &str) {
    let said = (
        answer.status.as_u16(),
        &answer.body["code"],
        answer.header("retry-after"),
    );
    assert_eq!(said, (503, &json!(code), "1"), "{}", answer.text);
}

#[tokio::test]
async fn a_registration_without_the_token_service_is_taken_back_and_can_be_repeated() {
    let service = spawn().await;
    for mood in [Mood::Unavailable, Mood::LosesReplies] {
        service.issuer.becomes(mood);
        let answer = service.post("/api/auth/register", &registration("ada")).await;
        is_unavailable(&answer, "store_unavailable");
        assert!(service.accounts().await.find("ada").await.unwrap().is_none());
    }
    let lost = service.issuer.opened();
    assert_eq!(lost.len(), 1, "one session was opened for an account that is gone");

    service.issuer.becomes(Mood::Good);
    let registered = service.register("ada").await;
    let ended = service.issuer.revocations(2).await;
    assert!(
        ended
            .iter()
            .any(|ended| ended.subject == lost[0].subject && ended.epoch > lost[0].epoch)
    );
    assert!(
        ended
            .iter()
            .all(|ended| ended.reason == Reason::Deleted && ended.subject != registered["user"]["id"])
    );
    assert_eq!(service.login("ada").await.status, 200);
}

#[tokio::test]
async fn a_registration_that_the_token_service_refuses_is_taken_back_and_says_nothing_of_it() {
    let service = spawn().await;
    service.issuer.becomes(Mood::Refuses);
    let answer = service.post("/api/auth/register", &registration("ada")).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["code"]),
        (500, &json!("internal"))
    );
    assert!(!answer.text.contains("by the test"), "{}", answer.text);
    assert!(service.accounts().await.find("ada").await.unwrap().is_none());
}

#[tokio::test]
async fn a_login_without_the_token_service_is_a_503() {
    let service = spawn().await;
    service.register("ada").await;
    service.issuer.becomes(Mood::Unavailable);
    is_unavailable(&service.login("ada").await, "store_unavailable");
    service.issuer.becomes(Mood::Good);
    assert_eq!(service.login("ada").await.status, 200);
}

#[tokio::test]
async fn a_login_that_races_with_a_deactivation_is_refused_like_a_wrong_password() {
    let service = spawn().await;
    let ada = service.register("ada").await;
    let accounts = service.accounts().await;
    accounts
        .deactivate(ada["user"]["id"].as_str().unwrap().parse().unwrap())
        .await
        .unwrap();
    service.issuer.revocations(1).await;
    // As a login sees the account that read it before the deactivation and asks for a session after it.
    service.database.execute("UPDATE users SET is_active = TRUE, epoch = 0");
    let answer = service.login("ada").await;
    answer.is_problem(
        401,
        "no_active_account",
        "No active account found with the given credentials",
    );
}

#[tokio::test]
async fn a_database_that_fails_is_a_503_and_never_a_401() {
    let service = spawn().await;
    let ada = service.register("ada").await;
    let (id, token) = (ada["user"]["id"].as_str().unwrap(), ada["access"].as_str().unwrap());
    service.database.execute("ALTER TABLE users RENAME TO gone");
    is_unavailable(&service.login("ada").await, "store_unavailable");
    is_unavailable(
        &service.post("/api/auth/register", &registration("grace")).await,
        "store_unavailable",
    );
    is_unavailable(
        &service.get(&format!("/api/user/{id}"), token).await,
        "store_unavailable",
    );
    is_unavailable(&service.get("/api/user", token).await, "store_unavailable");
    service.database.execute("ALTER TABLE gone RENAME TO users");
    assert_eq!(service.login("ada").await.status, 200);
    assert_eq!(service.get(&format!("/api/user/{id}"), token).await.status, 200);
}

#[tokio::test]
async fn a_database_that_stays_locked_is_a_503() {
    let service = spawn().await;
    let locked = service.database.lock();
    is_unavailable(
        &service.post("/api/auth/register", &registration("ada")).await,
        "store_unavailable",
    );
    drop(locked);
    service.register("ada").await;
}

#[tokio::test]
async fn logins_beyond_the_hashing_queue_are_turned_away() {
    let service = spawn_with(|config| {
        config.bcrypt_cost = 12;
        config.hashing_queue = 1;
    })
    .await;
    let logins = (0..12).map(|_| service.login("nobody"));
    let answers = futures_util::future::join_all(logins).await;
    let (refused, busy): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 401);
    assert!(!refused.is_empty() && !busy.is_empty(), "{} were let in", refused.len());
    for answer in busy {
        is_unavailable(answer, "busy");
    }
    assert_eq!(service.login("nobody").await.status, 401);
}

#[tokio::test]
async fn a_service_says_that_it_is_ready_and_stops_when_told_to() {
    let service = spawn().await;
    assert_eq!(service.admin("/healthz").await.status, 200);
    assert_eq!(service.admin("/readyz").await.body["status"], "ready");
    let mut url = service
        .request(reqwest::Method::GET, "/")
        .build()
        .unwrap()
        .url()
        .clone();
    url.set_path("/token");
    tokio::time::timeout(Duration::from_secs(15), service.stop())
        .await
        .unwrap();
    let body = json!({"username": "ada", "password": PASSWORD});
    let gone = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(url)
        .json(&body)
        .send()
        .await;
    assert!(gone.unwrap_err().is_connect());
}
