//! Spellings of paths that try to be matched as one thing and served as another.

use serde_json::json;

use crate::helpers::{spawn, spawn_with};

#[actix_web::test]
async fn every_spelling_of_a_protected_path_is_protected() {
    let app = spawn().await;
    for target in [
        "/api/../home",
        "//home",
        "/%68ome",
        "/open/../home",
        "/open/%2e%2e/home",
        "/./home",
        "/home/.",
        "/open//../home",
    ] {
        let (status, _) = app.raw_get(target, "").await;
        assert_eq!(status, 401, "{target}");
    }
    assert_eq!(app.echo.seen(), 0);
}

#[actix_web::test]
async fn what_is_forwarded_is_what_was_matched() {
    let app = spawn().await;
    let authorization = format!("Authorization: Bearer {}\r\n", app.token());
    for (target, forwarded) in [
        ("/api/../home", "/home"),
        ("//home", "/home"),
        ("/%68ome", "/home"),
        ("/home/%7euser?next=%2f..%2f", "/home/~user?next=%2f..%2f"),
        ("http://gateway.test/home/", "/home/"),
    ] {
        let (status, seen) = app.raw_get(target, &authorization).await;
        assert_eq!((status, &seen["target"]), (200, &json!(forwarded)), "{target}");
    }
}

#[actix_web::test]
async fn what_cannot_be_normalised_safely_is_400() {
    let app = spawn().await;
    for target in [
        "/home%2f..",
        "/home%2F",
        "/open%5c..",
        "/open%00",
        "/open/%0d%0aX-User-Id:%201",
        "/open%",
        "/open%zz",
        "/..",
        "/open/../../home",
        "/open/..;/home",
        "*",
    ] {
        let (status, body) = app.raw_get(target, "").await;
        assert_eq!((status, &body["code"]), (400, &json!("bad_path")), "{target}");
    }
    assert_eq!(app.raw_get("/open\\..\\home", "").await.0, 400);
    assert_eq!(app.echo.seen(), 0);
}

#[actix_web::test]
async fn a_target_may_have_a_path_of_its_own() {
    let app = spawn_with(|config| {
        let echo = config.upstreams.get_mut("echo").unwrap();
        echo.targets[0].set_path("/base/");
    })
    .await;
    assert_eq!(app.raw_get("/open/x?y", "").await.1["target"], "/base/open/x?y");
}
