//! What every database must do the same: one suite, run against each.

use std::time::Duration;

use portcullis_client::wire::Reason;
use portcullis_test_servers::PostgresDatabase;
use service_kit::Clock;
use tempfile::TempDir;

use super::pool::PATIENCE;
use super::{Connections, Database, NewAccount, Order, Position, UserStore};
use crate::IdentityError;
use crate::password::PasswordHash;
use crate::user::{Email, Login, User, UserId, Username};

/// A store on a SQLite file of its own.
async fn sqlite() -> (UserStore, Clock, TempDir) {
    let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::standing());
    let url = format!("sqlite://{}", directory.path().join("identity.db").display());
    let users = UserStore::connect(&url, 4, clock.clone()).await.unwrap();
    (users, clock, directory)
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let (users, clock, _directory) = sqlite().await;
    keeps_the_contract(&users, &clock).await;
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    let Some(database) = PostgresDatabase::create_or_skip("the contract of the users' store on Postgres") else {
        return;
    };
    let clock = Clock::standing();
    let users = UserStore::connect(database.url(), 4, clock.clone()).await.unwrap();
    keeps_the_contract(&users, &clock).await;
}

/// Every part of the contract in turn; `users` is empty, and `clock` is the one that it reads.
async fn keeps_the_contract(users: &UserStore, clock: &Clock) {
    users.ping().await.unwrap();
    what_is_made_is_found_as_it_was_given(users, clock).await;
    names_are_unique_whatever_their_case(users).await;
    of_many_at_once_with_one_name_one_is_made(users).await;
    deactivating_raises_the_epoch_and_fills_the_outbox(users, clock).await;
    deleting_leaves_nothing_but_the_outbox(users, clock).await;
    an_older_hash_does_not_replace_a_newer_one(users).await;
    the_list_is_ordered_and_goes_on_behind_any_place(users, clock).await;
    an_outbox_row_is_postponed_and_forgotten(users, clock).await;
}

fn account(username: &str, email: &str) -> NewAccount {
    NewAccount {
        username: Username::parse(username).unwrap(),
        email: Email::parse(email).unwrap(),
        password: PasswordHash(format!("hash of {username}")),
        is_staff: true,
        is_superuser: false,
    }
}

async fn make(users: &UserStore, name: &str) -> User {
    users
        .create(account(name, &format!("{name}@example.com")))
        .await
        .unwrap()
}

async fn outbox_of(users: &UserStore, id: UserId) -> Vec<(i64, Reason)> {
    let rows = users.pending(None).await.unwrap();
    let requests = rows.iter().map(|row| row.request().unwrap());
    requests
        .filter(|request| request.subject == id.to_string())
        .map(|request| (request.epoch, request.reason))
        .collect()
}

async fn what_is_made_is_found_as_it_was_given(users: &UserStore, clock: &Clock) {
    let made = users.create(account("Zoë", "Zoe@Example.com")).await.unwrap();
    let logins = [
        Login::username("ZOE\u{308}"),
        Login::email("zoe@example.COM"),
        Login::email(" x"),
    ];
    for (login, found) in logins.into_iter().zip([true, true, false]) {
        assert_eq!(users.find_by_login(login).await.unwrap().is_some(), found);
    }
    let found = users.find_by_id(made.id).await.unwrap().unwrap();
    assert_eq!(
        (found.username.as_str(), found.email.as_str()),
        ("Zoë", "Zoe@Example.com")
    );
    assert_eq!(
        (found.is_active, found.is_staff, found.is_superuser, found.epoch),
        (true, true, false, 0)
    );
    assert_eq!((found.created, found.updated), (clock.now(), clock.now()));
    assert_eq!((found.roles.len(), found.password.0.as_str()), (0, "hash of Zoë"));
    assert!(users.find_by_id(UserId::new(0)).await.unwrap().is_none());
}

async fn names_are_unique_whatever_their_case(users: &UserStore) {
    make(users, "unique").await;
    for (username, email, taken) in [
        ("UNIQUE", "other@example.com", (true, false)),
        ("other", "Unique@EXAMPLE.com", (false, true)),
        ("Unique", "unique@example.com", (true, true)),
    ] {
        match users.create(account(username, email)).await {
            Err(IdentityError::Taken { username, email }) => assert_eq!((username, email), taken),
            other => panic!("{username}: {other:?}"),
        }
    }
}

async fn of_many_at_once_with_one_name_one_is_made(users: &UserStore) {
    let attempts = (0..10).map(|index| users.create(account(&format!("many{index}"), "many@example.com")));
    let outcomes = futures_util::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let taken = |outcome: &&Result<User, IdentityError>| {
        matches!(
            outcome,
            Err(IdentityError::Taken {
                username: false,
                email: true
            })
        )
    };
    assert_eq!(outcomes.iter().filter(taken).count(), 9);
}

