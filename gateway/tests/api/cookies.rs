//! The refresh cookie: every way in which another page, or another service, might get to use it.

use std::net::SocketAddr;

use portcullis_gateway::Upstream;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::helpers::{ORIGIN, TestApp, listener, odd, parse, read_head, route, spawn, spawn_with, url};

const COOKIE: &str = "__Host-portcullis-refresh=pcr_secret";
const ASKING: &str = "X-Token-Delivery: cookie\r\n";
/// Where the cookie is brought to.
const EXCHANGES: [&str; 4] = ["/api/auth/refresh", "/token/refresh", "/api/auth/logout", "/logout"];
/// Where it is only given out.
const LOGINS: [&str; 3] = ["/api/auth/login", "/api/auth/register", "/token"];

/// `POST path` from a browser that has the cookie among others and sends `headers`.
async fn post(app: &TestApp, path: &str, headers: &str) -> (u16, Value) {
    let token = app.token();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: gate.test:8000\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 2\r\nCookie: theme=dark; {COOKIE}; a=b\r\n{headers}\r\n{{}}"
    );
    parse(&app.raw(head.as_bytes()).await)
}

#[actix_web::test]
async fn the_cookie_reaches_refresh_and_logout_of_whoever_asks_for_it_and_nothing_else() {
    let app = spawn().await;
    let own = format!("{ASKING}Origin: http://gate.test:8000\r\nSec-Fetch-Site: same-origin\r\n");
    for path in EXCHANGES
        .iter()
        .flat_map(|path| [(*path).to_owned(), format!("{path}/")])
    {
        let (status, seen) = post(&app, &path, &own).await;
        assert_eq!(
            (status, &seen["headers"]["cookie"]),
            (200, &json!([format!("theme=dark; {COOKIE}; a=b")])),
            "{path}"
        );
        assert_eq!(seen["headers"]["x-token-delivery"], json!(["cookie"]), "{path}");
        // In the ordinary mode the cookie is not read, and so it is not there.
        let (status, seen) = post(&app, &path, "").await;
        assert_eq!(
            (status, &seen["headers"]["cookie"]),
            (200, &json!(["theme=dark; a=b"])),
            "{path}"
        );
    }
    let others = [
        "/home",
        "/open",
        "/optional",
        "/api/auth/me",
        "/api/user",
        "/api/auth/sessions",
        "/oauth/token",
    ];
    for path in LOGINS.iter().chain(&others) {
        for headers in [own.as_str(), ""] {
            let (status, seen) = post(&app, path, headers).await;
            assert_eq!(
                (status, &seen["headers"]["cookie"]),
                (200, &json!(["theme=dark; a=b"])),
                "{path}"
            );
        }
    }
}

#[actix_web::test]
async fn of_several_cookie_headers_only_the_refresh_cookie_goes() {
    let app = spawn().await;
    let cookies = format!(
        "Cookie: {COOKIE}\r\nCookie: b=c;{COOKIE}\r\nCookie: x__Host-portcullis-refresh=1; __host-portcullis-refresh=2\r\n"
    );
    let (_, seen) = post(&app, "/open", &cookies).await;
    assert_eq!(
        seen["headers"]["cookie"],
        json!([
            "theme=dark; a=b",
            "b=c",
            "x__Host-portcullis-refresh=1; __host-portcullis-refresh=2"
        ])
    );
}

