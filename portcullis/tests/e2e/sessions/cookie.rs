//! Refresh tokens in a cookie: given, taken and taken back, and only where it is asked for.

use std::time::Duration;

use portcullis::role::Role;
use portcullis_token::OnReuse;
use serde_json::{Value, json};

use super::{goes_on, is_over};
use crate::helpers::{Answer, Client, PASSWORD, SignedIn, spawn, spawn_with};

const COOKIE: &str = "__Host-portcullis-refresh";
const FORGET: &str = "__Host-portcullis-refresh=; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=0";

/// What a browser sends, with these cookies.
fn asking(client: &Client, path: &str, cookies: Option<&str>) -> reqwest::RequestBuilder {
    let request = client.request("POST", path).header("X-Token-Delivery", "cookie");
    match cookies {
        Some(cookies) => request.header("Cookie", cookies),
        None => request,
    }
}

fn holding(refresh: &str) -> String {
    format!("theme=dark; {COOKIE}={refresh}")
}

async fn refresh(client: &Client, refresh: &str) -> Answer {
    let request = asking(client, "/api/auth/refresh", Some(&holding(refresh)));
    client.send(request).await
}

async fn logout(client: &Client, refresh: Option<&str>, bearer: Option<&str>) -> Answer {
    let cookies = refresh.map(holding);
    let mut request = asking(client, "/api/auth/logout", cookies.as_deref());
    if let Some(bearer) = bearer {
        request = request.bearer_auth(bearer);
    }
    client.send(request).await
}

/// The refresh token that the answer puts into the cookie, and nowhere else.
#[track_caller]
fn in_cookie(answer: &Answer) -> String {
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.text.contains("pcr_"), "no script sees it");
    let cookie = answer.header("set-cookie");
    let (value, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(
        attributes, "HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=86400",
        "{answer:?}"
    );
    let (name, value) = value.split_once('=').unwrap();
    assert_eq!(name, COOKIE);
    value.to_owned()
}

/// What a refresh put into the cookie.
#[track_caller]
fn given(answer: &Answer) -> String {
    let body = answer.expect(200, json!({})).json();
    let members: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["access"]);
    in_cookie(answer)
}

#[track_caller]
fn is_forgotten(answer: &Answer) {
    assert_eq!(
        (answer.header("set-cookie"), answer.header("cache-control")),
        (FORGET, "no-store"),
        "{answer:?}"
    );
}

#[track_caller]
fn is_kept(answer: &Answer) {
    assert!(!answer.headers.contains_key("set-cookie"), "{answer:?}");
}

#[tokio::test]
async fn a_browser_refreshes_by_the_cookie_and_gets_no_refresh_token_in_the_body() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    let mut token = user.refresh;
    for path in ["/api/auth/refresh", "/token/refresh/"] {
        portcullis.clock.advance(Duration::from_secs(11));
        let answer = client.send(asking(client, path, Some(&holding(&token)))).await;
        let next = given(&answer);
        assert_ne!(next, token);
        client.home(&answer.field("access")).await.expect(200, json!({}));
        let again = given(&refresh(client, &next).await);
        assert_eq!(again, next, "once in ten seconds");
        token = next;
    }
}

#[tokio::test]
async fn a_browser_signs_in_stays_and_signs_out_with_its_refresh_token_in_the_cookie_alone() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let body = json!({"username": "ada", "email": "ada@example.com", "password": PASSWORD});
    for path in ["/api/auth/register", "/api/auth/login", "/token"] {
        let answer = client.send(asking(client, path, None).json(&body)).await;
        assert!(answer.status.is_success(), "{answer:?}");
        let mut token = in_cookie(&answer);
        for _ in 0..2 {
            portcullis.clock.advance(Duration::from_secs(11));
            token = given(&refresh(client, &token).await);
        }
        let user = SignedIn {
            id: answer.json()["user"]["id"].as_str().unwrap().to_owned(),
            access: answer.field("access"),
            refresh: token,
        };
        let out = logout(client, Some(&user.refresh), None).await;
        out.expect(205, Value::Null);
        is_forgotten(&out);
        is_over(client, &user).await;
    }
}

