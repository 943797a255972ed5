//! What every database must do the same: one suite, run against each.

use std::time::Duration;

use portcullis_client::wire::Reason;
use portcullis_test_servers::PostgresDatabase;
use service_kit::Clock;
use tempfile::TempDir;

use super::pool::PATIENCE;
use super::{By, Connections, Database, LegacyProblem, LegacyRow, Listing, NewAccount, Order, Rights, UserStore};
use crate::IdentityError;
use crate::password::PasswordHash;
use crate::user::{Email, Login, User, UserId, Username, email_key, username_key};

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
    a_search_finds_what_contains_it_and_no_wildcards(users).await;
    losing_a_role_ends_sessions_and_gaining_one_does_not(users, clock).await;
    of_two_new_passwords_at_once_one_is_stored(users).await;
    another_name_is_unique_too(users, clock).await;
    nobody_changes_anything_as_whom_they_no_longer_are(users).await;
    ending_sessions_raises_the_epoch_and_changes_nothing_else(users).await;
    an_outbox_row_is_postponed_and_forgotten(users, clock).await;
    what_accounts_were_known_by_is_set_whole_or_not_at_all(users).await;
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

async fn ending_sessions_raises_the_epoch_and_changes_nothing_else(users: &UserStore) {
    let (root, user) = (make(users, "ending-root").await, make(users, "ending").await);
    let rights = Rights {
        is_superuser: Some(true),
        ..Rights::default()
    };
    let root = users.set_rights(root.id, rights, None).await.unwrap().unwrap();
    assert!(users.end_sessions(user.id, &root).await.unwrap());
    assert_eq!(outbox_of(users, user.id).await, [(1, Reason::Administrator)]);
    let after = users.find_by_id(user.id).await.unwrap().unwrap();
    assert_eq!((after.epoch, after.is_active, after.updated), (1, true, user.updated));
    // One's own, too; and then one is not whom that session was read as any more.
    assert!(users.end_sessions(root.id, &root).await.unwrap());
    let stale = users.end_sessions(user.id, &root).await;
    assert!(matches!(stale, Err(IdentityError::AccountChanged)), "{stale:?}");
    assert_eq!(outbox_of(users, user.id).await.len(), 1);
    let root = users.find_by_id(root.id).await.unwrap().unwrap();
    assert!(!users.end_sessions(UserId::new(0), &root).await.unwrap());
}

async fn deleting_leaves_nothing_but_the_outbox(users: &UserStore, clock: &Clock) {
    let made = make(users, "deleted").await;
    users.deactivate(made.id).await.unwrap();
    clock.advance(Duration::from_millis(1));
    let at_once = futures_util::future::join_all((0..4).map(|_| users.delete(made.id, None))).await;
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
    for by in [By::Updated, By::Created, By::Username, By::Email] {
        let listing = |descending| Listing {
            order: Order { by, descending },
            search: None,
        };
        let all = users.page(listing(false), None, 1000).await.unwrap();
        let place = |user: &User| match by {
            By::Updated => (user.updated.as_microsecond(), String::new(), user.id.to_string()),
            By::Created => (0, String::new(), user.id.to_string()),
            By::Username => (0, username_key(&user.username), user.id.to_string()),
            By::Email => (0, email_key(&user.email), user.id.to_string()),
        };
        assert!(all.is_sorted_by_key(place) && all.len() > 6, "{by:?}");
        let ids = |users: &[User]| users.iter().map(|user| user.id).collect::<Vec<_>>();
        for (index, user) in all.iter().enumerate() {
            let behind = Some(listing(false).order.behind(user));
            let later = users.page(listing(false), behind.clone(), 2).await.unwrap();
            assert_eq!(ids(&later), ids(&all[index + 1..all.len().min(index + 3)]));
            let mut earlier = users.page(listing(true), behind, 1000).await.unwrap();
            earlier.reverse();
            assert_eq!(ids(&earlier), ids(&all[..index]));
        }
    }
}

async fn a_search_finds_what_contains_it_and_no_wildcards(users: &UserStore) {
    users
        .create(account("100%_sure\\", "percent@search.example"))
        .await
        .unwrap();
    users
        .create(account("Searched É", "plain@SEARCH.example"))
        .await
        .unwrap();
    for (search, found) in [
        ("search.EXAMPLE", &["100%_sure\\", "Searched É"][..]),
        ("searched e\u{301}", &["Searched É"]),
        ("0%_S", &["100%_sure\\"]),
        ("sure\\", &["100%_sure\\"]),
        ("1%e", &[]),
        ("100__sure", &[]),
    ] {
        let listing = Listing {
            order: Order {
                by: By::Username,
                descending: false,
            },
            search: Some(search.to_owned()),
        };
        let page = users.page(listing, None, 1000).await.unwrap();
        let names: Vec<_> = page.iter().map(|user| user.username.as_str()).collect();
        assert_eq!(names, found, "{search}");
    }
}

