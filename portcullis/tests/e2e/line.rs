//! A line between two parts that a test can cut: it passes everything on, or stalls, or breaks.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It arrives.
    Flows,
    /// It is kept until it flows again: connections stay open and are taken, and nobody hears anything, not even an end.
    Stalls,
    /// Connections are reset, old ones and new ones.
    Breaks,
}

/// Listens on a port of its own and passes on what comes to another, until it is dropped.
#[derive(Debug)]
pub(crate) struct Line {
    address: SocketAddr,
    state: watch::Sender<State>,
}

impl Line {
    /// One to `target`, a base URL.
    pub(crate) async fn to(target: &str) -> Self {
        let target = target.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, seen) = watch::channel(State::Flows);
        tokio::spawn(async move {
            let mut dropped = seen.clone();
            tokio::select! {
                () = serve(listener, target, seen) => {}
                _ = dropped.wait_for(|_| false) => {}
            }
        });
        Self { address, state }
    }

    /// The base URL of this end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub(crate) fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn serve(listener: TcpListener, target: String, state: watch::Receiver<State>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        tokio::spawn(connect(client, target.clone(), state.clone()));
    }
}

/// Whatever ends it, both sides see how.
async fn connect(mut client: TcpStream, target: String, state: watch::Receiver<State>) {
    let passing = async {
        flows(&mut state.clone()).await?;
        let mut server = TcpStream::connect(target).await.ok()?;
        let (client, server) = (client.split(), server.split());
        tokio::join!(
            pass(client.0, server.1, state.clone()),
            pass(server.0, client.1, state.clone())
        );
        Some(())
    };
    let broke = tokio::select! {
        _ = passing => false,
        broke = breaks(state.clone()) => broke,
    };
    if broke {
        client.set_zero_linger().unwrap();
    }
}

async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut state: watch::Receiver<State>) {
    let mut buffer = [0; 4096];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if flows(&mut state).await.is_none() || read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}

/// `None`: it never will again.
async fn flows(state: &mut watch::Receiver<State>) -> Option<()> {
    state.wait_for(|state| *state == State::Flows).await.ok().map(drop)
}

async fn breaks(mut state: watch::Receiver<State>) -> bool {
    state.wait_for(|state| *state == State::Breaks).await.is_ok()
}
