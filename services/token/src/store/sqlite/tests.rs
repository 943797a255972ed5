//! The store in a file: the contract, the schedules, and what is left on the disk.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use super::*;
use crate::store::contract;

#[tokio::test]
async fn keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token.db");
    let (one, other) = (
        SqliteStore::open(&path).await.unwrap(),
        SqliteStore::open(&path).await.unwrap(),
    );
    contract::suite(&one, &other).await;
}

#[test]
fn schedules_come_to_the_same_as_by_the_rules_in_memory() {
    // Where it can be, in memory: so many steps would otherwise wait for the disk a minute long.
    let directory = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let path = directory.path().join("token.db");
    let replicas = OnceCell::new();
    let turn = Cell::new(0);
    contract::schedules::replay(2_000, async || {
        let open = async || Arc::new(SqliteStore::open(&path).await.unwrap());
        if replicas.get().is_none() {
            replicas.set([open().await, open().await]).unwrap();
        }
        turn.set(1 - turn.get());
        Arc::clone(&replicas.get().unwrap()[turn.get()])
    });
}

#[test]
fn a_file_that_is_opened_anew_whenever_the_service_crashes_has_the_old_token_or_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token.db");
    contract::schedules::replay(20, async || Arc::new(SqliteStore::open(&path).await.unwrap()));
}

#[tokio::test]
async fn a_sweep_forgets_sessions_that_expired() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("token.db")).await.unwrap();
    let id = contract::opened(&store, "swept").await.id;
    assert_eq!(store.sweep(contract::T0 + contract::HOUR).await.unwrap(), 0);
    assert_eq!(store.sweep(contract::T0 + contract::HOUR + 1).await.unwrap(), 1);
    assert!(store.find_session(id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_sweep_forgets_what_was_exchanged_once_it_has_expired() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("token.db")).await.unwrap();
    let open = async || {
        let proof = Proof {
            id: "proof".to_owned(),
            expires_at: contract::T0 + 10,
        };
        let session = contract::session("swept", 0);
        store.open_session_once(session, proof).await.unwrap()
    };
    assert_eq!(open().await, Opening::Opened);
    assert_eq!(store.sweep(contract::T0 + 10).await.unwrap(), 0);
    assert!(matches!(open().await, Opening::Before(_)));
    assert_eq!(store.sweep(contract::T0 + 11).await.unwrap(), 1);
    assert_eq!(open().await, Opening::Opened);
}

#[tokio::test]
async fn an_older_copy_in_the_place_of_the_file_leaves_no_gap_in_the_feed() {
    let directory = tempfile::tempdir().unwrap();
    let [path, copy] = ["token.db", "copy.db"].map(|name| directory.path().join(name));
    let revoke = async |store: &SqliteStore, id: String| {
        let revocation = Revocation {
            kind: RevokedKind::Token,
            id,
            reason: Reason::LoggedOut,
            expires_at: contract::T0 + contract::HOUR,
        };
        store.revoke(revocation).await.unwrap();
    };
    let store = SqliteStore::open(&path).await.unwrap();
    revoke(&store, "before".to_owned()).await;
    let text = copy.to_str().unwrap().to_owned();
    store
        .read(move |connection| {
            let into = diesel::sql_query("VACUUM INTO ?").bind::<diesel::sql_types::Text, _>(text);
            into.execute(connection)
        })
        .await
        .unwrap();
    for number in 0..3 {
        revoke(&store, format!("lost {number}")).await;
    }
    let (_, cursor) = contract::feed(&store).await;
    let restored = SqliteStore::open(&copy).await.unwrap();
    for number in 0..5 {
        revoke(&restored, format!("since {number}")).await;
    }
    let batch = restored.revocations_after(Some(&cursor), contract::T0).await.unwrap();
    let since = batch.revocations.iter().filter(|entry| entry.id.starts_with("since"));
    assert_eq!(since.count(), 5, "{batch:?}");
}

#[tokio::test]
async fn the_file_and_its_journals_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("token.db")).await.unwrap();
    store.sweep(0).await.unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            entry.path().display()
        );
    }
}
