//! What every store must do, checked on two handles of one store: `one` and `other` are two processes.

mod exchange;
pub(crate) mod schedules;
mod subject;

use portcullis_client::wire::{Reason, Revocation, RevokedKind};

use super::{Rotation, RotationTerms, Store, StoredClient};
use crate::config::OnReuse;
use crate::keys::{Algorithm, KeyState, StoredKey};
use crate::rotation::{Chain, Serial, Windows};
use crate::session::{Session, SessionId};

pub(crate) const HOUR: i64 = 3_600_000;
/// The present of every test.
pub(crate) const T0: i64 = 1_800_000_000_000;

/// Runs everything; the store has to be empty.
pub(crate) async fn suite(one: &dyn Store, other: &dyn Store) {
    sessions_open_and_are_found(one, other).await;
    one_of_many_presentations_rotates(one, other).await;
    reuse_ends_the_session_or_not_as_the_terms_say(one, other).await;
    sessions_expire(one).await;
    ending_is_published_once(one, other).await;
    subject::suite(one, other).await;
    exchange::suite(one, other).await;
    the_feed_resumes_and_starts_over(one, other).await;
    the_ring_is_replaced_against_its_version(one, other).await;
    clients_are_kept_and_deleted(one, other).await;
    what_expired_is_swept(one, other).await;
}

pub(crate) fn session(subject: &str, epoch: i64) -> Session {
    Session {
        id: SessionId::new(subject),
        subject: subject.to_owned(),
        epoch,
        roles: vec!["staff".to_owned()],
        chain: Chain::opened(T0),
        created_at: T0,
        last_used_at: T0,
        idle_expires_at: T0 + HOUR,
        absolute_expires_at: T0 + 10 * HOUR,
        access_expires_at: T0 + 300_000,
        user_agent: Some("test".to_owned()),
        ip: None,
        ended: None,
    }
}

pub(crate) async fn opened(store: &dyn Store, subject: &str) -> Session {
    let session = session(subject, 0);
    assert!(store.open_session(session.clone()).await.unwrap());
    session
}

pub(crate) fn terms(now: i64) -> RotationTerms {
    RotationTerms {
        now,
        windows: Windows {
            replay: 10_000,
            recovery: 300_000,
        },
        on_reuse: OnReuse::Revoke,
        idle_expires_at: now + HOUR,
        access_expires_at: now + 300_000,
    }
}

pub(crate) fn serial(generation: u32) -> Serial {
    Serial {
        generation,
        reissues: 0,
    }
}

pub(crate) fn granted(rotation: Rotation) -> Session {
    match rotation {
        Rotation::Granted(session) => *session,
        refused => panic!("{refused:?}"),
    }
}

/// Every revocation that is alive at `T0`, and where the feed stands.
pub(crate) async fn feed(store: &dyn Store) -> (Vec<Revocation>, String) {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let batch = store.revocations_after(cursor.as_deref(), T0).await.unwrap();
        all.extend(batch.revocations);
        cursor = Some(batch.cursor);
        if !batch.more {
            return (all, cursor.unwrap());
        }
    }
}

async fn sessions_open_and_are_found(one: &dyn Store, other: &dyn Store) {
    let kept = opened(one, "found").await;
    assert_eq!(other.find_session(kept.id).await.unwrap(), Some(kept));
    assert_eq!(one.find_session(SessionId::new("nobody")).await.unwrap(), None);
    let unknown = one
        .rotate(SessionId::new("nobody"), serial(0), terms(T0))
        .await
        .unwrap();
    assert_eq!(unknown, Rotation::Unknown);
}

