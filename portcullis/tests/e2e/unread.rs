//! A client of HTTP/2 that asks for much and reads nothing: the real binary, and its memory as the system counts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::running::PATIENCE;
use crate::tls::{NAME, Pair, Setting};

/// How many answers are asked for at once, and how large each is.
const STREAMS: usize = 200;
const LARGE: usize = 16 * 1024 * 1024;
static PIECE: [u8; 16 * 1024] = [b'x'; 16 * 1024];
/// What the gateway may hold of an answer, in its own memory: what it has read ahead, and what it has handed over.
const HELD: usize = 192 * 1024;

/// A service with large answers; how many connections it has, and how many bytes of answers were taken from it.
async fn serve(service: TcpListener, open: Arc<AtomicUsize>, taken: Arc<AtomicUsize>) {
    while let Ok((mut stream, _)) = service.accept().await {
        let (open, taken) = (Arc::clone(&open), Arc::clone(&taken));
        open.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
            let mut sent = stream.write_all(head.as_bytes()).await;
            for _ in 0..LARGE / PIECE.len() {
                if sent.is_ok() {
                    sent = stream.write_all(&PIECE).await;
                    taken.fetch_add(PIECE.len(), Ordering::SeqCst);
                }
            }
            let _ = stream.read_to_end(&mut Vec::new()).await;
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// All that a client says that allows as much as can be allowed, and asks for `/large` on every stream.
fn requests() -> Vec<u8> {
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE, and WINDOW_UPDATE of the connection.
    said.extend(frame(0x04, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    said.extend(frame(0x08, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes()));
    // `:method: GET` and `:scheme: https`; then `:path` and `:authority` with values of their own (RFC 7541).
    let mut block = vec![0x82, 0x87];
    for (name, value) in [(0x04, "/large"), (0x01, NAME)] {
        block.extend([name, u8::try_from(value.len()).unwrap()]);
        block.extend(value.as_bytes());
    }
    for number in 0..u32::try_from(STREAMS).unwrap() {
        // HEADERS, with END_STREAM and END_HEADERS.
        said.extend(frame(0x01, 0x05, 2 * number + 1, &block));
    }
    said
}

/// The product with these `settings` of the gateway, and with `/large`, where nobody answers but who listens to what is
/// returned.
async fn large(settings: &str) -> (Setting, TcpListener) {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let more = format!(
        "[gateway]\n{settings}\n[gateway.upstreams.large]\ntargets = [\"http://{}\"]\n\
         [[gateway.routes]]\npath = \"/large\"\nupstream = \"large\"\nauth = \"none\"\ntimeout = \"2m\"\n",
        service.local_addr().unwrap()
    );
    (Setting::with(&[Pair::new()], &more).await, service)
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_what_it_allows_costs_little_and_is_cut_off() {
    let (setting, service) = large("workers = 1\nbody_timeout = \"3s\"").await;
    let (open, taken) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    tokio::spawn(serve(service, Arc::clone(&open), Arc::clone(&taken)));
    let before = setting.running.peak();
    let mut client = setting.connect("h2").await;
    client.write_all(&requests()).await.unwrap();
    client.flush().await.unwrap();
    // From now on nobody looks at it.
    let is = |enough: fn(usize) -> bool| {
        let open = &open;
        let waiting = async move {
            while !enough(open.load(Ordering::SeqCst)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
    };
    // The gateway may well stop listening to a client that does not.
    is(|open| open > STREAMS / 10).await.expect("much is asked for");
    is(|open| open == 0).await.expect("all is given up");
    let grown = usize::try_from(setting.running.peak() - before).unwrap();
    println!(
        "{STREAMS} answers, {} MiB taken of them: {} MiB more memory",
        taken.load(Ordering::SeqCst) >> 20,
        grown >> 20
    );
    assert!(grown < STREAMS * HELD, "{grown}");
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, client.read_to_end(&mut rest)).await;
    let _ = ended.expect("and the connection is ended");
    assert!(rest.len() < STREAMS * LARGE);
}

/// Answers one request with `body`, and waits until the gateway has enough.
async fn answer(service: TcpListener, body: usize) {
    let (mut stream, _) = service.accept().await.unwrap();
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + body, b'x');
    let _ = stream.write_all(&answer).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// Does what a client does, which must not take for ever.
async fn in_time<T>(asking: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, asking);
    done.await.expect("it is answered in time")
}

#[tokio::test]
async fn an_answer_whose_last_piece_was_not_taken_is_not_logged_as_a_whole_one() {
    /// What a client allows that says nothing about it (RFC 9113 section 6.9.2).
    const WINDOW: usize = 65_535;
    let (setting, service) = large("access_log = \"text\"").await;
    tokio::spawn(answer(service, WINDOW + 1));
    in_time(async {
        let (mut client, connection) = h2::client::handshake(setting.connect("h2").await).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::get(format!("https://{NAME}/large")).body(()).unwrap();
        let answer = client.send_request(request, true).unwrap().0.await.unwrap();
        let mut body = answer.into_body();
        let mut taken = 0;
        while taken < WINDOW {
            taken += body.data().await.unwrap().unwrap().len();
        }
        // All but a byte has come, and the rest will not be waited for.
        drop((body, client));
        connection.await.unwrap().unwrap();
    })
    .await;
    let line = setting.running.says("path=/large").await;
    assert!(
        line.contains("status=200 ") && line.contains("fault=client code=client_left "),
        "{line}"
    );
    assert!(line.contains("bytes_out=65535 "), "{line}");
}

#[tokio::test]
async fn nor_is_one_over_http_1_whose_client_goes_away_in_the_middle() {
    let (setting, service) = large("access_log = \"text\"").await;
    tokio::spawn(answer(service, LARGE));
    in_time(async {
        let mut client = setting.connect("http/1.1").await;
        let request = format!("GET /large HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut some = [0; 1000];
        client.read_exact(&mut some).await.unwrap();
        assert!(some.starts_with(b"HTTP/1.1 200 OK\r\n"));
    })
    .await;
    let line = setting.running.says("path=/large").await;
    assert!(
        line.contains("status=200 ") && line.contains("fault=client code=client_left "),
        "{line}"
    );
    let sent = line.split_once("bytes_out=").and_then(|(_, rest)| rest.split_once(' '));
    let sent: usize = sent.expect("it is told").0.parse().unwrap();
    assert!(sent < LARGE, "{sent}");
}
