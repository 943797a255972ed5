//! Making an account.

use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{PASSWORD, registration, spawn};

const REGISTER: &str = "/api/auth/register";

#[tokio::test]
async fn whoever_registers_gets_the_account_and_a_session() {
    let service = spawn().await;
    let answer = service.post(REGISTER, &registration("ada")).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.keys(), ["user", "refresh", "token", "access"]);
    assert_eq!(answer.body["token"], answer.body["access"]);
    let now = format!("{:.6}", service.clock.now());
    assert_eq!(
        answer.body["user"],
        json!({
            "id": answer.body["user"]["id"], "username": "ada", "email": "ada@example.com", "is_active": true,
            "is_staff": false, "is_superuser": false, "roles": [], "created": now, "updated": now,
        })
    );
    assert!(
        now.len() == "2026-11-21T16:53:26.593286Z".len() && now.ends_with('Z'),
        "{now}"
    );

    let opened = service.issuer.opened();
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0].subject, answer.body["user"]["id"]);
    assert_eq!((opened[0].epoch, opened[0].roles.is_empty()), (0, true));
    assert_eq!(service.login("ada").await.status, 200);
}

#[tokio::test]
async fn slashes_do_not_matter_and_neither_does_how_the_fields_are_sent() {
    let service = spawn().await;
    let paths = [
        "/api/auth/register",
        "/api/auth/register/",
        "/api//auth/register/",
        "//api/auth//register",
    ];
    for (index, path) in paths.into_iter().enumerate() {
        let answer = service.post(path, &registration(&format!("slash{index}"))).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.text);
    }
    let urlencoded = "username=form&email=form%40example.com&password=12345678&is_active=on";
    let answer = service
        .post_raw(REGISTER, "application/x-www-form-urlencoded", urlencoded)
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let multipart = reqwest::multipart::Form::new()
        .text("username", "multi")
        .text("email", "multi@example.com")
        .text("password", PASSWORD);
    let answer = service
        .send(service.request(Method::POST, REGISTER).multipart(multipart))
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let json = registration("axios").to_string();
    let answer = service.post_raw(REGISTER, "application/json;charset=UTF-8", json).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

#[tokio::test]
async fn every_mistake_is_named_at_once_and_in_order() {
    let service = spawn().await;
    let all = json!({
        "username": ["This field is required."],
        "email": ["This field is required."],
        "password": ["This field is required."],
    });
    for (content_type, body) in [("application/json", "{}"), ("application/json", ""), ("", "")] {
        let answer = service.post_raw(REGISTER, content_type, body).await;
        answer.is_invalid(&all);
        let fields: Vec<_> = answer.body["errors"].as_object().unwrap().keys().collect();
        assert_eq!(fields, ["username", "email", "password"]);
    }
    let mixed = json!({"username": null, "email": "   ", "password": ["x"], "is_active": "maybe"});
    service.post(REGISTER, &mixed).await.is_invalid(&json!({
        "username": ["This field may not be null."],
        "email": ["This field may not be blank."],
        "password": ["Not a valid string."],
        "is_active": ["Must be a valid boolean."],
    }));
    assert!(service.issuer.opened().is_empty());
}

#[tokio::test]
async fn each_field_has_its_limits() {
    let service = spawn().await;
    let long_email = format!("{}@example.com", "a".repeat(117));
    for (field, value, message) in [
        ("username", json!("a\u{0}b"), "Null characters are not allowed."),
        ("username", json!({"a": 1}), "Not a valid string."),
        ("username", json!(true), "Not a valid string."),
        (
            "username",
            json!("x".repeat(256)),
            "Ensure this field has no more than 255 characters.",
        ),
        ("email", json!("ada"), "Enter a valid email address."),
        ("email", json!("ada@localhost"), "Enter a valid email address."),
        (
            "email",
            json!(long_email),
            "Ensure this field has no more than 128 characters.",
        ),
        (
            "password",
            json!("1234567"),
            "Ensure this field has at least 8 characters.",
        ),
        (
            "password",
            json!("ä".repeat(7)),
            "Ensure this field has at least 8 characters.",
        ),
        (
            "password",
            json!("x".repeat(129)),
            "Ensure this field has no more than 128 characters.",
        ),
        ("password", json!("1234\u{0}5678"), "Null characters are not allowed."),
        ("password", json!("        "), "This field may not be blank."),
        ("is_active", json!("maybe"), "Must be a valid boolean."),
    ] {
        let mut body = registration("ada");
        body[field] = value;
        service
            .post(REGISTER, &body)
            .await
            .is_invalid(&json!({field: [message]}));
    }
}

