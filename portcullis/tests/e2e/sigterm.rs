//! What SIGTERM does to the requests that are under way, and to those that are about to be sent: the real binary.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use service_kit::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::running::{PATIENCE, Running};
use crate::tls::{NAME, Pair, Setting};

/// How soon after the one before a request has to be sent, counted from when that was sent, so that no connection was closed
/// before it for want of requests.
const SOON: Duration = Duration::from_millis(200);

/// A service that answers every request at once.
async fn answer(service: TcpListener) {
    while let Ok((mut stream, _)) = service.accept().await {
        tokio::spawn(async move {
            let mut head = Vec::new();
            while stream.read_buf(&mut head).await.is_ok_and(|length| length > 0) {
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer";
                    stream.write_all(answer).await.unwrap();
                }
            }
        });
    }
}

/// How a client of HTTP/1.1 that never pauses ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// An answer said that it was the last one.
    Told,
    /// It did pause, for others were at work here, and its connection was closed meanwhile.
    Late,
    /// A request that it sent soon enough was not answered, or not whole.
    Lost(String),
}

/// Asks for one thing after the other on one connection, until that is over.
async fn ask(mut stream: TcpStream, answered: Arc<AtomicUsize>) -> End {
    let mut before = clock::instant();
    loop {
        let now = clock::instant();
        let written = stream.write_all(b"GET /at_once HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let (since, mut got) = (before.elapsed(), Vec::new());
        before = now;
        while !got.ends_with(b"answer") {
            if written.is_err() || !stream.read_buf(&mut got).await.is_ok_and(|length| length > 0) {
                let is_late = got.is_empty() && since > SOON;
                let got = String::from_utf8_lossy(&got).into_owned();
                return if is_late { End::Late } else { End::Lost(got) };
            }
        }
        answered.fetch_add(1, Ordering::SeqCst);
        let got = String::from_utf8(got).unwrap();
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
        if got.contains("\r\nconnection: close\r\n") {
            return End::Told;
        }
    }
}

#[tokio::test]
async fn clients_of_http_1_that_go_on_asking_lose_no_request_at_sigterm() {
    const CLIENTS: usize = 8;
    let mut told = 0;
    for _ in 0..5 {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = format!(
            "[gateway.upstreams.quick]\ntargets = [\"http://{}\"]\n\
             [[gateway.routes]]\npath = \"/at_once\"\nupstream = \"quick\"\nauth = \"none\"\ntimeout = \"2m\"\n",
            service.local_addr().unwrap()
        );
        tokio::spawn(answer(service));
        let mut running = Running::gateway(&config).await;
        let (mut clients, mut answered) = (Vec::new(), Vec::new());
        for _ in 0..CLIENTS {
            let stream = TcpStream::connect(running.address).await.unwrap();
            let count = Arc::<AtomicUsize>::default();
            clients.push(tokio::spawn(ask(stream, Arc::clone(&count))));
            answered.push(count);
        }
        let asking = async {
            while answered.iter().any(|count| count.load(Ordering::SeqCst) < 10) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("they are answered");
        running.terminate();
        for client in clients {
            let end = tokio::time::timeout(PATIENCE, client).await.expect("it ends").unwrap();
            assert!(!matches!(end, End::Lost(_)), "{end:?}");
            told += usize::from(end == End::Told);
        }
        assert!(running.ended().await);
    }
    assert!(told > CLIENTS, "{told}");
}

/// A service that keeps every request waiting until it `may` answer, and how many `waiting` there are.
async fn hold(service: TcpListener, waiting: watch::Sender<usize>, may: watch::Receiver<bool>) {
    while let Ok((mut stream, _)) = service.accept().await {
        let (waiting, mut may) = (waiting.clone(), may.clone());
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap() == 0 {
                    return;
                }
            }
            waiting.send_modify(|waiting| *waiting += 1);
            may.wait_for(|may| *may).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nanswer";
            stream.write_all(answer).await.unwrap();
        });
    }
}

#[tokio::test]
async fn requests_of_http_2_that_are_under_way_at_sigterm_are_answered() {
    const REQUESTS: usize = 20;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let more = format!(
        "[gateway.upstreams.slow]\ntargets = [\"http://{}\"]\n\
         [[gateway.routes]]\npath = \"/slow\"\nupstream = \"slow\"\nauth = \"none\"\ntimeout = \"2m\"\n",
        service.local_addr().unwrap()
    );
    let mut setting = Setting::with(&[Pair::new()], &more).await;
    let (waiting, mut count) = watch::channel(0);
    let (allow, may) = watch::channel(false);
    tokio::spawn(hold(service, waiting, may));
    let (second, connection) = h2::client::handshake(setting.connect("h2").await).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get(format!("https://{NAME}/slow")).body(()).unwrap();
    let answers: Vec<_> = (0..REQUESTS)
        .map(|_| second.clone().send_request(request.clone(), true).unwrap().0)
        .collect();
    let all = tokio::time::timeout(PATIENCE, count.wait_for(|count| *count == REQUESTS));
    all.await.expect("all of them get there").unwrap();

    setting.running.terminate();
    // Until the client has been told to go away.
    let told = async {
        while second.clone().ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it is told");
    allow.send(true).unwrap();
    let answered = async {
        for answer in answers {
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), 200);
            let body = answer.into_body().data().await.unwrap().unwrap();
            assert_eq!(body, "answer");
        }
    };
    let all = tokio::time::timeout(PATIENCE, answered);
    all.await.expect("all of them are answered");
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    ended.expect("its connection ends, too").unwrap().unwrap();
    assert!(setting.running.ended().await, "and the process, in order");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_to_its_end_does_not_hold_up_the_process() {
    let mut running = Running::gateway("").await;
    let file = running.directory.path().join("portcullis.toml");
    std::fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    running.hang_up();
    // There is nobody to write to before somebody reads.
    let opening = async {
        loop {
            match pipe::OpenOptions::new().open_sender(&file) {
                Ok(sender) => return sender,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let opened = tokio::time::timeout(PATIENCE, opening).await;
    let _silent = opened.expect("it is read");
    running.terminate();
    assert!(running.ended().await);
}
