//! Real servers for tests: a database of one's own on the server that `scripts/test` starts, and whole servers that a test
//! may stop and start again. Whatever does not work panics: it is for tests only.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod port;
mod postgres;
mod redis;
mod server;

use std::io::Write;
use std::sync::LazyLock;

pub use port::Kept;
pub use postgres::PostgresDatabase;
pub use redis::RedisDatabase;
pub use server::{Server, Signal, servers_or_skip};
use tokio::runtime::Handle;

const TOPOLOGY: &str = "PORTCULLIS_TEST_TOPOLOGY";
/// The URL of a database whose owner may make others.
const POSTGRES: &str = "PORTCULLIS_TEST_POSTGRES_URL";
/// The URL of a Redis with many databases.
const REDIS: &str = "PORTCULLIS_TEST_REDIS_URL";

/// Whether suites that can run on both are to run on real servers (`PORTCULLIS_TEST_TOPOLOGY=servers`) instead of on the
/// embedded stores (`embedded`, the default).
///
/// # Panics
/// When the variable says something else.
#[must_use]
pub fn on_servers() -> bool {
    match service_kit::config::environment(TOPOLOGY).as_deref() {
        None | Some("" | "embedded") => false,
        Some("servers") => true,
        Some(other) => panic!("{TOPOLOGY} is {other:?}; it may be \"embedded\" or \"servers\""),
    }
}

/// A runtime that services under test run on: it outlives the tests, so that their ends can stop what they started.
#[must_use]
pub fn runtime() -> &'static Handle {
    static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    });
    &RUNTIME
}

/// Says, whether or not output is captured, that `what` was not tested.
fn skip(what: &str, variable: &str) {
    let line = format!("SKIPPED: {what}: {variable} is not set, as scripts/test does\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
