//! SQLite files, opened the one way this project opens them: durable, private, and patient with other writers.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use diesel::connection::SimpleConnection;
use diesel::{Connection, ConnectionError, ConnectionResult, QueryResult, SqliteConnection};

/// Opens the database file at `path`, creating it with mode 0600 (SQLite gives its journal files the same).
///
/// Write-ahead logging lets readers and the writer pass each other; `synchronous = FULL` makes a commit survive a power
/// cut; a locked database is waited for up to 5 s.
pub fn open(path: &Path) -> ConnectionResult<SqliteConnection> {
    // One at a time, so that no other thread has the file open while it is made.
    static OPENING: Mutex<()> = Mutex::new(());
    let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    make_private(path).map_err(|error| ConnectionError::BadConnection(format!("{}: {error}", path.display())))?;
    let mut connection = SqliteConnection::establish(&path.to_string_lossy())?;
    write_ahead(&mut connection).map_err(ConnectionError::CouldntSetupConfiguration)?;
    connection
        .batch_execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -1024;")
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// Makes sure that the file exists and that nobody but its owner may read it.
///
/// A file that exists is never opened here: closing any descriptor of a file takes from the process every lock that it
/// has on it (POSIX), SQLite's own included, and other processes would then think that nobody uses the database.
fn make_private(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => crate::private::file(path).map(drop),
        Err(error) => Err(error),
        Ok(found) => {
            let mode = found.permissions().mode();
            if mode & 0o077 != 0 {
                std::fs::set_permissions(path, Permissions::from_mode(mode & 0o700))?;
            }
            Ok(())
        }
    }
}

/// Sets the patience and changes to write-ahead logging. SQLite does not wait while another process makes the same
/// change, so this does: for the lock, and then tries again.
fn write_ahead(connection: &mut SqliteConnection) -> QueryResult<()> {
    const ATTEMPTS: usize = 20;
    connection.batch_execute("PRAGMA busy_timeout = 5000")?;
    for _ in 1..ATTEMPTS {
        if connection.batch_execute("PRAGMA journal_mode = WAL").is_ok() {
            return Ok(());
        }
        connection.batch_execute("BEGIN IMMEDIATE; ROLLBACK")?;
    }
    connection.batch_execute("PRAGMA journal_mode = WAL")
}

/// The file behind a `sqlite://PATH` or `sqlite:PATH` URL, or `None` when the URL is of another kind.
#[must_use]
pub fn path(url: &str) -> Option<&Path> {
    let rest = url.strip_prefix("sqlite:")?;
    Some(Path::new(rest.strip_prefix("//").unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("portcullis-{}.db", crate::random::uuid()))
    }

    /// Another process that closes the database takes itself for the last one when it finds no lock on the file, and
    /// removes the log that this process still writes to.
    #[test]
    fn a_second_connection_leaves_the_locks_of_the_first_alone() {
        const NAME: &str = "sqlite::tests::a_second_connection_leaves_the_locks_of_the_first_alone";
        const VARIABLE: &str = "PORTCULLIS_TEST_SQLITE_FILE";
        if let Some(path) = crate::config::environment(VARIABLE) {
            // We are the other process.
            open(Path::new(&path))
                .unwrap()
                .batch_execute("SELECT * FROM t")
                .unwrap();
            return;
        }
        let path = scratch();
        let mut first = open(&path).unwrap();
        first.batch_execute("CREATE TABLE t (x)").unwrap();
        let second = open(&path).unwrap();
        let other = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(VARIABLE, &path)
            .output()
            .unwrap();
        assert!(other.status.success(), "{other:?}");
        assert!(path.with_extension("db-wal").exists());
        drop((first, second));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_database_that_others_may_read_is_closed_to_them() {
        let path = scratch();
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let connection = open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(connection);
        std::fs::remove_file(&path).unwrap();
    }
}
