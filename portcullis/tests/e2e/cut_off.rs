//! Gateways that are cut off from the feed: what they do meanwhile, and that they miss nothing afterwards.

use std::time::Duration;

use futures_util::future::join_all;
use portcullis::config::Config;
use portcullis::role::Role;
use portcullis_gateway::{RouteConfig, Stale};
use serde_json::{Value, json};
use service_kit::clock;

use crate::helpers::{Answer, Client, Portcullis, SignedIn, in_time, signed_by, spawn};
use crate::line::{Line, State};

/// A route to something that looks at no token, so that only the gateway decides.
const STRICT: &str = "/strict/.well-known/jwks.json";
/// The same, but open to tokens of which it is not known whether they are revoked.
const LAX: &str = "/lax/.well-known/jwks.json";

/// A gateway, and its line to the feed.
struct CutOff {
    line: Line,
    client: Client,
}

impl CutOff {
    async fn new(portcullis: &mut Portcullis, max_staleness: Duration) -> Self {
        let line = Line::to(&portcullis.urls(Role::Token)[0]).await;
        let change = |config: &mut Config| {
            config.token.max_staleness = max_staleness;
            for (path, stale) in [("/strict", Stale::Deny), ("/lax", Stale::Allow)] {
                let mut route = RouteConfig::new(path, "token");
                (route.strip_prefix, route.stale) = (true, stale);
                config.gateway.routes.push(route);
            }
        };
        let client = portcullis.gateway_that_follows(&line.url(), change).await;
        Self { line, client }
    }

    async fn get(&self, path: &str, user: &SignedIn) -> Answer {
        self.client.get(path, &user.access).await
    }
}

/// Who is signed in before a gateway is cut off, and has heard of all keys.
struct People {
    root: SignedIn,
    kept: SignedIn,
    /// Will lose the session, the account, the key that signed.
    losers: [SignedIn; 3],
}

impl People {
    async fn new(portcullis: &Portcullis, gateways: &[CutOff]) -> Self {
        let client = &portcullis.client;
        let early = client.register("early").await;
        let (store, ring) = portcullis.keys().await;
        ring.rotate(&*store, portcullis.clock.now_ms()).await.unwrap();
        let mut leaver = client.register("leaver").await;
        while signed_by(&leaver.access) == signed_by(&early.access) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            leaver = client.login("leaver").await;
        }
        let people = Self {
            root: portcullis.superuser("root").await,
            kept: client.register("kept").await,
            losers: [leaver, client.register("closed").await, early],
        };
        for gateway in gateways {
            for user in people.losers.iter().chain([&people.kept]) {
                gateway.client.becomes(STRICT, &user.access, 200).await;
            }
        }
        people
    }

    /// Takes everything away from the losers, and sees that gateways that are not cut off know.
    async fn lose(&self, portcullis: &Portcullis) {
        let client = &portcullis.client;
        let [leaver, closed, early] = &self.losers;
        client.logout(leaver).await.expect(205, Value::Null);
        let path = format!("/api/admin/users/{}", closed.id);
        let close = client.request("PATCH", &path).bearer_auth(&self.root.access);
        let close = client.send(close.json(&json!({"is_active": false}))).await;
        close.expect(200, json!({}));
        let (store, ring) = portcullis.keys().await;
        let key = signed_by(&early.access);
        ring.kill(&*store, &key, portcullis.clock.now_ms()).await.unwrap();
        for user in &self.losers {
            client.home_becomes(&user.access, 401).await;
        }
    }
}

#[tokio::test]
async fn a_gateway_that_is_cut_off_for_a_second_or_for_nine_misses_nothing() {
    let mut portcullis = spawn().await;
    let mut gateways = Vec::new();
    let cuts = [
        (State::Stalls, 1),
        (State::Breaks, 1),
        (State::Stalls, 9),
        (State::Breaks, 9),
    ];
    for _ in cuts {
        gateways.push(CutOff::new(&mut portcullis, Duration::from_secs(10)).await);
    }
    let people = People::new(&portcullis, &gateways).await;
    for (gateway, (how, _)) in gateways.iter().zip(cuts) {
        gateway.line.set(how);
    }
    let began = clock::instant();
    people.lose(&portcullis).await;
    let after = gateways.iter().zip(cuts).map(|(gateway, (how, seconds))| {
        let length = Duration::from_secs(seconds);
        flows_again(gateway, &people, how, length, length.saturating_sub(began.elapsed()))
    });
    join_all(after).await;
}

