//! What the two directions of a tunnel tell each other. They live on one thread.

use std::cell::Cell;
use std::time::Instant;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use service_kit::clock;
use tokio::sync::Notify;

use super::frames;
use crate::ending::Ending;

/// Why the gateway says Close to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    Ending(Ending),
    /// The service takes nothing any more.
    Stalled,
}

impl Goodbye {
    /// The Close frame that says so. 4401 is ours, out of those that RFC 6455 section 7.4.2 leaves to applications.
    pub(super) fn frame(self) -> Bytes {
        let (code, reason) = match self {
            Self::Ending(Ending::Revoked) => (4401, "session ended"),
            Self::Ending(Ending::Expired) => (4401, "token expired"),
            Self::Ending(Ending::Stopping) => (1001, "going away"),
            Self::Stalled => (1011, "the service does not take what it is sent"),
        };
        frames::close(code, reason, None)
    }

    /// What metrics call it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ending(Ending::Revoked) => "revoked",
            Self::Ending(Ending::Expired) => "expired",
            Self::Ending(Ending::Stopping) => "stopping",
            Self::Stalled => "stalled",
        }
    }
}

/// How far it is with what goes toward the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Downward {
    Open,
    /// The service has ended its side; whether it said Close before.
    Ended {
        in_order: bool,
    },
    /// The client's connection is gone, or is about to be closed.
    Gone,
}

/// What is known to both directions.
#[derive(Debug)]
pub(super) struct Shared {
    goodbye: Cell<Option<(Goodbye, Instant)>>,
    done: Cell<bool>,
    toward_client: AtomicWaker,
    downward: Cell<Downward>,
    news: Notify,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            goodbye: Cell::new(None),
            done: Cell::new(false),
            toward_client: AtomicWaker::new(),
            downward: Cell::new(Downward::Open),
            news: Notify::new(),
        }
    }
}

impl Shared {
    /// Has the direction toward the client say Close as soon as it may.
    pub(super) fn say(&self, goodbye: Goodbye) {
        self.goodbye.set(Some((goodbye, clock::instant())));
        self.toward_client.wake();
    }

    /// What is to be said, and since when.
    pub(super) fn goodbye(&self) -> Option<(Goodbye, Instant)> {
        self.goodbye.get()
    }

    /// Lets the client's connection be closed: there is nothing to be waited for.
    pub(super) fn finish(&self) {
        self.done.set(true);
        self.toward_client.wake();
    }

    pub(super) fn is_done(&self) -> bool {
        self.done.get()
    }

    pub(super) fn wake_on_news(&self, waker: &std::task::Waker) {
        self.toward_client.register(waker);
    }

    /// Notes how far the direction toward the client is.
    pub(super) fn report(&self, downward: Downward) {
        self.downward.set(downward);
        self.news.notify_one();
    }

    pub(super) fn downward(&self) -> Downward {
        self.downward.get()
    }

    /// Waits until the direction toward the client is no longer open, and says how far it is.
    pub(super) async fn no_longer_open(&self) -> Downward {
        loop {
            match self.downward.get() {
                Downward::Open => self.news.notified().await,
                other => return other,
            }
        }
    }

    /// Waits until the client's connection is gone.
    pub(super) async fn gone(&self) {
        while self.downward.get() != Downward::Gone {
            self.news.notified().await;
        }
    }
}
