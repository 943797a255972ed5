//! The real binary with a configuration file: what it says, what it answers, and what it makes of signals.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::StatusCode;
use tempfile::TempDir;

use crate::process::command;

/// How long something may take, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A process with a configuration file; killed when it is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) http: reqwest::Client,
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    said: Arc<Mutex<Vec<String>>>,
    pub(crate) directory: TempDir,
}

impl Running {
    /// `portcullis up` with `config` in a file, or with the file that `place` makes of it.
    pub(crate) async fn up(config: &str, place: impl FnOnce(&Path, &str) -> PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = place(directory.path(), config);
        Self::start("up", &file, directory).await
    }

    /// `portcullis gateway` with `config` in a file, and no token service to follow: what it is asked for needs no token.
    pub(crate) async fn gateway(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = plain(directory.path(), config);
        Self::start("gateway", &file, directory).await
    }

    async fn start(role: &str, file: &Path, directory: TempDir) -> Self {
        let mut command = command(&directory.path().join("data"));
        command.args([role, "--config"]).arg(file);
        if role == "gateway" {
            let none = [("GATEWAY__CLIENT_SECRET", "none"), ("TOKEN__URL", "http://127.0.0.1:1")];
            command.envs(none.map(|(name, value)| (format!("PORTCULLIS_{name}"), value)));
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::<Mutex<Vec<String>>>::default();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().unwrap().push(line);
            }
        });
        let mut running = Self {
            child,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            url: String::new(),
            said,
            directory,
        };
        let listening = running.says("role=gateway address=").await;
        let address = listening.split("address=").nth(1).unwrap().split(' ').next().unwrap();
        running.address = address.parse().unwrap();
        running.url = format!("http://{address}");
        running
    }

    /// The first line with `this` that it has written or will write.
    pub(crate) async fn says(&self, this: &str) -> String {
        self.says_times(this, 1).await
    }

    pub(crate) async fn says_times(&self, this: &str, times: usize) -> String {
        let found = || {
            let said = self.said.lock().unwrap();
            said.iter().filter(|line| line.contains(this)).nth(times - 1).cloned()
        };
        let asking = async {
            loop {
                if let Some(line) = found() {
                    return line;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let said = tokio::time::timeout(PATIENCE, asking).await;
        said.unwrap_or_else(|_| panic!("it never said {this:?}: {:#?}", self.said.lock().unwrap()))
    }

    /// The most memory that it has ever had.
    pub(crate) fn peak(&self) -> u64 {
        let file = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(file).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits until the process has ended; whether it did so in order.
    pub(crate) async fn ended(&mut self) -> bool {
        let ending = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.success();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ending).await.expect("it ends in time")
    }

    pub(crate) fn write(&self, config: &str) {
        std::fs::write(self.directory.path().join("portcullis.toml"), config).unwrap();
    }

    pub(crate) async fn status(&self, path: &str) -> StatusCode {
        self.http
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
            .status()
    }

    /// Waits until `path` is answered with `status`.
    pub(crate) async fn becomes(&self, path: &str, status: u16) {
        let asking = async {
            while self.status(path).await != status {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let became = tokio::time::timeout(PATIENCE, asking).await.is_ok();
        assert!(
            became,
            "{path} is never answered {status}: {:#?}",
            self.said.lock().unwrap()
        );
    }

    pub(crate) async fn metrics(&self) -> String {
        let listening = self.says("role=gateway address=").await;
        let admin = listening.split("admin=").nth(1).unwrap();
        let answer = self.http.get(format!("http://{admin}/metrics")).send().await.unwrap();
        answer.text().await.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `config` in a file of the usual name.
pub(crate) fn plain(directory: &Path, config: &str) -> PathBuf {
    let file = directory.join("portcullis.toml");
    std::fs::write(&file, config).unwrap();
    file
}
