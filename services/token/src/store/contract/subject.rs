//! The sessions of one subject: listed, and ended one by one, all but one, or all.

use futures_util::future::join_all;
use portcullis_client::wire::Reason;

use super::{HOUR, T0, feed, granted, opened, serial, session, terms};
use crate::session::{Session, SessionId};
use crate::store::{LISTED, Rotation, Store};

pub(super) const ROUNDS: usize = 20;

pub(super) async fn suite(one: &dyn Store, other: &dyn Store) {
    live_sessions_are_listed(one, other).await;
    of_very_many_the_freshest_are_listed(one).await;
    somebody_elses_session_is_not_ended(one, other).await;
    all_others_end(one, other).await;
    who_is_not_live_ends_nobody(one, other).await;
    of_two_that_end_each_other_one_stays(one, other).await;
    a_login_beside_the_end_of_all_others_ends_or_comes_after(one, other).await;
    a_refresh_beside_the_end_of_all_others_saves_nobody(one, other).await;
    ending_a_subject_is_final(one, other).await;
    an_excepted_session_goes_on(one, other).await;
    what_is_no_live_session_of_the_subject_is_not_excepted(one, other).await;
    ends_come_to_the_same_in_every_order(one, other).await;
    ends_at_the_same_time_come_to_the_same(one, other).await;
    an_excepted_session_may_be_refreshed_meanwhile(one, other).await;
}

/// One that expires at `idle_expires_at`; its access token lives until `T0 + 300_000`.
async fn opened_until(store: &dyn Store, subject: &str, idle_expires_at: i64) -> Session {
    let mut session = session(subject, 0);
    session.idle_expires_at = idle_expires_at;
    assert!(store.open_session(session.clone()).await.unwrap());
    session
}

/// The ids of those that are listed at `now`, in order of the ids.
async fn listed(store: &dyn Store, subject: &str, now: i64) -> Vec<String> {
    let sessions = store.list_sessions(subject, now).await.unwrap();
    let mut ids: Vec<String> = sessions.iter().map(|session| session.id.to_string()).collect();
    ids.sort();
    ids
}

fn ids<const N: usize>(ids: [SessionId; N]) -> Vec<String> {
    let mut ids = ids.map(|id| id.to_string()).to_vec();
    ids.sort();
    ids
}

async fn ended(store: &dyn Store, id: SessionId) -> Option<Reason> {
    store.find_session(id).await.unwrap().unwrap().ended
}

/// What was published about the session.
async fn published(store: &dyn Store, id: SessionId) -> Vec<Reason> {
    let (revocations, _) = feed(store).await;
    let of_it = revocations.iter().filter(|entry| entry.id == id.to_string());
    of_it.map(|entry| entry.reason).collect()
}

async fn live_sessions_are_listed(one: &dyn Store, other: &dyn Store) {
    let (first, second) = (opened(one, "listed").await, opened(other, "listed").await);
    let (left, brief) = (
        opened(one, "listed").await.id,
        opened_until(one, "listed", T0 + 1000).await.id,
    );
    opened(one, "listed not").await;
    assert_eq!(
        listed(other, "listed", T0 + 999).await,
        ids([first.id, second.id, left, brief])
    );
    assert!(one.end_session(left, None, Reason::LoggedOut, T0).await.unwrap());
    assert_eq!(listed(other, "listed", T0 + 1000).await, ids([first.id, second.id]));
    let refreshed = granted(other.rotate(second.id, serial(0), terms(T0 + 2000)).await.unwrap());
    let sessions = one.list_sessions("listed", T0 + 2000).await.unwrap();
    for session in [first, refreshed] {
        assert!(sessions.contains(&session), "{session:?} in {sessions:?}");
    }
    assert_eq!(listed(one, "listed", T0 + HOUR).await, ids([second.id]));
    assert!(listed(other, "listed", T0 + 2 * HOUR).await.is_empty());
    assert!(listed(one, "nobody", T0).await.is_empty());
}

async fn of_very_many_the_freshest_are_listed(one: &dyn Store) {
    let many = (0..i64::from(LISTED) + 3).map(|number| opened_until(one, "many", T0 + HOUR + number));
    let many = join_all(many).await;
    let mut freshest: Vec<String> = many[3..].iter().map(|session| session.id.to_string()).collect();
    freshest.sort();
    assert!(listed(one, "many", T0).await == freshest);
}