#[tokio::test]
async fn in_cookie_mode_no_field_of_the_body_counts() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (ada, bob) = (client.register("ada").await, client.register("bob").await);
    for body in [json!({"refresh": bob.refresh}), json!({"refresh": null}), json!({})] {
        let request = asking(client, "/api/auth/refresh", Some(&holding(&ada.refresh)));
        let answer = client.send(request.json(&body)).await;
        given(&answer);
        let access = answer.field("access");
        client
            .get(&format!("/api/user/{}", ada.id), &access)
            .await
            .expect(200, json!({}));
    }
    let body = json!({"refresh": bob.refresh});
    let request = asking(client, "/api/auth/refresh", None).json(&body);
    client
        .send(request)
        .await
        .expect(401, json!({"code": "not_authenticated"}));
    let request = asking(client, "/api/auth/logout", Some(&holding(&ada.refresh))).json(&body);
    client.send(request).await.expect(205, Value::Null);
    is_over(client, &ada).await;
    goes_on(client, &bob).await;
}

#[tokio::test]
async fn a_cookie_that_is_good_for_nothing_is_taken_back() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (left, user) = (client.register("ada").await, client.login("ada").await);
    client.logout(&left).await.expect(205, Value::Null);
    for (token, detail) in [
        ("", "Token is invalid"),
        ("garbage", "Token is invalid"),
        (&*user.access, "Token has wrong type"),
        (&*left.refresh, "Token is blacklisted"),
    ] {
        let refused = refresh(client, token).await;
        refused.expect(401, json!({"code": "token_not_valid", "detail": detail}));
        is_forgotten(&refused);
    }
    let nothing = client.send(asking(client, "/token/refresh", Some("theme=dark"))).await;
    nothing.expect(
        401,
        json!({"code": "not_authenticated", "detail": "Authentication credentials were not provided."}),
    );
    is_kept(&nothing);

    // The one that a thief made of it, after which the owner's is superseded.
    let mut stolen = user.refresh.clone();
    for _ in 0..2 {
        portcullis.clock.advance(Duration::from_mins(6));
        stolen = given(&refresh(client, &stolen).await);
    }
    for token in [&user.refresh, &stolen] {
        let refused = refresh(client, token).await;
        refused.expect(
            401,
            json!({"code": "token_not_valid", "detail": "Token is blacklisted"}),
        );
        is_forgotten(&refused);
    }
    let idle = client.login("ada").await;
    portcullis.clock.advance(Duration::from_hours(24));
    let expired = refresh(client, &idle.refresh).await;
    expired.expect(401, json!({"detail": "Token is expired"}));
    is_forgotten(&expired);
}

#[tokio::test]
async fn where_a_superseded_token_ends_nothing_the_cookie_that_followed_it_is_kept() {
    let portcullis = spawn_with(|config| {
        config.token.replay_window = Duration::ZERO;
        config.token.recovery_window = Duration::ZERO;
        config.token.on_reuse = OnReuse::Deny;
    })
    .await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    let next = given(&refresh(client, &user.refresh).await);
    let late = refresh(client, &user.refresh).await;
    late.expect(401, json!({"detail": "Token is blacklisted"}));
    is_kept(&late);
    given(&refresh(client, &next).await);
}

