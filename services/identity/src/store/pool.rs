//! The pool of connections, and what it knows of the database being away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use diesel::r2d2::{ManageConnection, Pool, R2D2Connection};
use diesel::result::DatabaseErrorKind::{ClosedConnection, UnableToSendCommand};
use diesel::result::Error;
use diesel::{ConnectionError, QueryResult};
use service_kit::clock;

use super::connection::{AnyConnection, Database};
use super::tally::{Counted, End, Tally};
use crate::IdentityError;

/// How long the first query after the database went away waits for it; those that follow fail at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// A connection that has worked within this time is used without asking whether it still does.
const TRUSTED: Duration = Duration::from_secs(1);

/// Connections to the database, shared by all queries.
pub(super) struct Connections {
    pool: Pool<Manager>,
    is_away: AtomicBool,
    broken: Arc<LastBroken>,
    // Behind the pool, so that it waits for what the pool leaves behind.
    _end: End,
}

/// When a connection last turned out to be broken: the others may be as well.
#[derive(Default)]
struct LastBroken(Mutex<Option<Instant>>);

impl LastBroken {
    fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::instant());
    }

    fn is_before(&self, moment: Instant) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| last < moment)
    }
}

/// A connection, and when it last worked.
struct Pooled {
    connection: AnyConnection,
    worked_at: Instant,
    // Behind the connection, so that it counts until that is closed.
    _counted: Counted,
}

struct Manager {
    database: Database,
    broken: Arc<LastBroken>,
    tally: Arc<Tally>,
}

impl ManageConnection for Manager {
    type Connection = Pooled;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<Pooled, Self::Error> {
        let over = || ConnectionError::BadConnection("the process is about to end".to_owned());
        let counted = self.tally.count().ok_or_else(over);
        let made = counted.and_then(|counted| Ok((self.database.connect()?, counted)));
        let (connection, counted) = made.map_err(diesel::r2d2::Error::ConnectionError)?;
        Ok(Pooled {
            connection,
            worked_at: clock::instant(),
            _counted: counted,
        })
    }

    fn is_valid(&self, held: &mut Pooled) -> Result<(), Self::Error> {
        // A file does not hang up. What worked a moment ago is not asked: that would double the queries.
        let is_trusted = matches!(held.connection, AnyConnection::Sqlite(_))
            || (held.worked_at.elapsed() < TRUSTED && self.broken.is_before(held.worked_at));
        if !is_trusted {
            held.connection.ping().map_err(diesel::r2d2::Error::QueryError)?;
            held.worked_at = clock::instant();
        }
        Ok(())
    }

    fn has_broken(&self, held: &mut Pooled) -> bool {
        std::thread::panicking() || held.connection.is_broken()
    }
}

impl Connections {
    /// Up to `size` connections, whether or not the first can be made.
    pub(super) fn unchecked(database: Database, size: u32) -> Self {
        let (broken, end) = (Arc::default(), End::default());
        let manager = Manager {
            database,
            broken: Arc::clone(&broken),
            tally: Arc::clone(&end.0),
        };
        let pool = Pool::builder()
            .max_size(size)
            // None is made ahead of need, which the end would have to wait for.
            .min_idle(Some(0))
            .connection_timeout(PATIENCE)
            .test_on_check_out(true)
            .build_unchecked(manager);
        Self {
            pool,
            is_away: AtomicBool::new(false),
            broken,
            _end: end,
        }
    }

    /// Runs `work` on a connection.
    ///
    /// # Errors
    /// When there is no connection to be had in time, and what `work` could not do.
    pub(super) fn run<T>(&self, work: impl FnOnce(&mut AnyConnection) -> QueryResult<T>) -> Result<T, IdentityError> {
        let got = if self.is_away.load(Ordering::Acquire) {
            self.pool.try_get().context("the database is still away")
        } else {
            let got = self.pool.get().context("while waiting for a connection");
            self.is_away.fetch_or(got.is_err(), Ordering::AcqRel);
            got
        };
        let mut held = got.map_err(IdentityError::StoreUnavailable)?;
        self.is_away.store(false, Ordering::Release);
        let outcome = work(&mut held.connection);
        match &outcome {
            Ok(_) => held.worked_at = clock::instant(),
            Err(Error::DatabaseError(ClosedConnection | UnableToSendCommand, _)) => self.broken.set(),
            Err(_) if held.connection.is_broken() => self.broken.set(),
            Err(_) => {}
        }
        Ok(outcome?)
    }
}
