//! What pages of other origins are told, and the headers of every answer.

use reqwest::header::HeaderMap;
use reqwest::{Method, Response};

use crate::helpers::{ORIGIN, TestApp, spawn};

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
            "link, retry-after, www-authenticate, x-request-id"
        );
        assert_eq!(headers["access-control-allow-credentials"], "true");
        assert!(headers["vary"].to_str().unwrap().contains("Origin"));
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
