//! The embedded store: one SQLite file, one writer at a time, readers beside it.

mod rows;
mod schema;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use async_trait::async_trait;
use diesel::prelude::*;
use diesel::r2d2::{ManageConnection, Pool};
use diesel::sqlite::SqliteConnection;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use portcullis_client::wire::{Reason, Revocation, RevokedKind};
use service_kit::Clock;
use service_kit::blocking::BlockingPool;
use tokio::sync::Notify;

use self::rows::{ClientRow, KeyRow, RevocationRow, SessionRow};
use self::schema::{clients, exchanges, feed, keys, revocations, sessions, subjects};
use super::{
    BATCH, Batch, LEEWAY_MS, LISTED, Opening, Proof, Rotation, RotationTerms, Store, StoreError, StoredClient,
    StoredRing,
};
use crate::config::OnReuse;
use crate::keys::StoredKey;
use crate::rotation::{Serial, Step, decide};
use crate::session::{Session, SessionId};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
/// How many rows one statement of a sweep deletes, so that it never holds the writer long.
const SWEEP: i64 = 1000;
/// How soon a change that another process made is noticed: a key that an operator kills is to be refused within 100 ms.
const POLL: Duration = Duration::from_millis(50);
const READERS: u32 = 4;

struct Manager(std::path::PathBuf);

impl ManageConnection for Manager {
    type Connection = SqliteConnection;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<SqliteConnection, Self::Error> {
        service_kit::sqlite::open(&self.0).map_err(diesel::r2d2::Error::ConnectionError)
    }

    fn is_valid(&self, _: &mut SqliteConnection) -> Result<(), Self::Error> {
        Ok(())
    }

    fn has_broken(&self, _: &mut SqliteConnection) -> bool {
        false
    }
}

/// The store in a SQLite file.
pub struct SqliteStore {
    writer: (BlockingPool, Pool<Manager>),
    readers: (BlockingPool, Pool<Manager>),
    feed_id: String,
    changed: Notify,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SqliteStore")
            .field("feed", &self.feed_id)
            .finish_non_exhaustive()
    }
}

fn pool(path: &Path, size: u32) -> anyhow::Result<Pool<Manager>> {
    Pool::builder()
        .max_size(size)
        .min_idle(Some(1))
        .connection_timeout(Duration::from_secs(2))
        .test_on_check_out(false)
        .build(Manager(path.to_owned()))
        .with_context(|| format!("while opening {}", path.display()))
}

impl SqliteStore {
    /// Opens the file at `path`, creates it when it is missing, and brings its schema up to date.
    pub async fn open(path: &Path) -> anyhow::Result<Self> {
        if let Some(directory) = path
            .parent()
            .filter(|directory| !directory.is_dir() && *directory != Path::new(""))
        {
            bail!(
                "there is no directory {}: make it, or choose another place (PORTCULLIS_DATA_DIR)",
                directory.display()
            );
        }
        let writers = BlockingPool::new("token writer", 1, 1024);
        let path = path.to_owned();
        let (writer, readers, feed_id) = writers
            .run(move || {
                let (writer, readers) = (pool(&path, 1)?, pool(&path, READERS)?);
                let mut connection = writer.get()?;
                // A write lock first, so that of several processes that start together one migrates.
                connection.immediate_transaction(|connection| {
                    connection
                        .run_pending_migrations(MIGRATIONS)
                        .map(drop)
                        .map_err(|error| anyhow!(error))
                })?;
                let fresh = service_kit::random::hex(&service_kit::random::bytes::<8>());
                let feed_id = connection.immediate_transaction(|connection| {
                    skip_numbers(connection)?;
                    if let Some(id) = feed::table.select(feed::id).first::<String>(connection).optional()? {
                        return Ok::<_, diesel::result::Error>(id);
                    }
                    let row = (feed::id.eq(&fresh), feed::ring_version.eq(0));
                    diesel::insert_into(feed::table).values(row).execute(connection)?;
                    Ok(fresh)
                })?;
                drop(connection);
                anyhow::Ok((writer, readers, feed_id))
            })
            .await??;
        Ok(Self {
            writer: (writers, writer),
            readers: (BlockingPool::new("token reader", READERS as usize, 1024), readers),
            feed_id,
            changed: Notify::new(),
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let pool = self.readers.1.clone();
        let outcome = self.readers.0.run(move || anyhow::Ok(work(&mut *pool.get()?)?)).await?;
        Ok(outcome.context("while reading the token store")?)
    }

    /// Runs `work` in a transaction that holds the write lock from its beginning.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let pool = self.writer.1.clone();
        let work = move || anyhow::Ok(pool.get()?.immediate_transaction(work)?);
        let outcome = self.writer.0.run(work).await?;
        Ok(outcome.context("while writing the token store")?)
    }

    /// Like [`Self::write`], and tells followers that there may be something new.
    async fn publish<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let outcome = self.write(work).await;
        self.changed.notify_one();
        outcome
    }