async fn deactivating_raises_the_epoch_and_fills_the_outbox(users: &UserStore, clock: &Clock) {
    let made = make(users, "inactive").await;
    clock.advance(Duration::from_secs(1));
    let user = users.deactivate(made.id).await.unwrap().unwrap();
    assert_eq!((user.is_active, user.epoch), (false, 1));
    assert_eq!((user.created, user.updated), (made.created, clock.now()));
    assert_eq!(outbox_of(users, made.id).await, [(1, Reason::Deactivated)]);
    let user = users.activate(made.id).await.unwrap().unwrap();
    assert_eq!((user.is_active, user.epoch), (true, 1));
    let at_once = futures_util::future::join_all((0..6).map(|_| users.deactivate(made.id))).await;
    let mut epochs: Vec<_> = at_once.into_iter().map(|user| user.unwrap().unwrap().epoch).collect();
    epochs.sort_unstable();
    assert_eq!(epochs, [2, 3, 4, 5, 6, 7]);
    let nobody = UserId::new(0);
    assert!(users.deactivate(nobody).await.unwrap().is_none());
    assert!(users.activate(nobody).await.unwrap().is_none());
    assert!(outbox_of(users, nobody).await.is_empty());
}

async fn deleting_leaves_nothing_but_the_outbox(users: &UserStore, clock: &Clock) {
    let made = make(users, "deleted").await;
    users.deactivate(made.id).await.unwrap();
    clock.advance(Duration::from_millis(1));
    let at_once = futures_util::future::join_all((0..4).map(|_| users.delete(made.id))).await;
    assert_eq!(
        at_once.into_iter().filter(|deleted| *deleted.as_ref().unwrap()).count(),
        1
    );
    assert!(users.find_by_id(made.id).await.unwrap().is_none());
    assert_eq!(
        outbox_of(users, made.id).await,
        [(1, Reason::Deactivated), (2, Reason::Deleted)]
    );
    assert_ne!(make(users, "deleted").await.id, made.id, "the names are free again");
}

async fn an_older_hash_does_not_replace_a_newer_one(users: &UserStore) {
    let read = make(users, "rehashed").await;
    users.rehash(&read, PasswordHash("newer".to_owned())).await.unwrap();
    users
        .rehash(&read, PasswordHash("from an older reading".to_owned()))
        .await
        .unwrap();
    let found = users.find_by_id(read.id).await.unwrap().unwrap();
    assert_eq!((found.password.0.as_str(), found.updated), ("newer", read.updated));
}

async fn the_list_is_ordered_and_goes_on_behind_any_place(users: &UserStore, clock: &Clock) {
    clock.advance(Duration::from_secs(1));
    for name in ["list1", "list2", "list3"] {
        make(users, name).await;
    }
    let all = users.page(Order::OldestFirst, None, 1000).await.unwrap();
    let place = |user: &User| (user.updated, user.id.to_string());
    assert!(all.is_sorted_by_key(place) && all.len() > 6);
    let ids = |users: &[User]| users.iter().map(|user| user.id).collect::<Vec<_>>();
    for (index, user) in all.iter().enumerate() {
        let behind = Some(Position::behind(user));
        let later = users.page(Order::OldestFirst, behind.clone(), 2).await.unwrap();
        assert_eq!(ids(&later), ids(&all[index + 1..all.len().min(index + 3)]));
        let mut earlier = users.page(Order::NewestFirst, behind, 1000).await.unwrap();
        earlier.reverse();
        assert_eq!(ids(&earlier), ids(&all[..index]));
    }
}

async fn an_outbox_row_is_postponed_and_forgotten(users: &UserStore, clock: &Clock) {
    let before = users.pending(None).await.unwrap().len();
    let row = users.pending(None).await.unwrap().remove(0);
    users.postpone(&row, Duration::from_secs(2)).await.unwrap();
    let postponed = users.pending(None).await.unwrap().remove(0);
    let due = clock.now().as_microsecond() + 2_000_000;
    assert_eq!(
        (postponed.id.as_str(), postponed.attempts, postponed.next_attempt),
        (row.id.as_str(), 1, due)
    );
    users.told(&row).await.unwrap();
    users.told(&row).await.unwrap();
    let rest = users.pending(None).await.unwrap();
    assert_eq!(rest.len(), before - 1);
    assert_eq!(users.pending(Some(&rest[0])).await.unwrap().len(), rest.len() - 1);
}

#[tokio::test]
async fn while_the_database_is_away_only_the_first_query_waits_for_it() {
    let (users, _, directory) = sqlite().await;
    let nowhere = Database::parse("sqlite:///nowhere/identity.db").unwrap();
    let connections = Connections::unchecked(nowhere, 2);
    let users = UserStore {
        connections: std::sync::Arc::new(connections),
        ..users
    };
    let began = service_kit::clock::instant();
    for _ in 0..20 {
        assert!(matches!(users.ping().await, Err(IdentityError::StoreUnavailable(_))));
    }
    assert!(began.elapsed() < PATIENCE * 3, "{:?}", began.elapsed());
    drop(directory);
}
