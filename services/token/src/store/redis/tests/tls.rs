//! TLS, by the certificates that the system trusts.

use std::process::Command;

use super::server::{Server, free_port};
use super::{PATIENCE, contract};
use crate::store::redis::RedisStore;

/// Trust is read from the environment, so the store is opened in a process of its own.
#[tokio::test]
async fn keeps_the_contract_over_tls_and_only_with_a_trusted_server() {
    const NAME: &str = "store::redis::tests::tls::keeps_the_contract_over_tls_and_only_with_a_trusted_server";
    const VARIABLE: &str = "PORTCULLIS_TEST_REDIS_TLS_URL";
    if let Some(url) = service_kit::config::environment(VARIABLE) {
        let (one, other) = (
            RedisStore::open(&url, PATIENCE).await.unwrap(),
            RedisStore::open(&url, PATIENCE).await.unwrap(),
        );
        contract::suite(&one, &other).await;
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, content: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    };
    let certificate = file("certificate.pem", certified.cert.pem());
    let key = file("key.pem", certified.signing_key.serialize_pem());
    let port = free_port().to_string();
    let tls = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
    ];
    let Some(_server) = Server::start(&[&tls[..], &["--tls-auth-clients", "no"]].concat()) else {
        return;
    };
    let url = format!("rediss://localhost:{port}");
    let strangers = format!("{:#}", RedisStore::open(&url, PATIENCE).await.unwrap_err());
    assert!(strangers.contains("certificate"), "{strangers}");
    let trusting = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME])
        .env(VARIABLE, &url)
        .env("SSL_CERT_FILE", &certificate)
        .output()
        .unwrap();
    assert!(trusting.status.success(), "{trusting:?}");
}