    /// The sequence number that `cursor` stands for, if it is of this feed.
    fn sequence(&self, cursor: Option<&str>) -> Option<i64> {
        let (id, sequence) = cursor?.split_once('-')?;
        sequence
            .parse()
            .ok()
            .filter(|sequence| id == self.feed_id && *sequence >= 0)
    }
}

/// Lets the numbers of revocations go on from the present, in microseconds: when an older copy of the file takes its place,
/// none that a follower knows is given again.
fn skip_numbers(connection: &mut SqliteConnection) -> QueryResult<()> {
    diesel::sql_query(
        "INSERT INTO sqlite_sequence (name, seq)
         SELECT 'revocations', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'revocations')",
    )
    .execute(connection)?;
    diesel::sql_query("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'revocations'")
        .bind::<diesel::sql_types::BigInt, _>(Clock::system().now().as_microsecond())
        .execute(connection)
        .map(drop)
}

fn insert_revocation(connection: &mut SqliteConnection, revocation: &Revocation) -> QueryResult<()> {
    diesel::insert_into(revocations::table)
        .values(RevocationRow::new(revocation))
        .execute(connection)
        .map(drop)
}

/// Marks a session as ended and publishes it.
fn end(connection: &mut SqliteConnection, session: &Session, reason: Reason) -> QueryResult<()> {
    diesel::update(sessions::table.find(session.id.to_string()))
        .set(sessions::end_reason.eq(reason.as_str()))
        .execute(connection)?;
    let revocation = Revocation {
        kind: RevokedKind::Session,
        id: session.id.to_string(),
        reason,
        expires_at: session.access_expires_at.saturating_add(LEEWAY_MS),
    };
    insert_revocation(connection, &revocation)
}

/// Ends the sessions of `subject` that have not ended and that `spares` does not spare. Gives how many.
fn end_each(
    connection: &mut SqliteConnection,
    subject: &str,
    reason: Reason,
    now: i64,
    spares: impl Fn(&Session) -> bool,
) -> QueryResult<u64> {
    let rows = sessions::table
        .filter(sessions::subject.eq(subject).and(sessions::end_reason.is_null()))
        .load::<SessionRow>(connection)?;
    let mut ended = 0;
    for row in rows {
        let session = row.read()?;
        // One that has expired may still have an access token that has not.
        let matters = session.is_live(now) || session.access_expires_at.saturating_add(LEEWAY_MS) > now;
        if matters && !spares(&session) {
            end(connection, &session, reason)?;
            ended += 1;
        }
    }
    Ok(ended)
}

/// Keeps a new session, unless its epoch is too old.
fn open(connection: &mut SqliteConnection, session: &Session) -> QueryResult<bool> {
    let seen = subjects::table
        .find(&session.subject)
        .select(subjects::epoch)
        .first::<i64>(connection)
        .optional()?;
    if seen.is_some_and(|seen| seen > session.epoch) {
        return Ok(false);
    }
    diesel::insert_into(sessions::table)
        .values(SessionRow::new(session))
        .execute(connection)?;
    Ok(true)
}

fn find(connection: &mut SqliteConnection, id: SessionId) -> QueryResult<Option<Session>> {
    let row = sessions::table
        .find(id.to_string())
        .first::<SessionRow>(connection)
        .optional()?;
    row.map(SessionRow::read).transpose()
}