#[tokio::test]
async fn a_cookie_is_neither_read_nor_set_where_nobody_asks_for_it() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    let cookie = holding(&user.refresh);
    for delivery in [None, Some("body")] {
        for path in ["/api/auth/refresh", "/token/refresh", "/api/auth/logout"] {
            let mut request = client.request("POST", path).header("Cookie", &cookie);
            if let Some(delivery) = delivery {
                request = request.header("X-Token-Delivery", delivery);
            }
            let refused = client.send(request.try_clone().unwrap()).await;
            refused.expect(400, json!({"code": "invalid"}));
            is_kept(&refused);
            let bad = client.send(request.json(&json!({"refresh": "garbage"}))).await;
            assert!([400, 401].contains(&bad.status.as_u16()), "{bad:?}");
            is_kept(&bad);
        }
    }
    let request = client.request("POST", "/api/auth/refresh").header("Cookie", &cookie);
    let answer = client.send(request.json(&json!({"refresh": user.refresh}))).await;
    answer.expect(200, json!({}));
    is_kept(&answer);
    for path in ["/api/auth/refresh", "/token/refresh", "/api/auth/logout"] {
        let request = client
            .request("POST", path)
            .header("X-Token-Delivery", "pigeon")
            .header("Cookie", &cookie);
        let refused = client.send(request.json(&json!({"refresh": user.refresh}))).await;
        refused.expect(400, json!({"code": "bad_delivery"}));
        is_kept(&refused);
    }
    goes_on(client, &user).await;
}

#[tokio::test]
async fn a_browser_that_signs_out_is_signed_out_whatever_its_cookie_holds() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    let answers = [
        logout(client, Some(&user.refresh), None).await,
        // Again, as after a lost reply; then with nothing that could be ended.
        logout(client, Some(&user.refresh), None).await,
        logout(client, Some("garbage"), None).await,
        logout(client, None, None).await,
        logout(client, None, Some("garbage")).await,
    ];
    for answer in &answers {
        answer.expect(205, Value::Null);
        is_forgotten(answer);
        assert_eq!((answer.text.as_str(), answer.header("content-length")), ("", "0"));
    }
    is_over(client, &user).await;
}

#[tokio::test]
async fn a_browser_that_shows_a_bearer_token_as_well_ends_both_sessions() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    client.register("ada").await;
    let left = client.login("ada").await;
    client.logout(&left).await.expect(205, Value::Null);
    for path in ["/api/auth/logout", "/logout"] {
        let kept = client.login("ada").await;
        for cookie in [Some(&*kept.refresh), Some(&*left.refresh), Some("garbage"), None] {
            let user = client.login("ada").await;
            let request = asking(client, path, cookie.map(holding).as_deref());
            let answer = client.send(request.bearer_auth(&user.access)).await;
            answer.expect(205, Value::Null);
            is_forgotten(&answer);
            is_over(client, &user).await;
        }
        is_over(client, &kept).await;
    }
}

#[tokio::test]
async fn a_cookie_of_another_user_than_the_bearers_ends_nothing() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (ada, bob) = (client.register("ada").await, client.register("bob").await);
    for path in ["/api/auth/logout", "/logout"] {
        let request = asking(client, path, Some(&holding(&ada.refresh)));
        let refused = client.send(request.bearer_auth(&bob.access)).await;
        refused.expect(403, json!({"code": "permission_denied"}));
        is_kept(&refused);
    }
    for user in [&ada, &bob] {
        goes_on(client, user).await;
    }
}

#[tokio::test]
async fn while_the_token_service_is_away_a_browser_keeps_its_cookie() {
    let mut portcullis = spawn_with(|config| config.token.max_staleness = Duration::from_mins(1)).await;
    let client = portcullis.client.clone();
    let user: SignedIn = client.register("ada").await;
    portcullis.stop(Role::Token).await;
    for answer in [
        refresh(&client, &user.refresh).await,
        logout(&client, Some(&user.refresh), None).await,
    ] {
        answer.expect(503, json!({}));
        is_kept(&answer);
    }
    portcullis.start(Role::Token).await;
    let token = given(&refresh(&client, &user.refresh).await);
    let left = logout(&client, Some(&token), None).await;
    left.expect(205, Value::Null);
    is_over(&client, &user).await;
}
