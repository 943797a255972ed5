//! The real binary: `up` with everything in a data directory, or, with `PORTCULLIS_TEST_TOPOLOGY=servers`, a process a
//! role on Postgres and Redis, gateway and token service twice.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::helpers::Client;
use crate::topology::Stores;

/// The variable that says where a role finds the token service.
const TOKEN: &str = "PORTCULLIS_TOKEN__URL";
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
    _stores: Stores,
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
            _stores: stores,
        }
    }

    /// A `portcullis` command there.
    pub(crate) fn command(&self) -> Command {
        let mut command = command(self.directory.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn is_embedded(&self) -> bool {
        self.environment.is_empty()
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
    parts: Vec<Killed>,
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
        let mut child = place
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ready = said(child.stdout.take().unwrap(), "Portcullis is ready: ");
        let url = ready.split_ascii_whitespace().next().unwrap().to_owned();
        Self {
            parts: vec![Killed(child)],
            client: Client::new(&url),
        }
    }

    async fn roles(place: &Place) -> Self {
        let mut parts = Vec::new();
        let mut start = |role: &str, environment: &[(&str, String)]| {
            let mut command = place.command();
            command
                .arg(role)
                .envs(environment.iter().map(|(name, value)| (name, value)));
            let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
            let listening = said(child.stderr.take().unwrap(), "listening ");
            parts.push(Killed(child));
            let field = |name: &str| {
                let value = listening
                    .split_ascii_whitespace()
                    .find_map(|field| field.strip_prefix(name));
                format!(
                    "http://{}",
                    value.unwrap_or_else(|| panic!("no {name} in {listening:?}"))
                )
            };
            Started {
                url: field("address="),
                admin: field("admin="),
            }
        };
        let tokens = [start("token", &[]), start("token", &[])];
        let identity = start("identity", &[(TOKEN, tokens[0].url.clone())]);
        let home = start("home", &[(TOKEN, tokens[1].url.clone())]);
        let targets = |name: &str| format!("PORTCULLIS_GATEWAY__UPSTREAMS__{name}__TARGETS");
        let upstreams = [
            (targets("TOKEN"), format!("{},{}", tokens[0].url, tokens[1].url)),
            (targets("IDENTITY"), identity.url.clone()),
            (targets("HOME"), home.url.clone()),
        ];
        let gateways = [&tokens[0], &tokens[1]].map(|token| {
            let mut environment = vec![(TOKEN, token.url.clone())];
            environment.extend(upstreams.iter().map(|(name, value)| (name.as_str(), value.clone())));
            start("gateway", &environment)
        });
        for role in tokens.iter().chain([&identity, &home]).chain(&gateways) {
            role.ready().await;
        }
        Self {
            parts,
            client: Client::of_all(gateways.map(|gateway| gateway.url).into()),
        }
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// SIGTERM to each, from the outside inwards, and whether all of them ended in order.
    pub(crate) fn terminate(mut self) -> bool {
        let mut in_order = true;
        while let Some(mut part) = self.parts.pop() {
            let sent = Command::new("kill").arg(part.0.id().to_string()).status().unwrap();
            assert!(sent.success());
            in_order &= part.0.wait().unwrap().code() == Some(0);
        }
        in_order
    }
}

/// Where a role that was started can be reached.
struct Started {
    url: String,
    admin: String,
}

impl Started {
    async fn ready(&self) {
        let admin = Client::new(&self.admin);
        let ready = async {
            while admin.send(admin.request("GET", "/readyz")).await.status != 200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(START, ready).await.expect("it becomes ready");
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
