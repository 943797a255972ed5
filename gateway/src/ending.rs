//! What ends an answer that would go on for as long as somebody listens: a stream of events, a WebSocket.

use std::sync::Arc;

use portcullis_client::TokenError;
use tokio::sync::watch::Receiver;

use crate::admission::Caller;
use crate::identity::{Verifier, Watch};

/// Why the gateway ends something that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// What the token belongs to was revoked, or its key dropped.
    Revoked,
    /// The token expired. Its session may well go on, with a fresh one.
    Expired,
    /// The gateway stops.
    Stopping,
}

/// Watches for what ends one answer.
pub(crate) struct Watcher {
    closing: Receiver<bool>,
    watch: Option<Watch>,
}

impl Watcher {
    /// Watches over the token of `caller`, if somebody was asked for one, and for the gateway to stop.
    pub(crate) fn new(closing: Receiver<bool>, verifier: &Arc<Verifier>, caller: Option<&Caller<'_>>) -> Self {
        Self {
            closing,
            watch: caller.map(|caller| verifier.watch(caller.token)),
        }
    }

    /// Waits until it is time, and says why. May be given up and asked again.
    pub(crate) async fn ended(&mut self) -> Ending {
        let (closing, watch) = (&mut self.closing, &self.watch);
        let token = async {
            match watch {
                Some(watch) => watch.ended().await,
                None => std::future::pending().await,
            }
        };
        let stopping = async {
            if closing.wait_for(|closing| *closing).await.is_err() {
                // Who could have said so is gone, and says nothing any more.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            error = token => match error {
                TokenError::Expired => Ending::Expired,
                _ => Ending::Revoked,
            },
            () = stopping => Ending::Stopping,
        }
    }
}
