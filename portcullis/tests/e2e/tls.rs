//! Certificates that are renewed while a gateway runs: the real binary, its files and its signals.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2::client::SendRequest;
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::running::{PATIENCE, Running};

pub(crate) const NAME: &str = "gateway.test";

/// A certificate that vouches for itself, and its key, both PEM.
pub(crate) struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// A gateway, and where it finds its certificate.
pub(crate) struct Setting {
    pub(crate) running: Running,
    files: TempDir,
    /// What clients trust: every certificate that may be shown to them.
    trusted: RootCertStore,
}

impl Setting {
    async fn new(pairs: &[Pair]) -> Self {
        Self::with(pairs, "").await
    }

    /// The same, with `more` in its configuration.
    pub(crate) async fn with(pairs: &[Pair], more: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        write(&files, &pairs[0].certificate, &pairs[0].key);
        let path = |name: &str| files.path().join(name).display().to_string();
        let config = format!(
            "[gateway.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n{more}",
            path("certificate.pem"),
            path("key.pem")
        );
        let mut trusted = RootCertStore::empty();
        for pair in pairs {
            trusted.add(pair.der()).unwrap();
        }
        Self {
            running: Running::gateway(&config).await,
            files,
            trusted,
        }
    }

    pub(crate) async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        connect(self.running.address, self.trusted.clone(), protocol).await
    }

    /// The certificate that a new client is shown.
    async fn shown(&self) -> CertificateDer<'static> {
        let stream = self.connect("http/1.1").await;
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// Waits until new clients are shown `pair`.
    async fn becomes(&self, pair: &Pair) {
        let asking = async {
            while self.shown().await != pair.der() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .expect("it is shown in time");
    }

    /// Files of which none may count, and what is said of them.
    async fn refused(&self, certificate: &str, key: &str, reason: &str, asked: bool) {
        write(&self.files, certificate, key);
        if asked {
            self.running.hang_up();
        }
        let said = self.running.says(reason).await;
        assert!(said.contains("ERROR") && said.contains("key=gateway.tls."), "{said}");
        assert!(said.contains("remedy=") && !said.contains("-----"), "{said}");
        self.running.says("the configuration was not reloaded").await;
    }
}

fn write(files: &TempDir, certificate: &str, key: &str) {
    // As programs that renew certificates do it: whole, and in the place of what was there.
    for (name, text) in [("certificate.pem", certificate), ("key.pem", key)] {
        let new = files.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, files.path().join(name)).unwrap();
    }
}

async fn connect(address: SocketAddr, trusted: RootCertStore, protocol: &str) -> TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

/// Two connections that stay open, one of each protocol.
struct Open {
    first: TlsStream<TcpStream>,
    second: SendRequest<bytes::Bytes>,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Open {
    async fn to(setting: &Setting) -> Self {
        let first = setting.connect("http/1.1").await;
        let (second, connection) = h2::client::handshake(setting.connect("h2").await).await.unwrap();
        Self {
            first,
            second,
            connection: tokio::spawn(connection),
        }
    }

    /// Both are answered.
    async fn go_on(&mut self) {
        let request = format!("GET /nowhere HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        self.first.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            assert_ne!(self.first.read_buf(&mut answer).await.unwrap(), 0, "it was closed");
        }
        assert!(answer.starts_with(b"HTTP/1.1 404 "));
        let request = http::Request::get(format!("https://{NAME}/nowhere")).body(()).unwrap();
        let answer = self.second.send_request(request, true).unwrap().0;
        assert_eq!(answer.await.unwrap().status(), 404);
        assert!(!self.connection.is_finished());
    }
}

#[tokio::test]
async fn a_renewed_certificate_counts_after_a_signal_and_who_is_connected_stays_so() {
    let pairs = [Pair::new(), Pair::new()];
    let [old, new] = &pairs;
    let setting = Setting::new(&pairs).await;
    assert_eq!(setting.shown().await, old.der());
    let mut open = Open::to(&setting).await;
    open.go_on().await;

    write(&setting.files, &new.certificate, &new.key);
    setting.running.hang_up();
    setting.running.says("the configuration was reloaded").await;
    assert_eq!(setting.shown().await, new.der());
    open.go_on().await;
    let mut later = Open::to(&setting).await;

    let garbage = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    for (certificate, key, reason) in [
        (
            old.certificate.as_str(),
            new.key.as_str(),
            "does not belong to the certificate",
        ),
        (garbage, &new.key, "is not PEM"),
        ("", &new.key, "certificate.pem has none"),
        (&new.certificate, "", "key.pem has none"),
    ] {
        setting.refused(certificate, key, reason, true).await;
        assert_eq!(setting.shown().await, new.der(), "{reason}");
        open.go_on().await;
        later.go_on().await;
    }
}

#[tokio::test]
async fn a_renewed_certificate_counts_without_a_signal_and_a_bad_one_is_got_over() {
    let pairs = [Pair::new(), Pair::new(), Pair::new()];
    let [first, second, third] = &pairs;
    let setting = Setting::new(&pairs).await;
    assert_eq!(setting.shown().await, first.der());
    let mut open = Open::to(&setting).await;
    write(&setting.files, &second.certificate, &second.key);
    setting.becomes(second).await;
    open.go_on().await;

    let nowhere = KeyPair::generate().unwrap().serialize_pem();
    let reason = "does not belong to the certificate";
    setting.refused(&third.certificate, &nowhere, reason, false).await;
    assert_eq!(setting.shown().await, second.der());
    open.go_on().await;
    write(&setting.files, &third.certificate, &third.key);
    setting.becomes(third).await;
    open.go_on().await;
}

#[tokio::test]
async fn handshakes_that_nobody_goes_on_with_keep_nobody_else_out() {
    let pairs = [Pair::new()];
    let more = "[gateway]\nworkers = 1\nheader_timeout = \"1h\"\n";
    let setting = Setting::with(&pairs, more).await;
    let mut silent = Vec::new();
    // More than the library shakes hands with at once unless it is told another number.
    for _ in 0..600 {
        let mut stream = TcpStream::connect(setting.running.address).await.unwrap();
        stream.write_all(b"\x16\x03\x01").await.unwrap();
        silent.push(stream);
    }
    let shown = tokio::time::timeout(PATIENCE, setting.shown()).await;
    assert_eq!(shown.expect("there is room for one more"), pairs[0].der());
}