async fn one_of_many_presentations_rotates(one: &dyn Store, other: &dyn Store) {
    let id = opened(one, "raced").await.id;
    for generation in 0..20 {
        let now = T0 + i64::from(generation) * 11_000;
        let (a, b, c, d) = tokio::join!(
            one.rotate(id, serial(generation), terms(now)),
            other.rotate(id, serial(generation), terms(now)),
            one.rotate(id, serial(generation), terms(now)),
            other.rotate(id, serial(generation), terms(now)),
        );
        for outcome in [a, b, c, d] {
            let session = granted(outcome.unwrap());
            assert_eq!(session.chain.current, serial(generation + 1));
            assert_eq!((session.last_used_at, session.access_expires_at), (now, now + 300_000));
        }
    }
    assert_eq!(
        other.find_session(id).await.unwrap().unwrap().idle_expires_at,
        T0 + 19 * 11_000 + HOUR
    );
}

async fn reuse_ends_the_session_or_not_as_the_terms_say(one: &dyn Store, other: &dyn Store) {
    let id = opened(one, "reused").await.id;
    granted(one.rotate(id, serial(0), terms(T0)).await.unwrap());
    granted(one.rotate(id, serial(1), terms(T0 + 20_000)).await.unwrap());
    let denying = RotationTerms {
        on_reuse: OnReuse::Deny,
        ..terms(T0 + 21_000)
    };
    assert_eq!(one.rotate(id, serial(0), denying).await.unwrap(), Rotation::Denied);
    granted(one.rotate(id, serial(2), terms(T0 + 22_000)).await.unwrap());
    let reuse = other.rotate(id, serial(0), terms(T0 + 23_000)).await.unwrap();
    assert_eq!(
        reuse,
        Rotation::Reused {
            subject: "reused".to_owned()
        }
    );
    assert_eq!(
        one.rotate(id, serial(2), terms(T0 + 24_000)).await.unwrap(),
        Rotation::Ended(Reason::Reuse)
    );
    let (revocations, _) = feed(one).await;
    let entry = revocations.iter().find(|entry| entry.id == id.to_string()).unwrap();
    assert_eq!((entry.kind, entry.reason), (RevokedKind::Session, Reason::Reuse));
    assert!(
        entry.expires_at >= T0 + 22_000 + 300_000,
        "it outlives the last access token"
    );
}

async fn sessions_expire(one: &dyn Store) {
    let id = opened(one, "expired").await.id;
    assert_eq!(
        one.rotate(id, serial(0), terms(T0 + HOUR)).await.unwrap(),
        Rotation::Expired
    );
    let mut now = T0;
    for generation in 0..13 {
        now = T0 + i64::from(generation) * (HOUR - 240_000);
        if now >= T0 + 10 * HOUR {
            break;
        }
        let session = granted(one.rotate(id, serial(generation), terms(now)).await.unwrap());
        assert!(session.idle_expires_at <= T0 + 10 * HOUR);
    }
    assert_eq!(
        one.rotate(id, serial(9), terms(now)).await.unwrap(),
        Rotation::Expired,
        "absolute expiry"
    );
}

async fn ending_is_published_once(one: &dyn Store, other: &dyn Store) {
    let id = opened(one, "ended").await.id;
    let (_, before) = feed(one).await;
    let (a, b) = tokio::join!(
        one.end_session(id, None, Reason::LoggedOut, T0),
        other.end_session(id, None, Reason::LoggedOut, T0),
    );
    assert_eq!(i32::from(a.unwrap()) + i32::from(b.unwrap()), 1);
    let batch = other.revocations_after(Some(&before), T0).await.unwrap();
    assert_eq!(batch.revocations.len(), 1);
    assert_eq!(
        other.rotate(id, serial(0), terms(T0)).await.unwrap(),
        Rotation::Ended(Reason::LoggedOut)
    );
    assert!(
        !one.end_session(SessionId::new("nobody"), None, Reason::LoggedOut, T0)
            .await
            .unwrap()
    );
}

