//! TLS toward clients: 1.2 and 1.3, with a certificate that a reload replaces for the handshakes to come.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider, sign::any_supported_type};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use service_kit::Clock;
use service_kit::config::Mistake;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Tls;

const CERTIFICATE: &str = "gateway.tls.certificate";
const KEY: &str = "gateway.tls.key";
/// How long before its end a certificate is said to need another.
const NOTICE: Duration = Duration::from_hours(14 * 24);

/// What clients are shown: the same to all of them, whatever name they ask for.
#[derive(Debug)]
pub(crate) struct Certificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    pub(crate) fn load(tls: &Tls) -> Result<Arc<Self>, Mistake> {
        let read = Readable::read(tls)?;
        read.mention(tls);
        Ok(Arc::new(Self(ArcSwap::from_pointee(read.key))))
    }

    /// Shows clients what `read` has from their next handshake on. Connections that are open go on.
    pub(crate) fn replace(&self, read: Readable, tls: &Tls) {
        read.mention(tls);
        self.0.store(Arc::new(read.key));
    }
}

/// How clients are spoken to, and what may be spoken inside of it (RFC 7301).
pub(crate) fn server_config(certificate: Arc<Certificate>) -> anyhow::Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .context("while choosing versions of TLS")?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new().context("while making a key for session tickets")?;
    Ok(config)
}

/// A certificate and its key, as they were read from their files and found to be of use.
pub(crate) struct Readable {
    key: CertifiedKey,
    /// Seconds since 1970.
    not_after: i64,
}

impl Readable {
    /// Reads the files that `tls` names.
    ///
    /// # Errors
    /// When one cannot be read, the two do not belong together, or the certificate does not count now.
    pub(crate) fn read(tls: &Tls) -> Result<Self, Mistake> {
        let chain = chain(&tls.certificate)?;
        let not_after = validity(&chain, &tls.certificate)?;
        let key = any_supported_type(&private_key(&tls.key)?).map_err(|error| {
            Mistake::in_key(
                KEY,
                format_args!("{} has a key that cannot be used: {error}", tls.key.display()),
                "Use an ECDSA (P-256 or P-384), Ed25519 or RSA key of 2048 bits or more.",
            )
        })?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            // Some keys do not tell their public part; then the first handshake shows.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Self { key, not_after }),
            Err(error) => Err(Mistake::in_key(
                KEY,
                format_args!(
                    "{} does not belong to the certificate in {}: {error}",
                    tls.key.display(),
                    tls.certificate.display()
                ),
                "Name the key that the certificate was made for; in the file of certificates the server's own comes first.",
            )),
        }
    }

    /// What an operator should know of it.
    fn mention(&self, tls: &Tls) {
        #[expect(clippy::cast_precision_loss, reason = "seconds fit for millions of years")]
        metrics::gauge!("tls_certificate_not_after_timestamp_seconds").set(self.not_after as f64);
        let left = self.not_after.saturating_sub(now());
        if left < i64::try_from(NOTICE.as_secs()).unwrap_or(i64::MAX) {
            log::warn!(days = left / 86_400; "the certificate in gateway.tls.certificate ends soon: renew it");
        }
        let mode = std::fs::metadata(&tls.key).map_or(0, |file| file.permissions().mode());
        if mode & 0o007 != 0 {
            log::warn!(
                file:% = tls.key.display(), mode:% = format_args!("{:o}", mode & 0o777);
                "the private key of gateway.tls.key can be read by every user of this machine: chmod o= it"
            );
        }
    }
}

fn now() -> i64 {
    Clock::system().now().as_second()
}

fn unreadable(key: &str, path: &Path, error: &pem::Error) -> Mistake {
    let (problem, remedy) = match error {
        pem::Error::Io(error) => (
            format!("{} cannot be read: {error}", path.display()),
            "Name a file that exists and that this user may read.",
        ),
        pem::Error::NoItemsFound => (
            format!("{} has none", path.display()),
            "Name a PEM file with it in plain text: BEGIN CERTIFICATE, or BEGIN PRIVATE KEY (not ENCRYPTED: openssl pkey \
             takes a password off).",
        ),
        error => (
            format!("{} is not PEM: {error}", path.display()),
            "Name a PEM file, as certificate authorities hand them out.",
        ),
    };
    Mistake::in_key(key, problem, remedy)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Mistake> {
    let read = |error: &pem::Error| unreadable(CERTIFICATE, path, error);
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| read(&error))?;
    let chain: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| read(&error))?;
    if chain.is_empty() {
        return Err(read(&pem::Error::NoItemsFound));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Mistake> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable(KEY, path, &error))
}

/// When the server's own certificate ends, if it counts now.
fn validity(chain: &[CertificateDer<'_>], path: &Path) -> Result<i64, Mistake> {
    let own = chain.first().map(AsRef::as_ref).unwrap_or_default();
    let wrong = |problem: String, remedy| {
        let problem = format!("{} {problem}", path.display());
        Err(Mistake::in_key(CERTIFICATE, problem, remedy))
    };
    let Ok((_, own)) = X509Certificate::from_der(own) else {
        return wrong(
            "has something that is not a certificate".to_owned(),
            "Name a file of X.509 certificates.",
        );
    };
    let validity = own.validity();
    let (now, from, to) = (now(), validity.not_before.timestamp(), validity.not_after.timestamp());
    if now > to {
        return wrong(
            format!("has expired, at {}", validity.not_after),
            "Renew the certificate.",
        );
    }
    if now < from {
        return wrong(
            format!("does not count before {}", validity.not_before),
            "Look at this machine's clock, or use another certificate.",
        );
    }
    Ok(to)
}
