//! What a good token must have besides, and which routes always exist.

use reqwest::Method;
use serde_json::json;

use crate::helpers::{read, route, spawn, spawn_with};

#[actix_web::test]
async fn a_route_asks_for_every_scope_and_for_one_of_the_roles() {
    let app = spawn_with(|config| {
        config.routes.extend(
            [
                r#"{"path": "/scoped", "upstream": "echo", "scopes": ["profile", "orders"]}"#,
                r#"{"path": "/scoped/more", "upstream": "echo", "scopes": ["profile", "admin"]}"#,
                r#"{"path": "/roles", "upstream": "echo", "roles": ["superuser", "support"]}"#,
                r#"{"path": "/roles/more", "upstream": "echo", "roles": ["superuser"]}"#,
            ]
            .map(route),
        );
    })
    .await;
    let token = app.token();
    assert_eq!(app.get_as("/scoped", &token).await.0, 200);
    assert_eq!(app.get_as("/roles", &token).await.0, 200);
    let denied = app
        .request(Method::GET, "/scoped/more")
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    let challenge = denied.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    assert!(challenge.contains("scope=\""), "{challenge}");
    assert_eq!(read(denied).await.0, 403);
    let (status, body) = app.get_as("/roles/more/deep", &token).await;
    assert_eq!((status, &body["code"]), (403, &json!("permission_denied")));
    assert_eq!(app.echo.seen(), 2);
}

#[actix_web::test]
async fn the_built_in_routes_are_open_or_closed_as_they_should_be() {
    let app = spawn().await;
    for path in [
        "/api/auth/register",
        "/api/auth/login/",
        "/token",
        "/token/",
        "/token/refresh/",
        "/api/auth/refresh",
        "/api/auth/logout",
        "/.well-known/jwks.json",
        "/oauth/token",
        "/api//auth/login/",
    ] {
        assert_eq!(app.get(path).await.status(), 200, "{path}");
    }
    for path in [
        "/api/auth/me",
        "/api/auth/password",
        "/api/user",
        "/api/user/7/",
        "/api/admin/users/7",
        "/logout/",
        "/api/auth/sessions/1",
        "/home",
        "/home/",
    ] {
        assert_eq!(app.get(path).await.status(), 401, "{path}");
    }
    for path in [
        "/homework",
        "/api",
        "/api/auth",
        "/internal/feed",
        "//internal/feed",
        "/%69nternal",
        "/nothing",
    ] {
        assert_eq!(app.get(path).await.status(), 404, "{path}");
    }
}

#[actix_web::test]
async fn a_route_of_the_operator_takes_the_place_of_a_built_in_one() {
    let app = spawn_with(|config| {
        config
            .routes
            .push(route(r#"{"path": "/home", "upstream": "echo", "auth": "none"}"#));
    })
    .await;
    assert_eq!(app.get("/home/x").await.status(), 200);
}

#[actix_web::test]
async fn a_route_for_some_methods_answers_405_to_the_others() {
    let app = spawn_with(|config| {
        config.routes.push(route(
            r#"{"path": "/open/readonly", "upstream": "echo", "auth": "none", "methods": ["GET"]}"#,
        ));
    })
    .await;
    assert_eq!(
        app.request(Method::HEAD, "/open/readonly")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let refused = app.request(Method::POST, "/open/readonly").send().await.unwrap();
    assert_eq!(refused.headers()["allow"], "GET, HEAD");
    assert_eq!(refused.status(), 405);
    assert_eq!(app.request(Method::TRACE, "/open").send().await.unwrap().status(), 405);
}

#[actix_web::test]
async fn a_route_for_a_host_is_taken_only_for_it() {
    let app = spawn_with(|config| {
        config.routes.push(route(
            r#"{"path": "/", "host": "Api.Test", "upstream": "echo", "auth": "none"}"#,
        ));
    })
    .await;
    let get = |host: &'static str| app.request(Method::GET, "/anything").header("host", host).send();
    assert_eq!(get("api.test:8000").await.unwrap().status(), 200);
    assert_eq!(get("API.TEST").await.unwrap().status(), 200);
    assert_eq!(get("other.test").await.unwrap().status(), 404);
}

#[actix_web::test]
async fn a_stripped_prefix_does_not_open_internal_endpoints() {
    let app = spawn_with(|config| {
        config.routes.push(route(
            r#"{"path": "/svc", "upstream": "echo", "auth": "none", "strip_prefix": true}"#,
        ));
    })
    .await;
    let target = async |path: &str| read(app.get(path).await).await;
    assert_eq!(target("/svc/a/b/?q=1").await.1["target"], "/a/b/?q=1");
    assert_eq!(target("/svc").await.1["target"], "/");
    assert_eq!(target("/svc/internal/feed").await.0, 404);
    assert_eq!(target("/svc//x/../internal").await.0, 404);
}

#[actix_web::test]
async fn the_root_says_what_this_is() {
    let app = spawn().await;
    let (status, body) = read(app.get("/").await).await;
    assert_eq!((status, &body["name"]), (200, &json!("portcullis")));
    assert_eq!(app.request(Method::POST, "/").send().await.unwrap().status(), 405);
}
