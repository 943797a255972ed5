//! The real binary: `up` with everything in a data directory, or, with `PORTCULLIS_TEST_TOPOLOGY=servers`, a process a
//! role on Postgres and Redis, and each role twice.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_test_servers::Kept;
use tempfile::TempDir;

use crate::helpers::Client;
use crate::topology::Stores;

/// How long a role may take to be ready, on a busy machine.
const START: Duration = Duration::from_mins(1);

/// A `portcullis` command on the data directory `data`, on ports that the system chooses.
pub(crate) fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command
        .env("PORTCULLIS_DATA_DIR", data)
        .env("PORTCULLIS_IDENTITY__BCRYPT_COST", "4");
    for role in ["GATEWAY", "IDENTITY", "TOKEN", "HOME"] {
        command.env(format!("PORTCULLIS_{role}__LISTEN"), "127.0.0.1:0");
        command.env(format!("PORTCULLIS_{role}__ADMIN_LISTEN"), "127.0.0.1:0");
    }
    command
}

/// Where an installation keeps everything, and how its commands find it.
pub(crate) struct Place {
    directory: TempDir,
    environment: Vec<(String, String)>,
    stores: Stores,
}

impl Place {
    /// A new one, in which nothing was ever started.
    pub(crate) fn new() -> Self {
        Self::on(Stores::fresh())
    }

    /// A new one on these stores.
    pub(crate) fn on(stores: Stores) -> Self {
        let mut environment = Vec::new();
        if let Some((users, tokens)) = stores.urls() {
            let secret = || service_kit::random::hex(&service_kit::random::bytes::<32>());
            for (name, value) in [
                ("IDENTITY__DATABASE_URL", users),
                ("TOKEN__STORE_URL", tokens),
                ("TOKEN__ROOT_SECRET", secret()),
                ("GATEWAY__CLIENT_SECRET", secret()),
                ("IDENTITY__CLIENT_SECRET", secret()),
                ("HOME__CLIENT_SECRET", secret()),
            ] {
                environment.push((format!("PORTCULLIS_{name}"), value));
            }
        }
        Self {
            directory: tempfile::tempdir().unwrap(),
            environment,
            stores,
        }
    }

