//! What browsers need of the whole: the web app, the cookie for pages of ours alone, and the stream of events.

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use portcullis::role::Role;
use reqwest::Response;
use serde_json::{Value, json};
use service_kit::clock;
use tempfile::TempDir;

use crate::helpers::{Client, PASSWORD, SignedIn, spawn, spawn_with};
use crate::process::{Place, Process, command};

const COOKIE: &str = "__Host-portcullis-refresh";
const PATIENCE: Duration = Duration::from_secs(20);
const PAGE: &str = "text/html,*/*;q=0.8";

/// A web app of two files.
fn built() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("assets")).unwrap();
    fs::write(directory.path().join("index.html"), "<title>App</title>").unwrap();
    fs::write(directory.path().join("assets/app.js"), "console.log(1)").unwrap();
    directory
}

/// What the gateway that `client` reaches answers to `user` who asks for the stream of events.
async fn ask(client: &Client, user: &SignedIn) -> Response {
    let request = client.request("GET", "/api/auth/events").bearer_auth(&user.access);
    request.send().await.unwrap()
}

/// The stream, once it has begun.
async fn listen(client: &Client, user: &SignedIn) -> Response {
    let mut stream = ask(client, user).await;
    assert_eq!(stream.status(), 200);
    assert_eq!(next(&mut stream).await.as_deref(), Some(": connected\n\n"));
    stream
}

/// One stream at each gateway.
async fn listen_everywhere(client: &Client, user: &SignedIn) -> Vec<Response> {
    let gateways = client.each();
    join_all(gateways.iter().map(|gateway| listen(gateway, user))).await
}

/// What is said next; `None` at an orderly end.
async fn next(stream: &mut Response) -> Option<String> {
    let piece = tokio::time::timeout(PATIENCE, stream.chunk())
        .await
        .expect("something in time");
    piece.unwrap().map(|piece| String::from_utf8(piece.to_vec()).unwrap())
}

/// Makes sure that the next that each stream hears is that its session is over, and why, and that it ends then.
async fn are_over(streams: &mut [Response], code: &str, reason: &str) {
    for stream in streams {
        let said = next(stream).await.unwrap();
        let data = said
            .strip_prefix("event: revoked\ndata: ")
            .unwrap_or_else(|| panic!("{said:?}"));
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!((&data["code"], &data["reason"]), (&json!(code), &json!(reason)));
        assert_eq!(next(stream).await, None);
    }
}

#[tokio::test]
async fn the_web_app_and_the_api_are_served_side_by_side() {
    let app = built();
    let place = Place::new().with("PORTCULLIS_GATEWAY__WEB_ROOT", &app.path().display().to_string());
    let process = Process::start(&place).await;
    let client = &process.client;
    for path in ["/", "/login", "/users"] {
        let answer = client.send(client.request("GET", path).header("accept", PAGE)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (200, "<title>App</title>"),
            "{path}"
        );
        assert!(
            answer.header("content-security-policy").contains("script-src 'self'"),
            "{answer:?}"
        );
    }
    let script = client.send(client.request("GET", "/assets/app.js")).await;
    assert_eq!(script.text, "console.log(1)");
    assert_eq!(script.header("cache-control"), "public, max-age=31536000, immutable");
    for path in ["/home", "/api/auth/me", "/logout", "/api/user"] {
        let answer = client.send(client.request("GET", path).header("accept", PAGE)).await;
        answer.expect(401, json!({"code": "not_authenticated"}));
    }
    for path in [
        "/api/nothing",
        "/internal/feed",
        "/token/nothing",
        "/.well-known/nothing",
    ] {
        let answer = client.send(client.request("GET", path).header("accept", PAGE)).await;
        answer.expect(404, json!({"code": "not_found"}));
    }
    let user = client.register("ada").await;
    client.home(&user.access).await.expect(200, json!({}));
}

