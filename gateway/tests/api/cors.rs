//! What pages of other origins are told, and the headers of every answer.

use reqwest::header::HeaderMap;
use reqwest::{Method, Response};

use crate::helpers::{ORIGIN, TestApp, route, spawn, spawn_with};

async fn preflight(app: &TestApp, path: &str, origin: &str, headers: &str) -> Response {
    let request = app.request(Method::OPTIONS, path).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    request
        .header("access-control-request-headers", headers)
        .send()
        .await
        .unwrap()
}

fn permissions(headers: &HeaderMap) -> Vec<&str> {
    headers
        .keys()
        .map(reqwest::header::HeaderName::as_str)
        .filter(|name| name.starts_with("access-control-"))
        .collect()
}

#[actix_web::test]
async fn a_preflight_is_answered_on_any_path_without_asking_anyone() {
    let app = spawn().await;
    for path in ["/api/auth/login/", "/home", "/no/such/path", "/internal", "/down"] {
        let response = preflight(&app, path, ORIGIN, "authorization,content-type").await;
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["access-control-allow-origin"], ORIGIN);
        assert_eq!(
            headers["access-control-allow-methods"],
            "DELETE, GET, OPTIONS, PATCH, POST, PUT"
        );
        assert_eq!(headers["access-control-max-age"], "86400");
        assert_eq!(headers["access-control-allow-credentials"], "true");
        assert!(headers["vary"].to_str().unwrap().contains("Origin"));
        let allowed = headers["access-control-allow-headers"].to_str().unwrap();
        for name in [
            "accept",
            "accept-encoding",
            "authorization",
            "content-type",
            "dnt",
            "origin",
            "user-agent",
            "x-csrftoken",
            "x-requested-with",
            "x-request-id",
            "x-token-delivery",
            "traceparent",
        ] {
            assert!(allowed.split(", ").any(|header| header == name), "{name}");
        }
        assert_eq!(response.text().await.unwrap(), "");
    }
    assert_eq!(app.echo.seen(), 0);
}

#[actix_web::test]
async fn a_preflight_for_head_is_allowed_as_one_for_get() {
    let app = spawn().await;
    for (method, is_allowed) in [
        ("HEAD", true),
        ("GET", true),
        ("PATCH", true),
        ("TRACE", false),
        ("head", false),
    ] {
        let request = app.request(Method::OPTIONS, "/home").header("origin", ORIGIN);
        let request = request.header("access-control-request-method", method);
        let answer = request
            .header("access-control-request-headers", "authorization")
            .send()
            .await
            .unwrap();
        let allowed = answer.headers().get("access-control-allow-origin");
        assert_eq!(
            (answer.status().as_u16(), allowed.is_some()),
            (200, is_allowed),
            "{method}"
        );
    }
}

#[actix_web::test]
async fn a_refused_preflight_is_200_and_permits_nothing() {
    let app = spawn().await;
    for (origin, headers) in [
        ("http://evil.test", "authorization"),
        ("null", "authorization"),
        ("http://localhost:3001", "authorization"),
        ("http://localhost:3000.evil.test", "authorization"),
        (ORIGIN, "x-not-allowed"),
    ] {
        let response = preflight(&app, "/home", origin, headers).await;
        assert_eq!(
            (response.status().as_u16(), permissions(response.headers())),
            (200, vec![]),
            "{origin} {headers}"
        );
        assert_eq!(response.text().await.unwrap(), "");
    }
}

#[actix_web::test]
async fn every_answer_to_an_allowed_origin_can_be_read_by_it_errors_included() {
    let app = spawn().await;
    let send = |path: &'static str, body: usize| {
        app.request(Method::POST, path)
            .header("origin", ORIGIN)
            .body(vec![b'x'; body])
            .send()
    };
    for (path, body, status) in [
        ("/open", 1, 200),
        ("/home", 0, 401),
        ("/nothing", 0, 404),
        ("/open/%2f", 0, 400),
        ("/small", 2000, 413),
        ("/down", 0, 503),
        ("/open/500", 0, 500),
    ] {
        let response = send(path, body).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let headers = response.headers();
        assert_eq!(
            headers
                .get_all("access-control-allow-origin")
                .iter()
                .collect::<Vec<_>>(),
            [ORIGIN],
            "{path}"
        );
        assert_eq!(
            headers["access-control-expose-headers"],
            "content-disposition, etag, link, location, ratelimit, ratelimit-limit, ratelimit-policy, ratelimit-remaining, \
             ratelimit-reset, retry-after, www-authenticate, x-request-id"
        );
        assert_eq!(headers["access-control-allow-credentials"], "true");
        assert!(headers["vary"].to_str().unwrap().contains("Origin"));
    }
}

