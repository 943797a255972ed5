//! Refresh tokens: races, lost replies, thieves, and time passing.

mod algorithms;

use std::collections::HashSet;
use std::time::Duration;

use portcullis_token::OnReuse;
use serde_json::json;

use crate::helpers::{spawn, spawn_with};

const ROUNDS: usize = 200;
const PARALLEL: usize = 32;

#[tokio::test]
async fn of_32_presentations_at_once_one_makes_a_generation_and_the_others_get_the_same_reply() {
    let portcullis = spawn().await;
    let mut user = portcullis.client.register("ada").await;
    let mut seen = HashSet::from([user.refresh.clone()]);
    for _ in 0..ROUNDS {
        portcullis.clock.advance(Duration::from_secs(11));
        let answers = portcullis.client.refresh_all_at_once(&user.refresh, PARALLEL).await;
        let tokens: HashSet<String> = answers
            .iter()
            .map(|answer| answer.expect(200, json!({})).field("refresh"))
            .collect();
        assert_eq!(tokens.len(), 1, "one chain");
        user.refresh = tokens.into_iter().next().unwrap();
        assert!(seen.insert(user.refresh.clone()), "a new generation each time");
    }
}

#[tokio::test]
async fn without_windows_one_of_32_wins_and_the_others_end_the_session() {
    let portcullis = spawn_with(|config| {
        config.token.replay_window = Duration::ZERO;
        config.token.recovery_window = Duration::ZERO;
    })
    .await;
    portcullis.client.register("ada").await;
    for _ in 0..20 {
        let user = portcullis.client.login("ada").await;
        let answers = portcullis.client.refresh_all_at_once(&user.refresh, PARALLEL).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((won.len(), lost.len()), (1, PARALLEL - 1));
        for answer in lost {
            answer.expect(
                401,
                json!({"detail": "Token is blacklisted", "code": "token_not_valid"}),
            );
        }
        let winner = portcullis.client.refresh(&won[0].field("refresh")).await;
        winner.expect(401, json!({"code": "token_not_valid"}));
    }
}

#[tokio::test]
async fn without_windows_and_with_deny_the_winners_chain_lives_on() {
    let portcullis = spawn_with(|config| {
        config.token.replay_window = Duration::ZERO;
        config.token.recovery_window = Duration::ZERO;
        config.token.on_reuse = OnReuse::Deny;
    })
    .await;
    let mut refresh = portcullis.client.register("ada").await.refresh;
    for _ in 0..20 {
        let answers = portcullis.client.refresh_all_at_once(&refresh, PARALLEL).await;
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1);
        refresh = won[0].field("refresh");
    }
}

#[tokio::test]
async fn a_lost_reply_signs_nobody_out() {
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    let lost = portcullis.client.refresh(&user.refresh).await.field("refresh");
    portcullis.clock.advance(Duration::from_mins(1));
    let again = portcullis.client.refresh(&user.refresh).await;
    let reissued = again.expect(200, json!({})).field("refresh");
    assert_ne!(reissued, lost);
    portcullis.clock.advance(Duration::from_mins(1));
    portcullis.client.refresh(&reissued).await.expect(200, json!({}));
}

#[tokio::test]
async fn a_superseded_token_shown_later_ends_the_session_for_thief_and_owner() {
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    let bystander = portcullis.client.login("ada").await;
    let current = portcullis.client.refresh(&user.refresh).await;
    portcullis.clock.advance(Duration::from_secs(301));
    let access = portcullis.client.refresh(&current.field("refresh")).await;
    let thief = portcullis.client.refresh(&user.refresh).await;
    thief.expect(
        401,
        json!({"detail": "Token is blacklisted", "code": "token_not_valid"}),
    );
    portcullis.client.home_becomes(&access.field("access"), 401).await;
    portcullis
        .client
        .refresh(&access.field("refresh"))
        .await
        .expect(401, json!({"code": "token_not_valid"}));
    portcullis
        .client
        .refresh(&bystander.refresh)
        .await
        .expect(200, json!({}));
}

#[tokio::test]
async fn sessions_and_access_tokens_expire_by_the_clock() {
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    portcullis.client.home(&user.access).await.expect(200, json!({}));
    portcullis.clock.advance(Duration::from_secs(306));
    let expired = portcullis.client.home(&user.access).await;
    expired.expect(401, json!({"code": "token_not_valid"}));
    assert_eq!(expired.json()["messages"][0]["message"], "Token is expired");
    let renewed = portcullis.client.refresh(&user.refresh).await;
    portcullis
        .client
        .home(&renewed.field("access"))
        .await
        .expect(200, json!({}));
    portcullis.clock.advance(Duration::from_hours(25));
    let idle = portcullis.client.refresh(&renewed.field("refresh")).await;
    idle.expect(401, json!({"detail": "Token is expired", "code": "token_not_valid"}));
}

#[tokio::test]
async fn a_session_that_is_used_daily_still_ends_after_30_days() {
    let portcullis = spawn().await;
    let mut refresh = portcullis.client.register("ada").await.refresh;
    for _ in 0..31 {
        let answer = portcullis.client.refresh(&refresh).await;
        refresh = answer.expect(200, json!({})).field("refresh");
        portcullis.clock.advance(Duration::from_hours(23));
    }
    portcullis.clock.advance(Duration::from_hours(23));
    portcullis
        .client
        .refresh(&refresh)
        .await
        .expect(401, json!({"detail": "Token is expired"}));
}

#[tokio::test]
async fn no_access_token_outlives_its_session() {
    let portcullis = spawn_with(|config| {
        config.token.refresh_idle_ttl = Duration::from_mins(10);
        config.token.refresh_absolute_ttl = Duration::from_mins(10);
    })
    .await;
    let user = portcullis.client.register("ada").await;
    portcullis.clock.advance(Duration::from_mins(9));
    let access = portcullis
        .client
        .refresh(&user.refresh)
        .await
        .expect(200, json!({}))
        .field("access");
    portcullis.client.home(&access).await.expect(200, json!({}));
    portcullis.clock.advance(Duration::from_secs(66));
    portcullis
        .client
        .home(&access)
        .await
        .expect(401, json!({"code": "token_not_valid"}));
}
