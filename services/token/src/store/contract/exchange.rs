//! Sessions that are opened with a proof that is good once.

use super::subject::ROUNDS;
use super::{HOUR, T0, granted, opened, serial, session, terms};
use crate::rotation::Chain;
use crate::session::{Session, SessionId};
use crate::store::{Opening, Proof, Rotation, Store};
use portcullis_client::wire::Reason;

pub(super) async fn suite(one: &dyn Store, other: &dyn Store) {
    a_proof_opens_one_session(one, other).await;
    of_many_at_once_one_opens_its_session(one, other).await;
    the_token_that_was_exchanged_is_a_superseded_one(one, other).await;
    a_proof_outlives_the_session_it_opened(one, other).await;
    a_proof_opens_nothing_for_a_stale_epoch(one, other).await;
}

fn proof(id: &str) -> Proof {
    Proof {
        id: id.to_owned(),
        expires_at: T0 + HOUR,
    }
}

fn exchanged(subject: &str) -> Session {
    let mut session = session(subject, 0);
    session.chain = Chain::exchanged(T0);
    session
}

async fn open(store: &dyn Store, session: &Session, id: &str) -> Opening {
    store.open_session_once(session.clone(), proof(id)).await.unwrap()
}

async fn a_proof_opens_one_session(one: &dyn Store, other: &dyn Store) {
    let (first, second) = (exchanged("proven"), exchanged("proven"));
    assert_eq!(open(one, &first, "p1").await, Opening::Opened);
    assert_eq!(one.find_session(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(open(other, &second, "p1").await, Opening::Before(first.id));
    assert_eq!(other.find_session(second.id).await.unwrap(), None);
    assert_eq!(open(other, &second, "p2").await, Opening::Opened);
    assert_eq!(one.list_sessions("proven", T0).await.unwrap().len(), 2);
}

async fn of_many_at_once_one_opens_its_session(one: &dyn Store, other: &dyn Store) {
    for round in 0..ROUNDS {
        let subject = format!("racing proof {round}");
        let sessions = [(); 4].map(|()| exchanged(&subject));
        let (a, b, c, d) = tokio::join!(
            open(one, &sessions[0], &subject),
            open(other, &sessions[1], &subject),
            open(one, &sessions[2], &subject),
            open(other, &sessions[3], &subject),
        );
        let outcomes = [a, b, c, d];
        let winner = outcomes.iter().position(|outcome| *outcome == Opening::Opened).unwrap();
        for (at, outcome) in outcomes.into_iter().enumerate() {
            if at != winner {
                assert_eq!(outcome, Opening::Before(sessions[winner].id));
            }
        }
        let listed = one.list_sessions(&subject, T0).await.unwrap();
        assert_eq!(listed, [sessions[winner].clone()]);
    }
}

async fn the_token_that_was_exchanged_is_a_superseded_one(one: &dyn Store, other: &dyn Store) {
    let session = exchanged("exchanged");
    open(one, &session, "p3").await;
    let show = async |store: &dyn Store, after| store.rotate(session.id, Chain::EXCHANGED, terms(T0 + after)).await;
    // The same again within W1, a reissue within W2.
    let again = granted(show(other, 1_000).await.unwrap());
    assert_eq!(again.chain.current, serial(1));
    let reissued = granted(show(one, 100_000).await.unwrap());
    assert_eq!(
        (reissued.chain.current.generation, reissued.chain.current.reissues),
        (1, 1)
    );
    // And the session goes on.
    let shown = reissued.chain.current;
    let next = granted(other.rotate(session.id, shown, terms(T0 + 200_000)).await.unwrap());
    assert_eq!(next.chain.current, serial(2));
    let reuse = show(other, 300_001).await.unwrap();
    let subject = "exchanged".to_owned();
    assert_eq!(reuse, Rotation::Reused { subject });
    assert_eq!(
        open(one, &exchanged("exchanged"), "p3").await,
        Opening::Before(session.id)
    );
}

async fn a_proof_outlives_the_session_it_opened(one: &dyn Store, other: &dyn Store) {
    let session = exchanged("spent");
    open(one, &session, "p4").await;
    assert!(one.end_session(session.id, None, Reason::LoggedOut, T0).await.unwrap());
    assert_eq!(
        open(other, &exchanged("spent"), "p4").await,
        Opening::Before(session.id)
    );
    let shown = other.rotate(session.id, Chain::EXCHANGED, terms(T0)).await.unwrap();
    assert_eq!(shown, Rotation::Ended(Reason::LoggedOut));
}

async fn a_proof_opens_nothing_for_a_stale_epoch(one: &dyn Store, other: &dyn Store) {
    opened(one, "stale proof").await;
    one.end_subject("stale proof", 1, None, Reason::PasswordChanged, T0)
        .await
        .unwrap();
    let late = exchanged("stale proof");
    assert_eq!(open(other, &late, "p5").await, Opening::StaleEpoch);
    assert_eq!(other.find_session(late.id).await.unwrap(), None);
    let ids: Vec<SessionId> = Vec::new();
    let listed = one.list_sessions("stale proof", T0).await.unwrap();
    assert_eq!(listed.iter().map(|session| session.id).collect::<Vec<_>>(), ids);
    // Nothing was remembered of it either.
    let renewed = Session { epoch: 1, ..late };
    assert_eq!(open(one, &renewed, "p5").await, Opening::Opened);
}
