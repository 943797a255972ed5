//! The two tutorials' own frontends, request by request, and their backends' defects, which are not ours.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::helpers::{PASSWORD, spawn};

const ORIGIN: &str = "http://localhost:3000";

#[tokio::test]
async fn the_first_tutorials_frontend_logs_in_shows_a_profile_and_refreshes() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    client.register("ada").await;
    // Its shipped base URL ends in a slash, so it calls a path with two.
    let login = client.request("POST", "/api//auth/login/").header("Origin", ORIGIN);
    let login = login
        .header("Content-Type", "application/json;charset=UTF-8")
        .body(json!({"email": "ada@example.com", "password": PASSWORD}).to_string());
    let login = client.send(login).await;
    login.expect(200, json!({}));
    assert_eq!(login.header("access-control-allow-origin"), ORIGIN);
    let profile = format!("/api/user/{}/", login.json()["user"]["id"].as_str().unwrap());
    client
        .get(&profile, &login.field("access"))
        .await
        .expect(200, json!({"username": "ada"}));

    portcullis.clock.advance(Duration::from_secs(400));
    client
        .get(&profile, &login.field("access"))
        .await
        .expect(401, json!({}));
    let refreshed = client
        .post("/api/auth/refresh/", json!({"refresh": login.field("refresh")}))
        .await;
    client
        .get(&profile, &refreshed.field("access"))
        .await
        .expect(200, json!({"username": "ada"}));
    // Having no refresh token to send, its own backend made it hang: a field error is 400, never 5xx.
    client
        .post("/api/auth/refresh/", json!({}))
        .await
        .expect(400, json!({"refresh": ["This field is required."]}));
}

#[tokio::test]
async fn the_second_tutorials_frontend_refreshes_on_each_page_and_logs_out_with_a_rotated_token() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    client.register("ada").await;
    let login = client
        .post("/token/", json!({"username": "ada", "password": PASSWORD}))
        .await;
    let mut refresh = login.expect(200, json!({})).field("refresh");
    let mut access = login.field("access");
    for _ in 0..3 {
        client
            .send(client.request("GET", "/home/"))
            .await
            .expect(401, json!({"code": "not_authenticated"}));
        let refreshed = client.post("/token/refresh/", json!({"refresh": refresh})).await;
        access = refreshed.expect(200, json!({})).field("access");
        refresh = refreshed.field("refresh");
        client.get("/home/", &access).await.expect(200, json!({}));
        portcullis.clock.advance(Duration::from_secs(20));
    }
    let old = refresh.clone();
    let anonymous = client.post("/logout/", json!({"refresh_token": old})).await;
    anonymous.expect(401, json!({"detail": "Authentication credentials were not provided."}));
    let refreshed = client.post("/token/refresh/", json!({"refresh": refresh})).await;
    let logout = client
        .request("POST", "/logout/")
        .bearer_auth(refreshed.field("access"));
    let logout = client.send(logout.json(&json!({"refresh_token": old}))).await;
    assert_eq!(
        (
            logout.status.as_u16(),
            logout.text.as_str(),
            logout.header("content-length")
        ),
        (205, "", "0")
    );
    assert_eq!(logout.header("content-type"), "");
    client.home_becomes(&refreshed.field("access"), 401).await;
    client.home_becomes(&access, 401).await;
    let dead = client
        .post("/token/refresh/", json!({"refresh": refreshed.field("refresh")}))
        .await;
    dead.expect(
        401,
        json!({"detail": "Token is blacklisted", "code": "token_not_valid"}),
    );
    client
        .post("/token/refresh/", json!({"refresh": null}))
        .await
        .expect(400, json!({"refresh": ["This field may not be null."]}));
}

#[tokio::test]
async fn registering_with_somebody_elses_email_gives_no_tokens() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    client.register("victim").await;
    for email in ["victim@example.com", "VICTIM@example.com", "victim@EXAMPLE.com"] {
        let body = json!({"username": "thief", "email": email, "password": PASSWORD});
        let answer = client.post("/api/auth/register/", body).await;
        answer.expect(
            400,
            json!({"email": ["user with this email already exists."], "token": null, "access": null}),
        );
    }
}

#[tokio::test]
async fn of_ten_registrations_at_once_with_one_email_one_succeeds() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let bodies =
        (0..10).map(|n| json!({"username": format!("u{n}"), "email": "one@example.com", "password": PASSWORD}));
    let answers = join_all(bodies.map(|body| client.post("/api/auth/register", body))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let refused = answers.iter().filter(|answer| answer.status == 400).count();
    assert_eq!((created, refused), (1, 9));
}

#[tokio::test]
async fn an_ordinary_user_sees_nobody_else() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (ada, eve) = (client.register("ada").await, client.register("eve").await);
    client.get("/api/user/", &eve.access).await.expect(
        403,
        json!({"detail": "You do not have permission to perform this action."}),
    );
    client
        .get(&format!("/api/user/{}/", ada.id), &eve.access)
        .await
        .expect(404, json!({"detail": "Not found."}));
    client
        .get(&format!("/api/user/{}/", eve.id), &eve.access)
        .await
        .expect(200, json!({"id": eve.id}));
}

#[tokio::test]
async fn an_unknown_user_id_is_not_found() {
    let portcullis = spawn().await;
    let ada = portcullis.client.register("ada").await;
    for id in [
        "abc",
        "undefined",
        "0",
        "99999999999999999999",
        "00000000-0000-0000-0000-000000000000",
        "%20",
    ] {
        let answer = portcullis.client.get(&format!("/api/user/{id}/"), &ada.access).await;
        answer.expect(404, json!({"detail": "Not found.", "code": "not_found"}));
    }
}

#[tokio::test]
async fn logging_out_ends_the_access_token_and_leaves_other_sessions_alone() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (phone, laptop) = (client.register("ada").await, client.login("ada").await);
    client.logout(&phone).await.expect(205, Value::Null);
    let refused = client.home_becomes(&phone.access, 401).await;
    assert_eq!(refused.json()["messages"][0]["message"], "Token is revoked");
    client.home(&laptop.access).await.expect(200, json!({}));
    client.refresh(&laptop.refresh).await.expect(200, json!({}));
}

#[tokio::test]
async fn two_simultaneous_refreshes_do_not_fork_a_session() {
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    let answers = portcullis.client.refresh_all_at_once(&user.refresh, 2).await;
    assert_eq!(answers[0].field("refresh"), answers[1].field("refresh"));
}

#[tokio::test]
async fn nobody_logs_out_somebody_else() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (victim, eve) = (client.register("victim").await, client.register("eve").await);
    for path in ["/logout/", "/api/auth/logout/"] {
        let request = client.request("POST", path).bearer_auth(&eve.access);
        let answer = client
            .send(request.json(&json!({"refresh_token": victim.refresh})))
            .await;
        answer.expect(403, json!({"code": "permission_denied"}));
    }
    client.home(&victim.access).await.expect(200, json!({}));
    client.refresh(&victim.refresh).await.expect(200, json!({}));
}
