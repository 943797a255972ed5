//! A service that keeps connections, and can be stopped and started again as services are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::helpers::{PATIENCE, read_head};

/// How long a service that stops waits for those who keep a connection to it to hear of it.
const LINGER: Duration = Duration::from_millis(200);

/// A service that answers its name and keeps connections; `/healthz` says whether it is well. Stopped gracefully, it
/// takes no new connections, before those that it has hear of it, and answers what it has begun to read.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) name: &'static str,
    pub(crate) well: Arc<AtomicBool>,
    pub(crate) seen: Arc<AtomicUsize>,
    checked: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    connections: JoinSet<()>,
}

/// How a service that stops gets rid of connections that are kept to it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Leaves {
    /// It closes those that are idle at once.
    AtOnce,
    /// It says `Connection: close` in its next answers, and closes those that stay idle.
    WithNotice,
}

impl Service {
    pub(crate) fn start(name: &'static str) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), name, Leaves::AtOnce)
    }

    pub(crate) fn start_at(address: SocketAddr, name: &'static str, leaves: Leaves) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1024).unwrap();
        let (well, seen, stop) = (
            Arc::new(AtomicBool::new(true)),
            Arc::default(),
            watch::Sender::new(false),
        );
        let checked = Arc::<AtomicUsize>::default();
        let mut connections = JoinSet::new();
        let address = listener.local_addr().unwrap();
        let leaving = watch::Sender::new(false);
        let each = Connection {
            name,
            leaves,
            well: Arc::clone(&well),
            seen: Arc::clone(&seen),
            checked: Arc::clone(&checked),
            stop: leaving.subscribe(),
        };
        connections.spawn(accept_until_stopped(listener, each, stop.subscribe(), leaving));
        Self {
            address,
            name,
            well,
            seen,
            checked,
            stop,
            connections,
        }
    }

    /// How often it was asked whether it is well.
    pub(crate) fn checked(&self) -> usize {
        self.checked.load(Ordering::SeqCst)
    }

    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(PATIENCE, self.connections.join_all()).await;
        ended.expect("it ends in time");
    }
}

#[derive(Clone)]
struct Connection {
    name: &'static str,
    leaves: Leaves,
    well: Arc<AtomicBool>,
    seen: Arc<AtomicUsize>,
    checked: Arc<AtomicUsize>,
    stop: watch::Receiver<bool>,
}

async fn accept_until_stopped(
    listener: TcpListener,
    each: Connection,
    mut stop: watch::Receiver<bool>,
    leaving: watch::Sender<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            // Who waits to be accepted when a listener is closed is hung up on.
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(each.clone().serve(stream));
            }
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    drop(listener);
    leaving.send_replace(true);
    connections.join_all().await;
}

impl Connection {
    async fn serve(mut self, mut stream: TcpStream) {
        loop {
            let mut stop = self.stop.clone();
            let leaves = self.leaves;
            let stopped = async {
                let _ = stop.wait_for(|stop| *stop).await;
                if leaves == Leaves::WithNotice {
                    tokio::time::sleep(LINGER).await;
                }
            };
            let head = tokio::select! {
                biased;
                ready = stream.readable() => {
                    ready.unwrap();
                    read_head(&mut stream).await
                }
                () = stopped => return,
            };
            if head.is_empty() {
                return;
            }
            let (status, body) = if head.starts_with("GET /healthz ") {
                self.checked.fetch_add(1, Ordering::SeqCst);
                if self.well.load(Ordering::SeqCst) {
                    (200, "well")
                } else {
                    (500, "not well")
                }
            } else {
                self.seen.fetch_add(1, Ordering::SeqCst);
                (200, self.name)
            };
            let close = *self.stop.borrow_and_update();
            let connection = if close { "Connection: close\r\n" } else { "" };
            let answer = format!(
                "HTTP/1.1 {status} X\r\n{connection}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(answer.as_bytes()).await.is_err() || close {
                return;
            }
        }
    }
}
