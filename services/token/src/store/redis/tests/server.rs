//! Real Redis servers, each on a free port with a directory of its own, gone when the test is.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::store::redis::RedisStore;

/// Set by whoever promises that tests find a Redis: the program to start.
const VARIABLE: &str = "PORTCULLIS_TEST_REDIS_SERVER";

/// What makes a server keep whatever it acknowledged, also when it is killed.
pub(super) const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

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
        // Not by eprintln!, which is only shown of tests that fail.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: there is no redis-server here. Install it (Debian: apt-get install redis-server), or name one in \
             {VARIABLE}."
        );
    }
    found.map(str::to_owned)
}

/// A port that nobody listens on, as of now.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts `command` and waits until it says that it is `ready`. `None`: it ended before.
fn launch(mut command: Command, ready: &str) -> Option<Child> {
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    if !lines.any(|line| line.is_ok_and(|line| line.contains(ready))) {
        process.wait().unwrap();
        return None;
    }
    // Whatever it says later has to be taken from it.
    std::thread::spawn(move || lines.count());
    Some(process)
}

fn launch_server(program: &str, options: &[String], port: u16, directory: &TempDir) -> Option<Child> {
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.arg("--dir").arg(directory.path());
    command.arg("--unixsocket").arg(directory.path().join("redis.sock"));
    command.args(options);
    launch(command, "Ready to accept connections")
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
            if let Some(process) = launch_server(&program, &options, port, &directory) {
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

    /// A sentinel with this configuration.
    pub(super) fn sentinel(configuration: &str) -> Option<Self> {
        let program = program()?;
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..20 {
            let port = free_port();
            let file = directory.path().join("sentinel.conf");
            let dir = directory.path().display();
            std::fs::write(
                &file,
                format!("port {port}\nbind 127.0.0.1\ndir {dir}\n{configuration}"),
            )
            .unwrap();
            let mut command = Command::new(&program);
            command.arg(&file).arg("--sentinel");
            if let Some(process) = launch(command, "+monitor master") {
                return Some(Self {
                    program,
                    options: Vec::new(),
                    port,
                    directory,
                    process,
                });
            }
        }
        panic!("{program} does not start as a sentinel");
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
        self.process = launch_server(&self.program, &self.options, self.port, &self.directory).unwrap();
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
