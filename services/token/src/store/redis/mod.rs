//! The shared store: Redis, alone, behind sentinels, or as a cluster. Each step is one Lua script, and one round trip.

mod examine;
mod keys;
mod line;
mod position;
mod records;
mod scripts;
mod target;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use portcullis_client::wire::{Reason, Revocation, RevokedKind};
use redis::Cmd;
use service_kit::random;

pub use self::examine::{Findings, examine};
use self::keys::{Layout, Shard};
use self::line::Line;
use self::position::Position;
use self::records::Entry;
use self::target::Target;
use super::{
    BATCH, Batch, LEEWAY_MS, LISTED, Opening, Proof, Rotation, RotationTerms, Store, StoreError, StoredClient,
    StoredRing,
};
use crate::config::OnReuse;
use crate::keys::StoredKey;
use crate::rotation::{MAX_REISSUES, Serial};
use crate::session::{Session, SessionId};

/// How soon a change is noticed that nobody announced.
const POLL: Duration = Duration::from_millis(250);
/// How many revocations one step of a sweep looks at.
const SWEEP: usize = 1000;

/// The store in Redis.
pub struct RedisStore {
    line: Line,
    layout: Layout,
    poll: Duration,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RedisStore")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// Whether `url` is meant for this store; why not, or what is wrong with it, in words that hold no secret.
pub(crate) fn mistake(url: &str) -> Option<(String, String)> {
    let problem = Target::read(url).err()?.to_string();
    Some((
        problem,
        format!("Write sqlite:///path/to/token.db, or {}.", target::SCHEMES),
    ))
}

/// An id for a feed, and a ring version, to begin with where there is none.
fn beginning() -> (String, i64) {
    let mut version = [0; 8];
    version[3..].copy_from_slice(&random::bytes::<5>());
    (random::hex(&random::bytes::<8>()), i64::from_be_bytes(version))
}

impl RedisStore {
    /// Connects to what `url` names and sees whether it keeps what it is given; `timeout` bounds every wait for it.
    ///
    /// # Errors
    /// When it cannot be reached, or is set up to forget.
    pub async fn open(url: &str, timeout: Duration) -> anyhow::Result<Self> {
        let target = Target::read(url)?;
        let layout = target.layout();
        let line = Line::new(target, timeout);
        let findings = examine::ask(&line).await?;
        for warning in &findings.warnings {
            log::warn!("{warning}");
        }
        if let Some(refusal) = findings.refusals.into_iter().next() {
            return Err(refusal.into());
        }
        let store = Self {
            line,
            layout,
            poll: POLL,
        };
        store.ring().await.context("while reading the key ring")?;
        Ok(store)
    }

    async fn open_session_by(&self, session: &Session, proof: Option<&Proof>) -> anyhow::Result<Opening> {
        let shard = self.layout.of_session(session.id);
        let mut script = scripts::OPEN.key(shard.session(session.id));
        script.key(shard.index(&session.subject)).key(shard.epochs());
        if let Some(proof) = proof {
            script.key(shard.exchange(&proof.id));
        }
        script
            .arg(session.id.to_string())
            .arg(&session.subject)
            .arg(session.epoch);
        script.arg(session.created_at).arg(session.idle_expires_at);
        script.arg(session.access_expires_at).arg(LEEWAY_MS);
        script.arg(proof.map_or(0, |proof| proof.expires_at));
        for (name, value) in records::session_fields(session) {
            script.arg(name).arg(value);
        }
        let outcome: String = self.line.run(&script).await?;
        Ok(match outcome.as_str() {
            "opened" => Opening::Opened,
            "stale" => Opening::StaleEpoch,
            before => Opening::Before(
                before
                    .parse()
                    .context("while reading which session was opened before")?,
            ),
        })
    }

    /// Reads on in one stream; at home also which feed this is and how often the ring has changed.
    async fn read_stream(&self, shard: &Shard, position: &Position, stream: usize) -> anyhow::Result<Piece> {
        let after = position.after.get(stream).context("a stream without a position")?;
        let mut script = scripts::READ_FEED.key(shard.stream());
        if stream == 0 {
            let (id, version) = beginning();
            script.key(shard.meta());
            script.arg(after).arg(BATCH).arg(&position.feed).arg(id).arg(version);
        } else {
            script.arg(after).arg(BATCH);
        }
        let (feed, ring_version, after, more, entries) = self.line.run(&script).await?;
        Ok(Piece {
            feed,
            ring_version,
            after,
            more,
            entries,
        })
    }
}

/// What was read of one stream.
struct Piece {
    feed: String,
    ring_version: i64,
    after: String,
    more: bool,
    entries: Vec<Entry>,
}

#[async_trait]
impl Store for RedisStore {
    async fn open_session(&self, session: Session) -> Result<bool, StoreError> {
        match self.open_session_by(&session, None).await? {
            Opening::Opened => Ok(true),
            Opening::StaleEpoch => Ok(false),
            Opening::Before(_) => Err(anyhow!("a session was opened before without a proof").into()),
        }
    }

