//! Each WebSocket on its way through, once it is open: two directions that wait for nobody but their own reader, and
//! somebody who watches over both.

mod frames;
mod handshake;
mod shared;
mod toward_client;
mod toward_service;

use std::rc::Rc;
use std::time::Duration;

use actix_web::rt;

pub(crate) use handshake::Handshake;
pub(crate) use toward_client::TowardClient;

use crate::client::Payload;
use crate::ending::Watcher;
use crate::upstream::{Reading, Writing};
use shared::Shared;
use toward_service::TowardService;

/// How long the other end may take to say Close too, before its connection is closed all the same.
const LINGER: Duration = Duration::from_secs(1);
/// How long the end of a frame is waited for, when nothing is to follow it.
const FRAME: Duration = Duration::from_millis(100);
/// How much is read at once.
const PIECE: usize = 16 * 1024;

/// What a tunnel is made of.
pub(crate) struct Ends {
    /// What the client sends from now on.
    pub(crate) payload: Payload,
    /// The two halves of the connection to the service, which speaks HTTP no longer.
    pub(crate) service: (Reading, Writing),
    pub(crate) watcher: Watcher,
    /// How long the service may take nothing of what is sent to it.
    pub(crate) pause: Duration,
}

/// Opens a tunnel, and gives back what the client is answered with. What `counted` counts is there until both ends are
/// closed.
pub(crate) fn open(ends: Ends, counted: impl Sized + 'static) -> TowardClient {
    let (read, write) = ends.service;
    let shared = Rc::new(Shared::default());
    if let Some(client) = ends.payload.client() {
        client.switches();
    }
    let toward_service = TowardService::new(ends.payload, write, Rc::clone(&shared), ends.pause);
    let open = Open::new();
    let mut watcher = ends.watcher;
    rt::spawn(async move {
        let reason = toward_service.run(&mut watcher).await;
        metrics::counter!("web_sockets_closed_total", "reason" => reason).increment(1);
        drop((open, counted));
    });
    TowardClient::new(read, shared)
}

/// Counts a tunnel for as long as it lives.
struct Open(metrics::Gauge);

impl Open {
    fn new() -> Self {
        let gauge = metrics::gauge!("web_sockets");
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