#[actix_web::test]
async fn pages_may_send_and_read_what_is_configured_for_all_or_for_a_route() {
    let app = spawn_with(|config| {
        config.cors_headers = vec!["X-Tenant".to_owned()];
        config.cors_exposed_headers = vec!["x-total".to_owned(), "ETag".to_owned()];
        let own = r#"{"path": "/own", "upstream": "echo", "auth": "none", "cors_headers": "x-own"}"#;
        let none =
            r#"{"path": "/none", "upstream": "echo", "auth": "none", "cors_headers": [], "cors_exposed_headers": []}"#;
        config.routes.extend([own, none].map(route));
    })
    .await;
    for (path, names, expected) in [
        ("/open", "authorization, x-tenant", true),
        ("/open", "X-Tenant,x-own", false),
        ("/own", "x-own, content-type", true),
        ("/own", "x-tenant", false),
        ("/none", "x-tenant", false),
        ("/none", "content-type", true),
    ] {
        let answer = preflight(&app, path, ORIGIN, names).await;
        let allowed = answer.headers().get("access-control-allow-headers");
        assert_eq!(allowed.is_some(), expected, "{path} {names}");
        if let Some(allowed) = allowed {
            let allowed = allowed.to_str().unwrap();
            for name in names.split(',') {
                assert!(allowed.split(", ").any(|known| known == name.trim()), "{allowed}");
            }
        }
    }
    for (path, expected) in [("/open", true), ("/own", true), ("/none", false)] {
        let request = app.request(Method::GET, path).header("origin", ORIGIN);
        let answer = request.send().await.unwrap();
        let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap();
        assert_eq!(exposed.ends_with(", x-total"), expected, "{path}: {exposed}");
        assert_eq!(exposed.matches("etag").count(), 1, "{exposed}");
        assert!(exposed.contains("x-request-id"), "{exposed}");
    }
}

#[actix_web::test]
async fn another_origin_is_served_and_told_nothing() {
    let app = spawn().await;
    for path in ["/open", "/home", "/nothing"] {
        let response = app
            .request(Method::GET, path)
            .header("origin", "http://evil.test")
            .send()
            .await
            .unwrap();
        assert_eq!(permissions(response.headers()), Vec::<&str>::new(), "{path}");
        assert!(
            response.headers()["vary"].to_str().unwrap().contains("Origin"),
            "{path}"
        );
    }
    assert_eq!(app.echo.seen(), 1);
    assert_eq!(permissions(app.get("/open").await.headers()), Vec::<&str>::new());
}

