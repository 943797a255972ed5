//! The stream that tells a page that its session is over.

use std::time::Duration;

use portcullis_client::wire::Reason;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use service_kit::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::helpers::{
    PATIENCE, TestApp, config, read, read_head, route, spawn, spawn_unsynced, spawn_with, start, until,
};
use crate::issuer::Issuer;

const EVENTS: &str = "/api/auth/events";

async fn open(app: &TestApp, token: &str) -> Response {
    let request = app.request(Method::GET, EVENTS).bearer_auth(token);
    request.send().await.unwrap()
}

/// A stream of `session` that has begun.
async fn listen(app: &TestApp, session: &str) -> Response {
    let mut stream = open(app, &app.issuer.token("7", session)).await;
    assert_eq!(stream.status(), 200);
    assert_eq!(next(&mut stream).await.as_deref(), Some(": connected\n\n"));
    stream
}

/// What is said next; `None` at an orderly end.
async fn next(stream: &mut Response) -> Option<String> {
    let piece = tokio::time::timeout(PATIENCE, stream.chunk())
        .await
        .expect("something in time");
    piece.unwrap().map(|piece| String::from_utf8(piece.to_vec()).unwrap())
}

/// What the event `revoked` says.
fn farewell(said: &str) -> Value {
    let data = said
        .strip_prefix("event: revoked\ndata: ")
        .unwrap_or_else(|| panic!("{said:?}"));
    serde_json::from_str(data.strip_suffix("\n\n").unwrap()).unwrap()
}

#[actix_web::test]
async fn a_stream_begins_at_once_and_is_kept_by_nobody_on_its_way() {
    let app = spawn().await;
    let stream = listen(&app, "mine").await;
    let headers = stream.headers();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(!headers.contains_key("content-length") && !headers.contains_key("content-encoding"));
    assert_eq!(app.echo.seen(), 0, "nobody else is asked");
}

#[actix_web::test]
async fn a_revocation_ends_the_streams_of_its_session_within_250_ms_and_no_others() {
    let app = spawn().await;
    let mut other = listen(&app, "other").await;
    let mut fastest = Duration::MAX;
    for round in 0..5 {
        let session = format!("mine-{round}");
        let mut tabs = [listen(&app, &session).await, listen(&app, &session).await];
        let revoked_at = clock::instant();
        app.issuer.revoke_session(&session, Reason::LoggedOut);
        for stream in &mut tabs {
            let said = next(stream).await.unwrap();
            assert_eq!(farewell(&said)["code"], "token_not_valid");
            assert_eq!(next(stream).await, None);
        }
        fastest = fastest.min(revoked_at.elapsed());
    }
    // A busy machine may be slow now and then, but not each time.
    assert!(fastest < Duration::from_millis(250), "{fastest:?}");
    app.issuer.revoke_session("other", Reason::Reuse);
    assert_eq!(
        farewell(&next(&mut other).await.unwrap())["reason"],
        "reuse",
        "and this is the first it hears"
    );
}

#[actix_web::test]
async fn the_event_says_why_as_refusals_do() {
    let app = spawn().await;
    for (reason, code, detail) in [
        (Reason::LoggedOut, "token_not_valid", "signed out"),
        (Reason::Deactivated, "user_inactive", "deactivated"),
        (Reason::Deleted, "user_not_found", "deleted"),
        (Reason::PasswordChanged, "token_not_valid", "password"),
        (Reason::Reuse, "token_not_valid", "used again"),
        (Reason::Administrator, "token_not_valid", "administrator"),
    ] {
        let token = app.issuer.token("7", reason.as_str());
        let mut stream = open(&app, &token).await;
        next(&mut stream).await.unwrap();
        app.issuer.revoke_session(reason.as_str(), reason);
        let farewell = farewell(&next(&mut stream).await.unwrap());
        assert_eq!(
            (&farewell["code"], &farewell["reason"]),
            (&json!(code), &json!(reason.as_str()))
        );
        assert!(farewell["detail"].as_str().unwrap().contains(detail), "{farewell}");
        let (status, refusal) = read(open(&app, &token).await).await;
        assert_eq!((status, &refusal["code"]), (401, &json!(code)));
    }
}

#[actix_web::test]
async fn a_stream_ends_without_a_word_when_its_token_expires() {
    let app = spawn().await;
    let token = app
        .issuer
        .token_with(|claims| claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 2));
    let started = clock::instant();
    let mut stream = open(&app, &token).await;
    assert_eq!(next(&mut stream).await.as_deref(), Some(": connected\n\n"));
    assert_eq!(next(&mut stream).await, None);
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "long before it would say that it is still there"
    );
    assert_eq!(open(&app, &token).await.status(), 401);
}

#[actix_web::test]
async fn only_users_with_a_good_token_get_a_stream() {
    let app = spawn().await;
    let service = app.issuer.token_with(|claims| claims["token_type"] = json!("service"));
    for token in ["garbage", service.as_str()] {
        let (status, body) = read(open(&app, token).await).await;
        assert_eq!((status, &body["code"]), (401, &json!("token_not_valid")));
    }
    assert_eq!(app.get(EVENTS).await.status(), 401);
    let in_query = app.get(&format!("{EVENTS}?access_token={}", app.token())).await;
    assert_eq!(in_query.status(), 401);

    let issuer = Issuer::start();
    issuer.fall_silent();
    let stale = spawn_unsynced(|_| {}, Duration::from_mins(1), issuer);
    let response = open(&stale, &stale.token()).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
}