fn rotate(
    connection: &mut SqliteConnection,
    id: SessionId,
    presented: Serial,
    terms: &RotationTerms,
) -> QueryResult<Rotation> {
    let Some(mut session) = find(connection, id)? else {
        return Ok(Rotation::Unknown);
    };
    if let Some(reason) = session.ended {
        return Ok(Rotation::Ended(reason));
    }
    if !session.is_live(terms.now) {
        return Ok(Rotation::Expired);
    }
    match decide(&session.chain, presented, terms.now, terms.windows) {
        Step::Grant(chain) => {
            session.chain = chain;
            session.last_used_at = terms.now;
            session.idle_expires_at = terms.idle_expires_at.min(session.absolute_expires_at);
            session.access_expires_at = session.access_expires_at.max(terms.access_expires_at);
            diesel::update(sessions::table.find(id.to_string()))
                .set(SessionRow::new(&session))
                .execute(connection)?;
            Ok(Rotation::Granted(Box::new(session)))
        }
        Step::Reuse if terms.on_reuse == OnReuse::Deny => Ok(Rotation::Denied),
        Step::Reuse => {
            end(connection, &session, Reason::Reuse)?;
            Ok(Rotation::Reused {
                subject: session.subject,
            })
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn open_session(&self, session: Session) -> Result<bool, StoreError> {
        self.write(move |connection| open(connection, &session)).await
    }

    async fn open_session_once(&self, session: Session, proof: Proof) -> Result<Opening, StoreError> {
        self.write(move |connection| {
            let before = exchanges::table
                .find(&proof.id)
                .select(exchanges::session)
                .first::<String>(connection)
                .optional()?;
            if let Some(id) = before {
                return rows::session_id(&id).map(Opening::Before);
            }
            if !open(connection, &session)? {
                return Ok(Opening::StaleEpoch);
            }
            let row = (
                exchanges::proof.eq(&proof.id),
                exchanges::session.eq(session.id.to_string()),
                exchanges::expires_at.eq(proof.expires_at),
            );
            diesel::insert_into(exchanges::table).values(row).execute(connection)?;
            Ok(Opening::Opened)
        })
        .await
    }

    async fn find_session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        self.read(move |connection| find(connection, id)).await
    }

    async fn rotate(&self, id: SessionId, presented: Serial, terms: RotationTerms) -> Result<Rotation, StoreError> {
        let rotation = self
            .write(move |connection| rotate(connection, id, presented, &terms))
            .await?;
        if let Rotation::Reused { .. } = rotation {
            self.changed.notify_one();
        }
        Ok(rotation)
    }

    async fn list_sessions(&self, subject: &str, now: i64) -> Result<Vec<Session>, StoreError> {
        let subject = subject.to_owned();
        self.read(move |connection| {
            let rows = sessions::table
                .filter(sessions::subject.eq(subject).and(sessions::end_reason.is_null()))
                .filter(
                    sessions::idle_expires_at
                        .gt(now)
                        .and(sessions::absolute_expires_at.gt(now)),
                )
                .order(sessions::idle_expires_at.desc())
                .limit(LISTED.into())
                .load::<SessionRow>(connection)?;
            rows.into_iter().map(SessionRow::read).collect()
        })
        .await
    }

    async fn end_session(
        &self,
        id: SessionId,
        subject: Option<&str>,
        reason: Reason,
        now: i64,
    ) -> Result<bool, StoreError> {
        let subject = subject.map(str::to_owned);
        self.publish(move |connection| match find(connection, id)? {
            Some(session) if session.is_live(now) && subject.is_none_or(|subject| subject == session.subject) => {
                end(connection, &session, reason).map(|()| true)
            }
            _ => Ok(false),
        })
        .await
    }

    async fn end_others(
        &self,
        subject: &str,
        kept: SessionId,
        reason: Reason,
        now: i64,
    ) -> Result<Option<u64>, StoreError> {
        let subject = subject.to_owned();
        self.publish(move |connection| {
            let live = find(connection, kept)?.filter(|kept| kept.subject == subject && kept.is_live(now));
            live.map(|kept| end_each(connection, &subject, reason, now, |session| session.id == kept.id))
                .transpose()
        })
        .await
    }

    async fn end_subject(
        &self,
        subject: &str,
        epoch: i64,
        except: Option<SessionId>,
        reason: Reason,
        now: i64,
    ) -> Result<u64, StoreError> {
        let subject = subject.to_owned();
        self.publish(move |connection| {
            diesel::sql_query(
                "INSERT INTO subjects (subject, epoch) VALUES (?, ?)
                 ON CONFLICT (subject) DO UPDATE SET epoch = max(epoch, excluded.epoch)",
            )
            .bind::<diesel::sql_types::Text, _>(&subject)
            .bind::<diesel::sql_types::BigInt, _>(epoch)
            .execute(connection)?;
            end_each(connection, &subject, reason, now, |session| {
                session.epoch >= epoch || (except == Some(session.id) && session.is_live(now))
            })
        })
        .await
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), StoreError> {
        self.publish(move |connection| insert_revocation(connection, &revocation))
            .await
    }

    async fn revocations_after(&self, cursor: Option<&str>, now: i64) -> Result<Batch, StoreError> {
        let after = self.sequence(cursor);
        let feed_id = self.feed_id.clone();
        self.read(move |connection| {
            connection.transaction(|connection| {
                let newest = revocations::table
                    .select(diesel::dsl::max(revocations::seq))
                    .first::<Option<i64>>(connection)?;
                // A cursor from the future belongs to a file that was since replaced by an older copy.
                let after = after
                    .filter(|after| newest.is_some_and(|newest| *after <= newest) || *after == 0)
                    .unwrap_or(0);
                let rows = revocations::table
                    .filter(revocations::seq.gt(after).and(revocations::expires_at.gt(now)))
                    .order(revocations::seq)
                    .limit(BATCH.into())
                    .select((revocations::seq, RevocationRow::as_select()))
                    .load::<(i64, RevocationRow)>(connection)?;
                let more = rows.len() == usize::from(BATCH);
                let last = match rows.last() {
                    Some((last, _)) if more => *last,
                    _ => newest.unwrap_or(0).max(after),
                };
                Ok(Batch {
                    revocations: rows
                        .into_iter()
                        .map(|(_, row)| row.read())
                        .collect::<QueryResult<_>>()?,
                    cursor: format!("{feed_id}-{last}"),
                    more,
                    ring_version: feed::table.select(feed::ring_version).first(connection)?,
                })
            })
        })
        .await
    }

    async fn changed(&self) {
        let _ = tokio::time::timeout(POLL, self.changed.notified()).await;
    }

    async fn ring(&self) -> Result<StoredRing, StoreError> {
        self.read(|connection| {
            connection.transaction(|connection| {
                let version = feed::table.select(feed::ring_version).first(connection)?;
                let rows = keys::table.order(keys::since).load::<KeyRow>(connection)?;
                let keys = rows.into_iter().map(KeyRow::read).collect::<QueryResult<_>>()?;
                Ok(StoredRing { version, keys })
            })
        })
        .await
    }

    async fn replace_ring(&self, version: i64, replacement: Vec<StoredKey>) -> Result<bool, StoreError> {
        self.publish(move |connection| {
            let replaced = diesel::update(feed::table.filter(feed::ring_version.eq(version)))
                .set(feed::ring_version.eq(version + 1))
                .execute(connection)?;
            if replaced == 0 {
                return Ok(false);
            }
            diesel::delete(keys::table).execute(connection)?;
            for key in &replacement {
                diesel::insert_into(keys::table)
                    .values(KeyRow::new(key))
                    .execute(connection)?;
            }
            Ok(true)
        })
        .await
    }

    async fn create_client(&self, client: StoredClient) -> Result<bool, StoreError> {
        self.write(move |connection| {
            diesel::insert_or_ignore_into(clients::table)
                .values(ClientRow::new(&client))
                .execute(connection)
                .map(|inserted| inserted == 1)
        })
        .await
    }

    async fn find_client(&self, id: &str) -> Result<Option<StoredClient>, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| {
            Ok(clients::table
                .find(id)
                .first::<ClientRow>(connection)
                .optional()?
                .map(ClientRow::read))
        })
        .await
    }

    async fn list_clients(&self) -> Result<Vec<StoredClient>, StoreError> {
        self.read(|connection| {
            let rows = clients::table.order(clients::id).load::<ClientRow>(connection)?;
            Ok(rows.into_iter().map(ClientRow::read).collect())
        })
        .await
    }

    async fn delete_client(&self, id: &str, revoked_until: i64) -> Result<bool, StoreError> {
        let revocation = Revocation {
            kind: RevokedKind::Client,
            id: id.to_owned(),
            reason: Reason::Administrator,
            expires_at: revoked_until,
        };
        self.publish(move |connection| {
            if diesel::delete(clients::table.find(&revocation.id)).execute(connection)? == 0 {
                return Ok(false);
            }
            insert_revocation(connection, &revocation).map(|()| true)
        })
        .await
    }

    async fn sweep(&self, now: i64) -> Result<usize, StoreError> {
        let mut swept = 0;
        loop {
            let step = self
                .write(move |connection| {
                    let dead = sessions::table
                        .filter(
                            sessions::idle_expires_at
                                .lt(now)
                                .and(sessions::access_expires_at.lt(now - LEEWAY_MS)),
                        )
                        .select(sessions::id)
                        .limit(SWEEP)
                        .load::<String>(connection)?;
                    let gone = diesel::delete(sessions::table.filter(sessions::id.eq_any(dead))).execute(connection)?;
                    let expired = revocations::table
                        .filter(revocations::expires_at.lt(now))
                        .select(revocations::seq)
                        .limit(SWEEP)
                        .load::<i64>(connection)?;
                    let spent = exchanges::table
                        .filter(exchanges::expires_at.lt(now))
                        .select(exchanges::proof)
                        .limit(SWEEP)
                        .load::<String>(connection)?;
                    let spent = exchanges::table.filter(exchanges::proof.eq_any(spent));
                    let expired = revocations::table.filter(revocations::seq.eq_any(expired));
                    Ok(gone
                        + diesel::delete(spent).execute(connection)?
                        + diesel::delete(expired).execute(connection)?)
                })
                .await?;
            swept += step;
            if step < usize::try_from(SWEEP).unwrap_or(usize::MAX) {
                return Ok(swept);
            }
        }
    }
}