#[tokio::test]
async fn what_is_just_within_the_limits_is_accepted_and_what_is_not_asked_for_is_ignored() {
    let service = spawn().await;
    for (name, field, value) in [
        ("a", "username", json!("x".repeat(255))),
        ("b", "username", json!(12345)),
        ("c", "username", json!("  Grace Hopper ")),
        (
            "d",
            "email",
            json!(format!("{}@{}.example.com", "a".repeat(64), "b".repeat(51))),
        ),
        ("e", "password", json!("ä".repeat(8))),
        ("f", "password", json!("x".repeat(128))),
        ("g", "password", json!(12_345_678)),
        ("h", "is_active", json!("false")),
        ("i", "is_active", json!(1)),
        ("j", "is_superuser", json!(true)),
        ("k", "id", json!(1)),
    ] {
        let mut body = registration(name);
        body[field] = value;
        let answer = service.post(REGISTER, &body).await;
        assert_eq!(answer.status, 201, "{field}: {}", answer.text);
        assert_eq!(answer.body["user"]["is_active"], true);
    }
    let accounts = service.accounts().await;
    assert_eq!(
        accounts.find("Grace Hopper").await.unwrap().unwrap().username,
        "Grace Hopper"
    );
    assert!(!accounts.find("j").await.unwrap().unwrap().is_superuser);
}

#[tokio::test]
async fn a_username_or_an_email_that_is_taken_is_refused_whatever_its_case() {
    let service = spawn().await;
    service.register("ada").await;
    let (username, email) = (
        json!(["user with this username already exists."]),
        json!(["user with this email already exists."]),
    );
    let register = async |username: &str, email: &str| {
        let body = json!({"username": username, "email": email, "password": "another password"});
        service.post(REGISTER, &body).await
    };
    register("ADA", "new@example.com")
        .await
        .is_invalid(&json!({"username": username}));
    for taken in ["ada@example.com", "Ada@example.com", "ada@EXAMPLE.com"] {
        let answer = register("new", taken).await;
        answer.is_invalid(&json!({"email": email}));
        assert!(
            !answer.text.contains("access") && !answer.text.contains("refresh"),
            "{}",
            answer.text
        );
    }
    let both = register("Ada", "ADA@EXAMPLE.COM").await;
    both.is_invalid(&json!({"username": username, "email": email}));
    assert_eq!(service.issuer.opened().len(), 1);
}

#[tokio::test]
async fn the_answer_to_a_duplicate_has_the_one_error_shape() {
    let service = spawn().await;
    service.register("ada").await;
    let answer = service.post(REGISTER, &registration("ada")).await;
    insta::assert_json_snapshot!(answer.body, {".request_id" => "[id]"}, @r#"
    {
      "type": "about:blank",
      "title": "Bad Request",
      "status": 400,
      "detail": "username: user with this username already exists. email: user with this email already exists.",
      "code": "invalid",
      "request_id": "[id]",
      "username": [
        "user with this username already exists."
      ],
      "email": [
        "user with this email already exists."
      ],
      "errors": {
        "username": [
          "user with this username already exists."
        ],
        "email": [
          "user with this email already exists."
        ]
      }
    }
    "#);
}

#[tokio::test]
async fn of_ten_registrations_at_once_with_one_email_exactly_one_succeeds() {
    let service = spawn().await;
    for round in 0..5 {
        let bodies: Vec<Value> = (0..10)
            .map(|index| {
                let email = if index % 2 == 0 { "Race" } else { "race" };
                json!({"username": format!("racer{round}-{index}"), "email": format!("{email}{round}@example.com"), "password": PASSWORD})
            })
            .collect();
        let answers = futures_util::future::join_all(bodies.iter().map(|body| service.post(REGISTER, body))).await;
        let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        assert_eq!((made.len(), refused.len()), (1, 9));
        for answer in refused {
            answer.is_invalid(&json!({"email": ["user with this email already exists."]}));
        }
    }
    assert_eq!(service.issuer.opened().len(), 5);
}

#[tokio::test]
async fn a_stale_authorization_header_does_not_matter() {
    let service = spawn().await;
    let request = service
        .request(Method::POST, REGISTER)
        .bearer_auth("stale")
        .json(&registration("ada"));
    assert_eq!(service.send(request).await.status, 201);
}

#[tokio::test]
async fn other_methods_are_told_what_is_allowed() {
    let service = spawn().await;
    for path in ["/api/auth/register/", "/api/auth/login", "/token/"] {
        for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
            let answer = service.send(service.request(method.clone(), path)).await;
            answer.is_problem(405, "method_not_allowed", &format!("Method \"{method}\" not allowed."));
            assert_eq!(answer.header("allow"), "POST");
        }
    }
}
