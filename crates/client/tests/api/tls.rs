//! Services that are reached over TLS, by the certificates that the system trusts.

use std::process::Command;

use actix_web::web;
use actix_web::{App, HttpResponse, HttpServer};
use portcullis_client::TokenClient;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use service_kit::config::environment;

use crate::issuer::Issuer;

/// Starts a service with a certificate of its own making; gives its URL and the certificate, PEM.
fn start() -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let tls = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let server = HttpServer::new(|| {
        App::new()
            .route("/", web::get().to(HttpResponse::Ok))
            .route("/.well-known/jwks.json", web::get().to(keys))
    });
    let server = server.workers(1).disable_signals();
    let server = server.bind_rustls_0_23("127.0.0.1:0", tls).unwrap();
    let url = format!("https://localhost:{}", server.addrs()[0].port());
    tokio::spawn(server.run());
    (url, certificate)
}

async fn keys() -> HttpResponse {
    HttpResponse::Ok().json(json!({"keys": []}))
}

/// What comes of asking the service at `url` with the token of an account whose token service speaks no TLS, and of asking
/// it as a token service.
async fn ask(url: &str) -> [Result<(), String>; 2] {
    let issuer = Issuer::start();
    let tokens = issuer.follower().await.client();
    let other = tokens.send(|http| http.get(url)).await;
    let token_service = TokenClient::new(url.parse().unwrap(), "tests", "secret".into()).unwrap();
    let keys = token_service.jwks().await;
    [
        other.map(drop).map_err(|error| error.to_string()),
        keys.map(drop).map_err(|error| error.to_string()),
    ]
}

/// Trust is read from the environment, so whoever trusts is a process of its own.
#[tokio::test]
async fn services_are_reached_over_tls_if_the_system_trusts_their_certificate_and_else_not() {
    const NAME: &str = "tls::services_are_reached_over_tls_if_the_system_trusts_their_certificate_and_else_not";
    const VARIABLE: &str = "PORTCULLIS_TEST_TLS_URL";
    if let Some(url) = environment(VARIABLE) {
        assert_eq!(ask(&url).await, [Ok(()), Ok(())]);
        return;
    }
    let (url, certificate) = start();
    for answer in ask(&url).await {
        let refusal = answer.unwrap_err();
        assert!(refusal.contains("certificate"), "{refusal}");
    }
    let directory = tempfile::tempdir().unwrap();
    let trusted = directory.path().join("certificate.pem");
    std::fs::write(&trusted, certificate).unwrap();
    // The service has threads of its own: it answers while this one waits.
    let asking = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME])
        .env(VARIABLE, &url)
        .env("SSL_CERT_FILE", &trusted)
        .output()
        .unwrap();
    assert!(asking.status.success(), "{asking:?}");
}