async fn losing_a_role_ends_sessions_and_gaining_one_does_not(users: &UserStore, clock: &Clock) {
    let made = make(users, "rights").await;
    clock.advance(Duration::from_secs(1));
    let roles = |roles: &[&str]| Some(roles.iter().map(|&role| role.to_owned()).collect());
    let mut epoch = 0;
    for (rights, ends) in [
        (
            Rights {
                roles: roles(&["auditor", "editor"]),
                is_superuser: Some(true),
                ..Rights::default()
            },
            false,
        ),
        (
            Rights {
                roles: roles(&["editor"]),
                ..Rights::default()
            },
            true,
        ),
        (
            Rights {
                is_superuser: Some(false),
                is_staff: Some(true),
                ..Rights::default()
            },
            true,
        ),
        (
            Rights {
                is_active: Some(true),
                roles: roles(&["editor", "reader"]),
                ..Rights::default()
            },
            false,
        ),
        (
            Rights {
                is_staff: Some(false),
                ..Rights::default()
            },
            true,
        ),
    ] {
        epoch += i64::from(ends);
        let user = users.set_rights(made.id, rights, None).await.unwrap().unwrap();
        assert_eq!((user.epoch, user.updated), (epoch, clock.now()));
        assert_eq!(
            users.find_by_id(made.id).await.unwrap().map(|user| user.epoch),
            Some(epoch)
        );
    }
    let user = users.find_by_id(made.id).await.unwrap().unwrap();
    assert_eq!((user.is_active, user.is_staff, user.is_superuser), (true, false, false));
    assert_eq!(user.roles, ["editor", "reader"]);
    let told: Vec<_> = (1..=epoch).map(|epoch| (epoch, Reason::Administrator)).collect();
    // All were written at one time of the standing clock.
    let mut written = outbox_of(users, made.id).await;
    written.sort_by_key(|(epoch, _)| *epoch);
    assert_eq!(written, told);
}

async fn of_two_new_passwords_at_once_one_is_stored(users: &UserStore) {
    let read = make(users, "password").await;
    let change = |hash: &str| users.set_password(&read, PasswordHash(hash.to_owned()), Some("the session".to_owned()));
    let outcomes = tokio::join!(change("first"), change("second"));
    let stored = outcomes;
    let user = users.find_by_id(read.id).await.unwrap().unwrap();
    let expected = match stored {
        (Ok(()), Err(IdentityError::AccountChanged)) => "first",
        (Err(IdentityError::AccountChanged), Ok(())) => "second",
        both => panic!("{both:?}"),
    };
    assert_eq!((user.password.0.as_str(), user.epoch), (expected, 1));
    let rows = users.pending(None).await.unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| row.request().unwrap())
        .filter(|request| request.subject == read.id.to_string())
        .map(|request| (request.epoch, request.reason, request.except))
        .collect();
    assert_eq!(told, [(1, Reason::PasswordChanged, Some("the session".to_owned()))]);
    users.deactivate(read.id).await.unwrap();
    let inactive = users.find_by_id(read.id).await.unwrap().unwrap();
    let third = users.set_password(&inactive, PasswordHash("third".to_owned()), None);
    assert!(matches!(third.await, Err(IdentityError::AccountChanged)));
}

async fn nobody_changes_anything_as_whom_they_no_longer_are(users: &UserStore) {
    let superuser = || Rights {
        is_superuser: Some(true),
        ..Rights::default()
    };
    let read = async |name: &str| {
        let made = make(users, name).await;
        users.set_rights(made.id, superuser(), None).await.unwrap().unwrap()
    };
    // The ids are in the order of making: whoever does it comes once before and once after whom it is done to.
    let (first, second, third) = (
        read("standing1").await,
        read("standing2").await,
        read("standing3").await,
    );
    users.deactivate(second.id).await.unwrap();
    users.activate(second.id).await.unwrap();
    let before = users.pending(None).await.unwrap().len();
    let is_refused = |outcome: &IdentityError| matches!(outcome, IdentityError::AccountChanged);
    for target in [&first, &third, &second] {
        let changed = users.set_rights(target.id, Rights::active(false), Some(&second)).await;
        assert!(is_refused(&changed.unwrap_err()));
        assert!(is_refused(&users.delete(target.id, Some(&second)).await.unwrap_err()));
        let now = users.find_by_id(target.id).await.unwrap().unwrap();
        assert!(now.is_active && now.is_superuser);
    }
    let name = Username::parse("standing4").unwrap();
    assert!(is_refused(&users.rename(&second, Some(name), None).await.unwrap_err()));
    assert!(is_refused(&users.delete_own(&second).await.unwrap_err()));
    assert_eq!(users.pending(None).await.unwrap().len(), before);

    // Of two who demote each other at the same time one is faster, and stays.
    for _ in 0..10 {
        let demoted = || Rights {
            is_superuser: Some(false),
            ..Rights::default()
        };
        let (one, other) = (
            users.set_rights(first.id, superuser(), None).await.unwrap().unwrap(),
            users.set_rights(third.id, superuser(), None).await.unwrap().unwrap(),
        );
        let outcomes = tokio::join!(
            users.set_rights(other.id, demoted(), Some(&one)),
            users.set_rights(one.id, demoted(), Some(&other)),
        );
        let refused = [outcomes.0.err(), outcomes.1.err()];
        assert_eq!(
            refused.iter().flatten().filter(|error| is_refused(error)).count(),
            1,
            "{refused:?}"
        );
    }
    let now = users.find_by_id(first.id).await.unwrap().unwrap();
    users.delete_own(&now).await.unwrap();
    assert!(users.find_by_id(now.id).await.unwrap().is_none());
}

