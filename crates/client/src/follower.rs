//! Following the feed of the token service: keys and revocations, pushed as they happen, kept in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use secrecy::SecretString;
use service_kit::{Clock, clock, meter};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use url::Url;

use crate::wire::FeedLine;
use crate::{Claims, KeySet, TokenClient, TokenServiceError, Trust, Verifier, VerifierConfig};

/// Without a line for this long the connection is taken for dead; heartbeats come every second.
const SILENCE: Duration = Duration::from_secs(3);
/// The longest line that is taken, in bytes: a key set, many times over.
const MAX_LINE: usize = 1024 * 1024;
/// At least this long between two fetches of the key set, however many unknown keys are shown to us.
const FETCH_PAUSE: Duration = Duration::from_secs(5);

/// Where the token service is, who is asking, and what to insist on.
#[derive(Clone, Debug)]
pub struct FollowerConfig {
    /// The base URL of the token service.
    pub token_url: Url,
    /// The service account; it needs the scope `feed:read`.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// What verifiers of this follower insist on.
    pub verifier: VerifierConfig,
}

/// Keeps a [`Trust`] up to date in the background until it is dropped. Its [`Verifier`] keeps the claims of tokens, or what is
/// made of them.
#[derive(Debug)]
pub struct Follower<Kept = Arc<Claims>> {
    client: TokenClient,
    trust: Arc<Trust>,
    synced: watch::Receiver<bool>,
    verifier: Arc<Verifier<Kept>>,
    task: JoinHandle<()>,
}

impl<Kept> Drop for Follower<Kept> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// Begins to follow. Returns at once; until the first snapshot has arrived, verification says 503.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn start(config: FollowerConfig, clock: Clock) -> anyhow::Result<Self> {
        Self::start_keeping(config, clock)
    }
}

impl<Kept: From<Claims> + Clone + Send + Sync + 'static> Follower<Kept> {
    /// The same, where the verifier is to keep something else than the claims.
    ///
    /// # Errors
    /// The same.
    pub fn start_keeping(config: FollowerConfig, clock: Clock) -> anyhow::Result<Self> {
        let client = TokenClient::new(config.token_url, &config.client_id, config.client_secret)?;
        let trust = Arc::new(Trust::default());
        show(&config.client_id, &trust);
        let (report, synced) = watch::channel(false);
        let task = tokio::spawn(follow(client.clone(), Arc::clone(&trust), clock.clone(), report));
        let fetcher = KeyFetcher {
            client: client.clone(),
            last: Arc::default(),
        };
        let verifier = Arc::new(Verifier::keeping(config.verifier, Arc::clone(&trust), clock).with_fetcher(fetcher));
        Ok(Self {
            client,
            trust,
            synced,
            verifier,
            task,
        })
    }

    /// The verifier of what this follower knows.
    #[must_use]
    pub fn verifier(&self) -> Arc<Verifier<Kept>> {
        Arc::clone(&self.verifier)
    }

    /// The line to the token service, for the other calls of the same account.
    #[must_use]
    pub fn client(&self) -> TokenClient {
        self.client.clone()
    }

    /// Waits until everything is known for the first time.
    pub async fn synced(&self) {
        let _ = self.synced.clone().wait_for(|synced| *synced).await;
    }

    /// What is wrong, for `/readyz`; nothing when revocations are fresh.
    pub fn readiness(&self) -> impl Fn() -> std::future::Ready<Result<(), String>> + Send + Sync + 'static {
        let (verifier, trust) = (self.verifier(), Arc::clone(&self.trust));
        move || {
            std::future::ready(match trust.staleness() {
                _ if !verifier.is_stale() => Ok(()),
                None => Err("nothing heard from the token service yet".to_owned()),
                Some(age) => Err(format!("last heard from the token service {} s ago", age.as_secs())),
            })
        }
    }
}