async fn the_feed_resumes_and_starts_over(one: &dyn Store, other: &dyn Store) {
    let token = |id: &str, expires_at| Revocation {
        kind: RevokedKind::Token,
        id: id.to_owned(),
        reason: Reason::Administrator,
        expires_at,
    };
    let (all, cursor) = feed(one).await;
    one.revoke(token("a", T0 + 1000)).await.unwrap();
    other.revoke(token("b", T0 + 5000)).await.unwrap();
    let batch = one.revocations_after(Some(&cursor), T0).await.unwrap();
    assert_eq!(
        batch
            .revocations
            .iter()
            .map(|entry| entry.id.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    let later = one.revocations_after(Some(&cursor), T0 + 1000).await.unwrap();
    assert_eq!(later.revocations.len(), 1, "what has expired is not told");
    let nothing = other.revocations_after(Some(&batch.cursor), T0).await.unwrap();
    assert_eq!((nothing.revocations.len(), nothing.cursor), (0, batch.cursor));
    for unknown in ["nonsense", "ffff-1", "-", ""] {
        let batch = one.revocations_after(Some(unknown), T0).await.unwrap();
        assert_eq!(batch.revocations.len(), all.len() + 2, "{unknown}");
    }
}

async fn the_ring_is_replaced_against_its_version(one: &dyn Store, other: &dyn Store) {
    let key = |kid: &str| StoredKey {
        kid: kid.to_owned(),
        algorithm: Algorithm::ES256,
        state: KeyState::Next,
        since: T0,
        public_jwk: "{}".to_owned(),
        sealed: vec![1, 2, 3],
    };
    let ring = one.ring().await.unwrap();
    let (a, b) = tokio::join!(
        one.replace_ring(ring.version, vec![key("k1")]),
        other.replace_ring(ring.version, vec![key("k2")]),
    );
    assert_ne!(a.unwrap(), b.unwrap());
    let replaced = other.ring().await.unwrap();
    assert_eq!((replaced.version, replaced.keys.len()), (ring.version + 1, 1));
    assert_eq!(
        one.revocations_after(None, T0).await.unwrap().ring_version,
        replaced.version
    );
    assert!(one.replace_ring(replaced.version, ring.keys).await.unwrap());
}

async fn clients_are_kept_and_deleted(one: &dyn Store, other: &dyn Store) {
    let client = StoredClient {
        id: "c1".to_owned(),
        secret_hash: "hash".to_owned(),
        scopes: vec!["a".to_owned(), "b".to_owned()],
        created_at: T0,
    };
    assert!(one.create_client(client.clone()).await.unwrap());
    assert!(!other.create_client(client.clone()).await.unwrap());
    assert_eq!(other.find_client("c1").await.unwrap(), Some(client.clone()));
    assert_eq!(other.list_clients().await.unwrap(), [client]);
    let (_, cursor) = feed(one).await;
    assert!(one.delete_client("c1", T0 + 1000).await.unwrap());
    assert!(!other.delete_client("c1", T0 + 1000).await.unwrap());
    let batch = other.revocations_after(Some(&cursor), T0).await.unwrap();
    assert!(matches!(batch.revocations.as_slice(), [entry] if entry.kind == RevokedKind::Client && entry.id == "c1"));
    assert_eq!(other.find_client("c1").await.unwrap(), None);
}

async fn what_expired_is_swept(one: &dyn Store, other: &dyn Store) {
    let live = opened(one, "swept").await.id;
    assert!(one.sweep(T0 + HOUR / 2).await.unwrap() > 0, "revocations expired");
    assert!(other.find_session(live).await.unwrap().is_some());
    other.sweep(T0 + 20 * HOUR).await.unwrap();
    // A store may leave sessions to its own clock, which no test moves; none may be live.
    let left = one.find_session(live).await.unwrap();
    assert!(left.is_none_or(|session| !session.is_live(T0 + 20 * HOUR)));
    assert!(feed(one).await.0.is_empty());
    let (_, cursor) = feed(one).await;
    let id = opened(one, "after the sweep").await.id;
    assert!(one.end_session(id, None, Reason::LoggedOut, T0).await.unwrap());
    assert_eq!(
        other
            .revocations_after(Some(&cursor), T0)
            .await
            .unwrap()
            .revocations
            .len(),
        1,
        "cursors stay good"
    );
    assert!(
        !other.open_session(session("left", 0)).await.unwrap(),
        "epochs are never forgotten"
    );
}
