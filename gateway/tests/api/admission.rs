//! Who gets in, and every way in which somebody tries who should not.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis_client::wire::Reason;
use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{TestApp, parse, route, spawn, spawn_unsynced, spawn_with, until};
use crate::issuer::{Issuer, Key, claims};

#[actix_web::test]
async fn a_user_with_a_good_token_reaches_the_service_which_learns_who_it_is() {
    let app = spawn().await;
    let token = app.token();
    let (status, seen) = app.get_as("/home", &token).await;
    assert_eq!(status, 200);
    assert_eq!(seen["headers"]["x-user-id"], json!(["7"]));
    assert_eq!(seen["headers"]["x-user-roles"], json!(["staff,support"]));
    assert_eq!(seen["headers"]["x-session-id"], json!(["session-7"]));
    assert_eq!(seen["headers"]["x-scope"], json!(["profile orders"]));
    assert_eq!(seen["headers"]["authorization"], json!([format!("Bearer {token}")]));
}

#[actix_web::test]
async fn a_claim_that_no_header_can_hold_is_kept_from_the_service_and_counts_all_the_same() {
    let app = spawn_with(|config| {
        config.routes.push(route(
            r#"{"path": "/odd", "upstream": "echo", "auth": "required", "roles": ["rôle"]}"#,
        ));
    })
    .await;
    let token = app.issuer.token_with(|claims| {
        claims["sub"] = json!("7\r\nX-User-Roles: superuser");
        claims["user_id"] = claims["sub"].clone();
        claims["roles"] = json!(["rôle", "staff"]);
    });
    // When it is seen first, and when it is remembered.
    for _ in 0..2 {
        let (status, seen) = app.get_as("/odd", &token).await;
        assert_eq!(status, 200);
        assert_eq!(seen["headers"]["x-user-id"], Value::Null);
        assert_eq!(seen["headers"]["x-user-roles"], Value::Null);
        assert_eq!(seen["headers"]["x-session-id"], json!(["session-7"]));
    }
    assert_eq!(app.get_as("/odd", &app.token()).await.0, 403);
}

