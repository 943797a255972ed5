//! Connections to either database, chosen by the URL, and the migrations of each.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use diesel::connection::SimpleConnection;
use diesel::{Connection, ConnectionError, PgConnection, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
/// The Postgres advisory lock that is held while migrations run: "identity" in ASCII.
const MIGRATION_LOCK: i64 = 0x6964_656e_7469_7479;
/// What libpq is told unless the URL says otherwise: to give up on a server that does not accept (s), does not confirm
/// what was sent (ms), or is silent while we wait for it (s, s, times). Otherwise it would wait for ever.
const POSTGRES_DEFAULTS: [(&str, &str); 6] = [
    ("application_name", "portcullis-identity"),
    ("connect_timeout", "2"),
    ("tcp_user_timeout", "5000"),
    ("keepalives_idle", "3"),
    ("keepalives_interval", "1"),
    ("keepalives_count", "2"),
];
/// Before anything else on a connection: no query takes longer, so that locks are not waited for without end.
const POSTGRES_LIMITS: &str = "SET statement_timeout = '5s'; SET idle_in_transaction_session_timeout = '10s'";
/// Modes of libpq that insist on TLS.
const TLS_MODES: [&str; 3] = ["require", "verify-ca", "verify-full"];
/// Whether libpq can speak TLS.
const HAS_TLS: bool = cfg!(all(feature = "system-libpq", not(feature = "bundled-libpq")));

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

/// What is wrong with the URL of a database, and what to do about it. The URL is not repeated: it may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct BadUrl {
    pub(crate) problem: &'static str,
    pub(crate) remedy: &'static str,
}