async fn somebody_elses_session_is_not_ended(one: &dyn Store, other: &dyn Store) {
    let id = opened(one, "owner").await.id;
    let end = |store, subject| {
        let store: &dyn Store = store;
        store.end_session(id, Some(subject), Reason::LoggedOut, T0)
    };
    assert!(!end(other, "stranger").await.unwrap());
    assert_eq!((ended(one, id).await, published(one, id).await), (None, vec![]));
    let (a, b) = tokio::join!(end(one, "owner"), end(other, "owner"));
    assert_eq!(i32::from(a.unwrap()) + i32::from(b.unwrap()), 1);
    assert_eq!(published(other, id).await, [Reason::LoggedOut]);
}

async fn all_others_end(one: &dyn Store, other: &dyn Store) {
    let (kept, gone) = (opened(one, "others").await.id, opened(other, "others").await.id);
    // One that has expired, with an access token that has not.
    let brief = opened_until(one, "others", T0 + 1000).await.id;
    let stranger = opened(one, "other others").await.id;
    let end_others = |store| {
        let store: &dyn Store = store;
        store.end_others("others", kept, Reason::LoggedOut, T0 + 1000)
    };
    assert_eq!(end_others(one).await.unwrap(), Some(2));
    for id in [gone, brief] {
        assert_eq!(ended(other, id).await, Some(Reason::LoggedOut));
        assert_eq!(published(other, id).await, [Reason::LoggedOut]);
    }
    for id in [kept, stranger] {
        assert_eq!((ended(other, id).await, published(other, id).await), (None, vec![]));
    }
    assert_eq!(end_others(other).await.unwrap(), Some(0));
    // There is no new epoch: who logs in now is let in, and whoever stayed is ended by the next one.
    assert!(other.open_session(session("others", 0)).await.unwrap());
    assert_eq!(
        one.end_subject("others", 1, None, Reason::Deactivated, T0)
            .await
            .unwrap(),
        2
    );
}

async fn who_is_not_live_ends_nobody(one: &dyn Store, other: &dyn Store) {
    let stays = opened(one, "spared").await.id;
    let left = opened(one, "spared").await.id;
    assert!(one.end_session(left, None, Reason::LoggedOut, T0).await.unwrap());
    let brief = opened_until(one, "spared", T0 + 1000).await.id;
    let stranger = opened(one, "spares").await.id;
    for kept in [
        left,
        brief,
        stranger,
        SessionId::new("spared"),
        SessionId::new("nobody"),
    ] {
        let outcome = other.end_others("spared", kept, Reason::LoggedOut, T0 + 1000).await;
        assert_eq!(outcome.unwrap(), None);
    }
    assert_eq!(listed(one, "spared", T0 + 1000).await, ids([stays]));
}

async fn of_two_that_end_each_other_one_stays(one: &dyn Store, other: &dyn Store) {
    for round in 0..ROUNDS {
        let subject = format!("duel {round}");
        let (a, b) = (opened(one, &subject).await.id, opened(one, &subject).await.id);
        let (by_a, by_b) = tokio::join!(
            one.end_others(&subject, a, Reason::LoggedOut, T0),
            other.end_others(&subject, b, Reason::LoggedOut, T0),
        );
        let winner = match (by_a.unwrap(), by_b.unwrap()) {
            (Some(1), None) => a,
            (None, Some(1)) => b,
            outcome => panic!("{outcome:?}"),
        };
        assert_eq!(listed(one, &subject, T0).await, ids([winner]));
    }
}

async fn a_login_beside_the_end_of_all_others_ends_or_comes_after(one: &dyn Store, other: &dyn Store) {
    for round in 0..ROUNDS {
        let subject = format!("login {round}");
        let kept = opened(one, &subject).await.id;
        let login = session(&subject, 0);
        let (ended_others, opened) = tokio::join!(
            one.end_others(&subject, kept, Reason::LoggedOut, T0),
            other.open_session(login.clone()),
        );
        assert!(opened.unwrap());
        match ended_others.unwrap() {
            Some(0) => assert_eq!(listed(one, &subject, T0).await, ids([kept, login.id])),
            Some(1) => assert_eq!(listed(one, &subject, T0).await, ids([kept])),
            outcome => panic!("{outcome:?}"),
        }
    }
}