    /// The same place with one more setting, an environment variable.
    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.environment.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// A `portcullis` command there.
    pub(crate) fn command(&self) -> Command {
        let mut command = command(self.directory.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn is_embedded(&self) -> bool {
        self.stores.urls().is_none()
    }
}

/// A process that is killed when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running installation; killed when it is dropped.
pub(crate) struct Process {
    /// From the inside outwards.
    parts: Vec<Part>,
    pub(crate) client: Client,
}

impl Process {
    pub(crate) async fn start(place: &Place) -> Self {
        if place.is_embedded() {
            Self::up(place)
        } else {
            Self::roles(place).await
        }
    }

    fn up(place: &Place) -> Self {
        let mut command = place.command();
        command.stdout(Stdio::piped());
        let mut up = Part::start("up", command, Vec::new());
        let ready = said(up.running.0.stdout.take().unwrap(), "Portcullis is ready: ");
        let url = ready.split_ascii_whitespace().next().unwrap().to_owned();
        Self {
            parts: vec![up],
            client: Client::new(&url),
        }
    }

    /// All roles, each where it will be found whenever it is started again.
    async fn roles(place: &Place) -> Self {
        const ROLES: [&str; 4] = ["token", "identity", "home", "gateway"];
        let addresses = ROLES.map(|_| [(); 2].map(|()| [Kept::fresh(), Kept::fresh()]));
        let urls = |role: usize| {
            addresses[role]
                .each_ref()
                .map(|[public, _]| format!("http://{}", public.address()))
        };
        let [tokens, identities, homes, gateways] = [0, 1, 2, 3].map(urls);
        let mut parts = Vec::new();
        for (role, replicas) in ROLES.into_iter().zip(addresses) {
            // The two of a role follow a token service each; each gateway reaches both of everything.
            for (ports, followed) in replicas.into_iter().zip(&tokens) {
                let mut command = place.command();
                command.arg(role).env("PORTCULLIS_TOKEN__URL", followed);
                for (listener, port) in ["LISTEN", "ADMIN_LISTEN"].into_iter().zip(&ports) {
                    let name = format!("PORTCULLIS_{}__{listener}", role.to_uppercase());
                    command.env(name, port.address().to_string());
                }
                for (upstream, targets) in [("TOKEN", &tokens), ("IDENTITY", &identities), ("HOME", &homes)] {
                    let name = format!("PORTCULLIS_GATEWAY__UPSTREAMS__{upstream}__TARGETS");
                    command.env(name, targets.join(","));
                }
                parts.push(Part::start(role, command, ports.into()));
            }
        }
        let client = Client::of_all(gateways.into());
        let mut process = Self { parts, client };
        process.ready().await;
        process
    }

    /// Waits until every role can do its work. One that could not start, since what it needs was not there yet, is started
    /// again, as a supervisor does it.
    pub(crate) async fn ready(&mut self) {
        let http = Client::new("");
        for part in &mut self.parts {
            let ready = async {
                while !part.is_ready(&http).await {
                    part.revive();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(START, ready).await.expect("it becomes ready");
        }
    }

    /// The parts: processes that can be killed one by one.
    pub(crate) fn parts(&mut self) -> &mut [Part] {
        &mut self.parts
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// SIGTERM to each, from the outside inwards, and whether all of them ended in order.
    pub(crate) fn terminate(mut self) -> bool {
        let mut in_order = true;
        while let Some(mut part) = self.parts.pop() {
            let child = &mut part.running.0;
            let sent = Command::new("kill").arg(child.id().to_string()).status().unwrap();
            assert!(sent.success());
            in_order &= child.wait().unwrap().code() == Some(0);
        }
        in_order
    }
}

/// One process of an installation.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    command: Command,
    running: Killed,
    /// The last lines that it wrote; printed when the test fails.
    log: Log,
    /// Its public port and the administrator's; none when the system chooses them at every start.
    ports: Vec<Kept>,
}

impl Part {
    fn start(name: &'static str, mut command: Command, ports: Vec<Kept>) -> Self {
        command.stderr(Stdio::piped());
        let log = Log::default();
        Self {
            name,
            running: log.spawn(&mut command),
            command,
            log,
            ports,
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let child = &mut self.running.0;
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it where it was, and does not wait for it to be ready.
    pub(crate) fn start_again(&mut self) {
        self.running = self.log.spawn(&mut self.command);
    }

    /// Starts it again if it has ended by itself, which only a start that failed may be the reason for.
    pub(crate) fn revive(&mut self) {
        if let Some(status) = self.running.0.try_wait().unwrap() {
            assert_eq!(status.code(), Some(1), "{} ended by itself", self.name);
            self.start_again();
        }
    }

    /// Has it read a setting differently from its next start on.
    pub(crate) fn set(&mut self, variable: &str, value: &str) {
        self.command.env(variable, value);
    }

    async fn is_ready(&self, http: &Client) -> bool {
        let Some(admin) = self.ports.get(1) else { return true };
        let url = format!("http://{}/readyz", admin.address());
        let answer = http.request("GET", &url).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.log.0.lock().unwrap();
            eprintln!("--- the last that {} wrote:", self.name);
            lines.iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// The last lines that a process wrote to standard error.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    const LENGTH: usize = 50;

    /// Starts a process and reads what it writes for as long as it runs.
    fn spawn(&self, command: &mut Command) -> Killed {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = self.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut lines = log.0.lock().unwrap();
                if lines.len() == Self::LENGTH {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        });
        Killed(child)
    }
}

/// Reads what a process says until it says `this`, and gives the rest of that line. What follows is read and left.
fn said(output: impl Read + Send + 'static, this: &str) -> String {
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let found = lines.find_map(|line| line.split_once(this).map(|(_, rest)| rest.to_owned()));
    let found = found.unwrap_or_else(|| panic!("it ended without saying {this:?}"));
    std::thread::spawn(move || lines.count());
    found
}
