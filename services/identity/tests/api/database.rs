//! A fresh database for a test: a SQLite file or, with `PORTCULLIS_TEST_TOPOLOGY=servers`, one on a Postgres server.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use portcullis_test_servers::{PostgresDatabase, on_servers};
use tempfile::TempDir;

pub(crate) enum TestDatabase {
    Postgres(PostgresDatabase),
    Sqlite(TempDir),
}

/// A connection to it, for what the service does not offer.
#[derive(diesel::MultiConnection)]
pub(crate) enum TestConnection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// While it lives nobody else can write.
pub(crate) struct Locked {
    _connection: TestConnection,
}

#[derive(QueryableByName)]
struct Stored {
    #[diesel(sql_type = diesel::sql_types::Text)]
    password: String,
}

impl TestDatabase {
    pub(crate) fn fresh() -> Self {
        if on_servers() {
            Self::Postgres(PostgresDatabase::create())
        } else {
            Self::Sqlite(tempfile::tempdir().unwrap())
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Postgres(database) => database.url().to_owned(),
            Self::Sqlite(directory) => format!("sqlite://{}", directory.path().join("identity.db").display()),
        }
    }

    fn connect(&self) -> TestConnection {
        match self {
            Self::Postgres(database) => TestConnection::Postgres(PgConnection::establish(database.url()).unwrap()),
            Self::Sqlite(directory) => {
                TestConnection::Sqlite(service_kit::sqlite::open(&directory.path().join("identity.db")).unwrap())
            }
        }
    }

    pub(crate) fn execute(&self, statements: &str) {
        self.connect().batch_execute(statements).unwrap();
    }

    pub(crate) fn lock(&self) -> Locked {
        let mut connection = self.connect();
        let lock = match &connection {
            TestConnection::Postgres(_) => "BEGIN; LOCK TABLE users",
            TestConnection::Sqlite(_) => "BEGIN IMMEDIATE",
        };
        connection.batch_execute(lock).unwrap();
        Locked {
            _connection: connection,
        }
    }

    /// The hash of every password.
    pub(crate) fn passwords(&self) -> Vec<String> {
        let stored: Vec<Stored> = sql_query("SELECT password FROM users")
            .load(&mut self.connect())
            .unwrap();
        stored.into_iter().map(|stored| stored.password).collect()
    }
}