#[actix_web::test]
async fn without_a_token_a_protected_route_is_401_with_a_challenge() {
    let app = spawn().await;
    let response = app.get("/home/").await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"api\"");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["detail"], "Authentication credentials were not provided.");
    assert_eq!(app.echo.seen(), 0);
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// Every token that must not get in, by what is wrong with it.
fn forgeries(app: &TestApp) -> Vec<(&'static str, String)> {
    let (issuer, own) = (&app.issuer, &app.issuer.key);
    let good = claims("7", "session-7");
    let signed = |header: &Header, key: &EncodingKey| jsonwebtoken::encode(header, &good, key).unwrap();
    let unsigned = json!({"alg": "none", "typ": "at+jwt", "kid": own.kid});
    let mut hs256 = Header::new(Algorithm::HS256);
    hs256.typ = Some("at+jwt".to_owned());
    hs256.kid = Some(own.kid.clone());
    let stranger = Key::new("key-2");
    let impostor = Key::new(&own.kid);
    let mut jku = stranger.header();
    jku.jku = Some(format!("http://{}/.well-known/jwks.json", issuer.address));
    let mut embedded = impostor.header();
    embedded.jwk = Some(serde_json::from_value(impostor.jwk()).unwrap());
    let mut wrong_typ = own.header();
    wrong_typ.typ = Some("JWT".to_owned());
    let mut critical = own.header();
    critical.crit = Some(vec!["exp".to_owned()]);
    let now = service_kit::Clock::system().now().as_second();
    let mut tampered = own.sign(&good);
    let last = tampered.pop().unwrap();
    tampered.push(if last == 'A' { 'Q' } else { 'A' });
    let whole = own.sign(&good);
    let (header, rest) = whole.split_once('.').unwrap();
    let signature = rest.split_once('.').unwrap().1;
    let promoted = encode(&claims("1", "session-1"));
    vec![
        ("no signature", format!("{}.{}.", encode(&unsigned), encode(&good))),
        (
            "the public key as a secret",
            signed(&hs256, &EncodingKey::from_secret(&own.public)),
        ),
        ("an unknown key", stranger.sign(&good)),
        ("another key under our key's id", impostor.sign(&good)),
        ("a key by URL", signed(&jku, &stranger.encoding)),
        ("an embedded key", signed(&embedded, &impostor.encoding)),
        ("another typ", signed(&wrong_typ, &own.encoding)),
        ("a critical extension", signed(&critical, &own.encoding)),
        (
            "another issuer",
            issuer.token_with(|claims| claims["iss"] = json!("http://evil.test")),
        ),
        (
            "another audience",
            issuer.token_with(|claims| claims["aud"] = json!("elsewhere")),
        ),
        ("expired", issuer.token_with(|claims| claims["exp"] = json!(now - 1))),
        (
            "not yet valid",
            issuer.token_with(|claims| claims["nbf"] = json!(now + 60)),
        ),
        (
            "issued in the future",
            issuer.token_with(|claims| claims["iat"] = json!(now + 60)),
        ),
        (
            "a service's token",
            issuer.token_with(|claims| claims["token_type"] = json!("service")),
        ),
        (
            "a refresh token's type",
            issuer.token_with(|claims| claims["token_type"] = json!("refresh")),
        ),
        (
            "no session",
            issuer.token_with(|claims| {
                claims.as_object_mut().unwrap().remove("sid");
            }),
        ),
        (
            "no expiry",
            issuer.token_with(|claims| {
                claims.as_object_mut().unwrap().remove("exp");
            }),
        ),
        ("another signature", tampered),
        ("other claims", format!("{header}.{promoted}.{signature}")),
        ("an opaque token", "pcr_0123456789abcdef".to_owned()),
        ("too long", "a".repeat(9000)),
    ]
}

#[actix_web::test]
async fn forged_misused_and_outdated_tokens_are_401_and_never_reach_the_service() {
    let app = spawn().await;
    for (what, token) in forgeries(&app) {
        for path in ["/home", "/optional"] {
            let (status, body) = app.get_as(path, &token).await;
            assert_eq!(
                (status, &body["code"]),
                (401, &json!("token_not_valid")),
                "{what} at {path}: {body}"
            );
        }
    }
    assert_eq!(app.echo.seen(), 0);
    assert_eq!(
        app.get_as("/home", &app.token()).await.0,
        200,
        "the same gateway takes a good one"
    );
}

#[actix_web::test]
async fn two_authorization_headers_are_refused_in_either_order() {
    let app = spawn().await;
    let good = format!("Authorization: Bearer {}\r\n", app.token());
    for headers in [
        format!("{good}Authorization: Bearer x\r\n"),
        format!("Authorization: Basic eDp5\r\n{good}"),
        good.repeat(2),
    ] {
        let (status, body) = app.raw_get("/home", &headers).await;
        assert_eq!((status, &body["code"]), (401, &json!("bad_authorization_header")));
    }
    assert_eq!(app.echo.seen(), 0);
}

#[actix_web::test]
async fn a_token_is_passed_on_in_one_spelling_only() {
    let app = spawn().await;
    let token = app.token();
    let (status, seen) = app
        .raw_get("/home", &format!("Authorization: bEARER\t  {token}  \r\n"))
        .await;
    assert_eq!(status, 200);
    assert_eq!(seen["headers"]["authorization"], json!([format!("Bearer {token}")]));
}

