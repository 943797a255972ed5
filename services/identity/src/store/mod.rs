//! The users' database: Postgres or SQLite, one set of queries, every one of them off the async threads.

mod change;
mod connection;
#[cfg(test)]
mod contract;
mod legacy;
mod list;
mod outbox;
mod pool;
mod schema;
mod tally;
mod users;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use diesel::QueryResult;
use diesel::r2d2::R2D2Connection;
use diesel::result::Error;
use service_kit::Clock;
use service_kit::blocking::BlockingPool;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

pub(crate) use change::Rights;
use connection::AnyConnection;
pub(crate) use connection::{BadUrl, Database};
pub(crate) use legacy::LegacyRow;
pub use legacy::{LegacyMistake, LegacyProblem};
pub(crate) use list::{By, Listing, Order, Position};
pub(crate) use outbox::Pending;
use pool::Connections;
pub(crate) use users::NewAccount;

use crate::{Config, IdentityError};

/// How long a query may take, waiting for its turn and for a connection included, until its caller is told that the
/// database is away: longer than a single statement and a lock may take.
const DEADLINE: Duration = Duration::from_secs(8);
/// How many queries may wait for a connection.
const QUEUE: usize = 1024;

/// The users and the outbox. Clones share the connections.
#[derive(Clone)]
pub(crate) struct UserStore {
    connections: Arc<Connections>,
    threads: BlockingPool,
    clock: Clock,
    outbox_filled: Arc<Notify>,
    delivery: Arc<Mutex<()>>,
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
            delivery: Arc::default(),
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

    /// Waits until nobody else in this process empties the outbox, so that nothing is told twice for no reason.
    pub(crate) async fn turn_to_deliver(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.delivery).lock_owned().await
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
        // A server that neither answers nor hangs up holds its threads; callers need not wait for as long.
        tokio::time::timeout(DEADLINE, self.run_long(work))
            .await
            .context("the database did not answer in time")
            .map_err(IdentityError::StoreUnavailable)?
    }

    /// The same, however long it takes: for an operator's command, who sees what comes of it.
    async fn run_long<T, F>(&self, work: F) -> Result<T, IdentityError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConnection) -> QueryResult<T> + Send + 'static,
    {
        let connections = Arc::clone(&self.connections);
        self.threads.run(move || connections.run(work)).await?
    }
}

/// What the database could not do. What is not a mistake in our own queries may go better the next time.
impl From<Error> for IdentityError {
    fn from(error: Error) -> Self {
        // What the transactions of this store are taken back for.
        if matches!(error, Error::RollbackTransaction) {
            return Self::AccountChanged;
        }
        let cause = anyhow::Error::from(error);
        match cause.downcast_ref() {
            Some(Error::DatabaseError(..) | Error::BrokenTransactionManager | Error::RollbackErrorOnCommit { .. }) => {
                Self::StoreUnavailable(cause)
            }
            _ => Self::Internal(cause),
        }
    }
}
