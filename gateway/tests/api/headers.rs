//! What upstreams and clients get to see of each other's headers.

use serde_json::{Value, json};

use tokio::io::AsyncWriteExt;

use crate::helpers::{listener, odd, parse, read_head, route, spawn, spawn_with};

#[actix_web::test]
async fn identity_headers_of_the_client_never_arrive_in_any_spelling() {
    let app = spawn().await;
    let claimed = "X-User-Id: 1\r\nX_User_Id: 1\r\nX.User.Id: 1\r\nx-user_id: 1\r\nX-User-Roles: superuser\r\n\
                   X_User_Roles: superuser\r\nX-Session-Id: s\r\nX.Session.Id: s\r\nX-Scope: all\r\nx_scope: all\r\n";
    for (target, authorization, user) in [
        ("/open", String::new(), Value::Null),
        (
            "/home",
            format!("Authorization: Bearer {}\r\n", app.token()),
            json!(["7"]),
        ),
        (
            "/home",
            format!(
                "Connection: x-user-id, close\r\nAuthorization: Bearer {}\r\n",
                app.token()
            ),
            json!(["7"]),
        ),
    ] {
        let (status, seen) = app.raw_get(target, &format!("{claimed}{authorization}")).await;
        assert_eq!((status, &seen["headers"]["x-user-id"]), (200, &user), "{target}");
        let arrived = seen["headers"].as_object().unwrap();
        let aliases: Vec<&String> = arrived.keys().filter(|name| name.contains(['_', '.'])).collect();
        assert!(aliases.is_empty(), "{aliases:?}");
        assert!(
            !arrived.values().any(|values| values.to_string().contains("superuser")),
            "{arrived:?}"
        );
    }
}

#[actix_web::test]
async fn where_a_request_came_from_is_said_anew() {
    let app = spawn().await;
    let claimed = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\n\
                   X_Forwarded_For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Real-Ip: 1.2.3.4\r\n";
    let (_, seen) = app.raw_get("/open", claimed).await;
    let headers = &seen["headers"];
    assert_eq!(headers["x-forwarded-for"], json!(["127.0.0.1"]));
    assert_eq!(headers["x-forwarded-host"], json!(["gateway.test"]));
    assert_eq!(headers["x-forwarded-proto"], json!(["http"]));
    assert_eq!(
        headers["forwarded"],
        json!(["for=127.0.0.1;host=\"gateway.test\";proto=http"])
    );
    assert_eq!(headers["host"], json!([app.echo.address.to_string()]));
    assert!(!seen.to_string().contains("1.2.3.4"));
    assert_eq!(
        (&headers["x-real-ip"], &headers["x-forwarded-port"]),
        (&Value::Null, &Value::Null)
    );
}

#[actix_web::test]
async fn behind_a_trusted_proxy_the_client_is_whom_the_proxy_says() {
    let app = spawn_with(|config| {
        config.trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"].map(|n| n.parse().unwrap()).to_vec();
    })
    .await;
    let said = "X-Forwarded-For: 10.1.1.1, 203.0.113.7\r\nX-Forwarded-For: 10.0.0.2\r\nX-Forwarded-Proto: https\r\n\
                X-Forwarded-Host: shop.test\r\nX-Forwarded-Port: 1\r\nForwarded: for=1.2.3.4\r\nX-Real-Ip: 1.2.3.4\r\n";
    let (_, seen) = app.raw_get("/open", said).await;
    let headers = &seen["headers"];
    assert_eq!(headers["x-forwarded-for"], json!(["203.0.113.7, 10.0.0.2, 127.0.0.1"]));
    assert_eq!(headers["x-forwarded-host"], json!(["shop.test"]));
    assert_eq!(headers["x-forwarded-proto"], json!(["https"]));
    assert_eq!(
        headers["forwarded"],
        json!(["for=203.0.113.7;host=\"shop.test\";proto=https, for=10.0.0.2, for=127.0.0.1"])
    );
    assert!(!seen.to_string().contains("1.2.3.4") && !seen.to_string().contains("10.1.1.1"));
    assert_eq!(headers["x-forwarded-port"], Value::Null);

    let (_, seen) = app.raw_get("/open", "").await;
    assert_eq!(seen["headers"]["x-forwarded-for"], json!(["127.0.0.1"]));
}

#[actix_web::test]
async fn the_cookie_is_for_pages_of_the_host_that_a_trusted_proxy_was_asked_for() {
    let trusting = spawn_with(|config| config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]).await;
    let doubting = spawn().await;
    let head = "X-Token-Delivery: cookie\r\nOrigin: https://shop.test\r\nX-Forwarded-Host: shop.test\r\n";
    let status = async |app: &crate::helpers::TestApp| app.raw_get("/api/auth/refresh", head).await.0;
    assert_eq!((status(&trusting).await, status(&doubting).await), (200, 403));
}

#[actix_web::test]
async fn a_host_that_is_none_is_400() {
    let app = spawn().await;
    let answer = app
        .raw(b"GET /open HTTP/1.1\r\nHost: a\";proto=https\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad_host"),
        "{answer}"
    );
}

