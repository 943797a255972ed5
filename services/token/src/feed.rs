//! The feed: reads what the store published and pushes it to every follower, and into this process's own [`Trust`].

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;
use portcullis_client::wire::FeedLine;
use portcullis_client::{Claims, Trust};
use service_kit::{Clock, clock};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::keys::KeyRing;
use crate::store::{Batch, Store};

/// How often followers hear that they know everything.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How far a follower may fall behind before its stream is cut; it comes back with its cursor.
const BACKLOG: usize = 4096;
/// How many lines wait for one follower's socket.
const QUEUE: usize = 64;

/// One line of the feed, written once for every follower.
fn line(line: &FeedLine) -> Bytes {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// The feed of this process.
pub struct Feed {
    store: Arc<dyn Store>,
    ring: Arc<KeyRing>,
    trust: Arc<Trust>,
    clock: Clock,
    lines: broadcast::Sender<Bytes>,
    closed: watch::Sender<bool>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Feed")
            .field("followers", &self.lines.receiver_count())
            .finish_non_exhaustive()
    }
}

impl Feed {
    /// A feed of what `store` publishes; [`Feed::run`] sets it in motion.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, ring: Arc<KeyRing>, trust: Arc<Trust>, clock: Clock) -> Self {
        let (lines, _) = broadcast::channel(BACKLOG);
        Self {
            store,
            ring,
            trust,
            clock,
            lines,
            closed: watch::Sender::new(false),
        }
    }

    /// Ends every follower's stream, and those that are opened from now on.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Reads the store for ever. While the store cannot be read there is no heartbeat, and followers know that they do
    /// not know.
    pub async fn run(self: Arc<Self>) {
        let (mut cursor, mut published) = (None, None);
        let mut beat_at = clock::instant();
        let mut reachable = true;
        loop {
            match self.advance(&mut cursor, &mut published).await {
                Ok(()) => {
                    reachable = true;
                    self.trust.heard(self.clock.now_ms());
                    if beat_at <= clock::instant() {
                        beat_at = clock::instant() + HEARTBEAT;
                        let cursor = cursor.clone().unwrap_or_default();
                        // No follower is no failure.
                        let _ = self.lines.send(line(&FeedLine::Heartbeat { cursor }));
                    }
                }
                Err(error) => {
                    if std::mem::replace(&mut reachable, false) {
                        log::error!(cause = format!("{error:#}").as_str(); "the token store cannot be read; the feed stands still");
                    }
                    // `changed` may return at once while the store is gone.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            self.store.changed().await;
        }
    }

    /// Passes on everything that is new.
    async fn advance(&self, cursor: &mut Option<String>, published: &mut Option<i64>) -> anyhow::Result<()> {
        loop {
            let batch = self
                .store
                .revocations_after(cursor.as_deref(), self.clock.now_ms())
                .await?;
            if *published != Some(batch.ring_version) {
                self.ring.reload(&*self.store, self.clock.now_ms()).await?;
                self.trust.set_keys(self.ring.key_set());
                let _ = self.lines.send(line(&FeedLine::Keys { jwks: self.ring.jwks() }));
                *published = Some(batch.ring_version);
            }
            for revocation in batch.revocations {
                self.trust.revoke(&revocation);
                let _ = self.lines.send(line(&FeedLine::Revoked { revocation }));
            }
            *cursor = Some(batch.cursor);
            if !batch.more {
                return Ok(());
            }
        }
    }

    /// The stream of one follower that knows everything up to `after`; it ends when the follower's own token is revoked.
    #[must_use]
    pub fn subscribe(
        self: &Arc<Self>,
        follower: Arc<Claims>,
        after: Option<String>,
    ) -> ReceiverStream<Result<Bytes, std::io::Error>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let feed = Arc::clone(self);
        tokio::spawn(async move {
            // Whatever ends the stream, the follower comes back and says where it was.
            let mut closed = feed.closed.subscribe();
            tokio::select! {
                _ = feed.serve(&follower, after, sender) => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
        });
        ReceiverStream::new(receiver)
    }

    async fn serve(
        &self,
        follower: &Claims,
        mut after: Option<String>,
        sender: mpsc::Sender<Result<Bytes, std::io::Error>>,
    ) -> anyhow::Result<()> {
        // Listening begins before reading, so that nothing falls between; what comes twice does no harm.
        let mut lines = self.lines.subscribe();
        let mut sent = None;
        loop {
            let batch: Batch = self
                .store
                .revocations_after(after.as_deref(), self.clock.now_ms())
                .await?;
            if sent != Some(batch.ring_version) {
                if batch.ring_version != self.ring.version() {
                    self.ring.reload(&*self.store, self.clock.now_ms()).await?;
                }
                sender
                    .send(Ok(line(&FeedLine::Keys { jwks: self.ring.jwks() })))
                    .await?;
                sent = Some(batch.ring_version);
            }
            for revocation in batch.revocations {
                sender.send(Ok(line(&FeedLine::Revoked { revocation }))).await?;
            }
            after = Some(batch.cursor);
            if !batch.more {
                break;
            }
        }
        let cursor = after.unwrap_or_default();
        sender.send(Ok(line(&FeedLine::Heartbeat { cursor }))).await?;
        loop {
            let line = lines.recv().await?;
            // What is in the line was put into our own trust before.
            if self.trust.revoked(follower).is_some() {
                return Ok(());
            }
            sender.send(Ok(line)).await?;
        }
    }
}
