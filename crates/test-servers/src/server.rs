//! Servers that belong to one test, which may stop them.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// What starts and stops them.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/servers");

/// How a server is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: at once, but in order.
    Interrupt,
    /// SIGQUIT, which Postgres takes for "at once, without tidying up", as a crash would be.
    Quit,
    /// SIGKILL.
    Kill,
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Interrupt => "INT",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
        })
    }
}

/// A server with a directory and a port of its own; ended when this is dropped.
#[derive(Debug)]
pub struct Server {
    kind: &'static str,
    directory: TempDir,
    url: String,
}

impl Server {
    /// A Postgres. Its URL names a database whose owner may make others.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn postgres() -> Self {
        Self::begin("postgres").await
    }

    /// A Redis that keeps what it acknowledges, also when it is killed.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn redis() -> Self {
        Self::begin("redis").await
    }

    async fn begin(kind: &'static str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        // The server may run as another user, in a directory below.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).expect("our directory");
        let mut server = Self {
            kind,
            directory,
            url: String::new(),
        };
        server.url = server.script(&[kind, &server.place()]).await;
        server
    }

    /// Where it is, as long as it runs: stopped and started again it is in the same place.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of a Postgres, which it signed itself for 127.0.0.1.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join(self.kind).join("server.crt")
    }

    /// Ends it and waits for that.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(&self, signal: Signal) {
        self.script(&["stop", &self.place(), &signal.to_string()]).await;
    }

    /// Starts it again, with its data and on its port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&self) {
        let port: String = self
            .url
            .rsplit(':')
            .next()
            .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect())
            .expect("a port");
        let url = self.script(&[self.kind, &self.place(), &port]).await;
        assert_eq!(url, self.url);
    }

    fn place(&self) -> String {
        let place: PathBuf = self.directory.path().join(self.kind);
        place.display().to_string()
    }

    /// Runs the script on a thread of its own, so that services of this process go on meanwhile.
    async fn script(&self, arguments: &[&str]) -> String {
        let (done, output) = tokio::sync::oneshot::channel();
        let mut command = Command::new(SCRIPT);
        command.args(arguments).stdin(Stdio::null());
        std::thread::spawn(move || done.send(command.output()));
        let output = output
            .await
            .expect("the thread ends in order")
            .expect("scripts/servers runs");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "scripts/servers {arguments:?}: {out}{err}");
        out.trim().to_owned()
    }
}

/// What `start` starts; `None`, saying so, where servers were not promised by whoever runs the tests.
pub async fn servers_or_skip<T, F: Future<Output = T>>(what: &str, start: impl FnOnce() -> F) -> Option<T> {
    if service_kit::config::environment(crate::POSTGRES).is_none() {
        crate::skip(what, crate::POSTGRES);
        return None;
    }
    Some(start().await)
}

impl Drop for Server {
    fn drop(&mut self) {
        // Redis does not handle SIGQUIT, and ignores it if those who run the tests do.
        let signal = if self.kind == "redis" {
            Signal::Kill
        } else {
            Signal::Quit
        };
        let stop = ["stop", &self.place(), &signal.to_string()].map(str::to_owned);
        let _ = std::process::Command::new(SCRIPT)
            .args(stop)
            .stderr(Stdio::null())
            .status();
    }
}
