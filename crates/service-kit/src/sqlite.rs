//! SQLite files, opened the one way this project opens them: durable, private, and patient with other writers.

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::{Connection, ConnectionError, ConnectionResult, SqliteConnection};

/// Opens the database file at `path`, creating it with mode 0600 (SQLite gives its journal files the same).
///
/// Write-ahead logging lets readers and the writer pass each other; `synchronous = FULL` makes a commit survive a power
/// cut; a locked database is waited for up to 5 s.
pub fn open(path: &Path) -> ConnectionResult<SqliteConnection> {
    crate::private::file(path)
        .map_err(|error| ConnectionError::BadConnection(format!("{}: {error}", path.display())))?;
    let mut connection = SqliteConnection::establish(&path.to_string_lossy())?;
    connection
        .batch_execute(
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA cache_size = -1024;",
        )
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// The file behind a `sqlite://PATH` or `sqlite:PATH` URL, or `None` when the URL is of another kind.
#[must_use]
pub fn path(url: &str) -> Option<&Path> {
    let rest = url.strip_prefix("sqlite:")?;
    Some(Path::new(rest.strip_prefix("//").unwrap_or(rest)))
}