#[actix_web::test]
async fn an_optional_route_lets_strangers_in_as_nobody_and_users_as_themselves() {
    let app = spawn().await;
    let (status, seen) = app
        .raw_get("/optional", "Authorization: Basic eDp5\r\nX-User-Id: 1\r\n")
        .await;
    assert_eq!(status, 200);
    assert_eq!(
        (&seen["headers"]["authorization"], &seen["headers"]["x-user-id"]),
        (&Value::Null, &Value::Null)
    );
    let (_, seen) = app.get_as("/optional", &app.token()).await;
    assert_eq!(seen["headers"]["x-user-id"], json!(["7"]));
}

#[actix_web::test]
async fn an_open_route_passes_authorization_on_unread() {
    let app = spawn().await;
    let (status, seen) = app.get_as("/open", "whatever").await;
    assert_eq!(
        (status, &seen["headers"]["authorization"]),
        (200, &json!(["Bearer whatever"]))
    );
    assert_eq!(seen["headers"]["x-user-id"], Value::Null);
}

#[actix_web::test]
async fn a_revocation_ends_a_session_that_was_let_in_before_and_no_other() {
    let app = spawn().await;
    let (mine, other) = (app.issuer.token("7", "mine"), app.issuer.token("7", "other"));
    assert_eq!(app.get_as("/home", &mine).await.0, 200);
    app.issuer.revoke_session("mine", Reason::LoggedOut);
    until(|| async { app.get_as("/home", &mine).await.0 == 401 }).await;
    assert_eq!(app.get_as("/home", &mine).await.1["code"], "token_not_valid");
    assert_eq!(app.get_as("/home", &other).await.0, 200);
}

#[actix_web::test]
async fn a_refusal_says_why_an_account_is_closed() {
    let app = spawn().await;
    for (session, reason, code) in [
        ("a", Reason::Deactivated, "user_inactive"),
        ("b", Reason::Deleted, "user_not_found"),
    ] {
        let token = app.issuer.token("7", session);
        app.issuer.revoke_session(session, reason);
        until(|| async { app.get_as("/home", &token).await.0 == 401 }).await;
        assert_eq!(app.get_as("/home", &token).await.1["code"], code);
    }
}

#[actix_web::test]
async fn once_the_feed_is_silent_for_too_long_routes_deny_unless_they_say_allow() {
    let lenient = route(r#"{"path": "/lenient", "upstream": "echo", "stale": "allow"}"#);
    let app = spawn_unsynced(
        |config| config.routes.push(lenient),
        Duration::from_millis(500),
        Issuer::start(),
    );
    app.until_ready().await;
    let token = app.token();
    assert_eq!(app.get_as("/home", &token).await.0, 200);
    app.issuer.fall_silent();
    until(|| async { app.get_as("/home", &token).await.0 == 503 }).await;
    let response = app
        .request(Method::GET, "/home")
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(app.get_as("/lenient", &token).await.0, 200);
    assert_eq!(app.get("/open").await.status(), 200);
    assert_eq!(
        app.get("/home").await.status(),
        401,
        "who brings nothing needs no feed to be refused"
    );
}

#[actix_web::test]
async fn until_the_first_snapshot_protected_routes_are_503_and_open_ones_work() {
    let issuer = Issuer::start();
    issuer.fall_silent();
    let app = spawn_unsynced(|_| {}, Duration::from_mins(1), issuer);
    let (status, body) = app.get_as("/home", &app.token()).await;
    assert_eq!((status, &body["code"]), (503, &json!("revocations_unknown")));
    assert_eq!(app.get("/open").await.status(), 200);
    let ready = app
        .http
        .get(format!("http://{}/readyz", app.running.admin_address))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 503);
}

#[actix_web::test]
async fn a_refused_upload_does_not_cost_the_client_its_connection() {
    let app = spawn().await;
    let body = "x".repeat(1024 * 1024);
    let first = format!(
        "POST /home HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let second = "GET /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = app.raw(format!("{first}{second}").as_bytes()).await;
    assert_eq!(parse(&answers).0, 401);
    assert!(answers.contains("HTTP/1.1 200 OK"), "{answers}");
}
