//! How many requests are let through.

use portcullis_gateway::Config;
use reqwest::{Method, Response};
use serde_json::json;

use crate::helpers::{ORIGIN, TestApp, read, route, spawn_with};

/// Adds a route with these limits, for `auth`.
fn limited(config: &mut Config, path: &str, auth: &str, limits: &str) {
    config.routes.push(route(&format!(
        r#"{{"path": "{path}", "upstream": "echo", "auth": "{auth}", "rate_limit": {limits}}}"#
    )));
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The statuses of `count` requests, one after the other.
async fn statuses(app: &TestApp, path: &str, token: &str, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(app.get_as(path, token).await.0);
    }
    statuses
}

#[actix_web::test]
async fn requests_beyond_the_limit_are_429_and_say_when_to_come_back() {
    let app = spawn_with(|config| {
        let limits = r#"[{"by": "address", "requests": 2, "per": "1h", "burst": 3}]"#;
        limited(config, "/limited", "none", limits);
    })
    .await;
    for remaining in ["2", "1", "0"] {
        let response = app.get("/limited/a").await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "ratelimit-remaining"), remaining);
        assert_eq!(header(&response, "ratelimit-limit"), "3");
        assert_eq!(header(&response, "ratelimit-policy"), r#""address";q=3;w=5400"#);
    }
    let preflight = app
        .request(Method::OPTIONS, "/limited")
        .header("origin", ORIGIN)
        .header("access-control-request-method", "GET");
    assert_eq!(
        preflight.send().await.unwrap().status(),
        200,
        "preflights are not counted"
    );

    let request = app
        .request(Method::POST, "/limited/b")
        .header("origin", ORIGIN)
        .body("x");
    let response = request.send().await.unwrap();
    let wait: u64 = header(&response, "retry-after").parse().unwrap();
    assert!((1790..=1800).contains(&wait), "{wait}");
    assert_eq!(header(&response, "ratelimit"), format!(r#""address";r=0;t={wait}"#));
    assert_eq!(header(&response, "ratelimit-reset"), wait.to_string());
    assert_eq!(header(&response, "access-control-allow-origin"), ORIGIN);
    let (status, body) = read(response).await;
    assert_eq!((status, &body["code"]), (429, &json!("rate_limited")));
    assert_eq!(body["detail"], format!("Too many requests. Try again in {wait} s."));
    assert_eq!(app.echo.seen(), 3);

    let elsewhere = app.get("/open").await;
    assert_eq!(
        (elsewhere.status().as_u16(), header(&elsewhere, "ratelimit")),
        (200, "")
    );
}

#[actix_web::test]
async fn a_flood_from_one_address_never_reaches_the_signature_check() {
    let app = spawn_with(|config| {
        let limits = r#"[{"by": "address", "requests": 2, "per": "1h"}]"#;
        limited(config, "/flooded", "required", limits);
    })
    .await;
    assert_eq!(statuses(&app, "/flooded", "nonsense", 4).await, [401, 401, 429, 429]);
    assert_eq!(statuses(&app, "/flooded", &app.token(), 1).await, [429]);
    assert_eq!(
        statuses(&app, "/home", &app.token(), 1).await,
        [200],
        "other routes go on"
    );
}

#[actix_web::test]
async fn each_user_has_a_limit_and_who_is_none_has_only_that_of_the_address() {
    let app = spawn_with(|config| {
        let limits = r#"[{"by": "address", "requests": 5, "per": "1h"}, {"by": "user", "requests": 2, "per": "1h"}]"#;
        limited(config, "/shared", "optional", limits);
    })
    .await;
    let other = app.issuer.token("8", "session-8");
    let response = app.request(Method::GET, "/shared").bearer_auth(app.token()).send();
    let response = response.await.unwrap();
    assert_eq!(
        header(&response, "ratelimit"),
        r#""address";r=4;t=720, "user";r=1;t=1800"#
    );
    assert_eq!(
        (
            header(&response, "ratelimit-limit"),
            header(&response, "ratelimit-remaining")
        ),
        ("2", "1")
    );
    assert_eq!(statuses(&app, "/shared", &app.token(), 2).await, [200, 429]);
    assert_eq!(statuses(&app, "/shared", &other, 1).await, [200]);
    assert_eq!(app.get("/shared").await.status(), 200);
    assert_eq!(app.get("/shared").await.status(), 429);
}

/// Logs in as a client of a trusted proxy until it is one time too many, at most `most` times; how often it was not.
async fn logins(app: &TestApp, client: &str, most: usize) -> usize {
    for count in 0..most {
        let login = app.request(Method::POST, "/api/auth/login").json(&json!({}));
        let response = login.header("x-forwarded-for", client).send().await.unwrap();
        if response.status() == 429 {
            return count;
        }
        assert_eq!(response.status(), 200);
    }
    most
}

#[actix_web::test]
async fn logins_from_one_address_are_limited_without_any_configuration() {
    let app = spawn_with(|config| config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]).await;
    let allowed = logins(&app, "203.0.113.7", 5000).await;
    assert!((60..5000).contains(&allowed), "{allowed}");
    assert_eq!(logins(&app, "203.0.113.8", 60).await, 60, "others are not affected");
    assert_eq!(logins(&app, "127.0.0.1", 200).await, 200, "nor is this machine");
}

#[actix_web::test]
async fn an_operator_has_another_limit_for_logins_or_none() {
    let own = |limits: &'static str| {
        spawn_with(move |config| {
            config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
            config.routes.push(route(&format!(
                r#"{{"path": "/api/auth/login", "upstream": "identity", "auth": "none"{limits}}}"#
            )));
        })
    };
    let strict = own(r#", "rate_limit": [{"by": "address", "requests": 3, "per": "1h"}]"#).await;
    assert_eq!(logins(&strict, "203.0.113.7", 10).await, 3);
    let none = own("").await;
    assert_eq!(logins(&none, "203.0.113.7", 500).await, 500);
}

#[actix_web::test]
async fn a_limit_that_cannot_be_kept_stops_the_start() {
    let mut config = crate::helpers::config("127.0.0.1:1".parse().unwrap());
    for limits in [
        r#"{"by": "address", "requests": 0, "per": "1s"}"#,
        r#"{"by": "address", "requests": 1, "per": "1s", "burst": 0}"#,
        r#"{"by": "address", "requests": 1, "per": "0s"}"#,
        r#"{"by": "address", "requests": 4000000000, "per": "1s"}"#,
        r#"{"by": "address", "requests": 1, "per": "1day", "burst": 31}"#,
        r#"{"by": "user", "requests": 1, "per": "1s"}"#,
    ] {
        let path = format!("/a{}", config.routes.len());
        limited(&mut config, &path, "none", &format!("[{limits}]"));
    }
    config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(), "::/0".parse().unwrap()];
    let mistakes = config.mistakes();
    let places: Vec<&str> = mistakes.iter().map(|mistake| mistake.place.as_str()).collect();
    assert_eq!(
        places,
        [
            "gateway.trusted_proxies[1]",
            "gateway.routes[4].rate_limit[0].requests",
            "gateway.routes[5].rate_limit[0].burst",
            "gateway.routes[6].rate_limit[0].per",
            "gateway.routes[7].rate_limit[0].per",
            "gateway.routes[8].rate_limit[0].per",
            "gateway.routes[9].rate_limit[0].by",
        ]
    );
    let unknown: Result<portcullis_gateway::RateLimit, _> =
        serde_json::from_value(json!({"by": "cookie", "requests": 1, "per": "1s"}));
    assert!(
        unknown.unwrap_err().to_string().contains("address"),
        "it says what there is"
    );
}
