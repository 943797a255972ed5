//! Connections to either database, chosen by the URL, and the migrations of each.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use diesel::r2d2::{ManageConnection, R2D2Connection};
use diesel::{Connection, ConnectionError, PgConnection, QueryResult, RunQueryDsl, SqliteConnection, sql_query};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
/// The Postgres advisory lock that is held while migrations run: "identity" in ASCII.
const MIGRATION_LOCK: i64 = 0x6964_656e_7469_7479;

/// A connection to one of the databases that queries are written for.
#[derive(diesel::MultiConnection)]
pub(crate) enum AnyConnection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// Which database to open.
#[derive(Clone)]
pub(crate) enum Database {
    /// By URL.
    Postgres(String),
    /// By file.
    Sqlite(PathBuf),
}

impl Database {
    /// Reads a URL, or says what is wrong with it (without repeating it: it may hold a password).
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        match service_kit::sqlite::path(url) {
            Some(path) if !path.as_os_str().is_empty() => Ok(Self::Sqlite(path.to_owned())),
            Some(_) => Err("names no file"),
            None => Err("is neither a sqlite: nor a postgres: URL"),
        }
    }

    fn connect(&self) -> Result<AnyConnection, ConnectionError> {
        match self {
            Self::Postgres(url) => PgConnection::establish(url).map(AnyConnection::Postgres),
            Self::Sqlite(path) => service_kit::sqlite::open(path).map(AnyConnection::Sqlite),
        }
    }

    /// Brings the schema up to date. Of processes that start together one does it and the others wait for it.
    pub(crate) fn migrate(&self) -> anyhow::Result<()> {
        let failed = |error| anyhow!("while bringing the schema up to date: {error}");
        match self.connect().context("while connecting")? {
            AnyConnection::Postgres(mut connection) => {
                // Held by the connection, so a process that dies lets go of it.
                sql_query(format!("SELECT pg_advisory_lock({MIGRATION_LOCK})")).execute(&mut connection)?;
                connection.run_pending_migrations(POSTGRES).map(drop).map_err(failed)
            }
            AnyConnection::Sqlite(mut connection) => connection.immediate_transaction(|connection| {
                connection.run_pending_migrations(SQLITE).map(drop).map_err(failed)
            }),
        }
    }
}

/// Opens connections for the pool.
pub(crate) struct Manager(pub(crate) Database);

impl ManageConnection for Manager {
    type Connection = AnyConnection;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<AnyConnection, Self::Error> {
        self.0.connect().map_err(diesel::r2d2::Error::ConnectionError)
    }

    fn is_valid(&self, connection: &mut AnyConnection) -> Result<(), Self::Error> {
        let answer: QueryResult<()> = match connection {
            AnyConnection::Postgres(connection) => connection.ping(),
            // A file does not hang up.
            AnyConnection::Sqlite(_) => Ok(()),
        };
        answer.map_err(diesel::r2d2::Error::QueryError)
    }

    fn has_broken(&self, connection: &mut AnyConnection) -> bool {
        std::thread::panicking() || connection.is_broken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(database: &str) -> Vec<String> {
        let folder = format!("{}/migrations/{database}", env!("CARGO_MANIFEST_DIR"));
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn both_databases_have_the_same_migrations() {
        assert_eq!(names("sqlite"), names("postgres"));
        assert!(names("sqlite").len() >= 2);
    }

    #[test]
    fn every_sqlite_migration_can_be_undone_and_done_again() {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        for _ in 0..2 {
            let done = connection.run_pending_migrations(SQLITE).unwrap().len();
            assert_eq!(done, names("sqlite").len());
            let undone = connection.revert_all_migrations(SQLITE).unwrap().len();
            assert_eq!(undone, done);
        }
    }

    #[test]
    fn processes_that_start_together_do_not_race() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::Sqlite(directory.path().join("identity.db"));
        std::thread::scope(|scope| {
            let started: Vec<_> = (0..8).map(|_| scope.spawn(|| database.migrate())).collect();
            for one in started {
                one.join().unwrap().unwrap();
            }
        });
    }

    #[test]
    fn a_typing_mistake_in_the_url_makes_no_file() {
        for wrong in [
            "",
            "identity.db",
            "sqlite:",
            "mysql://localhost/identity",
            "postgre://localhost/identity",
        ] {
            assert!(Database::parse(wrong).is_err(), "{wrong}");
        }
    }
}