#[actix_web::test]
async fn headers_of_the_connection_go_no_further_in_either_direction() {
    let app = spawn().await;
    let headers = "Connection: X-Secret, close\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: websocket\r\n\
                   Proxy-Authorization: Basic eDp5\r\nProxy-Connection: x\r\nExpect: nothing\r\nCookie: a=b\r\nX-Other: 1\r\n";
    let (status, seen) = app.raw_get("/open", headers).await;
    assert_eq!(status, 200);
    for name in [
        "x-secret",
        "keep-alive",
        "te",
        "upgrade",
        "proxy-authorization",
        "proxy-connection",
        "connection",
        "expect",
    ] {
        assert_eq!(seen["headers"][name], Value::Null, "{name}");
    }
    assert_eq!(
        (&seen["headers"]["cookie"], &seen["headers"]["x-other"]),
        (&json!(["a=b"]), &json!(["1"]))
    );
}

#[actix_web::test]
async fn what_an_upstream_says_to_its_connection_or_of_other_origins_does_not_reach_the_client() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    tokio::spawn(async move {
        let (mut stream, _) = odd_one.accept().await.unwrap();
        read_head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\nConnection: X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n\
                      Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Private-Network: true\r\nX-Other: 1\r\n\
                      Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let response = app.get("/odd").await;
    let headers = response.headers();
    let withheld = [
        "connection",
        "x-private",
        "keep-alive",
        "access-control-allow-origin",
        "access-control-allow-private-network",
    ];
    for name in withheld {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert_eq!(headers["x-other"], "1");
    assert_eq!(headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
}

#[actix_web::test]
async fn a_request_has_one_id_and_one_trace_on_all_its_way() {
    let app = spawn().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = format!("X-Request-Id: abc-1\r\nX_Request_Id: other\r\nTraceparent: {trace}\r\nTracestate: a=1\r\n");
    let (_, seen) = app.raw_get("/open", &headers).await;
    assert_eq!(seen["headers"]["x-request-id"], json!(["abc-1"]));
    assert_eq!(seen["headers"]["traceparent"], json!([trace]));
    assert_eq!(seen["headers"]["tracestate"], json!(["a=1"]));

    let (_, seen) = app
        .raw_get("/open", "Traceparent: nonsense\r\nTracestate: a=1\r\n")
        .await;
    assert_eq!(seen["headers"]["tracestate"], Value::Null);
    let begun = seen["headers"]["traceparent"][0].as_str().unwrap();
    assert!(begun.len() == 55 && begun.starts_with("00-"), "{begun}");

    let response = app.get("/open").await;
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let seen: Value = response.json().await.unwrap();
    assert_eq!(seen["headers"]["x-request-id"], json!([id]));
}

#[actix_web::test]
async fn a_route_sets_and_removes_headers_in_both_directions_and_no_client_can_say_otherwise() {
    let app = spawn_with(|config| {
        config.routes.push(route(
            r#"{"path": "/ruled", "upstream": "echo", "auth": "none",
                "request_headers": {"set": {"X-Tenant": "acme", "Authorization": "Basic dTpw"}, "remove": ["X-Debug", "accept-language"]},
                "response_headers": {"set": {"Cache-Control": "no-store", "X-Frame-Options": "SAMEORIGIN", "Server": "us"},
                                     "remove": ["x-frame-options", "content-type"]}}"#,
        ));
    })
    .await;
    let sent = "GET /ruled HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\nX-Tenant: other\r\nx_tenant: other\r\n\
                X.Tenant: other\r\nx-debug: 1\r\nX_Debug: 1\r\nAccept-Language: de\r\nAuthorization: Bearer mine\r\n\
                X-Kept: yes\r\n\r\n";
    let answer = app.raw(sent.as_bytes()).await;
    let (status, seen) = parse(&answer);
    assert_eq!(status, 200);
    let arrived = &seen["headers"];
    assert_eq!(arrived["x-tenant"], json!(["acme"]));
    assert_eq!(arrived["authorization"], json!(["Basic dTpw"]));
    assert_eq!(arrived["x-kept"], json!(["yes"]));
    for gone in ["x_tenant", "x.tenant", "x-debug", "x_debug", "accept-language"] {
        assert!(arrived[gone].is_null(), "{gone}: {arrived}");
    }
    let head = answer.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
    let lines: Vec<&str> = head.lines().collect();
    for line in ["cache-control: no-store", "server: us", "x-frame-options: sameorigin"] {
        assert_eq!(
            lines.iter().filter(|known| **known == line).count(),
            1,
            "{line}: {head}"
        );
    }
    assert!(!head.contains("\r\ncontent-type:"), "{head}");
    let (_, seen) = app.raw_get("/open", "X-Tenant: other\r\nx-debug: 1\r\n").await;
    assert_eq!(
        (&seen["headers"]["x-tenant"], &seen["headers"]["x-debug"]),
        (&json!(["other"]), &json!(["1"]))
    );
}