#[actix_web::test]
async fn pages_of_other_origins_cannot_use_the_cookie() {
    let app = spawn().await;
    for (what, headers) in [
        (
            "a fetch from another site",
            "Origin: https://evil.test\r\nSec-Fetch-Site: cross-site\r\n",
        ),
        (
            "a sibling subdomain",
            "Origin: http://evil.gate.test\r\nSec-Fetch-Site: same-site\r\n",
        ),
        (
            "another port of the machine",
            "Origin: http://gate.test:9999\r\nSec-Fetch-Site: same-site\r\n",
        ),
        ("a sandboxed frame", "Origin: null\r\nSec-Fetch-Site: cross-site\r\n"),
        ("a browser that says no origin", "Sec-Fetch-Site: cross-site\r\n"),
        ("an old browser", "Origin: https://evil.test\r\n"),
        ("an old browser's sandboxed frame", "Origin: null\r\n"),
        ("our name without the port", "Origin: http://gate.test\r\n"),
        ("our name as a user's", "Origin: http://gate.test:8000@evil.test\r\n"),
        (
            "two origins",
            "Origin: http://gate.test:8000\r\nOrigin: https://evil.test\r\n",
        ),
        (
            "two deliveries",
            "X-Token-Delivery: body\r\nOrigin: https://evil.test\r\n",
        ),
    ] {
        for path in EXCHANGES.iter().chain(&LOGINS) {
            let (status, body) = post(&app, path, &format!("{headers}{ASKING}")).await;
            assert_eq!(
                (status, &body["code"]),
                (403, &json!("csrf_failed")),
                "{what} at {path}"
            );
            let detail = body["detail"].as_str().unwrap();
            assert!(detail.contains("gateway.cors_origins"), "{detail}");
        }
    }
    assert_eq!(app.echo.seen(), 0);
}

#[actix_web::test]
async fn a_form_of_another_site_which_cannot_send_the_header_brings_no_cookie() {
    let app = spawn().await;
    let form = "Origin: https://evil.test\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n";
    for path in EXCHANGES {
        let (status, seen) = post(&app, path, form).await;
        assert_eq!(
            (status, &seen["headers"]["cookie"]),
            (200, &json!(["theme=dark; a=b"])),
            "{path}"
        );
    }
}

#[actix_web::test]
async fn own_pages_listed_origins_and_programs_may_use_the_cookie() {
    let app = spawn().await;
    let sibling = format!("Origin: {ORIGIN}\r\nSec-Fetch-Site: same-site\r\n");
    for headers in [
        "Origin: http://gate.test:8000\r\nSec-Fetch-Site: same-origin\r\n",
        "Origin: https://gate.test:8000\r\n",
        "Sec-Fetch-Site: none\r\n",
        "",
        sibling.as_str(),
    ] {
        for path in EXCHANGES.iter().chain(&LOGINS) {
            assert_eq!(
                post(&app, path, &format!("{headers}{ASKING}")).await.0,
                200,
                "{headers} at {path}"
            );
        }
    }
}

#[actix_web::test]
async fn a_page_of_another_origin_may_not_even_send_the_header() {
    let app = spawn().await;
    for (origin, allowed) in [(ORIGIN, true), ("https://evil.test", false), ("null", false)] {
        let response = app
            .request(Method::OPTIONS, "/api/auth/refresh")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "x-token-delivery")
            .send()
            .await
            .unwrap();
        assert_eq!(
            response.headers().contains_key("access-control-allow-headers"),
            allowed,
            "{origin}"
        );
    }
}

#[actix_web::test]
async fn a_route_of_an_operator_to_another_service_never_gets_the_cookie_whatever_its_path() {
    let app = spawn_with(|config| {
        for (path, upstream) in [
            ("/api/auth/refresh", "echo"),
            ("/logout", "echo"),
            // Other services of ours have no use for it either.
            ("/api/auth/logout", "identity"),
        ] {
            config.routes.push(route(&format!(
                r#"{{"path": "{path}", "upstream": "{upstream}", "auth": "none"}}"#
            )));
        }
    })
    .await;
    for (path, cookies) in [
        ("/api/auth/refresh", "theme=dark; a=b".to_owned()),
        ("/logout", "theme=dark; a=b".to_owned()),
        ("/api/auth/logout", "theme=dark; a=b".to_owned()),
        ("/token/refresh", format!("theme=dark; {COOKIE}; a=b")),
    ] {
        let (status, seen) = post(&app, path, ASKING).await;
        assert_eq!((status, &seen["headers"]["cookie"]), (200, &json!([cookies])), "{path}");
    }
}