#[actix_web::test]
async fn there_is_one_stream_at_one_path_by_get() {
    let app = spawn().await;
    let ask =
        async |method: Method, path: &str| app.request(method, path).bearer_auth(app.token()).send().await.unwrap();
    for method in [Method::POST, Method::HEAD, Method::DELETE, Method::OPTIONS] {
        let response = ask(method, EVENTS).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &"GET".parse().unwrap())
        );
    }
    assert_eq!(ask(Method::GET, "/api/auth/events/more").await.status(), 404);
    assert_eq!(ask(Method::GET, "/api/auth/events/").await.status(), 200);
    let app = spawn_with(|config| {
        config
            .routes
            .push(route(r#"{"path": "/api/auth/events", "upstream": "echo"}"#));
    })
    .await;
    assert_eq!(
        read(open(&app, &app.token()).await).await.1["path"],
        EVENTS,
        "an operator's route wins"
    );
}

/// Waits until the metrics have the gauge at a value that `fits`. Other tests in this process move it too, for a while.
async fn until_gauge(app: &TestApp, fits: impl Fn(f64) -> bool) {
    let waiting = async {
        loop {
            let url = format!("http://{}/metrics", app.running.admin_address);
            let metrics = app.http.get(url).send().await.unwrap().text().await.unwrap();
            let value = metrics.lines().find_map(|line| line.strip_prefix("event_streams "));
            if value.is_some_and(|value| fits(value.parse().unwrap())) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(3 * PATIENCE, waiting)
        .await
        .expect("it comes to be so in time");
}

#[actix_web::test]
async fn streams_are_counted_and_bounded_and_one_whose_client_goes_away_is_over() {
    let app = spawn_with(|config| config.max_event_streams = 2).await;
    let streams = [listen(&app, "one").await, listen(&app, "two").await];
    until_gauge(&app, |open| open >= 2.0).await;
    let response = open(&app, &app.token()).await;
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, body) = read(response).await;
    assert_eq!((status, &body["code"]), (503, &json!("busy")));
    drop(streams);
    until(|| async { open(&app, &app.token()).await.status() == 200 }).await;
    until_gauge(&app, |open| open == 0.0).await;
}

#[actix_web::test]
async fn streams_leave_connections_to_everybody_else() {
    let app = spawn_with(|config| (config.max_connections, config.max_event_streams) = (4, 2)).await;
    let _streams = [listen(&app, "one").await, listen(&app, "two").await];
    let head = format!("Authorization: Bearer {}\r\n", app.token());
    let (status, body) = app.raw_get(EVENTS, &head).await;
    assert_eq!((status, &body["code"]), (503, &json!("busy")));
    assert_eq!(app.raw_get("/open", "").await.0, 200, "and others are still served");

    let mut config = config(app.echo.address);
    (config.max_connections, config.max_event_streams) = (4, 4);
    let refusal = start(config, app.issuer.address, PATIENCE)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refusal.contains("gateway.max_event_streams") && refusal.contains("2 or less"),
        "{refusal}"
    );
}

#[actix_web::test]
async fn one_user_cannot_take_every_stream() {
    let app = spawn().await;
    let mut streams = Vec::new();
    for round in 0..20 {
        streams.push(listen(&app, &format!("session-{round}")).await);
    }
    let (status, body) = read(open(&app, &app.token()).await).await;
    assert_eq!((status, &body["code"]), (429, &json!("too_many_streams")));
    assert_eq!(
        open(&app, &app.issuer.token("8", "other")).await.status(),
        StatusCode::OK
    );
}

#[actix_web::test]
async fn stopping_ends_streams_in_order_and_does_not_wait_for_them() {
    let app = spawn().await;
    let mut streams = [listen(&app, "one").await, listen(&app, "two").await];
    let stopping = tokio::spawn(app.running.stop());
    for stream in &mut streams {
        assert_eq!(next(stream).await, None);
    }
    // Requests that do not end by themselves would be given ten seconds.
    tokio::time::timeout(Duration::from_secs(5), stopping)
        .await
        .expect("it stops")
        .unwrap();
}

#[actix_web::test]
async fn the_connection_of_a_stream_that_ended_serves_on() {
    let app = spawn().await;
    let mut connection = TcpStream::connect(app.address).await.unwrap();
    let token = app.issuer.token("7", "mine");
    let head = format!("GET {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    read_head(&mut connection).await;
    app.issuer.revoke_session("mine", Reason::LoggedOut);
    let mut said = Vec::new();
    while !said.ends_with(b"0\r\n\r\n") {
        assert_ne!(connection.read_buf(&mut said).await.unwrap(), 0);
    }
    connection
        .write_all(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(read_head(&mut connection).await.starts_with("HTTP/1.1 200 OK"));
}

#[actix_web::test]
async fn a_client_of_http_1_0_gets_no_chunks() {
    let app = spawn().await;
    let mut connection = TcpStream::connect(app.address).await.unwrap();
    let token = app.issuer.token("7", "mine");
    let head = format!("GET {EVENTS} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    let begun = read_head(&mut connection).await;
    app.issuer.revoke_session("mine", Reason::LoggedOut);
    let mut rest = String::new();
    connection.read_to_string(&mut rest).await.unwrap();
    let answer = begun + &rest;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("chunked"), "{head}");
    let farewell = body.strip_prefix(": connected\n\n").unwrap();
    assert!(
        farewell.starts_with("event: revoked\ndata: ") && farewell.ends_with("}\n\n"),
        "{body:?}"
    );
}