    async fn open_session_once(&self, session: Session, proof: Proof) -> Result<Opening, StoreError> {
        Ok(self.open_session_by(&session, Some(&proof)).await?)
    }

    async fn find_session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        let key = self.layout.of_session(id).session(id);
        let fields: HashMap<String, String> = self.line.send(Cmd::new().arg("HGETALL").arg(key)).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        Ok(Some(records::session(id, &fields)?))
    }

    async fn rotate(&self, id: SessionId, presented: Serial, terms: RotationTerms) -> Result<Rotation, StoreError> {
        let shard = self.layout.of_session(id);
        let mut script = scripts::ROTATE.key(shard.session(id));
        script.key(shard.stream());
        script
            .arg(id.to_string())
            .arg(shard.index_prefix())
            .arg(self.line.channel())
            .arg(LEEWAY_MS);
        script.arg(presented.generation).arg(presented.reissues).arg(terms.now);
        script
            .arg(terms.windows.replay)
            .arg(terms.windows.recovery)
            .arg(MAX_REISSUES);
        script.arg(match terms.on_reuse {
            OnReuse::Revoke => "revoke",
            OnReuse::Deny => "deny",
        });
        script
            .arg(terms.idle_expires_at)
            .arg(terms.access_expires_at)
            .arg(Reason::Reuse.as_str());
        let outcome: Vec<String> = self.line.run(&script).await?;
        let mut outcome = outcome.into_iter();
        Ok(match (outcome.next().as_deref(), &mut outcome) {
            (Some("granted"), fields) => Rotation::Granted(Box::new(records::session(id, &pairs(fields))?)),
            (Some("reused"), rest) => Rotation::Reused {
                subject: rest.next().unwrap_or_default(),
            },
            (Some("denied"), _) => Rotation::Denied,
            (Some("ended"), rest) => Rotation::Ended(records::reason(&rest.next().unwrap_or_default())?),
            (Some("expired"), _) => Rotation::Expired,
            (Some("unknown"), _) => Rotation::Unknown,
            (other, _) => return Err(anyhow!("a rotation came out as {other:?}").into()),
        })
    }

    async fn list_sessions(&self, subject: &str, now: i64) -> Result<Vec<Session>, StoreError> {
        let shard = self.layout.of_subject(subject);
        let mut script = scripts::LIST_SESSIONS.key(shard.index(subject));
        script.arg(shard.session_prefix()).arg(now).arg(LISTED);
        let found: Vec<Vec<String>> = self.line.run(&script).await?;
        let mut sessions = Vec::with_capacity(found.len());
        for fields in found {
            let mut fields = fields.into_iter();
            let id = fields.next().as_deref().map(str::parse).transpose();
            let id = id.ok().flatten().context("a session without an id that makes sense")?;
            let session = records::session(id, &pairs(&mut fields))?;
            if session.is_live(now) {
                sessions.push(session);
            }
        }
        Ok(sessions)
    }

    async fn end_session(
        &self,
        id: SessionId,
        subject: Option<&str>,
        reason: Reason,
        now: i64,
    ) -> Result<bool, StoreError> {
        let shard = self.layout.of_session(id);
        let mut script = scripts::END_SESSION.key(shard.session(id));
        script.key(shard.stream());
        script
            .arg(id.to_string())
            .arg(shard.index_prefix())
            .arg(self.line.channel())
            .arg(LEEWAY_MS);
        script.arg(now).arg(reason.as_str());
        if let Some(subject) = subject {
            script.arg(subject);
        }
        Ok(self.line.run(&script).await?)
    }

    async fn end_others(
        &self,
        subject: &str,
        kept: SessionId,
        reason: Reason,
        now: i64,
    ) -> Result<Option<u64>, StoreError> {
        let shard = self.layout.of_subject(subject);
        if shard != self.layout.of_session(kept) {
            // No session of theirs is elsewhere.
            return Ok(None);
        }
        let mut script = scripts::END_OTHERS.key(shard.session(kept));
        script.key(shard.index(subject)).key(shard.stream());
        script
            .arg(kept.to_string())
            .arg(subject)
            .arg(shard.session_prefix())
            .arg(self.line.channel())
            .arg(LEEWAY_MS);
        script.arg(now).arg(reason.as_str());
        Ok(self.line.run(&script).await?)
    }

    async fn end_subject(
        &self,
        subject: &str,
        epoch: i64,
        except: Option<SessionId>,
        reason: Reason,
        now: i64,
    ) -> Result<u64, StoreError> {
        let shard = self.layout.of_subject(subject);
        let mut script = scripts::END_SUBJECT.key(shard.epochs());
        script.key(shard.index(subject)).key(shard.stream());
        script
            .arg(subject)
            .arg(shard.session_prefix())
            .arg(self.line.channel())
            .arg(LEEWAY_MS);
        script.arg(now).arg(reason.as_str()).arg(epoch);
        if let Some(except) = except {
            script.arg(except.to_string());
        }
        Ok(self.line.run(&script).await?)
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), StoreError> {
        let mut script = scripts::REVOKE.key(self.layout.home().stream());
        script
            .arg(self.line.channel())
            .arg(records::kind(revocation.kind))
            .arg(revocation.id);
        script.arg(revocation.reason.as_str()).arg(revocation.expires_at);
        self.line.run::<i64>(&script).await?;
        Ok(())
    }