async fn a_refresh_beside_the_end_of_all_others_saves_nobody(one: &dyn Store, other: &dyn Store) {
    for round in 0..ROUNDS {
        let subject = format!("refresh {round}");
        let (kept, gone) = (opened(one, &subject).await.id, opened(one, &subject).await.id);
        let (ended_others, refreshed) = tokio::join!(
            one.end_others(&subject, kept, Reason::LoggedOut, T0 + 1000),
            other.rotate(gone, serial(0), terms(T0 + 1000)),
        );
        assert_eq!(ended_others.unwrap(), Some(1));
        let last_access = match refreshed.unwrap() {
            Rotation::Granted(session) => session.access_expires_at,
            Rotation::Ended(Reason::LoggedOut) => T0 + 300_000,
            outcome => panic!("{outcome:?}"),
        };
        assert_eq!(listed(one, &subject, T0 + 1000).await, ids([kept]));
        let (revocations, _) = feed(other).await;
        let entry = revocations.iter().find(|entry| entry.id == gone.to_string()).unwrap();
        assert!(
            entry.expires_at > last_access,
            "the revocation outlives every access token"
        );
    }
}

async fn ending_a_subject_is_final(one: &dyn Store, other: &dyn Store) {
    let (first, second) = (opened(one, "left").await.id, opened(other, "left").await.id);
    let stranger = opened(one, "stayed").await.id;
    assert_eq!(
        one.end_subject("left", 1, None, Reason::Deactivated, T0).await.unwrap(),
        2
    );
    for id in [first, second] {
        assert_eq!(
            other.rotate(id, serial(0), terms(T0)).await.unwrap(),
            Rotation::Ended(Reason::Deactivated)
        );
    }
    granted(one.rotate(stranger, serial(0), terms(T0)).await.unwrap());
    assert!(
        !other.open_session(session("left", 0)).await.unwrap(),
        "a login that began before is refused"
    );
    let renewed = session("left", 1);
    assert!(other.open_session(renewed.clone()).await.unwrap());
    assert_eq!(
        other
            .end_subject("left", 1, None, Reason::Deactivated, T0)
            .await
            .unwrap(),
        0,
        "again does nothing"
    );
    granted(one.rotate(renewed.id, serial(0), terms(T0)).await.unwrap());
    assert_eq!(
        other
            .end_subject("left", 0, None, Reason::Deactivated, T0)
            .await
            .unwrap(),
        0,
        "an older epoch does nothing"
    );
    assert!(!one.open_session(session("left", 0)).await.unwrap());
}

async fn an_excepted_session_goes_on(one: &dyn Store, other: &dyn Store) {
    let (kept, gone) = (opened(one, "changed").await, opened(one, "changed").await.id);
    let change = |store, epoch| {
        let store: &dyn Store = store;
        store.end_subject("changed", epoch, Some(kept.id), Reason::PasswordChanged, T0)
    };
    assert_eq!(change(one, 1).await.unwrap(), 1);
    assert_eq!(ended(other, gone).await, Some(Reason::PasswordChanged));
    assert!(
        !other.open_session(session("changed", 0)).await.unwrap(),
        "a login that began before is refused"
    );
    assert!(other.open_session(session("changed", 1)).await.unwrap());
    assert_eq!(change(other, 1).await.unwrap(), 0, "again does nothing");
    assert_eq!(change(other, 0).await.unwrap(), 0, "an older epoch does nothing");
    assert_eq!(change(other, 2).await.unwrap(), 1, "the login");
    assert_eq!(one.find_session(kept.id).await.unwrap(), Some(kept.clone()));
    granted(one.rotate(kept.id, serial(0), terms(T0)).await.unwrap());
    let deactivated = one.end_subject("changed", 3, None, Reason::Deactivated, T0);
    assert_eq!(deactivated.await.unwrap(), 1);
    assert_eq!(ended(other, kept.id).await, Some(Reason::Deactivated));
    assert_eq!(published(other, kept.id).await, [Reason::Deactivated]);
}

