//! A Redis that is set up to forget is refused, and one that allows little is made do with.

use super::server::{DURABLE, Server};
use super::{PATIENCE, contract};
use crate::store::redis::{Findings, RedisStore, examine};

async fn findings(server: &Server) -> Findings {
    examine(&server.url(), PATIENCE).await.unwrap()
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_with_the_key_and_the_remedy() {
    let Some(server) = Server::start(&[DURABLE, &["--maxmemory-policy", "allkeys-lru"]].concat()) else {
        return;
    };
    let refused = RedisStore::open(&server.url(), PATIENCE).await.unwrap_err().to_string();
    for part in ["token.store_url", "allkeys-lru", "maxmemory-policy noeviction"] {
        assert!(refused.contains(part), "{refused}");
    }
    let findings = findings(&server).await;
    assert_eq!((findings.refusals.len(), findings.warnings.len()), (1, 0));
}

#[tokio::test]
async fn a_redis_without_an_append_only_file_is_warned_about() {
    let Some(server) = Server::start(&[]) else { return };
    let findings = findings(&server).await;
    assert!(findings.refusals.is_empty());
    assert_eq!(findings.warnings.len(), 1);
    assert!(findings.warnings[0].remedy.contains("appendonly yes"));
}

#[tokio::test]
async fn a_redis_that_answers_before_it_has_written_is_warned_about() {
    let Some(server) = Server::start(&["--appendonly", "yes", "--appendfsync", "everysec"]) else {
        return;
    };
    let found = findings(&server).await;
    assert!(found.refusals.is_empty());
    assert_eq!(found.warnings.len(), 1);
    assert!(found.warnings[0].remedy.contains("appendfsync always"));
}

#[tokio::test]
async fn nothing_is_said_about_a_redis_that_keeps_everything() {
    let Some(server) = Server::start(DURABLE) else { return };
    let found = findings(&server).await;
    assert!(found.refusals.is_empty() && found.warnings.is_empty(), "{found:?}");
}

/// Neither INFO nor any channel: the store cannot look, and does not hear what the other does; it polls.
#[tokio::test]
async fn the_contract_is_kept_with_few_permissions() {
    let Some(server) = Server::start(DURABLE) else { return };
    let mut connection = server.connection().await;
    let user = [
        "on",
        ">secret",
        "~{portcullis}:*",
        "+@all",
        "-@dangerous",
        "-@admin",
        "resetchannels",
    ];
    let _: () = redis::cmd("ACL")
        .arg("SETUSER")
        .arg("app")
        .arg(&user)
        .query_async(&mut connection)
        .await
        .unwrap();
    let url = server.url().replace("redis://", "redis://app:secret@");
    let found = examine(&url, PATIENCE).await.unwrap();
    assert!(found.refusals.is_empty());
    assert!(found.warnings[0].problem.contains("INFO"), "{:?}", found.warnings);
    let (one, other) = (
        RedisStore::open(&url, PATIENCE).await.unwrap(),
        RedisStore::open(&url, PATIENCE).await.unwrap(),
    );
    contract::suite(&one, &other).await;
}

/// As docs/OPERATIONS.md tells operators to make it.
#[tokio::test]
async fn the_contract_is_kept_by_the_user_that_the_documentation_makes() {
    let documented = include_str!("../../../../../../docs/OPERATIONS.md")
        .lines()
        .find(|line| line.starts_with("ACL SETUSER portcullis "))
        .unwrap();
    let Some(server) = Server::start(DURABLE) else { return };
    let mut command = redis::Cmd::new();
    command.arg(documented.split(' ').collect::<Vec<_>>());
    command.exec_async(&mut server.connection().await).await.unwrap();
    let url = server.url().replace("redis://", "redis://portcullis:PASSWORD@");
    let found = examine(&url, PATIENCE).await.unwrap();
    assert!(found.refusals.is_empty() && found.warnings.is_empty(), "{found:?}");
    let (one, other) = (
        RedisStore::open(&url, PATIENCE).await.unwrap(),
        RedisStore::open(&url, PATIENCE).await.unwrap(),
    );
    contract::suite(&one, &other).await;
    super::a_revocation_wakes_the_other_replica(&one, other).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let Some(server) = Server::start(&["--requirepass", "right"]) else {
        return;
    };
    let url = server.url().replace("redis://", "redis://:hidden@");
    let refused = format!("{:#}", RedisStore::open(&url, PATIENCE).await.unwrap_err());
    assert!(
        refused.to_lowercase().contains("password") && !refused.contains("hidden"),
        "{refused}"
    );
}