    async fn revocations_after(&self, cursor: Option<&str>, now: i64) -> Result<Batch, StoreError> {
        let shards: Vec<Shard> = self.layout.shards().collect();
        let mut position = Position::read(cursor, shards.len());
        let (home, others) = shards.split_first().context("a layout without shards")?;
        let first = self.read_stream(home, &position, 0).await?;
        if first.feed != position.feed {
            position.rewind();
        }
        let ring_version = first.ring_version;
        position.feed.clone_from(&first.feed);
        let reads = others
            .iter()
            .enumerate()
            .map(|(at, shard)| self.read_stream(shard, &position, at + 1));
        let mut pieces = vec![first];
        pieces.extend(try_join_all(reads).await?);
        position.after = pieces.iter().map(|piece| piece.after.clone()).collect();
        let more = pieces.iter().any(|piece| piece.more);
        let entries = pieces.into_iter().flat_map(|piece| piece.entries);
        let alive = entries.filter(|(.., expires_at)| *expires_at > now);
        Ok(Batch {
            revocations: alive.map(records::revocation).collect::<anyhow::Result<_>>()?,
            cursor: position.write(),
            more,
            ring_version,
        })
    }

    async fn changed(&self) {
        let _ = tokio::time::timeout(self.poll, self.line.changed()).await;
    }

    async fn ring(&self) -> Result<StoredRing, StoreError> {
        let home = self.layout.home();
        let (id, version) = beginning();
        let mut script = scripts::READ_RING.key(home.meta());
        script.key(home.ring()).arg(id).arg(version);
        let (version, ring): (i64, String) = self.line.run(&script).await?;
        Ok(StoredRing {
            version,
            keys: records::ring(&ring)?,
        })
    }

    async fn replace_ring(&self, version: i64, keys: Vec<StoredKey>) -> Result<bool, StoreError> {
        let home = self.layout.home();
        let mut script = scripts::REPLACE_RING.key(home.meta());
        script.key(home.ring());
        script
            .arg(self.line.channel())
            .arg(version)
            .arg(records::ring_text(&keys)?);
        Ok(self.line.run(&script).await?)
    }

    async fn create_client(&self, client: StoredClient) -> Result<bool, StoreError> {
        let id = client.id.clone();
        let mut command = Cmd::new();
        command
            .arg("HSETNX")
            .arg(self.layout.home().clients())
            .arg(id)
            .arg(records::client_text(client)?);
        Ok(self.line.send(&command).await?)
    }

    async fn find_client(&self, id: &str) -> Result<Option<StoredClient>, StoreError> {
        let mut command = Cmd::new();
        command.arg("HGET").arg(self.layout.home().clients()).arg(id);
        let text: Option<String> = self.line.send(&command).await?;
        Ok(text.map(|text| records::client(id.to_owned(), &text)).transpose()?)
    }

    async fn list_clients(&self) -> Result<Vec<StoredClient>, StoreError> {
        let mut command = Cmd::new();
        command.arg("HGETALL").arg(self.layout.home().clients());
        let texts: HashMap<String, String> = self.line.send(&command).await?;
        let mut clients = texts
            .into_iter()
            .map(|(id, text)| records::client(id, &text))
            .collect::<anyhow::Result<Vec<_>>>()?;
        clients.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(clients)
    }

    async fn delete_client(&self, id: &str, revoked_until: i64) -> Result<bool, StoreError> {
        let home = self.layout.home();
        let mut script = scripts::DELETE_CLIENT.key(home.clients());
        script.key(home.stream());
        script
            .arg(self.line.channel())
            .arg(records::kind(RevokedKind::Client))
            .arg(id);
        script.arg(Reason::Administrator.as_str()).arg(revoked_until);
        Ok(self.line.run(&script).await?)
    }

    /// Sessions and their indexes go by themselves, when Redis's own clock says so.
    async fn sweep(&self, now: i64) -> Result<usize, StoreError> {
        let mut swept = 0;
        for shard in self.layout.shards() {
            let mut script = scripts::SWEEP.key(shard.stream());
            script.arg(now).arg(SWEEP);
            loop {
                let step: usize = self.line.run(&script).await?;
                swept += step;
                // What lies behind longer-lived ones is for another time.
                if step < SWEEP / 2 {
                    break;
                }
            }
        }
        Ok(swept)
    }
}

fn pairs(flat: &mut impl Iterator<Item = String>) -> HashMap<String, String> {
    let mut pairs = HashMap::new();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        pairs.insert(name, value);
    }
    pairs
}