/// Ends a cut in a while.
async fn flows_again(gateway: &CutOff, people: &People, how: State, length: Duration, left: Duration) {
    tokio::time::sleep(left).await;
    for user in &people.losers {
        // As long as nobody tells it, for 10 s at most.
        let status = gateway.get(STRICT, user).await.status.as_u16();
        assert!([200, 503].contains(&status), "{how:?} for {length:?}: {status}");
    }
    gateway.line.set(State::Flows);
    let began = clock::instant();
    for user in &people.losers {
        gateway.client.becomes(STRICT, &user.access, 401).await;
    }
    println!("{how:?} for {length:?}: all is known {:?} after", began.elapsed());
    gateway.client.becomes(STRICT, &people.kept.access, 200).await;
}

#[tokio::test]
async fn past_the_staleness_a_gateway_says_503_or_goes_on_as_its_routes_say_and_misses_nothing() {
    let mut portcullis = spawn().await;
    let mut gateways = Vec::new();
    for _ in 0..2 {
        gateways.push(CutOff::new(&mut portcullis, Duration::from_millis(2500)).await);
    }
    let people = People::new(&portcullis, &gateways).await;
    for (gateway, how) in gateways.iter().zip([State::Stalls, State::Breaks]) {
        gateway.line.set(how);
    }
    people.lose(&portcullis).await;
    portcullis.clock.advance(Duration::from_mins(1));
    for gateway in &gateways {
        let stale = gateway.client.becomes(STRICT, &people.kept.access, 503).await;
        stale.expect(503, json!({"code": "revocations_unknown"}));
        assert_eq!(stale.header("retry-after"), "1");
        let garbage = gateway.client.get(STRICT, "garbage").await;
        garbage.expect(401, json!({}));
        for user in people.losers.iter().chain([&people.kept]) {
            gateway.get(STRICT, user).await.expect(503, json!({}));
            gateway.get(LAX, user).await.expect(200, json!({}));
        }
        gateway.line.set(State::Flows);
        for user in &people.losers {
            // What is fresh again is whole.
            let mut answer = gateway.get(STRICT, user).await;
            let began = clock::instant();
            while answer.status == 503 && in_time(began) {
                tokio::time::sleep(Duration::from_millis(2)).await;
                answer = gateway.get(STRICT, user).await;
            }
            answer.expect(401, json!({}));
            gateway.get(LAX, user).await.expect(401, json!({}));
        }
        gateway.client.becomes(STRICT, &people.kept.access, 200).await;
    }
}

#[tokio::test]
async fn token_services_that_start_again_with_a_shorter_feed_leave_no_gap() {
    let mut portcullis = spawn().await;
    let gateway = CutOff::new(&mut portcullis, Duration::from_mins(1)).await;
    let client = portcullis.client.clone();
    // Something that the gateway hears of, and something that it does not.
    let early = client.register("early").await;
    client.logout(&early).await.expect(205, Value::Null);
    gateway.client.becomes(STRICT, &early.access, 401).await;
    gateway.line.set(State::Stalls);
    for _ in 0..3 {
        let missed = client.login("early").await;
        client.logout(&missed).await.expect(205, Value::Null);
    }
    portcullis.kill(Role::Token).await;
    portcullis.clock.advance(Duration::from_mins(10));
    let (store, _) = portcullis.keys().await;
    assert!(store.sweep(portcullis.clock.now_ms()).await.unwrap() >= 4);
    let left = store.revocations_after(None, 0).await.unwrap().revocations;
    assert_eq!(left, []);
    portcullis.start(Role::Token).await;

    let (kept, leaver) = (client.register("kept").await, client.register("leaver").await);
    gateway.get(STRICT, &leaver).await.expect(200, json!({}));
    client.logout(&leaver).await.expect(205, Value::Null);
    gateway.line.set(State::Flows);
    gateway.client.becomes(STRICT, &leaver.access, 401).await;
    gateway.client.becomes(STRICT, &kept.access, 200).await;
    // And it goes on from there.
    client.logout(&kept).await.expect(205, Value::Null);
    gateway.client.becomes(STRICT, &kept.access, 401).await;
}
