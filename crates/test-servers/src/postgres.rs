//! A database of one's own.

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};

use crate::{POSTGRES as VARIABLE, skip};

/// A fresh, empty database; dropped, with its connections, when this is.
#[derive(Debug)]
pub struct PostgresDatabase {
    server: String,
    name: String,
    url: String,
}

impl PostgresDatabase {
    /// One on the server that `scripts/test` started.
    ///
    /// # Panics
    /// When there is no such server.
    #[must_use]
    pub fn create() -> Self {
        let server = service_kit::config::environment(VARIABLE).unwrap_or_else(|| {
            panic!("{VARIABLE} is not set, and this test needs Postgres: run scripts/test, which starts one")
        });
        Self::create_on(&server)
    }

    /// One on the server that `scripts/test` started; `None`, saying so, when it started none.
    ///
    /// # Panics
    /// When the variable names a server and it cannot be reached.
    #[must_use]
    pub fn create_or_skip(what: &str) -> Option<Self> {
        let promised = service_kit::config::environment(VARIABLE).is_some();
        if !promised {
            skip(what, VARIABLE);
        }
        promised.then(Self::create)
    }

    /// One on the server at `server`, the URL of another database of it.
    ///
    /// # Panics
    /// When it cannot be reached.
    #[must_use]
    pub fn create_on(server: &str) -> Self {
        let name = format!("test_{}", service_kit::random::hex(&service_kit::random::bytes::<8>()));
        let (base, parameters) = server.split_once('?').map_or((server, ""), |(base, rest)| (base, rest));
        let base = base.rsplit_once('/').map_or(base, |(base, _)| base);
        let question_mark = if parameters.is_empty() { "" } else { "?" };
        let url = format!("{base}/{name}{question_mark}{parameters}");
        let server = server.to_owned();
        execute(&server, &format!("CREATE DATABASE {name}"));
        Self { server, name, url }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements in it.
    ///
    /// # Panics
    /// When they fail.
    pub fn execute(&self, statements: &str) {
        execute(&self.url, statements);
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        // The whole server may be gone by now.
        if let Ok(mut connection) = PgConnection::establish(&self.server) {
            let _ = connection.batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        }
    }
}

fn execute(url: &str, statements: &str) {
    let mut connection = PgConnection::establish(url)
        .unwrap_or_else(|error| panic!("the Postgres that {VARIABLE} promises cannot be reached: {error}"));
    connection
        .batch_execute(statements)
        .unwrap_or_else(|error| panic!("{statements}: {error}"));
}
