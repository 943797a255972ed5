//! Real Redis servers, each on a free port with a directory of its own, gone when the test is.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::store::redis::RedisStore;

/// Set by whoever promises that tests find a Redis: the program to start.
const VARIABLE: &str = "PORTCULLIS_TEST_REDIS_SERVER";

/// What a server is started with.
pub(super) const DURABLE: &[&str] = &["--appendonly", "yes"];

pub(super) struct Server {
    program: String,
    options: Vec<String>,
    port: u16,
    directory: TempDir,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program that tests start. `None`, said aloud: there is none, and nobody promised one.
fn program() -> Option<String> {
    if let Some(promised) = service_kit::config::environment(VARIABLE) {
        assert!(
            Command::new(&promised)
                .arg("--version")
                .output()
                .is_ok_and(|output| output.status.success()),
            "{VARIABLE} promises {promised}, which does not run: install redis-server, or unset it"
        );
        return Some(promised);
    }
    let found = ["redis-server", "valkey-server"].into_iter().find(|name| {
        Command::new(name)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        eprintln!(
            "SKIPPED: there is no redis-server here. Install it (Debian: apt-get install redis-server), or name \
                   one in {VARIABLE}."
        );
    }
    found.map(str::to_owned)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn launch(program: &str, options: &[String], port: u16, directory: &TempDir) -> Option<Child> {
    let mut process = Command::new(program)
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--loglevel",
            "notice",
        ])
        .arg("--dir")
        .arg(directory.path())
        .args(["--unixsocket", &directory.path().join("redis.sock").to_string_lossy()])
        .args(options)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = lines.any(|line| line.is_ok_and(|line| line.contains("Ready to accept connections")));
    if !ready {
        process.wait().unwrap();
        return None;
    }
    // Whatever it says later has to be taken from it.
    std::thread::spawn(move || lines.count());
    Some(process)
}

impl Server {
    /// A server with these options, or `None` where tests have to do without.
    pub(super) fn start(options: &[&str]) -> Option<Self> {
        let program = program()?;
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let directory = tempfile::tempdir().unwrap();
        // Somebody else may have taken the port meanwhile.
        for _ in 0..20 {
            let port = free_port();
            if let Some(process) = launch(&program, &options, port, &directory) {
                return Some(Self {
                    program,
                    options,
                    port,
                    directory,
                    process,
                });
            }
        }
        panic!("{program} {options:?} does not start");
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn socket_url(&self) -> String {
        format!("redis+unix://{}", self.directory.path().join("redis.sock").display())
    }

    /// A store on it, with a patience that no busy machine exceeds.
    pub(super) async fn store(&self) -> RedisStore {
        RedisStore::open(&self.url(), Duration::from_secs(20)).await.unwrap()
    }

    /// One that gives up soon.
    pub(super) async fn impatient_store(&self, patience: Duration) -> RedisStore {
        let mut store = self.store().await;
        store.line.set_timeout(patience);
        store
    }

    /// A connection of the test's own.
    pub(super) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Ends it at once, as a crash would.
    pub(super) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again where it was.
    pub(super) fn restart(&mut self) {
        self.kill();
        self.process = launch(&self.program, &self.options, self.port, &self.directory).unwrap();
    }

    /// Stops (`STOP`) or continues (`CONT`) it without ending it: it takes connections and says nothing.
    pub(super) fn signal(&self, name: &str) {
        let process = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &process])
                .status()
                .unwrap()
                .success()
        );
    }
}
