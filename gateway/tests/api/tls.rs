//! TLS toward clients, and HTTP/2 in it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portcullis_gateway::{Config, Tls};
use rcgen::{CertificateParams, KeyPair};
use reqwest::Version;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::helpers::{PATIENCE, TestApp, listener, odd, read, read_head, route, spawn_with, until};

/// What the certificates are for.
const NAME: &str = "gateway.test";

/// A certificate that vouches for itself, and its key, both PEM.
pub(crate) struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::made(|_| {})
    }

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([NAME.to_owned(), "localhost".to_owned()]).unwrap();
        change(&mut params);
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// Where the gateway finds the two.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn of(pair: &Pair) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write(&pair.certificate, &pair.key);
        files
    }

    fn write(&self, certificate: &str, key: &str) {
        std::fs::write(self.path("certificate.pem"), certificate).unwrap();
        std::fs::write(self.path("key.pem"), key).unwrap();
        std::fs::set_permissions(self.path("key.pem"), PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn tls(&self) -> Tls {
        Tls {
            certificate: self.path("certificate.pem"),
            key: self.path("key.pem"),
        }
    }
}

pub(crate) async fn spawn(files: &Files, change: impl FnOnce(&mut Config)) -> TestApp {
    spawn_with(|config| {
        config.tls = Some(files.tls());
        change(config);
    })
    .await
}

pub(crate) fn client(
    app: &TestApp,
    pair: &Pair,
    change: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> reqwest::Client {
    let trusted = reqwest::Certificate::from_pem(pair.certificate.as_bytes()).unwrap();
    let builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .tls_certs_only([trusted])
        .resolve(NAME, app.address)
        .resolve("localhost", app.address);
    change(builder).build().unwrap()
}

pub(crate) fn url(app: &TestApp, path: &str) -> String {
    format!("https://{NAME}:{}{path}", app.address.port())
}

/// A connection that trusts `pair` and speaks `protocol` in it.
pub(crate) async fn connect(app: &TestApp, pairs: &[&Pair], protocol: &str) -> std::io::Result<TlsStream<TcpStream>> {
    secure(TcpStream::connect(app.address).await?, pairs, protocol).await
}

/// The same, over `stream`.
pub(crate) async fn secure(
    stream: TcpStream,
    pairs: &[&Pair],
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut trusted = RootCertStore::empty();
    for pair in pairs {
        trusted.add(pair.der()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from(NAME).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// `GET /open` over an open connection; its status.
pub(crate) async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    let request = format!("GET /open HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "it was closed");
    }
    String::from_utf8(answer).unwrap().lines().next().unwrap().to_owned()
}

#[actix_web::test]
async fn a_client_speaks_http_1_or_2_over_tls_and_the_upstream_hears_of_it() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = spawn(&files, |_| {}).await;
    assert!(app.running.url().starts_with("https://"));
    for (http, version) in [
        (client(&app, &pair, |builder| builder), Version::HTTP_2),
        (
            client(&app, &pair, reqwest::ClientBuilder::http1_only),
            Version::HTTP_11,
        ),
    ] {
        let answer = http
            .get(url(&app, "/open/x?y=z"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.version(), version);
        assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
        assert!(!answer.headers().contains_key("connection"), "{:?}", answer.headers());
        let (status, seen) = read(answer).await;
        assert_eq!((status, &seen["target"]), (200, &json!("/open/x?y=z")));
        let headers = &seen["headers"];
        assert_eq!(headers["x-forwarded-proto"], json!(["https"]));
        assert_eq!(
            headers["x-forwarded-host"],
            json!([format!("{NAME}:{}", app.address.port())])
        );
        assert!(
            headers["forwarded"][0].as_str().unwrap().ends_with(";proto=https"),
            "{headers}"
        );
        assert_eq!(headers["host"], json!([app.echo.address.to_string()]));
        assert!(headers["transfer-encoding"].is_null(), "a GET has no body: {headers}");
        if version == Version::HTTP_2 {
            assert_eq!(headers["cookie"], json!(["a=1; b=2"]), "pieces are joined for HTTP/1.1");
        }

        // With a length, without one, and empty.
        let pieces = || futures_util::stream::iter([Ok::<_, std::io::Error>("some "), Ok("pieces")]);
        for (body, text, chunked) in [
            (reqwest::Body::from("a length"), "a length", false),
            (reqwest::Body::wrap_stream(pieces()), "some pieces", true),
            (reqwest::Body::from(""), "", false),
        ] {
            let (status, seen) = read(http.post(url(&app, "/open")).body(body).send().await.unwrap()).await;
            assert_eq!((status, &seen["body"]), (200, &json!(text)));
            assert_eq!(seen["headers"]["transfer-encoding"].is_null(), !chunked, "{seen}");
        }
        let (status, _) = read(
            http.post(url(&app, "/small"))
                .body(vec![b'x'; 1001])
                .send()
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(status, 413);
        let head = http.head(url(&app, "/open")).send().await.unwrap();
        assert_eq!((head.status().as_u16(), head.version()), (200, version));
        assert!(head.headers().contains_key("content-length"));
        let (status, _) = read(
            http.get(url(&app, "/home"))
                .bearer_auth(app.token())
                .send()
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(status, 200);
        let local = format!("https://localhost:{}/nothing", app.address.port());
        let answer = http.get(local).send().await.unwrap();
        assert_eq!(answer.status(), 404);
        assert!(
            !answer.headers().contains_key("strict-transport-security"),
            "not for this machine's own name"
        );
    }
}

#[actix_web::test]
async fn a_hundred_streams_of_one_connection_are_answered_side_by_side() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = spawn(&files, |_| {}).await;
    let http = client(&app, &pair, |builder| builder);
    let requests = (0..100).map(|n| {
        let request = http.post(url(&app, "/open")).body(vec![b'x'; n * 1000]);
        async move { (n, read(request.send().await.unwrap()).await) }
    });
    for (n, (status, seen)) in futures_util::future::join_all(requests).await {
        assert_eq!((status, &seen["length"]), (200, &json!(n * 1000)));
    }
}

#[actix_web::test]
async fn an_answer_that_breaks_off_is_not_whole_over_http_2_either() {
    let upstream = listener().await;
    let address = upstream.local_addr().unwrap();
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = spawn(&files, |config| odd(config, address, "")).await;
    tokio::spawn(async move {
        let (mut stream, _) = upstream.accept().await.unwrap();
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            .await
            .unwrap();
    });
    let answer = client(&app, &pair, |builder| builder)
        .get(url(&app, "/odd"))
        .send()
        .await
        .unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    assert!(answer.bytes().await.is_err());
}

#[actix_web::test]
async fn a_reload_shows_new_clients_another_certificate_and_connections_go_on() {
    let (old, new) = (Pair::new(), Pair::new());
    let files = Files::of(&old);
    let app = spawn(&files, |_| {}).await;
    let mut before = connect(&app, &[&old], "http/1.1").await.unwrap();
    assert_eq!(shown(&before), old.der());
    assert_eq!(ask(&mut before).await, "HTTP/1.1 200 OK");

    // A renewal that was written halfway: refused, and nothing changes.
    files.write(&new.certificate, &old.key);
    let mut config = app.config.clone();
    config
        .routes
        .push(route(r#"{"path": "/new", "upstream": "echo", "auth": "none"}"#));
    let refused = app.reloader.reload(&config).unwrap_err();
    assert_eq!(refused[0].place, "gateway.tls.key");
    let http = client(&app, &old, |builder| builder);
    let answer = http.get(url(&app, "/new")).send().await.unwrap();
    assert_eq!(answer.status(), 404, "no part of it counts");

    files.write(&new.certificate, &new.key);
    app.reloader.reload(&config).unwrap();
    let mut after = connect(&app, &[&old, &new], "http/1.1").await.unwrap();
    assert_eq!(shown(&after), new.der());
    assert_eq!(ask(&mut after).await, "HTTP/1.1 200 OK");
    assert_eq!(ask(&mut before).await, "HTTP/1.1 200 OK", "who was connected stays so");
    assert!(connect(&app, &[&old], "http/1.1").await.is_err());
}

#[actix_web::test]
async fn files_that_cannot_work_are_mistakes_with_a_remedy() {
    let (pair, other) = (Pair::new(), Pair::new());
    let expired = Pair::made(|params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let to_come = Pair::made(|params| {
        params.not_before = rcgen::date_time_ymd(4000, 1, 1);
        params.not_after = rcgen::date_time_ymd(4001, 1, 1);
    });
    let (certificate, key) = ("gateway.tls.certificate", "gateway.tls.key");
    let files = Files::of(&pair);
    let mut config = crate::helpers::config("127.0.0.1:1".parse().unwrap());
    for (of_certificate, of_key, place, problem) in [
        (pair.certificate.as_str(), other.key.as_str(), key, "does not belong"),
        (&expired.certificate, &expired.key, certificate, "has expired"),
        (&to_come.certificate, &to_come.key, certificate, "does not count before"),
        ("", &pair.key, certificate, "has none"),
        (&pair.certificate, "", key, "has none"),
        (&pair.certificate, &pair.certificate, key, "has none"),
        (
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            &pair.key,
            certificate,
            "is not PEM",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &pair.key,
            certificate,
            "not a certificate",
        ),
    ] {
        files.write(of_certificate, of_key);
        config.tls = Some(files.tls());
        let found = config.mistakes();
        assert_eq!(found.len(), 1, "{problem}: {found:?}");
        assert_eq!(found[0].place, place, "{found:?}");
        assert!(found[0].problem.contains(problem), "{found:?}");
        assert!(!found[0].remedy.is_empty() && !found[0].problem.contains("BEGIN"));
    }
    config.tls = Some(Tls {
        certificate: Path::new("/nowhere/certificate.pem").into(),
        key: files.path("key.pem"),
    });
    assert!(config.mistakes()[0].problem.contains("cannot be read"));
}

#[actix_web::test]
async fn a_client_that_does_not_shake_hands_is_cut_off() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = spawn(&files, |config| config.header_timeout = Duration::from_millis(300)).await;
    // The first bytes of a handshake, nothing at all, and no TLS.
    for sent in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"",
        b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{sent:?}");
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    let mut stream = connect(&app, &[&pair], "http/1.1").await.unwrap();
    assert_eq!(ask(&mut stream).await, "HTTP/1.1 200 OK");
    // Over HTTP/2, the handshake of that.
    let mut silent = connect(&app, &[&pair], "h2").await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "nobody waits for its preface for ever");
}

/// A client of HTTP/2 that does as it is told, and its connection.
pub(crate) async fn speak(
    app: &TestApp,
    pair: &Pair,
) -> (h2::client::SendRequest<bytes::Bytes>, tokio::task::JoinHandle<()>) {
    let stream = connect(app, &[pair], "h2").await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    (sender, tokio::spawn(async move { drop(connection.await) }))
}

pub(crate) fn get(app: &TestApp, path: &str) -> tokio_tungstenite::tungstenite::http::Request<()> {
    tokio_tungstenite::tungstenite::http::Request::get(url(app, path))
        .body(())
        .unwrap()
}

pub(crate) fn post(app: &TestApp, path: &str) -> tokio_tungstenite::tungstenite::http::Request<()> {
    let mut request = get(app, path);
    *request.method_mut() = tokio_tungstenite::tungstenite::http::Method::POST;
    request
}

/// An upstream that takes connections and never answers, and how many it got.
async fn silent() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let upstream = listener().await;
    let address = upstream.local_addr().unwrap();
    let reached = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&reached);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = upstream.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            kept.push(stream);
        }
    });
    (address, reached)
}

#[actix_web::test]
async fn more_requests_on_one_connection_than_are_worked_on_at_once_are_refused() {
    let (address, reached) = silent().await;
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = spawn(&files, |config| odd(config, address, "")).await;
    let (mut sender, _connection) = speak(&app, &pair).await;
    let mut open = Vec::new();
    // It asks before it has heard how many there may be.
    for _ in 0..300 {
        sender = sender.ready().await.unwrap();
        open.push(sender.send_request(get(&app, "/odd"), true).unwrap());
    }
    for (answer, _) in open.drain(256..) {
        let refused = answer.await.unwrap_err();
        assert_eq!(
            refused.reason(),
            Some(h2::Reason::REFUSED_STREAM),
            "nobody looked at it"
        );
    }
    assert_eq!(sender.current_max_send_streams(), 256);
    until(|| async { reached.load(Ordering::SeqCst) == 256 }).await;
    // Those that it has just reset still count.
    for (_, mut request) in open.drain(..44) {
        request.send_reset(h2::Reason::CANCEL);
    }
    for _ in 0..44 {
        sender = sender.ready().await.unwrap();
        let answer = sender.send_request(get(&app, "/odd"), true).unwrap().0;
        assert_eq!(answer.await.unwrap().status(), 503);
    }
    assert_eq!(reached.load(Ordering::SeqCst), 256);
    let mut other = connect(&app, &[&pair], "http/1.1").await.unwrap();
    assert_eq!(ask(&mut other).await, "HTTP/1.1 200 OK");
}

#[actix_web::test]
async fn a_flood_of_streams_that_are_reset_at_once_ends_the_connection_and_nobody_else_notices() {
    let (address, reached) = silent().await;
    let pair = Pair::new();
    let files = Files::of(&pair);
    let app = spawn(&files, |config| odd(config, address, "")).await;
    let (mut sender, _connection) = speak(&app, &pair).await;
    let flood = async {
        for sent in 0..100_000 {
            // Whoever only sends never hears that the connection has ended.
            tokio::task::yield_now().await;
            let Ok(ready) = sender.clone().ready().await else {
                return sent;
            };
            sender = ready;
            let Ok((_, mut body)) = sender.send_request(get(&app, "/odd"), false) else {
                return sent;
            };
            body.send_reset(h2::Reason::CANCEL);
        }
        panic!("a hundred thousand streams were taken");
    };
    let sent = tokio::time::timeout(PATIENCE, flood).await.expect("the flood is ended");
    let mut other = connect(&app, &[&pair], "http/1.1").await.unwrap();
    assert_eq!(ask(&mut other).await, "HTTP/1.1 200 OK");
    let reached = reached.load(Ordering::SeqCst);
    println!("a flood of {sent} resets: {reached} reached the upstream before the connection was ended");
    assert!(reached <= 256, "{reached}");
}
