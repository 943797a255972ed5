//! Answers of services that go on and on, and what ends them.

use std::time::Duration;

use portcullis_client::wire::Reason;
use portcullis_gateway::Config;
use reqwest::{Method, Response, Version};
use serde_json::json;
use service_kit::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::helpers::{PATIENCE, TestApp, listener, odd, read_head, route, spawn_with};
use crate::tls::{self, Files, Pair};

/// A service that answers everything with a head, and then with whatever the test says to all of them.
async fn spawn_stream(head: &'static str) -> (TestApp, mpsc::UnboundedReceiver<TcpStream>) {
    spawn_stream_with(head, |_| {}).await
}

async fn spawn_stream_with(
    head: &'static str,
    change: impl FnOnce(&mut Config),
) -> (TestApp, mpsc::UnboundedReceiver<TcpStream>) {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let app = spawn_with(|config| {
        change(config);
        odd(config, address, "");
        config.routes.push(route(r#"{"path": "/mine", "upstream": "odd"}"#));
    })
    .await;
    let (accepted, connections) = mpsc::unbounded_channel();
    tokio::spawn(answer_all(service, head, accepted));
    (app, connections)
}

async fn answer_all(service: TcpListener, head: &'static str, accepted: mpsc::UnboundedSender<TcpStream>) {
    while let Ok((mut stream, _)) = service.accept().await {
        read_head(&mut stream).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = accepted.send(stream);
    }
}

/// More than the buffers of all sockets on the way can hold.
const LARGE: usize = 48 * 1024 * 1024;

#[actix_web::test]
async fn a_client_that_sends_all_before_it_reads_anything_is_served_by_a_service_that_answers_as_it_reads() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, r#", "body_limit": 1000000000"#)).await;
    let serving = async {
        let (stream, _) = service.accept().await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let answer = async {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", LARGE / 16);
            writing.write_all(head.as_bytes()).await.unwrap();
            writing.write_all(&vec![b'a'; LARGE / 16 - 1]).await.unwrap();
            writing
        };
        let request = async {
            let (mut buffer, mut read) = (vec![0; 64 * 1024], 0);
            while read < LARGE {
                let more = reading.read(&mut buffer).await.unwrap();
                assert_ne!(more, 0, "all of it comes");
                read += more;
            }
        };
        let (mut writing, ()) = tokio::join!(answer, request);
        writing.write_all(b"a").await.unwrap();
    };
    let asking = async {
        let mut client = TcpStream::connect(app.address).await.unwrap();
        let head = format!("POST /odd HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![b'b'; LARGE]).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let both = async { tokio::join!(asking, serving).0 };
    let answer = tokio::time::timeout(PATIENCE, both)
        .await
        .expect("nobody waits for the other");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(answer.ends_with(&vec![b'a'; LARGE / 16]));
}

async fn listen(app: &TestApp, path: &str, session: &str) -> Response {
    let request = app.request(Method::GET, path);
    let response = request
        .bearer_auth(app.issuer.token("7", session))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    response
}

async fn chunk(response: &mut Response) -> Option<String> {
    let piece = tokio::time::timeout(PATIENCE, response.chunk()).await.expect("in time");
    piece.unwrap().map(|piece| String::from_utf8(piece.to_vec()).unwrap())
}

/// Until the gateway has closed its connection to the service.
async fn until_closed(connection: &mut TcpStream) {
    let mut rest = Vec::new();
    let closing = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut rest));
    let _ = closing.await.expect("it is closed in time");
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\r\ndata: 1\n\n";

#[actix_web::test]
async fn a_services_stream_of_events_ends_with_its_session_within_250_ms_and_a_download_does_not() {
    let (app, mut connections) = spawn_stream(EVENTS).await;
    let mut other = listen(&app, "/mine", "other").await;
    let mut of_other = connections.recv().await.unwrap();
    assert_eq!(chunk(&mut other).await.as_deref(), Some("data: 1\n\n"));
    let mut fastest = Duration::MAX;
    for round in 0..5 {
        let session = format!("mine-{round}");
        let mut stream = listen(&app, "/mine", &session).await;
        assert_eq!(chunk(&mut stream).await.as_deref(), Some("data: 1\n\n"));
        let mut connection = connections.recv().await.unwrap();
        let revoked_at = clock::instant();
        app.issuer.revoke_session(&session, Reason::LoggedOut);
        assert_eq!(chunk(&mut stream).await, None, "in order");
        until_closed(&mut connection).await;
        fastest = fastest.min(revoked_at.elapsed());
    }
    println!("revoked to ended on both sides, best of 5: {fastest:?}");
    assert!(fastest < Duration::from_millis(250), "{fastest:?}");
    of_other.write_all(b"data: 2\n\n").await.unwrap();
    assert_eq!(chunk(&mut other).await.as_deref(), Some("data: 2\n\n"));

    let (app, mut connections) = spawn_stream("HTTP/1.1 200 OK\r\n\r\nabc").await;
    let mut download = listen(&app, "/mine", "mine").await;
    let mut connection = connections.recv().await.unwrap();
    assert_eq!(chunk(&mut download).await.as_deref(), Some("abc"));
    app.issuer.revoke_session("mine", Reason::LoggedOut);
    let token = app.issuer.token("7", "mine");
    while app
        .request(Method::GET, "/mine")
        .bearer_auth(&token)
        .send()
        .await
        .unwrap()
        .status()
        != 401
    {
        drop(connections.recv().await);
    }
    connection.write_all(b"def").await.unwrap();
    drop(connection);
    assert_eq!(chunk(&mut download).await.as_deref(), Some("def"));
    assert_eq!(chunk(&mut download).await, None);
}

#[actix_web::test]
async fn a_stream_that_nobody_had_to_show_a_token_for_ends_when_the_gateway_stops() {
    let (app, mut connections) = spawn_stream(EVENTS).await;
    let mut stream = app.get("/odd").await;
    assert_eq!(chunk(&mut stream).await.as_deref(), Some("data: 1\n\n"));
    let mut connection = connections.recv().await.unwrap();
    let stopping = tokio::spawn(app.running.stop());
    assert_eq!(chunk(&mut stream).await, None);
    until_closed(&mut connection).await;
    tokio::time::timeout(Duration::from_secs(5), stopping)
        .await
        .expect("it stops")
        .unwrap();
}

#[actix_web::test]
async fn a_stream_ends_within_250_ms_of_when_its_token_expires_and_so_does_its_connection_for_an_old_client() {
    let (app, mut connections) = spawn_stream(EVENTS).await;
    let now = service_kit::Clock::system().now().as_second();
    let mut clients = Vec::new();
    for seconds in 3..6 {
        let token = app.issuer.token_with(|claims| claims["exp"] = json!(now + seconds));
        let mut client = TcpStream::connect(app.address).await.unwrap();
        let head = format!("GET /mine HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let connection = tokio::time::timeout(PATIENCE, connections.recv()).await;
        clients.push((client, connection.expect("it is let in").unwrap(), now + seconds));
    }
    let mut late = Vec::new();
    for (client, service, expires) in &mut clients {
        let mut answer = String::new();
        let reading = tokio::time::timeout(PATIENCE, client.read_to_string(&mut answer));
        reading.await.expect("it ends").unwrap();
        assert!(answer.ends_with("\r\n\r\ndata: 1\n\n"), "{answer}");
        until_closed(service).await;
        late.push(service_kit::Clock::system().now().as_millisecond() - *expires * 1000);
    }
    println!("expired to ended: {late:?} ms");
    assert!(late.iter().all(|late| *late >= 0), "{late:?}");
    // A busy machine may be slow now and then, but not each time.
    assert!(late.iter().any(|late| *late < 250), "{late:?}");
}

#[actix_web::test]
async fn a_stream_that_is_quiet_for_long_ends_in_order_and_a_route_may_allow_for_more() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let app = spawn_with(|config| {
        config.body_timeout = Duration::from_millis(200);
        odd(config, address, "");
        // Numbers are those of the whole process.
        config
            .upstreams
            .insert("quiet".to_owned(), config.upstreams["odd"].clone());
        for of_route in [r#""/quiet""#, r#""/patient", "body_timeout": "1h""#] {
            let text = format!(r#"{{"upstream": "quiet", "auth": "none", "path": {of_route}}}"#);
            config.routes.push(route(&text));
        }
    })
    .await;
    let (accepted, mut connections) = mpsc::unbounded_channel();
    tokio::spawn(answer_all(service, EVENTS, accepted));
    let mut patient = listen(&app, "/patient", "s").await;
    let mut kept = connections.recv().await.unwrap();
    assert_eq!(chunk(&mut patient).await.as_deref(), Some("data: 1\n\n"));
    // More often than a target may fail in a row.
    for _ in 0..7 {
        let mut stream = listen(&app, "/quiet", "s").await;
        assert_eq!(chunk(&mut stream).await.as_deref(), Some("data: 1\n\n"));
        assert_eq!(chunk(&mut stream).await, None, "an orderly end");
        until_closed(&mut connections.recv().await.unwrap()).await;
    }
    kept.write_all(b"data: 2\n\n").await.unwrap();
    assert_eq!(chunk(&mut patient).await.as_deref(), Some("data: 2\n\n"));
    let metrics = format!("http://{}/metrics", app.running.admin_address);
    let metrics = app.http.get(metrics).send().await.unwrap().text().await.unwrap();
    let ejected = metrics
        .lines()
        .filter(|line| line.starts_with("upstream_ejections_total") && line.contains("\"quiet\""))
        .count();
    assert_eq!(ejected, 0, "quiet is no failure");
}

#[actix_web::test]
async fn a_stream_of_whoever_does_not_read_it_ends_for_its_service_all_the_same() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    for (second, version) in [(false, Version::HTTP_11), (true, Version::HTTP_2)] {
        let (app, mut connections) = spawn_stream_with(EVENTS, |config| {
            config.tls = Some(files.tls());
            // Nobody is given up for not reading.
            config.body_timeout = Duration::from_hours(1);
        })
        .await;
        let client = tls::client(
            &app,
            &pair,
            |builder| if second { builder } else { builder.http1_only() },
        );
        let request = client.get(tls::url(&app, "/mine"));
        let unread = request.bearer_auth(app.issuer.token("7", "mine")).send().await.unwrap();
        assert_eq!((unread.status().as_u16(), unread.version()), (200, version));
        let mut service = connections.recv().await.unwrap();
        // Until nothing more is taken.
        let chunk = [b"10000\r\n", &vec![b'x'; 0x10000][..], b"\r\n"].concat();
        while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), service.write_all(&chunk)).await {
            written.expect("it goes on");
        }
        app.issuer.revoke_session("mine", Reason::LoggedOut);
        let ending = async { while service.write_all(&chunk).await.is_ok() {} };
        tokio::time::timeout(PATIENCE, ending).await.expect("it ends");
    }
}
