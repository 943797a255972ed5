//! A numbered database of one's own on a Redis.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::REDIS as VARIABLE;

/// Where the Redis itself counts the databases that were given away; in its first one.
const COUNTER: &str = "portcullis:test:databases";

/// A fresh, empty database; emptied when this is dropped.
#[derive(Debug)]
pub struct RedisDatabase {
    server: String,
    number: u32,
}

impl RedisDatabase {
    /// One on the server that `scripts/test` started.
    ///
    /// # Panics
    /// When there is no such server, or it has no database left.
    #[must_use]
    pub fn create() -> Self {
        let server = service_kit::config::environment(VARIABLE).unwrap_or_else(|| {
            panic!("{VARIABLE} is not set, and this test needs Redis: run scripts/test, which starts one")
        });
        Self::create_on(&server)
    }

    /// One on the server at `server`.
    ///
    /// # Panics
    /// When it cannot be reached, or has no database left.
    #[must_use]
    pub fn create_on(server: &str) -> Self {
        let server = server.trim_end_matches('/').to_owned();
        let answers = ask(&server, &[&format!("INCR {COUNTER}")]);
        let number = answers.and_then(|answers| answers[0].strip_prefix(':').and_then(|number| number.parse().ok()));
        let number = number.unwrap_or_else(|| panic!("the Redis that {VARIABLE} promises cannot be reached: {server}"));
        let emptied = ask(&server, &[&format!("SELECT {number}"), "FLUSHDB"]);
        assert_eq!(emptied.as_deref(), Some(&["+OK".to_owned(), "+OK".to_owned()][..]));
        Self { server, number }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{}", self.server, self.number)
    }
}

impl Drop for RedisDatabase {
    fn drop(&mut self) {
        // The whole server may be gone by now.
        let _ = ask(&self.server, &[&format!("SELECT {}", self.number), "FLUSHDB"]);
    }
}

/// What is answered to each command, in a line each; `None` when it cannot be reached.
fn ask(server: &str, commands: &[&str]) -> Option<Vec<String>> {
    let mut stream = TcpStream::connect(server.strip_prefix("redis://")?).ok()?;
    stream.write_all((commands.join("\r\n") + "\r\n").as_bytes()).ok()?;
    let answers = BufReader::new(stream).lines().take(commands.len());
    answers.collect::<Result<_, _>>().ok()
}
