//! An upstream that keeps every byte it gets, judges it, and numbers its answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

use crate::helpers::PATIENCE;
use crate::strict::{self, Read, Request};

/// A running recorder.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    open: watch::Sender<usize>,
    unasked: broadcast::Sender<Vec<u8>>,
}

/// What was received since it was last taken.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Whole requests, in the order in which they came.
    pub(crate) requests: Vec<Request>,
    /// Bytes that were no request, and why.
    pub(crate) faults: Vec<(&'static str, Vec<u8>)>,
    /// Requests that broke off.
    pub(crate) fragments: Vec<Vec<u8>>,
    /// How many connections were opened.
    pub(crate) connections: usize,
    answered: usize,
}

/// What the recorder says, and what then becomes of the connection, instead of a proper answer.
#[derive(Clone, Debug)]
pub(crate) struct Say {
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
}

/// What the upstream does when it has said its piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Closes the connection.
    Close,
    /// Breaks it off.
    Reset,
    /// Keeps it, and goes on reading.
    Keep,
}

impl Recorder {
    /// Answers every request properly.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| None).await
    }

    /// Answers with what `odd` makes of a request, and properly where that is `None`.
    pub(crate) async fn start_with(odd: impl Fn(&Request) -> Option<Say> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self {
            address: listener.local_addr().unwrap(),
            kept: Arc::default(),
            open: watch::Sender::new(0),
            unasked: broadcast::Sender::new(8),
        };
        let (accepting, odd) = (recorder.clone(), Arc::new(odd));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepting.kept().connections += 1;
                accepting.open.send_modify(|open| *open += 1);
                let (recorder, odd) = (accepting.clone(), Arc::clone(&odd));
                tokio::spawn(async move {
                    recorder.serve(stream, &*odd).await;
                    recorder.open.send_modify(|open| *open -= 1);
                });
            }
        });
        recorder
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// What came since the last time; answers go on being numbered.
    pub(crate) fn take(&self) -> Kept {
        let mut kept = self.kept();
        let answered = kept.answered;
        std::mem::replace(
            &mut *kept,
            Kept {
                answered,
                ..Kept::default()
            },
        )
    }

    /// Waits until no more than `most` connections are open.
    pub(crate) async fn until_open(&self, most: usize) {
        let mut open = self.open.subscribe();
        let closed = tokio::time::timeout(PATIENCE, open.wait_for(|open| *open <= most)).await;
        closed.expect("the connections are closed in time").unwrap();
    }

    /// Says `bytes` on every open connection, whatever is going on there, and waits until those are closed.
    pub(crate) async fn say_unasked(&self, bytes: &[u8]) {
        self.unasked.send(bytes.to_vec()).unwrap();
        self.until_open(0).await;
    }

    async fn serve(&self, mut stream: TcpStream, odd: &(impl Fn(&Request) -> Option<Say> + ?Sized)) {
        let mut bytes = Vec::new();
        let mut unasked = self.unasked.subscribe();
        loop {
            match strict::read(&bytes) {
                Read::Beginning => {
                    let read = tokio::select! {
                        read = stream.read_buf(&mut bytes) => read,
                        Ok(said) = unasked.recv() => stream.write_all(&said).await.map(|()| said.len()),
                    };
                    if !matches!(read, Ok(read) if read > 0) {
                        break;
                    }
                }
                Read::Fault(fault) => {
                    self.kept().faults.push((fault, bytes));
                    return;
                }
                Read::Whole(request) => {
                    let rest = bytes.split_off(request.length);
                    bytes = rest;
                    if !bytes.is_empty() {
                        // We were not asked to answer one request when the next one came.
                        self.kept()
                            .faults
                            .push(("a request behind a request", std::mem::take(&mut bytes)));
                    }
                    let say = odd(&request).unwrap_or_else(|| self.proper(&request));
                    self.kept().requests.push(request);
                    if stream.write_all(&say.bytes).await.is_err() || say.then != Then::Keep {
                        if say.then == Then::Reset {
                            stream.set_zero_linger().unwrap();
                        }
                        break;
                    }
                }
            }
        }
        if !bytes.is_empty() {
            self.kept().fragments.push(bytes);
        }
    }

    fn proper(&self, request: &Request) -> Say {
        let number = {
            let mut kept = self.kept();
            kept.answered += 1;
            kept.answered
        };
        let body = json!({"number": number, "method": request.method, "target": request.target,
                          "user": request.values("x-user-id"), "length": request.body.len()})
        .to_string();
        let length = body.len();
        let body = if request.method == "HEAD" { "" } else { &body };
        Say {
            bytes: format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes(),
            then: Then::Keep,
        }
    }
}
