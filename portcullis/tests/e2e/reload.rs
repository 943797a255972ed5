//! A changed configuration that counts without a restart: the real binary, its file and its signals.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::StatusCode;
use tempfile::TempDir;

use crate::process::command;

/// How long something may take, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A process with a configuration file; killed when it is dropped.
struct Running {
    child: Child,
    http: reqwest::Client,
    url: String,
    said: Arc<Mutex<Vec<String>>>,
    directory: TempDir,
}

impl Running {
    /// `portcullis up` with `config` in a file, or with the file that `place` makes of it.
    async fn up(config: &str, place: impl FnOnce(&Path, &str) -> PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = place(directory.path(), config);
        let mut command = command(&directory.path().join("data"));
        command.args(["up", "--config"]).arg(file);
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
            url: String::new(),
            said,
            directory,
        };
        let listening = running.says("role=gateway address=").await;
        let address = listening.split("address=").nth(1).unwrap().split(' ').next().unwrap();
        running.url = format!("http://{address}");
        running
    }

    /// The first line with `this` that it has written or will write.
    async fn says(&self, this: &str) -> String {
        self.says_times(this, 1).await
    }

    async fn says_times(&self, this: &str, times: usize) -> String {
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

    fn hang_up(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    }

    fn write(&self, config: &str) {
        std::fs::write(self.directory.path().join("portcullis.toml"), config).unwrap();
    }

    async fn status(&self, path: &str) -> StatusCode {
        self.http
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
            .status()
    }

    /// Waits until `path` is answered with `status`.
    async fn becomes(&self, path: &str, status: u16) {
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

    async fn metrics(&self) -> String {
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

fn plain(directory: &Path, config: &str) -> PathBuf {
    let file = directory.join("portcullis.toml");
    std::fs::write(&file, config).unwrap();
    file
}

/// A route to the example service, open to everybody, so that its own refusal (401) is what comes back.
fn routed(path: &str) -> String {
    format!("[[gateway.routes]]\npath = \"{path}\"\nupstream = \"home\"\nauth = \"none\"\n")
}

#[tokio::test]
async fn reload_on_a_signal_takes_good_files_refuses_bad_ones_with_reasons_and_says_what_needs_a_restart() {
    let mut running = Running::up(&routed("/first"), plain).await;
    // The service does not know this path, but it is reached, and asks for a token first or says so in its own way.
    let reached = running.status("/first").await;
    assert_eq!(running.status("/second").await, 404);
    running.write(&routed("/second"));
    running.hang_up();
    running.says("the configuration was reloaded").await;
    assert_eq!(running.status("/second").await, reached);

    running.write("[gateway]\nworkers = 3\n[token]\nleeway = \"4s\"\n");
    running.hang_up();
    let warned = running.says("needs a restart").await;
    assert!(warned.contains("gateway.workers, token.leeway"), "{warned}");

    for (bad, reason) in [
        ("[gateway\n", "is not TOML"),
        ("[gateway]\nlisten_on = 1\n", "unknown field `listen_on`"),
        (
            "[[gateway.routes]]\npath = \"x\"\nupstream = \"nowhere\"\n",
            "key=gateway.routes[0].upstream",
        ),
        ("[identity]\ndatabase_pool = 0\n", "key=identity.database_pool"),
    ] {
        running.write(bad);
        running.hang_up();
        let said = running.says(reason).await;
        assert!(
            said.contains("ERROR") && said.contains("remedy=") && said.contains("portcullis.toml"),
            "{said}"
        );
    }
    let both = running.says("key=gateway.routes[0].path").await;
    assert!(
        both.contains("there is a mistake"),
        "every mistake has its line: {both}"
    );
    running.says_times("the configuration was not reloaded", 4).await;
    assert!(running.child.try_wait().unwrap().is_none(), "it goes on");
    assert_eq!(running.status("/home").await, 401);

    let metrics = running.metrics().await;
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name}: {metrics}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert!(value("config_reloads_total{result=\"applied\"}") >= 2.0);
    assert!(value("config_reloads_total{result=\"refused\"}") >= 4.0);
    assert!(value("config_last_good_load_timestamp_seconds") > 1.7e9);
}

#[tokio::test]
async fn reload_sees_a_file_that_is_replaced_or_that_a_link_leads_elsewhere_from() {
    // As Kubernetes mounts a ConfigMap: file -> ..data/file, ..data -> a directory that is replaced.
    let mounted = |directory: &Path, config: &str| {
        std::fs::create_dir(directory.join("..1")).unwrap();
        std::fs::write(directory.join("..1/portcullis.toml"), config).unwrap();
        symlink("..1", directory.join("..data")).unwrap();
        symlink("..data/portcullis.toml", directory.join("portcullis.toml")).unwrap();
        directory.join("portcullis.toml")
    };
    let running = Running::up(&routed("/first"), mounted).await;
    let reached = running.status("/first").await.as_u16();
    let at = |name: &str| running.directory.path().join(name);
    std::fs::create_dir(at("..2")).unwrap();
    std::fs::write(at("..2/portcullis.toml"), routed("/second")).unwrap();
    symlink("..2", at("..data_tmp")).unwrap();
    std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    running.becomes("/second", reached).await;
    assert_eq!(running.status("/first").await, 404);

    // As editors do it.
    std::fs::write(at("portcullis.toml~"), routed("/third")).unwrap();
    std::fs::rename(at("portcullis.toml~"), at("portcullis.toml")).unwrap();
    running.becomes("/third", reached).await;

    std::fs::remove_file(at("portcullis.toml")).unwrap();
    running.says("cannot be read").await;
    assert_eq!(
        running.status("/third").await.as_u16(),
        reached,
        "what was in force stays"
    );
}
