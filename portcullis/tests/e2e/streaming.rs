//! What streams through takes no more memory than what is small.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::process::{Place, Process};

/// Much more than the gateway may hold.
const LARGE: usize = 300 * 1024 * 1024;
/// How much more memory it may take, for all of it.
const HELD: u64 = 16 * 1024 * 1024;
const PIECE: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_mins(2);

/// Reads the head of a message from `stream`; nothing may follow it yet.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
    }
    String::from_utf8(head).unwrap()
}

async fn send(stream: &mut TcpStream, mut size: usize) {
    let piece = vec![0x82; PIECE];
    while size > 0 {
        let part = size.min(PIECE);
        stream.write_all(&piece[..part]).await.unwrap();
        size -= part;
    }
}

async fn take(stream: &mut TcpStream, size: usize) {
    let mut piece = vec![0; PIECE];
    let mut taken = 0;
    while taken < size {
        let read = stream.read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "it broke off after {taken} bytes");
        taken += read;
    }
    assert_eq!(taken, size);
}

/// Says `request` to the gateway, and has the service answer `answer`: both ends, once the heads are through.
async fn exchange(address: &str, service: &TcpListener, request: &str, answer: &str) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut upstream, _) = service.accept().await.unwrap();
    head(&mut upstream).await;
    upstream.write_all(answer.as_bytes()).await.unwrap();
    (client, upstream)
}

#[actix_web::test]
async fn hundreds_of_megabytes_pass_in_both_directions_at_flat_memory() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("portcullis.toml");
    let config = format!(
        "[gateway.upstreams]\nlarge = {{ targets = [\"http://{}\"] }}\n\
         [[gateway.routes]]\npath = \"/large\"\nupstream = \"large\"\nauth = \"none\"\nbody_limit = {LARGE}\n",
        service.local_addr().unwrap()
    );
    std::fs::write(&file, config).unwrap();
    let place = Place::new().with("PORTCULLIS_CONFIG", file.to_str().unwrap());
    let mut process = Process::start(&place).await;
    // Where there are several gateways, the one that this is about.
    let url = process.client.url().to_owned();
    let address = url.strip_prefix("http://").unwrap().to_owned();
    process.client.send(process.client.request("GET", "/home")).await;
    let mut peak = || {
        process
            .parts()
            .iter()
            .map(|part| part.peak_memory().unwrap_or(0))
            .sum::<u64>()
    };
    let before = peak();

    let passing = async {
        let request = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n";
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        let (mut client, mut upstream) = exchange(&address, &service, request, &answer).await;
        let download = async {
            head(&mut client).await;
            take(&mut client, LARGE).await;
        };
        tokio::join!(send(&mut upstream, LARGE), download);

        let request = format!("POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n");
        let (mut client, mut upstream) = exchange(&address, &service, &request, "").await;
        tokio::join!(send(&mut client, LARGE), take(&mut upstream, LARGE));

        let request = "GET /large HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let (mut client, mut upstream) = exchange(&address, &service, request, answer).await;
        head(&mut client).await;
        tokio::join!(send(&mut client, LARGE), take(&mut upstream, LARGE));
        tokio::join!(send(&mut upstream, LARGE), take(&mut client, LARGE));
    };
    tokio::time::timeout(PATIENCE, passing)
        .await
        .expect("it passes in time");
    let grown = peak() - before;
    println!("4 times {LARGE} bytes took {grown} more bytes of memory, beside {before}");
    assert!(grown < HELD, "{grown}");
}