#[test]
fn a_web_root_that_cannot_be_served_is_named_with_its_key() {
    let (data, app) = (tempfile::tempdir().unwrap(), built());
    std::os::unix::fs::symlink("/etc/hostname", app.path().join("hostname")).unwrap();
    for arguments in [&["check"][..], &["up"]] {
        let mut portcullis = command(data.path());
        let output = portcullis
            .args(arguments)
            .env("PORTCULLIS_GATEWAY__WEB_ROOT", app.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.contains("gateway.web_root: ") && said.contains("hostname is a link"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_browser_signs_in_refreshes_and_signs_out_by_cookie_from_pages_of_ours_only() {
    let portcullis = spawn().await;
    let client = portcullis.client.each().remove(0);
    client.register("ada").await;
    let own = client.url().to_owned();
    let post = async |path: &str, origin: &str, site: &str, cookie: &str| {
        let request = client
            .request("POST", path)
            .header("x-token-delivery", "cookie")
            .header("origin", origin)
            .header("sec-fetch-site", site)
            .header("cookie", format!("theme=dark; {COOKIE}={cookie}"));
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        client.send(request.json(&body)).await
    };
    let refused = post("/api/auth/login", "https://evil.test", "cross-site", "").await;
    refused.expect(403, json!({"code": "csrf_failed"}));
    assert_eq!(refused.header("set-cookie"), "", "{refused:?}");

    let login = post("/api/auth/login", &own, "same-origin", "").await;
    login.expect(200, json!({"refresh": null}));
    let cookie = login.header("set-cookie").split(['=', ';']).nth(1).unwrap().to_owned();
    assert!(cookie.starts_with("pcr_"), "{login:?}");
    for path in ["/api/auth/refresh", "/api/auth/logout"] {
        post(path, "https://evil.test", "cross-site", &cookie)
            .await
            .expect(403, json!({"code": "csrf_failed"}));
    }
    let refreshed = post("/api/auth/refresh", &own, "same-origin", &cookie).await;
    refreshed.expect(200, json!({"refresh": null}));
    let cookie = refreshed
        .header("set-cookie")
        .split(['=', ';'])
        .nth(1)
        .unwrap()
        .to_owned();
    client.home(&refreshed.field("access")).await.expect(200, json!({}));
    let logout = post("/api/auth/logout", &own, "same-origin", &cookie).await;
    logout.expect(205, Value::Null);
    assert!(logout.header("set-cookie").contains("Max-Age=0"), "{logout:?}");
    client.home_becomes(&refreshed.field("access"), 401).await;
}

#[tokio::test]
async fn a_logout_anywhere_ends_the_streams_of_its_session_at_every_gateway() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    let elsewhere = client.login("ada").await;
    let mut others = listen_everywhere(client, &elsewhere).await;
    let mut streams = listen_everywhere(client, &user).await;
    // A refresh ends nothing: the session goes on, and so do its streams.
    client.refresh(&user.refresh).await.expect(200, json!({}));
    client.logout(&user).await.expect(205, Value::Null);
    are_over(&mut streams, "token_not_valid", "logged_out").await;
    let refused = client.get("/api/auth/events", &user.access).await;
    refused.expect(401, json!({"code": "token_not_valid"}));

    let changing = client
        .request("POST", "/api/auth/password")
        .bearer_auth(&client.login("ada").await.access);
    let body = json!({"current_password": PASSWORD, "new_password": "battery staple"});
    client.send(changing.json(&body)).await.expect(204, Value::Null);
    are_over(&mut others, "token_not_valid", "password_changed").await;
}

#[tokio::test]
async fn an_operator_who_deactivates_an_account_ends_its_streams() {
    let place = Place::new();
    let process = Process::start(&place).await;
    let user = process.client.register("ada").await;
    let mut streams = listen_everywhere(&process.client, &user).await;
    let deactivated = place.command().args(["users", "deactivate", "ada"]).output().unwrap();
    assert!(deactivated.status.success(), "{deactivated:?}");
    are_over(&mut streams, "user_inactive", "deactivated").await;
}

#[tokio::test]
async fn a_stream_survives_an_outage_of_the_token_service_and_hears_what_comes_after_it() {
    let mut portcullis = spawn_with(|config| config.token.max_staleness = Duration::from_millis(1500)).await;
    let client = portcullis.client.clone();
    let user = client.register("ada").await;
    let mut streams = listen_everywhere(&client, &user).await;
    portcullis.kill(Role::Token).await;
    for gateway in client.each() {
        let refused = async {
            while ask(&gateway, &user).await.status() != 503 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, refused)
            .await
            .expect("it is noticed in time");
    }
    portcullis.start(Role::Token).await;
    client.home_becomes(&user.access, 200).await;
    client.logout(&user).await.expect(205, Value::Null);
    are_over(&mut streams, "token_not_valid", "logged_out").await;
}

#[tokio::test]
async fn open_streams_do_not_hold_up_the_end() {
    let place = Place::new();
    let process = Process::start(&place).await;
    let user = process.client.register("ada").await;
    let mut streams = listen_everywhere(&process.client, &user).await;
    let started = clock::instant();
    let ending = std::thread::spawn(move || process.terminate());
    for stream in &mut streams {
        assert_eq!(next(stream).await, None, "an orderly end");
    }
    assert!(ending.join().unwrap(), "every process ended in order");
    // Requests that do not end by themselves would be given ten seconds.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}