#[actix_web::test]
async fn a_route_of_an_operator_over_a_built_in_one_to_the_same_service_gets_the_cookie_as_that_did() {
    let app = spawn_with(|config| {
        for (path, upstream, setting) in [
            ("/api/auth/refresh", "token", r#""timeout": "5s""#),
            ("/token/refresh", "token", r#""methods": ["POST"]"#),
            ("/api/auth/logout", "token", r#""host": "gate.test""#),
            ("/logout", "token", r#""body_limit": 100"#),
            ("/api/auth/login", "identity", r#""timeout": "5s""#),
        ] {
            config.routes.push(route(&format!(
                r#"{{"path": "{path}", "upstream": "{upstream}", "auth": "optional", {setting}}}"#
            )));
        }
    })
    .await;
    let brought = format!("theme=dark; {COOKIE}; a=b");
    for (path, headers, cookies) in [
        ("/api/auth/refresh", ASKING, brought.as_str()),
        ("/token/refresh", ASKING, &brought),
        ("/api/auth/logout", ASKING, &brought),
        ("/logout", ASKING, &brought),
        ("/api/auth/refresh", "", "theme=dark; a=b"),
        ("/api/auth/login", ASKING, "theme=dark; a=b"),
    ] {
        let (status, seen) = post(&app, path, headers).await;
        assert_eq!((status, &seen["headers"]["cookie"]), (200, &json!([cookies])), "{path}");
        // Those of ours ask for a token or for none; who is named went by the operator's.
        assert_eq!(seen["headers"]["x-user-id"], json!(["7"]), "{path}");
    }
}

/// An upstream that would set the cookie, however it is asked.
async fn setter() -> SocketAddr {
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_head(&mut stream).await;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n\
                 Set-Cookie: {COOKIE}; Secure; Path=/\r\nSet-Cookie: ={COOKIE}\r\nSet-Cookie: c=d\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[actix_web::test]
async fn only_the_services_that_give_out_refresh_tokens_set_the_cookie() {
    let address = setter().await;
    let app = spawn_with(|config| {
        odd(config, address, "");
        for name in ["home", "token", "identity"] {
            config
                .upstreams
                .insert(name.to_owned(), Upstream::of(vec![url(address)]));
        }
    })
    .await;
    let all = [
        "a=b",
        &format!("{COOKIE}; Secure; Path=/"),
        &format!("={COOKIE}"),
        "c=d",
    ];
    for (path, expected) in [
        ("/odd", &["a=b", "c=d"][..]),
        ("/home", &["a=b", "c=d"]),
        ("/api/auth/login", &all),
        ("/api/auth/refresh", &all),
    ] {
        let response = app
            .request(Method::GET, path)
            .bearer_auth(app.token())
            .send()
            .await
            .unwrap();
        let set: Vec<&str> = response
            .headers()
            .get_all("set-cookie")
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        assert_eq!((response.status().as_u16(), set), (200, expected.to_vec()), "{path}");
    }
}

#[actix_web::test]
async fn a_route_of_an_operator_lets_the_cookie_be_set_where_a_built_in_one_to_the_same_service_did() {
    let address = setter().await;
    let app = spawn_with(|config| {
        for name in ["home", "token", "identity"] {
            config
                .upstreams
                .insert(name.to_owned(), Upstream::of(vec![url(address)]));
        }
        for (path, upstream, setting) in [
            ("/api/auth/login", "identity", r#""timeout": "5s""#),
            ("/api/auth/register", "identity", r#""host": "127.0.0.1""#),
            ("/token/refresh", "token", r#""methods": ["GET"]"#),
            ("/token", "home", r#""timeout": "5s""#),
            ("/api/auth/refresh", "home", r#""timeout": "5s""#),
            ("/orders", "identity", r#""timeout": "5s""#),
        ] {
            config.routes.push(route(&format!(
                r#"{{"path": "{path}", "upstream": "{upstream}", "auth": "none", {setting}}}"#
            )));
        }
    })
    .await;
    for (path, is_set) in [
        ("/api/auth/login", true),
        ("/api/auth/register", true),
        ("/token/refresh", true),
        ("/token", false),
        ("/api/auth/refresh", false),
        ("/orders", false),
    ] {
        let response = app.get(path).await;
        let mut set = response.headers().get_all("set-cookie").iter();
        let cookie = format!("{COOKIE}; Secure; Path=/");
        assert_eq!(
            (
                response.status().as_u16(),
                set.any(|value| value.as_bytes() == cookie.as_bytes())
            ),
            (200, is_set),
            "{path}"
        );
    }
}
