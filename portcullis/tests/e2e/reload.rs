//! A changed configuration that counts without a restart: the real binary, its file and its signals.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::running::{Running, plain};

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