async fn what_is_no_live_session_of_the_subject_is_not_excepted(one: &dyn Store, other: &dyn Store) {
    let (stranger, left) = (opened(one, "stranger").await, opened(one, "excepted").await.id);
    assert!(one.end_session(left, None, Reason::LoggedOut, T0).await.unwrap());
    let nobody = SessionId::new("nobody");
    for (epoch, except) in [
        (1, stranger.id),
        (2, left),
        (3, nobody),
        (4, SessionId::new("excepted")),
    ] {
        let gone = session("excepted", epoch - 1);
        assert!(one.open_session(gone.clone()).await.unwrap());
        let end = other.end_subject("excepted", epoch, Some(except), Reason::PasswordChanged, T0);
        assert_eq!(end.await.unwrap(), 1);
        assert_eq!(ended(one, gone.id).await, Some(Reason::PasswordChanged));
    }
    assert_eq!(one.find_session(stranger.id).await.unwrap(), Some(stranger));
    assert_eq!(ended(one, left).await, Some(Reason::LoggedOut));
    assert_eq!(one.find_session(nobody).await.unwrap(), None);

    let brief = opened_until(one, "expired exception", T0 + 1000).await.id;
    let end = other.end_subject("expired exception", 1, Some(brief), Reason::PasswordChanged, T0 + 1000);
    assert_eq!(end.await.unwrap(), 1);
    assert_eq!(published(one, brief).await, [Reason::PasswordChanged]);
}

/// Which of two sessions of epoch 0 are left after these ends of their subject: the epoch, and which one is excepted.
async fn left_after(store: &dyn Store, subject: &str, ends: &[(i64, Option<usize>)]) -> [bool; 2] {
    let pair = [opened(store, subject).await.id, opened(store, subject).await.id];
    for (epoch, except) in ends {
        let (except, reason) = match except {
            Some(at) => (Some(pair[*at]), Reason::PasswordChanged),
            None => (None, Reason::Deactivated),
        };
        store.end_subject(subject, *epoch, except, reason, T0).await.unwrap();
    }
    let left = listed(store, subject, T0).await;
    pair.map(|id| left.contains(&id.to_string()))
}

async fn ends_come_to_the_same_in_every_order(one: &dyn Store, other: &dyn Store) {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (ends, left) in [
        // Passwords changed from the first session only.
        ([(1, Some(0)), (2, Some(0)), (3, Some(0))], [true, false]),
        // From one and then from the other, which had been ended by then.
        ([(1, Some(0)), (2, Some(1)), (2, Some(1))], [false, false]),
        // A deactivation before, between, and after.
        ([(1, None), (2, Some(0)), (3, Some(0))], [false, false]),
        ([(1, Some(0)), (2, None), (3, Some(0))], [false, false]),
        ([(1, Some(0)), (2, Some(0)), (3, None)], [false, false]),
    ] {
        for (at, order) in ORDERS.into_iter().enumerate() {
            let store = [one, other][at % 2];
            let subject = format!("order {ends:?} {order:?}");
            let ends = order.map(|at| ends[at]);
            assert_eq!(left_after(store, &subject, &ends).await, left, "{ends:?}");
            let highest = ends.iter().map(|(epoch, _)| *epoch).max().unwrap();
            assert!(!store.open_session(session(&subject, highest - 1)).await.unwrap());
        }
    }
}

async fn ends_at_the_same_time_come_to_the_same(one: &dyn Store, other: &dyn Store) {
    for round in 0..ROUNDS {
        let subject = format!("ends {round}");
        let id = opened(one, &subject).await.id;
        let (changed, deactivated) = tokio::join!(
            one.end_subject(&subject, 2, Some(id), Reason::PasswordChanged, T0),
            other.end_subject(&subject, 1, None, Reason::Deactivated, T0),
        );
        assert_eq!((changed.unwrap(), deactivated.unwrap()), (0, 1));
        assert_eq!(published(one, id).await, [Reason::Deactivated]);
    }
}

async fn an_excepted_session_may_be_refreshed_meanwhile(one: &dyn Store, other: &dyn Store) {
    for round in 0..ROUNDS {
        let subject = format!("refreshed {round}");
        let id = opened(one, &subject).await.id;
        let (changed, refreshed) = tokio::join!(
            one.end_subject(&subject, 1, Some(id), Reason::PasswordChanged, T0 + 1000),
            other.rotate(id, serial(0), terms(T0 + 1000)),
        );
        assert_eq!(changed.unwrap(), 0);
        let refreshed = granted(refreshed.unwrap());
        assert_eq!(one.find_session(id).await.unwrap(), Some(refreshed));
    }
}
