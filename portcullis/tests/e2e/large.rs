//! Bodies that are much larger than what anybody holds of them: the real binary, and its memory as the system counts it.

use std::future::{poll_fn, ready};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::running::{PATIENCE, Running};
use crate::tls::{self, NAME};

const MIB: u64 = 1024 * 1024;
/// What goes through at once.
const LARGE: u64 = 1024 * MIB;
/// How much more memory a process may ever have used after that than before.
const GROWTH: u64 = 8 * MIB;
/// What the gateway and the sockets on the way may hold of a body that nobody takes.
const HELD: u64 = 32 * MIB;
/// How long nothing must move for it to be taken as standing still.
const STILL: Duration = Duration::from_millis(500);
/// No power of two, so that a piece that is lost, doubled or out of order shows.
const BLOCK: usize = 65_521;

fn block() -> Vec<u8> {
    (0..BLOCK).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

/// What came of a body made of blocks.
struct Check {
    block: Vec<u8>,
    received: u64,
}

impl Check {
    fn new() -> Self {
        Self {
            block: block(),
            received: 0,
        }
    }

    fn take(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let at = usize::try_from(self.received % BLOCK as u64).unwrap();
            let length = piece.len().min(BLOCK - at);
            assert!(
                piece[..length] == self.block[at..at + length],
                "other bytes after {}",
                self.received
            );
            self.received += length as u64;
            piece = &piece[length..];
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    Length,
    Chunks,
}

impl Framing {
    fn header(self, size: u64) -> String {
        match self {
            Self::Length => format!("Content-Length: {size}"),
            Self::Chunks => "Transfer-Encoding: chunked".to_owned(),
        }
    }

    /// What came with this framing is passed on with it.
    fn check(self, head: &str) {
        let head = head.to_ascii_lowercase();
        let has = |name: &str| head.contains(&format!("\r\n{name}: "));
        let chunked = matches!(self, Self::Chunks);
        assert!(
            has("transfer-encoding") == chunked && has("content-length") != chunked,
            "{head}"
        );
    }

    /// Writes a body of `size` bytes, noting how much of it was taken.
    async fn write(self, to: &mut TcpStream, size: u64, taken: &AtomicU64) {
        let block = block();
        let mut left = size;
        while left > 0 {
            let piece = &block[..usize::try_from(left.min(BLOCK as u64)).unwrap()];
            if matches!(self, Self::Chunks) {
                to.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
            }
            to.write_all(piece).await.unwrap();
            if matches!(self, Self::Chunks) {
                to.write_all(b"\r\n").await.unwrap();
            }
            left -= piece.len() as u64;
            taken.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
        if matches!(self, Self::Chunks) {
            to.write_all(b"0\r\n\r\n").await.unwrap();
        }
    }

    /// Reads a body, and says how many bytes it had; of `size` in the end, if that is known before.
    async fn read(self, from: &mut TcpStream, size: u64) -> u64 {
        let mut check = Check::new();
        let mut buffer = Vec::with_capacity(2 * BLOCK);
        match self {
            Self::Length => {
                while check.received < size {
                    buffer.clear();
                    assert_ne!(from.read_buf(&mut buffer).await.unwrap(), 0, "it ended early");
                    check.take(&buffer);
                }
            }
            Self::Chunks => loop {
                let line = read_until(from, b"\r\n").await;
                let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
                buffer.resize(length + 2, 0);
                from.read_exact(&mut buffer).await.unwrap();
                check.take(&buffer[..length]);
                if length == 0 {
                    break;
                }
            },
        }
        check.received
    }
}

/// Reads no further than `end`.
async fn read_until(stream: &mut TcpStream, end: &[u8]) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        read.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(read).unwrap()
}

/// A request as it comes to the service.
async fn accept(service: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = service.accept().await.unwrap();
    let head = read_until(&mut stream, b"\r\n\r\n").await;
    (stream, head)
}

/// A gateway, and the service behind it, which the test itself is.
struct Setting {
    running: Running,
    service: TcpListener,
}

impl Setting {
    /// A configuration, and the service that it names.
    async fn plan() -> (String, TcpListener) {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = service.local_addr().unwrap();
        let config = format!(
            "[gateway]\naccess_log = \"off\"\nworkers = 1\n\
             [gateway.upstreams.large]\ntargets = [\"http://{target}\"]\n\
             [[gateway.routes]]\npath = \"/large\"\nupstream = \"large\"\nauth = \"none\"\nbody_limit = {LARGE}\n"
        );
        (config, service)
    }

    async fn new() -> Self {
        let (config, service) = Self::plan().await;
        Self {
            running: Running::gateway(&config).await,
            service,
        }
    }

    /// Sends the head of a request, on a connection of which the system holds little by itself.
    async fn ask(&self, head: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(256 * 1024).unwrap();
        let mut client = socket.connect(self.running.address).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        client
    }

    /// `size` bytes from the service to a client that waits for `go` once it has the head.
    async fn download(&self, framing: Framing, size: u64, taken: &AtomicU64, go: impl Future<Output = ()>) {
        let sending = async {
            let (mut stream, _) = accept(&self.service).await;
            let head = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", framing.header(size));
            stream.write_all(head.as_bytes()).await.unwrap();
            framing.write(&mut stream, size, taken).await;
        };
        let receiving = async {
            let mut client = self.ask("GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let head = read_until(&mut client, b"\r\n\r\n").await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            go.await;
            framing.check(&head);
            assert_eq!(framing.read(&mut client, size).await, size);
        };
        let both = async { tokio::join!(sending, receiving) };
        tokio::time::timeout(PATIENCE, both).await.expect("it comes through");
    }

    /// `size` bytes from a client to the service, which waits for `go` once it has the head.
    async fn upload(&self, framing: Framing, size: u64, taken: &AtomicU64, go: impl Future<Output = ()>) {
        let sending = async {
            let head = format!("POST /large HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n", framing.header(size));
            let mut client = self.ask(&head).await;
            framing.write(&mut client, size, taken).await;
            let head = read_until(&mut client, b"\r\n\r\n").await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        };
        let receiving = async {
            let (mut stream, head) = accept(&self.service).await;
            go.await;
            framing.check(&head);
            assert_eq!(framing.read(&mut stream, size).await, size);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        };
        let both = async { tokio::join!(sending, receiving) };
        tokio::time::timeout(PATIENCE, both).await.expect("it goes through");
    }
}

/// Waits until `taken` stands still, which has to be long before all of it was taken.
async fn stands_still(taken: &AtomicU64) {
    loop {
        let before = taken.load(Ordering::SeqCst);
        tokio::time::sleep(STILL).await;
        if taken.load(Ordering::SeqCst) == before {
            println!("nothing is taken after {} MiB", before / MIB);
            assert!(before > 0 && before < HELD, "{before}");
            return;
        }
    }
}

#[tokio::test]
async fn large_bodies_pass_through_at_flat_memory_however_they_are_framed() {
    let setting = Setting::new().await;
    let all = |size| {
        let setting = &setting;
        async move {
            for framing in [Framing::Length, Framing::Chunks] {
                setting.download(framing, size, &AtomicU64::new(0), ready(())).await;
                setting.upload(framing, size, &AtomicU64::new(0), ready(())).await;
            }
        }
    };
    // What everybody needs who sends anything at all.
    all(4 * MIB).await;
    let before = setting.running.peak();
    all(LARGE).await;
    let after = setting.running.peak();
    println!("at most {} KiB before, {} KiB after", before / 1024, after / 1024);
    assert!(after < before + GROWTH, "{before} {after}");
}

/// Asks for `/large` over HTTP/2, with a body that `sends` or none; gives the body of the answer, and what to send with.
async fn ask(
    client: &mut SendRequest<Bytes>,
    sends: Option<Framing>,
    size: u64,
) -> (ResponseFuture, SendStream<Bytes>) {
    let mut request = http::Request::builder().uri(format!("https://{NAME}/large"));
    if sends.is_some() {
        request = request.method("POST");
    }
    if matches!(sends, Some(Framing::Length)) {
        request = request.header("content-length", size);
    }
    let mut ready = client.clone().ready().await.unwrap();
    ready.send_request(request.body(()).unwrap(), sends.is_none()).unwrap()
}

/// `size` bytes each way over HTTP/2.
async fn pass_over_http_2(client: &mut SendRequest<Bytes>, service: &TcpListener, framing: Framing, size: u64) {
    let down = async {
        let (answer, _) = ask(client, None, size).await;
        let mut body = answer.await.unwrap().into_body();
        let mut check = Check::new();
        while let Some(piece) = body.data().await {
            let piece = piece.unwrap();
            check.take(&piece);
            body.flow_control().release_capacity(piece.len()).unwrap();
        }
        assert_eq!(check.received, size);
    };
    let sending = async {
        let (mut stream, _) = accept(service).await;
        let head = format!(
            "HTTP/1.1 200 OK\r\n{}\r\nConnection: close\r\n\r\n",
            framing.header(size)
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        framing.write(&mut stream, size, &AtomicU64::new(0)).await;
    };
    let both = async { tokio::join!(down, sending) };
    tokio::time::timeout(PATIENCE, both).await.expect("it comes through");

    let up = async {
        let (answer, mut body) = ask(client, Some(framing), size).await;
        let block = Bytes::from(block());
        let mut left = size;
        while left > 0 {
            let mut piece = block.slice(..usize::try_from(left.min(BLOCK as u64)).unwrap());
            left -= piece.len() as u64;
            while !piece.is_empty() {
                body.reserve_capacity(piece.len());
                let room = poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
                body.send_data(piece.split_to(room.min(piece.len())), false).unwrap();
            }
        }
        body.send_data(Bytes::new(), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
    };
    let receiving = async {
        let (mut stream, head) = accept(service).await;
        framing.check(&head);
        assert_eq!(framing.read(&mut stream, size).await, size);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    };
    let both = async { tokio::join!(up, receiving) };
    tokio::time::timeout(PATIENCE, both).await.expect("it goes through");
}

#[tokio::test]
async fn so_they_do_over_http_2() {
    let (config, service) = Setting::plan().await;
    let setting = tls::Setting::with(&[tls::Pair::new()], &config).await;
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 20);
    let (mut client, connection) = builder.handshake(setting.connect("h2").await).await.unwrap();
    tokio::spawn(connection);
    pass_over_http_2(&mut client, &service, Framing::Length, 4 * MIB).await;
    let before = setting.running.peak();
    for framing in [Framing::Length, Framing::Chunks] {
        pass_over_http_2(&mut client, &service, framing, LARGE / 4).await;
    }
    let after = setting.running.peak();
    println!("at most {} KiB before, {} KiB after", before / 1024, after / 1024);
    assert!(after < before + GROWTH, "{before} {after}");
}

#[tokio::test]
async fn who_stops_taking_a_large_body_stops_its_sender_and_may_go_on_later() {
    let setting = Setting::new().await;
    let warm = AtomicU64::new(0);
    setting.download(Framing::Length, 4 * MIB, &warm, ready(())).await;
    setting.upload(Framing::Length, 4 * MIB, &warm, ready(())).await;
    let before = setting.running.peak();
    for framing in [Framing::Length, Framing::Chunks] {
        let taken = AtomicU64::new(0);
        setting.download(framing, LARGE / 8, &taken, stands_still(&taken)).await;
        let taken = AtomicU64::new(0);
        setting.upload(framing, LARGE / 8, &taken, stands_still(&taken)).await;
    }
    let after = setting.running.peak();
    println!("at most {} KiB before, {} KiB after", before / 1024, after / 1024);
    assert!(after < before + GROWTH, "{before} {after}");
}