/// Shows in `/metrics` what is known, for as long as somebody goes by it; of several followers in one process each by its
/// account.
fn show(account: &str, trust: &Arc<Trust>) {
    let (account, trust) = (account.to_owned(), Arc::downgrade(trust));
    meter::on_scrape(move || {
        let Some(trust) = trust.upgrade() else {
            return false;
        };
        let lag = trust.staleness().map_or(f64::INFINITY, |age| age.as_secs_f64());
        let revocations = u32::try_from(trust.revocations()).unwrap_or(u32::MAX);
        metrics::gauge!("feed_lag_seconds", "account" => account.clone()).set(lag);
        metrics::gauge!("revocations_held", "account" => account.clone()).set(revocations);
        true
    });
}

async fn follow(client: TokenClient, trust: Arc<Trust>, clock: Clock, report: watch::Sender<bool>) {
    let mut cursor = None;
    let mut pause = Duration::from_millis(20);
    loop {
        let before = cursor.clone();
        let outcome = read_feed(&client, &trust, &clock, &report, &mut cursor).await;
        if cursor != before {
            pause = Duration::from_millis(20);
        }
        let cause = outcome
            .err()
            .map_or_else(|| "the token service ended the stream".to_owned(), |e| e.to_string());
        log::warn!(cause = cause.as_str(); "the feed broke off; following again in {} ms", pause.as_millis());
        metrics::counter!("feed_reconnects_total").increment(1);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

async fn read_feed(
    client: &TokenClient,
    trust: &Trust,
    clock: &Clock,
    report: &watch::Sender<bool>,
    cursor: &mut Option<String>,
) -> Result<(), TokenServiceError> {
    let broken = |what: &str| TokenServiceError::Unavailable(what.to_owned());
    let mut stream = client.feed(cursor.as_deref()).await?.bytes_stream();
    let mut buffer = Vec::new();
    loop {
        let chunk = match tokio::time::timeout(SILENCE, stream.next()).await {
            Err(_) => return Err(broken("no heartbeat in time")),
            Ok(None) => return Ok(()),
            Ok(Some(chunk)) => chunk.map_err(|error| broken(&error.to_string()))?,
        };
        buffer.extend_from_slice(&chunk);
        let mut rest = 0;
        while let Some(end) = buffer[rest..].iter().position(|byte| *byte == b'\n') {
            let line = serde_json::from_slice(&buffer[rest..rest + end]).map_err(|error| broken(&error.to_string()))?;
            rest += end + 1;
            match line {
                FeedLine::Keys { jwks } => trust.set_keys(KeySet::from_jwks(&jwks)),
                FeedLine::Revoked { revocation } => trust.revoke(&revocation),
                FeedLine::Heartbeat { cursor: seen } => {
                    trust.heard(clock.now_ms());
                    *cursor = Some(seen);
                    report.send_replace(true);
                }
            }
        }
        buffer.drain(..rest);
        if buffer.len() > MAX_LINE {
            return Err(broken("a line of the feed is too long"));
        }
    }
}

/// Fetches the key set when an unknown key is met: one fetch at a time, and not more often than [`FETCH_PAUSE`].
#[derive(Clone, Debug)]
pub struct KeyFetcher {
    client: TokenClient,
    last: Arc<Mutex<Option<Fetch>>>,
}

/// The last fetch there was.
#[derive(Clone, Copy, Debug)]
struct Fetch {
    at: Instant,
    succeeded: bool,
}

impl KeyFetcher {
    /// Brings the keys in `trust` up to date, or waits for somebody else who does. Whoever comes within the pause after a
    /// fetch has to go by what that one, and the feed, have brought. Gives whether the last fetch succeeded.
    pub(crate) async fn fetch(&self, trust: &Trust) -> bool {
        let mut last = self.last.lock().await;
        if let Some(fetch) = last.filter(|fetch| fetch.at.elapsed() < FETCH_PAUSE) {
            return fetch.succeeded;
        }
        let told = trust.told();
        let fetched = self.client.jwks().await;
        let succeeded = fetched.is_ok();
        match fetched {
            Ok(jwks) => trust.set_fetched_keys(KeySet::from_jwks(&jwks), told),
            Err(error) => log::warn!(cause = error.to_string().as_str(); "the key set could not be fetched"),
        }
        *last = Some(Fetch {
            at: clock::instant(),
            succeeded,
        });
        succeeded
    }
}