#[actix_web::test]
async fn what_the_answer_varies_with_is_added_to_what_the_upstream_says_of_that() {
    let app = spawn().await;
    let varies = async |path: &str| {
        let answer = app.get(path).await;
        let values = answer.headers().get_all("vary").iter();
        values
            .map(|value| value.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(varies("/open").await, ["Origin"]);
    assert_eq!(
        varies("/open/vary").await,
        ["Accept, Accept-Language, Cookie, Origin"],
        "of several headers none is lost"
    );
}

#[actix_web::test]
async fn a_preflight_asks_for_a_method_and_headers_by_their_names() {
    let app = spawn().await;
    for (method, headers, is_permitted) in [
        ("PATCH", &[][..], true),
        ("POST", &["Content-Type , X-Request-Id"], true),
        ("POST", &["content-type", "authorization"], true),
        ("PUT", &["if-match,idempotency-key", "tracestate", "baggage"], true),
        ("POST", &["content-type", "x-other"], false),
        ("POST", &["content-type,"], false),
        ("patch", &[], false),
        ("TRACE", &[], false),
        ("", &[], false),
    ] {
        let mut request = app.request(Method::OPTIONS, "/open").header("origin", ORIGIN);
        request = request.header("access-control-request-method", method);
        for names in headers {
            request = request.header("access-control-request-headers", *names);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{method} {headers:?}");
        let permitted = permissions(answer.headers());
        assert_eq!(
            !permitted.is_empty(),
            is_permitted,
            "{method} {headers:?} {permitted:?}"
        );
    }
    assert_eq!(app.echo.seen(), 0);
}

#[actix_web::test]
async fn options_without_the_question_of_a_preflight_is_an_ordinary_request() {
    let app = spawn().await;
    let response = app.request(Method::OPTIONS, "/home").send().await.unwrap();
    assert_eq!(response.status(), 401);
    let response = app.request(Method::OPTIONS, "/open").send().await.unwrap();
    assert_eq!((response.status().as_u16(), app.echo.seen()), (200, 1));
}

#[actix_web::test]
async fn every_answer_has_the_security_headers_and_the_upstream_may_set_its_own() {
    let app = spawn().await;
    for path in ["/home", "/nothing", "/", "/open/%00"] {
        let response = app.get(path).await;
        let headers = response.headers();
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "same-origin");
        assert_eq!(headers["cross-origin-opener-policy"], "same-origin");
        assert!(headers.contains_key("x-request-id"));
    }
    let response = app.get("/open").await;
    assert_eq!(response.headers()["x-frame-options"], "SAMEORIGIN");
    assert_eq!(response.headers()["referrer-policy"], "same-origin");
}

#[actix_web::test]
async fn a_route_may_name_its_own_origins_instead_and_every_answer_of_it_goes_by_them() {
    const PARTNER: &str = "https://partner.example";
    let app = spawn_with(|config| {
        config.routes.extend([
            route(&format!(
                r#"{{"path": "/partner", "upstream": "echo", "auth": "none", "cors_origins": ["{PARTNER}"], "body_limit": 10}}"#
            )),
            route(&format!(
                r#"{{"path": "/partner/down", "upstream": "nobody", "auth": "none", "cors_origins": ["{PARTNER}"]}}"#
            )),
            route(&format!(r#"{{"path": "/partner/private", "upstream": "echo", "cors_origins": ["{PARTNER}"]}}"#)),
            route(r#"{"path": "/nobody", "upstream": "echo", "auth": "none", "cors_origins": []}"#),
            route(&format!(
                r#"{{"path": "/mixed", "upstream": "echo", "auth": "none", "methods": ["POST"], "cors_origins": ["{PARTNER}"]}}"#
            )),
            route(r#"{"path": "/mixed", "upstream": "echo", "auth": "none", "methods": ["GET"]}"#),
        ]);
    })
    .await;
    let allowed = async |method: Method, path: &str, origin: &'static str| {
        let request = app
            .request(method, path)
            .header("origin", origin)
            .body("more than ten bytes");
        let answer = request.send().await.unwrap();
        let allowed = answer.headers().get("access-control-allow-origin");
        assert!(allowed.is_none_or(|allowed| allowed == origin));
        (answer.status().as_u16(), allowed.is_some())
    };
    for (path, status) in [
        ("/partner/x", 413),
        ("/partner/down", 503),
        ("/partner/private", 401),
        ("/partner/%2f", 400),
    ] {
        let is_routed = status != 400;
        assert_eq!(
            allowed(Method::POST, path, PARTNER).await,
            (status, is_routed),
            "{path}"
        );
        assert_eq!(
            allowed(Method::POST, path, ORIGIN).await,
            (status, !is_routed),
            "{path}"
        );
    }
    for (path, partner, ours) in [
        ("/open", false, true),
        ("/nobody", false, false),
        ("/nothing", false, true),
    ] {
        assert_eq!(allowed(Method::POST, path, PARTNER).await.1, partner, "{path}");
        assert_eq!(allowed(Method::POST, path, ORIGIN).await.1, ours, "{path}");
    }
    // A preflight is about the request that it announces.
    for (path, method, partner, ours) in [
        ("/partner", "POST", true, false),
        ("/partner/private", "DELETE", true, false),
        ("/mixed", "POST", true, false),
        ("/mixed", "GET", false, true),
        ("/mixed", "PUT", false, true),
        ("/nobody", "GET", false, false),
    ] {
        for (origin, expected) in [(PARTNER, partner), (ORIGIN, ours)] {
            let request = app.request(Method::OPTIONS, path).header("origin", origin);
            let answer = request
                .header("access-control-request-method", method)
                .send()
                .await
                .unwrap();
            let headers = answer.headers();
            assert_eq!(
                (
                    answer.status().as_u16(),
                    headers["vary"].to_str().unwrap().contains("Origin")
                ),
                (200, true)
            );
            assert_eq!(
                headers.contains_key("access-control-allow-origin"),
                expected,
                "{method} {path} {origin}"
            );
        }
    }
}
