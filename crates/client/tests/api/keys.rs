//! A key that is not known: asked for once, whoever and however many show tokens of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use portcullis_client::{TokenError, TokenType};

use crate::issuer::{Issuer, Key};

#[tokio::test]
async fn a_key_that_is_not_known_yet_is_fetched_once_for_all_who_show_it() {
    let issuer = Issuer::start();
    let follower = issuer.follower().await;
    let (verifier, next) = (follower.verifier(), Key::new("next"));
    *issuer.state.published.lock().unwrap() = Some(vec![issuer.state.key.jwk(), next.jwk()]);
    let tokens: Vec<String> = (0..300).map(|_| next.user("", &[])).collect();
    let all = join_all(tokens.iter().map(|token| verifier.user(token))).await;
    for taken in all {
        assert_eq!(taken.map(|claims| claims.sub.clone()), Ok("7".to_owned()));
    }
    assert_eq!(issuer.state.key_fetches.load(Ordering::SeqCst), 1);
    // What was known before still is, and costs nothing.
    let user = issuer.state.key.user("", &[]);
    assert!(verifier.user(&user).await.is_ok());
    assert_eq!(issuer.state.key_fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn keys_that_nobody_has_published_are_asked_for_once_and_refused_without_asking_after_that() {
    let issuer = Issuer::start();
    let verifier = issuer.follower().await.verifier();
    let keys: Vec<Key> = (0..20).map(|number| Key::new(&format!("made-up-{number}"))).collect();
    for _ in 0..3 {
        let tokens: Vec<String> = keys.iter().map(|key| key.user("", &[])).collect();
        for refused in join_all(tokens.iter().map(|token| verifier.user(token))).await {
            assert_eq!(refused.err(), Some(TokenError::UnknownKey));
        }
    }
    assert_eq!(issuer.state.key_fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn nobody_whose_key_is_known_waits_for_a_key_that_is_not() {
    let issuer = Issuer::start();
    let follower = issuer.follower().await;
    let verifier = follower.verifier();
    let permits = issuer.state.may_answer.forget_permits(usize::MAX);
    assert!(permits > 0);
    let (unknown, user) = (Key::new("made-up").user("", &[]), issuer.state.key.user("", &[]));
    let fetching = verifier.user(&unknown);
    let meanwhile = async {
        while issuer.state.key_fetches.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(verifier.user(&user).await.is_ok(), "while the key set is being fetched");
        issuer.state.may_answer.add_permits(1);
    };
    let (refused, ()) = tokio::join!(fetching, meanwhile);
    assert_eq!(refused.err(), Some(TokenError::UnknownKey));
}

#[tokio::test]
async fn while_the_key_set_cannot_be_fetched_nobody_is_told_that_a_key_does_not_exist() {
    let issuer = Issuer::start();
    let follower = issuer.follower().await;
    let verifier = follower.verifier();
    *issuer.state.published.lock().unwrap() = None;
    let unknown = Key::new("made-up").user("", &[]);
    for _ in 0..2 {
        assert_eq!(verifier.user(&unknown).await.err(), Some(TokenError::KeysUnavailable));
    }
    assert!(verifier.user(&issuer.state.key.user("", &[])).await.is_ok());
    assert_eq!(issuer.state.key_fetches.load(Ordering::SeqCst), 1, "once in a while");
}

#[tokio::test]
async fn news_that_grow_old_while_a_key_is_fetched_are_old() {
    let issuer = Issuer::start();
    let follower = issuer.impatient(Duration::from_secs(1)).await;
    let (verifier, next) = (follower.verifier(), Key::new("next"));
    *issuer.state.published.lock().unwrap() = Some(vec![issuer.state.key.jwk(), next.jwk()]);
    issuer.state.may_answer.forget_permits(usize::MAX);
    issuer.state.is_silent.store(true, Ordering::SeqCst);
    let token = next.user("", &[]);
    let fetching = verifier.user(&token);
    let meanwhile = async {
        while issuer.state.key_fetches.load(Ordering::SeqCst) == 0 || !verifier.is_stale() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        issuer.state.may_answer.add_permits(1);
    };
    let (refused, ()) = tokio::join!(fetching, meanwhile);
    assert_eq!(refused.err(), Some(TokenError::Stale));
    let by_itself = verifier.verify(&token, TokenType::Access).await;
    assert!(by_itself.is_ok(), "the token is good");
}
