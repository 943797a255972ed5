//! Logging in.

use portcullis_identity::{Config, NewUser};
use reqwest::Method;
use serde_json::json;

use crate::helpers::{Answer, PASSWORD, new_user, registration, spawn, spawn_with};

const LOGIN: &str = "/api/auth/login";
const TOKEN: &str = "/token";

#[tokio::test]
async fn a_login_by_email_or_username_yields_a_session_and_the_account() {
    let service = spawn().await;
    let registered = service.register("Ada").await;
    for (path, field, value) in [
        (LOGIN, "email", "Ada@example.com"),
        ("/api/auth/login/", "email", " ada@EXAMPLE.com "),
        ("/api//auth/login/", "email", "Ada@example.com"),
        (LOGIN, "username", "ada"),
        (TOKEN, "username", "Ada"),
        ("/token/", "username", "ADA"),
        (TOKEN, "email", "Ada@example.com"),
    ] {
        let answer = service.post(path, &json!({field: value, "password": PASSWORD})).await;
        assert_eq!(answer.status, 200, "{path} {value}: {}", answer.text);
        assert_eq!(answer.keys(), ["refresh", "access", "user"]);
        assert_eq!(answer.body["user"], registered["user"]);
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let form = "username=ada&password=12345678";
    let answer = service
        .post_raw("/token/", "application/x-www-form-urlencoded", form)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn a_wrong_password_an_unknown_user_an_inactive_and_a_deleted_one_look_the_same() {
    let service = spawn().await;
    for name in ["ada", "grace", "alan"] {
        service.register(name).await;
    }
    let accounts = service.accounts().await;
    let id_of = async |name: &str| accounts.find(name).await.unwrap().unwrap().id;
    accounts.deactivate(id_of("grace").await).await.unwrap();
    accounts.delete(id_of("alan").await).await.unwrap();

    let login = async |name: &str, password: &str| {
        let body = json!({"email": format!("{name}@example.com"), "password": password});
        service.post(LOGIN, &body).await
    };
    let same = |mut answer: Answer| {
        answer.body["request_id"] = json!("");
        let challenge = answer.header("www-authenticate").to_owned();
        (answer.status, challenge, answer.body)
    };
    let wrong = login("ada", "another password").await;
    wrong.is_problem(
        401,
        "no_active_account",
        "No active account found with the given credentials",
    );
    assert_eq!(wrong.header("www-authenticate"), "Bearer realm=\"api\"");
    let wrong = same(wrong);
    for (name, password) in [
        ("nobody", PASSWORD),
        ("grace", PASSWORD),
        ("alan", PASSWORD),
        ("no address", "x"),
    ] {
        assert_eq!(same(login(name, password).await), wrong, "{name}");
    }
    assert_eq!(
        same(
            service
                .post(TOKEN, &json!({"username": "nobody", "password": PASSWORD}))
                .await
        ),
        wrong
    );
}

#[tokio::test]
async fn what_is_missing_is_named_as_the_path_expects_it() {
    let service = spawn().await;
    let required = json!(["This field is required."]);
    for (path, body, errors) in [
        (LOGIN, json!({}), json!({"email": required, "password": required})),
        (TOKEN, json!({}), json!({"username": required, "password": required})),
        (LOGIN, json!({"username": "ada"}), json!({"password": required})),
        (TOKEN, json!({"email": "a@b.de"}), json!({"password": required})),
        (LOGIN, json!({"password": "x"}), json!({"email": required})),
        (
            LOGIN,
            json!({"email": null, "password": ""}),
            json!({
            "email": ["This field may not be null."], "password": ["This field may not be blank."]}),
        ),
        (
            TOKEN,
            json!({"username": [], "password": 1}),
            json!({"username": ["Not a valid string."]}),
        ),
        (
            TOKEN,
            json!({"username": "a\u{0}", "password": "\u{0}"}),
            json!({
            "username": ["Null characters are not allowed."], "password": ["Null characters are not allowed."]}),
        ),
    ] {
        service.post(path, &body).await.is_invalid(&errors);
    }
}

#[tokio::test]
async fn the_authorization_header_is_ignored() {
    let service = spawn().await;
    service.register("ada").await;
    for header in ["Bearer stale", "Bearer", "Token x"] {
        let request = service.request(Method::POST, LOGIN).header("authorization", header);
        let request = request.json(&json!({"email": "ada@example.com", "password": PASSWORD}));
        assert_eq!(service.send(request).await.status, 200, "{header}");
    }
}

#[tokio::test]
async fn no_character_of_a_long_password_is_left_out() {
    let service = spawn().await;
    let long = format!("{}!", "x".repeat(127));
    let mut body = registration("ada");
    body["password"] = json!(long);
    assert_eq!(service.post("/api/auth/register", &body).await.status, 201);
    let login = async |password: &str| {
        service
            .post(LOGIN, &json!({"email": "ada@example.com", "password": password}))
            .await
            .status
    };
    assert_eq!(login(&long).await, 200);
    for other in [
        format!("{}?", "x".repeat(127)),
        "x".repeat(127),
        format!("{long} "),
        "x".repeat(72),
    ] {
        assert_eq!(login(&other).await, 401);
    }
}

#[tokio::test]
async fn spaces_around_a_password_belong_to_it() {
    let service = spawn().await;
    let mut body = registration("ada");
    body["password"] = json!(" 12345678 ");
    assert_eq!(service.post("/api/auth/register", &body).await.status, 201);
    assert_eq!(service.login("ada").await.status, 401);
    let padded = json!({"email": "ada@example.com", "password": " 12345678 "});
    assert_eq!(service.post(LOGIN, &padded).await.status, 200);
}

#[tokio::test]
async fn the_session_knows_the_roles_and_where_it_was_opened() {
    let service = spawn().await;
    let new = NewUser {
        is_staff: true,
        is_superuser: true,
        ..new_user("root")
    };
    service.accounts().await.create(new).await.unwrap();
    let body = json!({"email": "root@example.com", "password": PASSWORD});
    let request = service.request(Method::POST, LOGIN).json(&body);
    let request = request
        .header("x-forwarded-for", "203.0.113.9, 10.0.0.1")
        .header("user-agent", "x".repeat(300));
    assert_eq!(service.send(request).await.status, 200);
    assert_eq!(service.login("root").await.status, 200);

    let opened = service.issuer.opened();
    assert_eq!(opened[0].roles, ["superuser", "staff"]);
    assert_eq!(opened[0].ip.as_deref(), Some("203.0.113.9"));
    assert_eq!(opened[0].user_agent, Some("x".repeat(256)));
    assert_eq!(
        (opened[1].ip.as_deref(), opened[1].user_agent.as_deref()),
        (Some("127.0.0.1"), None)
    );
}

#[tokio::test]
async fn a_password_is_hashed_anew_when_the_cost_has_changed() {
    let service = spawn().await;
    service.register("ada").await;
    let dearer = spawn_with(|config: &mut Config| {
        config.database_url.clone_from(&service.config.database_url);
        config.bcrypt_cost = 5;
    })
    .await;
    let stored = || service.database.passwords();
    let before = stored();
    assert!(before[0].starts_with("$2b$04$"));
    assert_eq!(dearer.login("ada").await.status, 200);
    let after = stored();
    assert!(after[0].starts_with("$2b$05$"));
    for _ in 0..2 {
        assert_eq!(dearer.login("ada").await.status, 200);
    }
    assert_eq!(stored(), after, "a hash of the right cost is kept");
}
