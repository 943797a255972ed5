//! A gateway that speaks HTTP/2, in front of a recorder, and a client that says frames as they are.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use portcullis_gateway::Tls;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::helpers::{PATIENCE, TestApp, config, spawn_with};
use crate::recorder::Recorder;

pub(crate) const NAME: &str = "gateway.test";
pub(crate) const DATA: u8 = 0x00;
pub(crate) const HEADERS: u8 = 0x01;
const RST_STREAM: u8 = 0x03;
const SETTINGS: u8 = 0x04;
const GOAWAY: u8 = 0x07;
pub(crate) const END_STREAM: u8 = 0x01;
pub(crate) const END_HEADERS: u8 = 0x04;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answer(u16),
    Ended,
}

/// A frame (RFC 9113 section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields that go into no table, with names of their own (RFC 7541 section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// RFC 7541 section 5.2, with the length as section 5.1 has it.
fn string(block: &mut Vec<u8>, text: &str) {
    let mut left = text.len();
    if left >= 127 {
        block.push(127);
        left -= 127;
        while left >= 128 {
            block.push(u8::try_from(left % 128 + 128).unwrap());
            left /= 128;
        }
    }
    block.push(u8::try_from(left).unwrap());
    block.extend(text.as_bytes());
}

/// The status that the header block of an answer begins with: from the static table, or in digits of the Huffman code.
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x48, length, rest @ ..] => {
            let coded = &rest[..usize::from(length & 0x7f)];
            let mut bits = coded.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            bits <<= 64 - 8 * coded.len();
            (0..3).fold(0, |status, _| {
                let (digit, width) = match bits >> 59 {
                    digit @ 0..=2 => (digit, 5),
                    _ => ((bits >> 58) - 22, 6),
                };
                bits <<= width;
                status * 10 + u16::try_from(digit).unwrap()
            })
        }
        _ => panic!("no status is known that begins with {block:?}"),
    }
}

/// A gateway that speaks TLS, in front of a recorder, and whoever trusts it.
pub(crate) struct Front {
    pub(crate) app: TestApp,
    pub(crate) recorder: Recorder,
    connector: TlsConnector,
    _files: TempDir,
}

impl Front {
    pub(crate) async fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new([NAME.to_owned()]).unwrap().self_signed(&key);
        let certificate = signed.unwrap();
        let files = tempfile::tempdir().unwrap();
        let tls = Tls {
            certificate: files.path().join("certificate.pem"),
            key: files.path().join("key.pem"),
        };
        std::fs::write(&tls.certificate, certificate.pem()).unwrap();
        std::fs::write(&tls.key, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&tls.key, PermissionsExt::from_mode(0o600)).unwrap();
        let mut trusted = RootCertStore::empty();
        trusted.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(trusted)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec()];
        let recorder = Recorder::start().await;
        let upstream = recorder.address;
        let app = spawn_with(|configuration| {
            configuration.upstreams = config(upstream).upstreams;
            configuration.tls = Some(tls);
        })
        .await;
        recorder.take();
        Self {
            app,
            recorder,
            connector: TlsConnector::from(Arc::new(client)),
            _files: files,
        }
    }

    /// What becomes of the first stream of a fresh connection on which `frames` are said.
    pub(crate) async fn ask(&self, frames: &[u8]) -> Outcome {
        let asking = async {
            let stream = TcpStream::connect(self.app.address).await.unwrap();
            let name = ServerName::try_from(NAME).unwrap();
            let mut stream = self.connector.connect(name, stream).await.unwrap();
            let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            bytes.extend(frame(SETTINGS, 0, 0, &[]));
            bytes.extend(frames);
            stream.write_all(&bytes).await.unwrap();
            stream.flush().await.unwrap();
            while let Some((kind, number, payload)) = next(&mut stream).await {
                match (kind, number) {
                    (HEADERS, 1) => match status(&payload) {
                        // It may go on, and does.
                        100 => {}
                        status => return Outcome::Answer(status),
                    },
                    (RST_STREAM, 1) | (GOAWAY, _) => return Outcome::Ended,
                    _ => {}
                }
            }
            Outcome::Ended
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .expect("an outcome in time")
    }
}

/// The kind, the stream and the payload of the next frame; `None` is the end of the connection, in whatever way.
async fn next(stream: &mut TlsStream<TcpStream>) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).await.ok()?;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((head[3], number, payload))
}
