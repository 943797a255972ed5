//! What `/metrics` says.

use reqwest::Method;

use crate::helpers::{TestApp, route, spawn_with, until};

async fn metrics(app: &TestApp) -> String {
    let url = format!("http://{}/metrics", app.running.admin_address);
    app.http.get(url).send().await.unwrap().text().await.unwrap()
}

/// The gateway with a route that no other test has, since the numbers are those of the whole process.
async fn spawn(path: &'static str, settings: &'static str) -> TestApp {
    spawn_with(move |config| {
        let text = format!(r#"{{"path": "{path}", "upstream": "echo"{settings}}}"#);
        config.routes.push(route(&text));
    })
    .await
}

#[actix_web::test]
async fn requests_are_counted_by_route_method_status_and_problem() {
    let app = spawn(
        "/counted",
        r#", "auth": "required", "rate_limit": [{"by": "user", "requests": 2, "per": "1h"}]"#,
    )
    .await;
    let token = app.token();
    for _ in 0..3 {
        app.get_as("/counted/x", &token).await;
    }
    app.get("/counted").await;
    app.request(Method::from_bytes(b"BREW").unwrap(), "/counted")
        .send()
        .await
        .unwrap();
    let text = metrics(&app).await;
    for line in [
        r#"http_requests_total{role="gateway",route="/counted",method="GET",status="200"} 2"#,
        r#"http_requests_total{role="gateway",route="/counted",method="GET",status="401"} 1"#,
        r#"http_requests_total{role="gateway",route="/counted",method="GET",status="429"} 1"#,
        r#"http_requests_total{role="gateway",route="/counted",method="other",status="401"} 1"#,
        r#"gateway_problems_total{route="/counted",code="rate_limited"} 1"#,
        r#"gateway_problems_total{route="/counted",code="not_authenticated"} 2"#,
        r#"rate_limited_total{route="/counted"} 1"#,
        r#"upstream_response_seconds_count{route="/counted"} 2"#,
        r#"upstream_response_seconds_bucket{route="/counted",le="+Inf"} 2"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(
        !text.contains("BREW") && !text.contains("/counted/x"),
        "no label is a client's"
    );
    until(|| async {
        let all = r#"http_request_duration_seconds_count{role="gateway",route="/counted"} 5"#;
        metrics(&app).await.contains(all)
    })
    .await;
}

#[actix_web::test]
async fn what_a_gateway_knows_and_holds_is_shown() {
    let app = spawn("/held", "").await;
    let token = app.token();
    for _ in 0..2 {
        assert_eq!(app.get_as("/held", &token).await.0, 200);
    }
    let text = metrics(&app).await;
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}\n{text}")).parse().unwrap()
    };
    assert!(value(r#"feed_lag_seconds{account="gateway"}"#) >= 0.0);
    assert!(value(r#"revocations_held{account="gateway"}"#) >= 0.0);
    assert!(value("token_cache_hits_total") >= 1.0);
    assert!(value("token_cache_misses_total") >= 1.0);
    assert!(value("signature_checks_total") >= 1.0);
    assert!(value("client_connections") >= 0.0);
    assert!(value("requests_in_flight") >= 0.0);
}
