//! The users' database: Postgres or SQLite, one set of queries, every one of them off the async threads.

mod connection;
#[cfg(test)]
mod contract;
mod outbox;
mod schema;
mod users;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use diesel::QueryResult;
use diesel::r2d2::{Pool, PooledConnection, R2D2Connection};
use diesel::result::Error;
use service_kit::Clock;
use service_kit::blocking::BlockingPool;
use tokio::sync::Notify;

pub(crate) use connection::Database;
use connection::{AnyConnection, Manager};
pub(crate) use outbox::Pending;
pub(crate) use users::{NewAccount, Order, Position};

use crate::{Config, IdentityError};

/// How long the first query after the database went away waits for it; those that follow fail at once.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many queries may wait for a connection.
const QUEUE: usize = 1024;

/// The users and the outbox. Clones share the connections.
#[derive(Clone)]
pub(crate) struct UserStore {
    connections: Arc<Connections>,
    threads: BlockingPool,
    clock: Clock,
    outbox_filled: Arc<Notify>,
}

struct Connections {
    pool: Pool<Manager>,
    is_away: AtomicBool,
}

impl UserStore {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be reached or its schema cannot be made.
    pub(crate) async fn open(config: &Config, clock: Clock) -> anyhow::Result<Self> {
        Self::connect(&config.database_url, config.database_pool, clock).await
    }

    async fn connect(url: &str, connections: usize, clock: Clock) -> anyhow::Result<Self> {
        let database = Database::parse(url).map_err(|problem| anyhow!("identity.database_url {problem}"))?;
        let threads = BlockingPool::new("database", connections, QUEUE);
        let size = u32::try_from(connections)?.max(1);
        let opened = threads.run(move || database.migrate().map(|()| Connections::unchecked(database, size)));
        Ok(Self {
            connections: Arc::new(opened.await??),
            threads,
            clock,
            outbox_filled: Arc::default(),
        })
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), IdentityError> {
        self.run(AnyConnection::ping).await
    }

    /// Waits until this process has put something into the outbox.
    pub(crate) async fn outbox_filled(&self) {
        self.outbox_filled.notified().await;
    }

    /// The time now, in microseconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_microsecond()
    }

    /// Runs `work` on a connection of the pool, on a thread that may block.
    async fn run<T, F>(&self, work: F) -> Result<T, IdentityError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConnection) -> QueryResult<T> + Send + 'static,
    {
        let connections = Arc::clone(&self.connections);
        self.threads
            .run(move || work(&mut *connections.get()?).map_err(IdentityError::from))
            .await?
    }
}

impl Connections {
    /// Up to `size` connections, whether or not the first can be made.
    fn unchecked(database: Database, size: u32) -> Self {
        let pool = Pool::builder()
            .max_size(size)
            .min_idle(Some(1))
            .connection_timeout(PATIENCE)
            .test_on_check_out(true)
            .build_unchecked(Manager(database));
        Self {
            pool,
            is_away: AtomicBool::new(false),
        }
    }

    fn get(&self) -> Result<PooledConnection<Manager>, IdentityError> {
        let got = if self.is_away.load(Ordering::Acquire) {
            self.pool.try_get().context("the database is still away")
        } else {
            self.pool.get().context("while waiting for a connection")
        };
        self.is_away.store(got.is_err(), Ordering::Release);
        got.map_err(IdentityError::StoreUnavailable)
    }
}

/// What the database could not do. What is not a mistake in our own queries may go better the next time.
impl From<Error> for IdentityError {
    fn from(error: Error) -> Self {
        let cause = anyhow::Error::from(error);
        match cause.downcast_ref() {
            Some(Error::DatabaseError(..) | Error::BrokenTransactionManager | Error::RollbackErrorOnCommit { .. }) => {
                Self::StoreUnavailable(cause)
            }
            _ => Self::Internal(cause),
        }
    }
}
