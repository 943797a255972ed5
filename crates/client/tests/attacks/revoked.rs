//! Tokens that were good, shown again after what they belong to was revoked.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use futures_util::FutureExt;
use portcullis_client::wire::{CLIENT_REVOCATION, Reason, Revocation, RevokedKind};
use portcullis_client::{TokenError, TokenType};
use serde_json::{Value, json};

use crate::example::Example;

const REVOKED: TokenError = TokenError::Revoked(Reason::LoggedOut);

impl Example {
    fn revoke(&self, kind: RevokedKind, id: &str) {
        let lasts = i64::try_from(CLIENT_REVOCATION.as_millis()).unwrap();
        self.trust.revoke(&Revocation {
            kind,
            id: id.to_owned(),
            reason: Reason::LoggedOut,
            expires_at: self.now * 1000 + lasts,
        });
    }

    fn service(&self, account: &str) -> String {
        let mut claims = self.claims_with(&json!({"token_type": "service", "sub": account, "client_id": account}));
        for name in ["sid", "user_id", "roles"] {
            claims.as_object_mut().unwrap().remove(name);
        }
        self.with_payload(claims.to_string())
    }
}

#[tokio::test]
async fn a_token_that_was_found_good_is_refused_as_soon_as_anything_revokes_it() {
    use RevokedKind::{Client, Session, Token};
    use TokenType::{Access, Service};

    let example = Example::new();
    let user = |jti: &str, sid: &str| example.with_claims(&json!({"jti": jti, "sid": sid}));
    let tokens: Vec<(TokenType, String, (RevokedKind, &str))> = vec![
        (Access, user("1", "first"), (Session, "first")),
        // As the token service makes them.
        (
            Access,
            user("2", "A7-_A7-_A7-_A7-_A7-_A7-_A7-_A7-_"),
            (Session, "A7-_A7-_A7-_A7-_A7-_A7-_A7-_A7-_"),
        ),
        (Access, user("alone", "second"), (Token, "alone")),
        (Service, example.service("billing"), (Client, "billing")),
    ];
    let verify = |of: usize| {
        let (wanted, token, _) = &tokens[of];
        let outcome = example.verifier.verify(token, *wanted).now_or_never().unwrap();
        outcome.map(|_| ())
    };
    for (number, (_, _, (kind, id))) in tokens.iter().enumerate() {
        for of in 0..tokens.len() {
            let refused = of < number;
            for _ in 0..3 {
                assert_eq!(
                    verify(of),
                    if refused { Err(REVOKED) } else { Ok(()) },
                    "{of} before {number}"
                );
            }
        }
        // What concerns others changes nothing.
        (0..2000).for_each(|other| example.revoke(*kind, &format!("other {number} {other}")));
        assert_eq!(verify(number), Ok(()));
        example.revoke(*kind, id);
        assert_eq!(verify(number), Err(REVOKED), "{kind:?}");
    }
}

#[test]
fn nobody_who_asks_after_a_revocation_is_told_what_was_found_before() {
    const ROUNDS: usize = 500;
    let example = Example::new();
    let tokens: Vec<(RevokedKind, String, String)> = (0..ROUNDS)
        .map(|number| {
            let (jti, sid) = (format!("token {number}"), format!("session {number}"));
            let claims: Value = json!({"jti": jti, "sid": sid});
            let (kind, id) = if number % 2 == 0 {
                (RevokedKind::Session, sid)
            } else {
                (RevokedKind::Token, jti)
            };
            (kind, id, example.with_claims(&claims))
        })
        .collect();
    let revoked: Vec<AtomicBool> = tokens.iter().map(|_| AtomicBool::new(false)).collect();
    // How many have found the token of the round good.
    let found: Vec<AtomicUsize> = tokens.iter().map(|_| AtomicUsize::new(0)).collect();
    // What no reader may be told; then everybody stops.
    let wrong = OnceLock::new();
    let read = || {
        for (round, (_, _, token)) in tokens.iter().enumerate() {
            let mut is_new = true;
            while wrong.get().is_none() {
                let is_revoked = revoked[round].load(Ordering::SeqCst);
                let outcome = example.verifier.verify(token, TokenType::Access).now_or_never();
                match outcome.map(|outcome| outcome.map(|_| ())) {
                    Some(Ok(())) if !is_revoked => {
                        found[round].fetch_add(usize::from(is_new), Ordering::SeqCst);
                        is_new = false;
                    }
                    // Nobody revokes it before both have found it good.
                    Some(Err(REVOKED)) if found[round].load(Ordering::SeqCst) == 2 => break,
                    other => {
                        let _ = wrong.set(format!("in round {round}, revoked: {is_revoked}: {other:?}"));
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(read));
        for (round, (kind, id, _)) in tokens.iter().enumerate() {
            while wrong.get().is_none() && found[round].load(Ordering::SeqCst) < readers.len() {
                thread::yield_now();
            }
            example.revoke(*kind, id);
            revoked[round].store(true, Ordering::SeqCst);
        }
    });
    assert_eq!(wrong.get(), None);
}