impl Database {
    /// Reads a URL, or says what is wrong with it.
    pub(crate) fn parse(url: &str) -> Result<Self, BadUrl> {
        let wrong = |problem| {
            let remedy = "Give sqlite:///absolute/path/identity.db or postgres://user:password@host/name.";
            Err(BadUrl { problem, remedy })
        };
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Self::parse_postgres(url);
        }
        match service_kit::sqlite::path(url) {
            Some(path) if !path.as_os_str().is_empty() => Ok(Self::Sqlite(path.to_owned())),
            Some(_) => wrong("names no file"),
            None => wrong("is neither a sqlite: nor a postgres: URL"),
        }
    }

    fn parse_postgres(url: &str) -> Result<Self, BadUrl> {
        // libpq would repeat what it cannot decode, and that may be the password.
        let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        if !url.split('%').skip(1).all(is_escape) {
            return Err(BadUrl {
                problem: "has a % that is not followed by two hexadecimal digits",
                remedy: "Write each % of a password as %25.",
            });
        }
        let given = |name: &str| {
            let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters).split('&');
            parameters
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| (key == name).then_some(value))
        };
        if !HAS_TLS && given("sslmode").is_some_and(|mode| TLS_MODES.contains(&mode)) {
            return Err(BadUrl {
                problem: "insists on TLS (sslmode), which the Postgres client in this build does not have",
                remedy: "Use the container image, or build with --no-default-features --features system-libpq; over a \
                         network of your own, take sslmode out of the URL.",
            });
        }
        let mut url = url.to_owned();
        for (name, value) in POSTGRES_DEFAULTS.iter().filter(|(name, _)| given(name).is_none()) {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.extend([name, "=", value]);
        }
        Ok(Self::Postgres(url))
    }

    /// Opens a connection.
    pub(super) fn connect(&self) -> Result<AnyConnection, ConnectionError> {
        match self {
            Self::Postgres(url) => {
                let mut connection = PgConnection::establish(url)?;
                let limited = connection.batch_execute(POSTGRES_LIMITS);
                limited.map_err(ConnectionError::CouldntSetupConfiguration)?;
                Ok(AnyConnection::Postgres(connection))
            }
            Self::Sqlite(path) => service_kit::sqlite::open(path).map(AnyConnection::Sqlite),
        }
    }

    /// Brings the schema up to date. Of processes that start together one does it and the others wait for it.
    pub(crate) fn migrate(&self) -> anyhow::Result<()> {
        let failed = |error| anyhow!("while bringing the schema up to date: {error}");
        match self.connect().context("while connecting")? {
            AnyConnection::Postgres(mut connection) => {
                // Held by the connection, so a process that dies lets go of it. Neither waiting for it nor a migration of
                // many rows is cut short.
                let lock = format!("SET statement_timeout = 0; SELECT pg_advisory_lock({MIGRATION_LOCK})");
                connection.batch_execute(&lock)?;
                connection.run_pending_migrations(POSTGRES).map(drop).map_err(failed)
            }
            AnyConnection::Sqlite(mut connection) => connection.immediate_transaction(|connection| {
                connection.run_pending_migrations(SQLITE).map(drop).map_err(failed)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use diesel::RunQueryDsl;
    use portcullis_test_servers::PostgresDatabase;

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

    /// Does all migrations and undoes them, twice.
    fn goes_up_and_down<B: diesel::backend::Backend>(
        connection: &mut impl MigrationHarness<B>,
        migrations: impl Fn() -> EmbeddedMigrations,
    ) {
        for _ in 0..2 {
            let done = connection.run_pending_migrations(migrations()).unwrap().len();
            assert_eq!(done, names("sqlite").len());
            let undone = connection.revert_all_migrations(migrations()).unwrap().len();
            assert_eq!(undone, done);
        }
    }

    #[test]
    fn every_sqlite_migration_can_be_undone_and_done_again() {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        goes_up_and_down(&mut connection, || SQLITE);
    }

    #[test]
    fn every_postgres_migration_can_be_undone_and_done_again() {
        let Some(database) = PostgresDatabase::create_or_skip("the Postgres migrations") else {
            return;
        };
        let mut connection = PgConnection::establish(database.url()).unwrap();
        goes_up_and_down(&mut connection, || POSTGRES);
    }

    /// As many processes as `count` bring one schema up to date at once.
    fn start_together(database: &Database, count: usize) {
        let barrier = Barrier::new(count);
        std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                database.migrate()
            };
            let started: Vec<_> = (0..count).map(|_| scope.spawn(start)).collect();
            for one in started {
                one.join().unwrap().unwrap();
            }
        });
    }

    #[test]
    fn processes_that_start_together_do_not_race() {
        let directory = tempfile::tempdir().unwrap();
        start_together(&Database::Sqlite(directory.path().join("identity.db")), 8);
    }

    #[test]
    fn replicas_that_start_together_on_postgres_migrate_once() {
        let Some(database) = PostgresDatabase::create_or_skip("replicas that start together on Postgres") else {
            return;
        };
        for _ in 0..5 {
            let url = Database::parse(database.url()).unwrap();
            start_together(&url, 3);
            let mut connection = PgConnection::establish(database.url()).unwrap();
            assert_eq!(connection.applied_migrations().unwrap().len(), names("postgres").len());
            connection.revert_all_migrations(POSTGRES).unwrap();
        }
    }

    #[test]
    fn a_migration_waits_for_the_one_that_runs() {
        let Some(database) = PostgresDatabase::create_or_skip("the lock on Postgres migrations") else {
            return;
        };
        let mut other = PgConnection::establish(database.url()).unwrap();
        other
            .batch_execute(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})"))
            .unwrap();
        let url = Database::parse(database.url()).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| url.migrate());
            let blocked = "SELECT count(*) AS count FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
            while diesel::sql_query(blocked)
                .get_result::<Count>(&mut other)
                .unwrap()
                .count
                == 0
            {}
            assert!(other.applied_migrations().is_ok_and(|applied| applied.is_empty()));
            drop(other);
            waiting.join().unwrap().unwrap();
        });
    }

    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        count: i64,
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

    #[test]
    fn a_url_that_libpq_would_repeat_with_its_password_is_refused() {
        for wrong in ["100%", "%1", "%zz", "a%é"] {
            let url = format!("postgres://identity:{wrong}@localhost/identity");
            assert!(Database::parse(&url).is_err(), "{wrong}");
        }
        assert!(Database::parse("postgres://identity:100%25@localhost/identity").is_ok());
    }

    #[test]
    fn tls_is_refused_at_once_by_a_build_without_it() {
        for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
            let url = format!("postgres://identity@localhost/identity?application_name=x&sslmode={mode}");
            let expected = HAS_TLS || !TLS_MODES.contains(&mode);
            assert_eq!(Database::parse(&url).is_ok(), expected, "{mode}");
        }
    }

    #[test]
    fn what_the_url_says_is_not_overridden() {
        let parsed = |url: &str| match Database::parse(url) {
            Ok(Database::Postgres(url)) => url,
            _ => panic!("{url}"),
        };
        let rest = "tcp_user_timeout=5000&keepalives_idle=3&keepalives_interval=1&keepalives_count=2";
        assert_eq!(
            parsed("postgres://host/name"),
            format!("postgres://host/name?application_name=portcullis-identity&connect_timeout=2&{rest}")
        );
        assert_eq!(
            parsed("postgres://host/name?connect_timeout=9&application_name=mine"),
            format!("postgres://host/name?connect_timeout=9&application_name=mine&{rest}")
        );
    }
}
