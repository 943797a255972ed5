//! Operators' commands, beside a running `up`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::helpers::PASSWORD;
use crate::process::{Place, Process, command};
use crate::topology::Stores;

/// Where commands can be run.
trait Installed {
    fn command(&self) -> Command;
}

impl Installed for Place {
    fn command(&self) -> Command {
        Place::command(self)
    }
}

/// A data directory, whatever the topology.
impl Installed for Path {
    fn command(&self) -> Command {
        command(self)
    }
}

fn run(mut command: Command, arguments: &[&str], input: &str) -> Output {
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn succeeds(place: &(impl Installed + ?Sized), arguments: &[&str], input: &str) -> String {
    let output = run(place.command(), arguments, input);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(place: &(impl Installed + ?Sized), arguments: &[&str], input: &str) -> String {
    let output = run(place.command(), arguments, input);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

const SUPERUSER: [&str; 6] = [
    "createsuperuser",
    "--username",
    "root",
    "--email",
    "root@example.com",
    "--password-stdin",
];

#[tokio::test]
async fn a_superuser_is_created_and_sees_everybody() {
    let place = Place::new();
    // Also before anything was ever started.
    succeeds(&place, &SUPERUSER, &format!("{PASSWORD}\n"));
    let process = Process::start(&place).await;
    process.client.register("ada").await;
    let root = process.client.login("root").await;
    let list = process.client.get("/api/user", &root.access).await;
    assert_eq!(list.expect(200, Value::Null).json().as_array().unwrap().len(), 2);
    let again = fails(&place, &SUPERUSER, &format!("{PASSWORD}\n"));
    assert!(again.contains("already exists"), "{again}");
    let weak = fails(
        &place,
        &[
            "users",
            "create",
            "--username",
            "x",
            "--email",
            "nonsense",
            "--password-stdin",
        ],
        "short\n",
    );
    assert!(weak.contains("email") && weak.contains("at least 8"), "{weak}");
}

#[tokio::test]
async fn deactivating_and_deleting_end_sessions_of_the_running_service() {
    let place = Place::new();
    let process = Process::start(&place).await;
    let (ada, bob) = (
        process.client.register("ada").await,
        process.client.register("bob").await,
    );
    let list = succeeds(&place, &["users", "list"], "");
    assert!(list.contains(&ada.id) && list.contains("bob@example.com"), "{list}");

    succeeds(&place, &["users", "deactivate", "ADA@example.com"], "");
    process
        .client
        .home_becomes(&ada.access, 401)
        .await
        .expect(401, json!({"code": "user_inactive"}));
    process.client.try_login("ada").await.expect(401, json!({}));
    succeeds(&place, &["users", "activate", &ada.id], "");
    process.client.login("ada").await;

    succeeds(&place, &["users", "delete", "bob"], "");
    process
        .client
        .home_becomes(&bob.access, 401)
        .await
        .expect(401, json!({"code": "user_not_found"}));
    process.client.register("bob").await;
    let unknown = fails(&place, &["users", "delete", "nobody"], "");
    assert!(unknown.contains("no account"), "{unknown}");
}

#[tokio::test]
async fn rotating_keys_disturbs_nobody_and_killing_one_refuses_its_tokens() {
    let place = Place::new();
    let process = Process::start(&place).await;
    let user = process.client.register("ada").await;
    let active = |listing: &str| {
        let line = listing
            .lines()
            .find(|line| line.contains(" active "))
            .unwrap_or_else(|| panic!("{listing}"));
        line.split_ascii_whitespace().next().unwrap().to_owned()
    };
    let first = active(&succeeds(&place, &["keys", "list"], ""));
    let second = active(&succeeds(&place, &["keys", "rotate"], ""));
    assert_ne!(first, second);
    process.client.home(&user.access).await.expect(200, json!({}));
    let renewed = process
        .client
        .refresh(&user.refresh)
        .await
        .expect(200, json!({}))
        .field("access");
    process.client.home(&renewed).await.expect(200, json!({}));

    succeeds(&place, &["keys", "kill", &first], "");
    process.client.home_becomes(&user.access, 401).await;
    process.client.refresh(&user.refresh).await.expect(200, json!({}));
    // One id of 64 begins like an option.
    for kid in ["nonsense", "-nonsense"] {
        let unknown = fails(&place, &["keys", "kill", kid], "");
        assert!(unknown.contains("no key"), "{unknown}");
    }
}

#[tokio::test]
async fn service_accounts_are_created_used_and_deleted() {
    let place = Place::new();
    let process = Process::start(&place).await;
    let created = succeeds(
        &place,
        &[
            "clients",
            "create",
            "billing",
            "--scope",
            "feed:read",
            "--scope",
            "invoices",
        ],
        "",
    );
    let secret = created
        .lines()
        .find_map(|line| line.strip_prefix("client_secret="))
        .unwrap()
        .to_owned();
    let client = &process.client;
    let ask = |scope: &'static str| {
        let request = client
            .request("POST", "/oauth/token")
            .basic_auth("billing", Some(&secret));
        client.send(request.form(&[("grant_type", "client_credentials"), ("scope", scope)]))
    };
    ask("invoices").await.expect(
        200,
        json!({"scope": "invoices", "token_type": "Bearer", "expires_in": 300}),
    );
    ask("tokens:issue").await.expect(400, json!({"error": "invalid_scope"}));

    let user = client.register("ada").await;
    let introspect = |token: String| {
        let request = client
            .request("POST", "/oauth/introspect")
            .basic_auth("billing", Some(&secret));
        client.send(request.form(&[("token", token)]))
    };
    introspect(user.access.clone())
        .await
        .expect(200, json!({"active": true, "sub": user.id}));
    introspect("garbage".to_owned())
        .await
        .expect(200, json!({"active": false}));
    let foreign = client
        .request("POST", "/oauth/revoke")
        .basic_auth("billing", Some(&secret));
    client
        .send(foreign.form(&[("token", &user.refresh)]))
        .await
        .expect(400, json!({"error": "invalid_grant"}));
    let own = ask("invoices").await.field("access_token");
    let revoke = client
        .request("POST", "/oauth/revoke")
        .basic_auth("billing", Some(&secret));
    client
        .send(revoke.form(&[("token", &own)]))
        .await
        .expect(200, Value::Null);

    assert!(succeeds(&place, &["clients", "list"], "").contains("billing"));
    assert!(fails(&place, &["clients", "create", "billing"], "").contains("already"));
    succeeds(&place, &["clients", "delete", "billing"], "");
    ask("invoices").await.expect(401, json!({"error": "invalid_client"}));
    assert!(!succeeds(&place, &["clients", "list"], "").contains(&secret));
}

#[tokio::test]
async fn a_bad_configuration_stops_the_start_with_key_and_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("portcullis.toml");
    let config = file.to_str().unwrap().to_owned();
    for (text, expected) in [
        ("[gateway]\nkeep_alive = \"nonsense\"", "gateway.keep_alive"),
        ("[gateway]\naccess_log = \"perhaps\"", "gateway.access_log"),
        ("[gateway]\nlisten_on = \"127.0.0.1:1\"", "listen_on"),
        ("[gatway]\nlisten = \"127.0.0.1:1\"", "gatway"),
        ("[token]\naccess_ttl = \"2h\"", "token.access_ttl"),
        ("[token]\naccess_ttl = \"soon\"", "token.access_ttl"),
        ("[token]\nroot_secret = \"short\"", "token.root_secret"),
        ("[identity]\ndatabase_pool = 0", "identity.database_pool"),
        (
            "[gateway]\nworkers = 1\nmax_event_streams = 5001",
            "gateway.max_event_streams",
        ),
        (
            "[[gateway.routes]]\npath = \"/x\"\nupstream = \"nowhere\"",
            "gateway.routes",
        ),
        ("[gateway", "portcullis.toml"),
    ] {
        std::fs::write(&file, text).unwrap();
        for arguments in [&["--config", &config, "up"][..], &["--config", &config, "check"]] {
            let said = fails(directory.path(), arguments, "");
            assert!(said.contains(expected), "{text:?} {arguments:?}: {said}");
        }
    }
    std::fs::write(&file, "[home]\nworkers = 1\n").unwrap();
    succeeds(
        directory.path().join("new").as_path(),
        &["--config", &config, "check"],
        "",
    );
    let lonely = fails(directory.path().join("new").as_path(), &["token"], "");
    assert!(
        lonely.contains("token.root_secret") && lonely.contains("PORTCULLIS_TOKEN__ROOT_SECRET_FILE"),
        "{lonely}"
    );
}

#[tokio::test]
async fn check_with_a_role_says_what_a_start_of_that_role_would_say_and_nothing_of_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("nothing");
    let secret = "0123456789abcdef0123456789abcdef";
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        let output = command(&data)
            .args(arguments)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.code(), said)
    };
    for (role, key) in [
        ("gateway", "gateway.client_secret"),
        ("identity", "identity.client_secret"),
        ("token", "token.root_secret"),
        ("home", "home.client_secret"),
    ] {
        // What its container is given, and nothing more.
        let own = format!("PORTCULLIS_{}", key.to_uppercase().replacen('.', "__", 1));
        let (code, said) = run(&["check", role], &[(&own, secret)]);
        assert_eq!(code, Some(0), "{role}: {said}");
        for arguments in [&["check", role][..], &[role]] {
            let (code, said) = run(arguments, &[]);
            assert_eq!(code, Some(1), "{arguments:?}: {said}");
            assert_eq!(said.matches("is missing").count(), 1, "{arguments:?}: {said}");
            assert!(said.contains(key), "{arguments:?}: {said}");
        }
    }
    let wrong = [
        ("PORTCULLIS_IDENTITY__DATABASE_POOL", "0"),
        ("PORTCULLIS_HOME__CLIENT_SECRET", secret),
    ];
    for (arguments, expected) in [
        (&["check"][..], 1),
        (&["check", "identity"], 1),
        (&["check", "home"], 0),
        (&["check", "hone"], 2),
    ] {
        let (code, said) = run(arguments, &wrong);
        assert_eq!(code, Some(expected), "{arguments:?}: {said}");
        assert_eq!(said.contains("identity.database_pool"), expected == 1, "{said}");
    }
    assert!(!data.exists(), "looking changes nothing");
}

#[tokio::test]
async fn commands_before_the_first_start_leave_nothing_that_would_prevent_it() {
    let place = Place::on(Stores::Embedded);
    let refused = fails(&place, &["keys", "list"], "");
    assert!(refused.contains("token.root_secret"), "{refused}");
    succeeds(&place, &SUPERUSER, &format!("{PASSWORD}\n"));
    succeeds(&place, &["check"], "");
    let process = Process::start(&place).await;
    process.client.login("root").await;
    succeeds(&place, &["keys", "list"], "");
}