async fn another_name_is_unique_too(users: &UserStore, clock: &Clock) {
    let (ada, _) = (make(users, "renamed").await, make(users, "neighbour").await);
    clock.advance(Duration::from_secs(1));
    let rename = async |username: Option<&str>, email: Option<&str>| {
        let username = username.map(|text| Username::parse(text).unwrap());
        let email = email.map(|text| Email::parse(text).unwrap());
        users.rename(&ada, username, email).await
    };
    for (username, email, expected) in [
        (Some("NEIGHBOUR"), None, (true, false)),
        (None, Some("Neighbour@example.com"), (false, true)),
        (Some("neighbour"), Some("neighbour@example.com"), (true, true)),
        (Some("renamed"), Some("neighbour@example.com"), (false, true)),
    ] {
        match rename(username, email).await {
            Err(IdentityError::Taken { username, email }) => assert_eq!((username, email), expected),
            other => panic!("{other:?}"),
        }
    }
    let user = rename(Some("Renamed"), None).await.unwrap();
    assert_eq!(
        (user.username.as_str(), user.email.as_str()),
        ("Renamed", "renamed@example.com")
    );
    assert_eq!((user.created, user.updated, user.epoch), (ada.created, clock.now(), 0));
    rename(Some("another"), Some("another@example.com")).await.unwrap();
    assert!(
        users
            .find_by_login(Login::email("ANOTHER@example.com"))
            .await
            .unwrap()
            .is_some()
    );
    assert!(users.find_by_login(Login::username("renamed")).await.unwrap().is_none());
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

async fn what_accounts_were_known_by_is_set_whole_or_not_at_all(users: &UserStore) {
    let (one, other) = (make(users, "known-one").await, make(users, "known-other").await);
    let set = async |lines: &[(&str, &str)]| {
        let rows = lines.iter().zip(1..).map(|((account, legacy_id), line)| LegacyRow {
            line,
            account: (*account).to_owned(),
            legacy_id: (*legacy_id).to_owned(),
        });
        let mistakes = users.set_legacy_ids(rows.collect()).await.unwrap();
        mistakes
            .into_iter()
            .map(|mistake| (mistake.line, mistake.problem))
            .collect::<Vec<_>>()
    };
    let known = async |id: &str| users.find_by_legacy_id(id).await.unwrap().map(|user| user.id);
    let (one_id, text) = (one.id.to_string(), str::to_owned);
    assert_eq!(set(&[(&one_id, "1"), ("Known-Other", "2")]).await, []);
    assert_eq!((known("1").await, known("2").await), (Some(one.id), Some(other.id)));
    assert_eq!((known("3").await, known(&one_id).await), (None, Some(one.id)));
    // They change hands.
    assert_eq!(set(&[("known-one@example.com", "2"), ("known-other", "1")]).await, []);
    let long = "x".repeat(256);
    for (lines, mistake) in [
        (
            [("known-one", "7"), ("nobody", "8")],
            (2, LegacyProblem::NoAccount(text("nobody"))),
        ),
        (
            [("known-one", "7"), ("known-other", "7")],
            (2, LegacyProblem::IdAgain(text("7"), 1)),
        ),
        (
            [("known-one", "7"), ("KNOWN-ONE", "8")],
            (2, LegacyProblem::AccountAgain(text("KNOWN-ONE"), 1)),
        ),
        ([("known-one", "7"), ("known-other", "")], (2, LegacyProblem::NoId)),
        ([("known-one", &long), ("known-other", "7")], (1, LegacyProblem::NoId)),
    ] {
        assert_eq!(set(&lines).await, [mistake]);
    }
    assert_eq!(
        set(&[("known-one", "1")]).await,
        [(1, LegacyProblem::IdTaken(text("1")))]
    );
    assert_eq!((known("1").await, known("2").await), (Some(other.id), Some(one.id)));
    // An id of here that somebody was known by there is theirs.
    assert_eq!(set(&[("known-other", &one_id)]).await, []);
    assert_eq!(known(&one_id).await, Some(other.id));
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
