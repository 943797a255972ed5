//! From the client to the service, and what ends both directions.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use service_kit::random;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::frames::{self, Frames};
use super::shared::{Downward, Goodbye, Shared};
use super::{FRAME, LINGER};
use crate::client::Payload;
use crate::ending::Watcher;
use crate::upstream::Writing;

/// Says to a service that the gateway, as its client, goes away (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;

pub(super) struct TowardService {
    payload: Payload,
    service: Writing,
    shared: Rc<Shared>,
    pause: Duration,
    /// What came from the client and is not written yet.
    piece: Bytes,
    received: Frames,
    sent: Frames,
}

/// Why nothing more goes to the service.
enum Stop {
    /// The client has closed its connection.
    ClientGone,
    /// The service has closed its connection, or said that it is broken.
    ServiceGone,
    Stalled,
}

impl TowardService {
    pub(super) fn new(payload: Payload, service: Writing, shared: Rc<Shared>, pause: Duration) -> Self {
        Self {
            payload,
            service,
            shared,
            pause,
            piece: Bytes::new(),
            received: Frames::default(),
            sent: Frames::default(),
        }
    }

    /// Passes on what the client says until either end is closed or `watcher` has seen enough; closes both ends then, and
    /// says why, as metrics call it.
    pub(super) async fn run(mut self, watcher: &mut Watcher) -> &'static str {
        let shared = Rc::clone(&self.shared);
        let (goodbye, label) = tokio::select! {
            biased;
            ending = watcher.ended() => (Some(Goodbye::Ending(ending)), Goodbye::Ending(ending).label()),
            downward = shared.no_longer_open() => (None, self.ended(downward).await),
            stop = self.pass() => match stop {
                Stop::ClientGone => {
                    let _ = self.service.shutdown().await;
                    (None, "client")
                }
                Stop::ServiceGone => {
                    // What it still said goes to the client.
                    let _ = timeout(LINGER, shared.no_longer_open()).await;
                    (None, "service")
                }
                Stop::Stalled => (Some(Goodbye::Stalled), Goodbye::Stalled.label()),
            },
        };
        if let Some(goodbye) = goodbye {
            shared.say(goodbye);
            self.leave_service().await;
            self.hear_out_client().await;
        }
        shared.finish();
        // A client that takes nothing would keep its connection open for as long as it likes.
        if timeout(LINGER, shared.gone()).await.is_err()
            && let Some(client) = self.payload.client()
            && shared.downward() != Downward::Gone
        {
            client.cut();
        }
        label
    }

    /// The direction toward the client is no longer open: what is left is the client's answer to a Close.
    async fn ended(&mut self, downward: Downward) -> &'static str {
        let label = if self.received.closed() || downward == Downward::Gone {
            "client"
        } else {
            "service"
        };
        if downward == (Downward::Ended { in_order: true }) {
            let shared = Rc::clone(&self.shared);
            let answered = async {
                while !self.received.closed() || !self.piece.is_empty() {
                    if self.pass_piece().await.is_err() {
                        return;
                    }
                }
            };
            let _ = timeout(LINGER, async {
                tokio::select! {
                    () = shared.gone() => {}
                    () = answered => {}
                }
            })
            .await;
        }
        label
    }

    async fn pass(&mut self) -> Stop {
        loop {
            if let Err(stop) = self.pass_piece().await {
                return stop;
            }
        }
    }

    /// Passes on one piece. May be given up and called again.
    async fn pass_piece(&mut self) -> Result<(), Stop> {
        if self.piece.is_empty() {
            let Some(Ok(piece)) = self.payload.next().await else {
                return Err(Stop::ClientGone);
            };
            self.received.follow(&piece);
            self.piece = piece;
        }
        while !self.piece.is_empty() {
            let written = timeout(self.pause, self.service.write(&self.piece)).await;
            let written = written.map_err(|_| Stop::Stalled)?;
            let written = written.and_then(nonzero).map_err(|_| Stop::ServiceGone)?;
            self.sent.follow(&self.piece[..written]);
            self.piece.advance(written);
        }
        Ok(())
    }

    /// Takes leave of the service: in words where a frame may begin, else by closing its connection.
    async fn leave_service(&mut self) {
        if self.sent.at_boundary() && !self.sent.closed() {
            let frame = frames::close(GOING_AWAY, "", Some(random::bytes()));
            let _ = timeout(FRAME, self.service.write_all(&frame)).await;
        }
        let _ = timeout(FRAME, self.service.shutdown()).await;
    }

    /// Waits for the client to say Close too. What else it says goes nowhere.
    async fn hear_out_client(&mut self) {
        let closed = async {
            while !self.received.closed() {
                match self.payload.next().await {
                    Some(Ok(piece)) => self.received.follow(&piece),
                    _ => return,
                }
            }
        };
        let _ = timeout(LINGER, async {
            tokio::select! {
                () = self.shared.gone() => {}
                () = closed => {}
            }
        })
        .await;
    }
}

fn nonzero(written: usize) -> io::Result<usize> {
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(written)
}
