//! What clients see while a part is down, under load, against real servers, and that it heals by itself. Only with
//! `PORTCULLIS_TEST_TOPOLOGY=servers`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis::role::Role;
use portcullis_test_servers::{PostgresDatabase, RedisDatabase, Server, Signal, on_servers};
use serde_json::{Value, json};
use service_kit::clock;
use tokio::task::JoinHandle;

use crate::helpers::{Answer, Client, Portcullis, SignedIn, spawn_with};
use crate::topology::{Stores, spawn_on};

/// No answer takes longer, whatever is down.
const IN_TIME: Duration = Duration::from_secs(12);
/// All is well again this long after the last part is: a gateway may leave an upstream alone for 4 s of it.
const HEALED: Duration = Duration::from_secs(8);
/// How many answers of each kind are waited for in each phase.
const ENOUGH: usize = 20;
/// How many requests may be on a connection just when it breaks: those that the gateways keep to one upstream, at most.
/// Whether such a request was carried out nobody knows, which is what a 502 says.
const BROKEN: usize = 16;

/// What a client does all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Home,
    Login,
    Refresh,
    Account,
}

const DEEDS: [Deed; 4] = [Deed::Home, Deed::Login, Deed::Refresh, Deed::Account];

/// What came of a deed.
#[derive(Debug)]
struct Done {
    deed: Deed,
    /// Which of the gateways it was asked of: each finds out for itself what is down.
    gateway: usize,
    began: Instant,
    took: Duration,
    answer: Answer,
}

/// Somebody who does everything, again and again.
struct Load {
    stop: Arc<AtomicBool>,
    done: tokio::sync::mpsc::UnboundedReceiver<Done>,
    workers: Vec<JoinHandle<()>>,
    gateways: usize,
}

impl Load {
    fn start(client: &Client, user: &SignedIn) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (report, done) = tokio::sync::mpsc::unbounded_channel();
        let gateways = client.each();
        let work = |deed| {
            let (gateways, user, stop, report) = (gateways.clone(), user.clone(), Arc::clone(&stop), report.clone());
            tokio::spawn(async move {
                let mut turns = (0..gateways.len()).cycle();
                while let (false, Some(gateway)) = (stop.load(Ordering::SeqCst), turns.next()) {
                    let began = clock::instant();
                    let answer = carry_out(deed, &gateways[gateway], &user).await;
                    let took = began.elapsed();
                    let _ = report.send(Done {
                        deed,
                        gateway,
                        began,
                        took,
                        answer,
                    });
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        };
        let workers = DEEDS.into_iter().map(work).collect();
        Self {
            stop,
            done,
            workers,
            gateways: gateways.len(),
        }
    }

    /// Waits for answers to deeds that begin from now on, enough of each kind; earlier ones must have one of the statuses
    /// of before and of now. At most `broken` of all these may have been cut off.
    async fn shows(&mut self, before: Expected, now: Expected, broken: usize) {
        let since = clock::instant();
        let mut counts = [0; DEEDS.len()];
        let mut cut_off = 0;
        while counts.iter().any(|count| *count < ENOUGH) {
            let done = self.done.recv().await.unwrap();
            assert!(done.took < IN_TIME, "{done:?}");
            let status = done.answer.status.as_u16();
            if status == 502 {
                cut_off += 1;
                assert!(cut_off <= broken, "{done:?}");
            } else if done.began < since {
                let allowed = [before.status(done.deed), now.status(done.deed)];
                assert!(allowed.contains(&status), "{done:?}");
            } else {
                assert_eq!(status, now.status(done.deed), "{done:?}");
                counts[DEEDS.iter().position(|deed| *deed == done.deed).unwrap()] += 1;
            }
            is_well_said(&done.answer);
        }
    }

    /// Waits until every deed succeeds again, at every gateway.
    async fn heals(&mut self, now: Expected) {
        let since = clock::instant();
        let mut good = vec![[false; DEEDS.len()]; self.gateways];
        while !good.iter().flatten().all(|good| *good) {
            let done = self.done.recv().await.unwrap();
            assert!(done.took < IN_TIME, "{done:?}");
            is_well_said(&done.answer);
            let status = done.answer.status.as_u16();
            assert!([200, now.status(done.deed), 502].contains(&status), "{done:?}");
            good[done.gateway][DEEDS.iter().position(|deed| *deed == done.deed).unwrap()] |=
                status == 200 && done.began > since;
            assert!(since.elapsed() < HEALED, "not healed: {good:?}");
        }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for worker in self.workers {
            worker.await.unwrap();
        }
    }
}

async fn carry_out(deed: Deed, client: &Client, user: &SignedIn) -> Answer {
    match deed {
        Deed::Home => client.home(&user.access).await,
        Deed::Login => client.try_login("ada").await,
        Deed::Refresh => client.refresh(&user.refresh).await,
        Deed::Account => client.get(&format!("/api/user/{}", user.id), &user.access).await,
    }
}

/// A 503 says when to come again, and nothing that is down makes anybody's token bad.
#[track_caller]
fn is_well_said(answer: &Answer) {
    assert!(![401, 500].contains(&answer.status.as_u16()), "{answer:?}");
    if answer.status == 503 {
        // No longer than a gateway leaves an upstream alone.
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=4).contains(&seconds), "{answer:?}");
        assert!(answer.json()["code"].is_string(), "{answer:?}");
    }
}

/// The status of each deed.
#[derive(Clone, Copy)]
struct Expected {
    home: u16,
    login: u16,
    refresh: u16,
    account: u16,
}

const WELL: Expected = Expected {
    home: 200,
    login: 200,
    refresh: 200,
    account: 200,
};

impl Expected {
    fn status(self, deed: Deed) -> u16 {
        match deed {
            Deed::Home => self.home,
            Deed::Login => self.login,
            Deed::Refresh => self.refresh,
            Deed::Account => self.account,
        }
    }
}

/// A row of the table: `down` takes something away under load, `up` brings it back.
async fn row(
    portcullis: &mut Portcullis,
    expected: Expected,
    down: impl AsyncFn(&mut Portcullis),
    up: impl AsyncFn(&mut Portcullis),
) {
    let client = portcullis.client.clone();
    let user = client.register("ada").await;
    let leaving = client.login("ada").await;
    let mut load = Load::start(&client, &user);
    load.shows(WELL, WELL, 0).await;
    for _ in 0..2 {
        down(portcullis).await;
        load.shows(WELL, expected, BROKEN).await;
        up(portcullis).await;
        load.heals(expected).await;
        load.shows(WELL, WELL, 0).await;
    }
    down(portcullis).await;
    let mut logout = client.logout(&leaving).await;
    for _ in 0..BROKEN {
        is_well_said(&logout);
        if logout.status != 502 {
            break;
        }
        logout = client.logout(&leaving).await;
    }
    let logged_out = if expected.refresh == 200 { 205 } else { expected.refresh };
    logout.expect(logged_out, Value::Null);
    up(portcullis).await;
    load.heals(expected).await;
    if logged_out != 205 {
        // What was answered 503 can be sent again.
        client.logout(&leaving).await.expect(205, Value::Null);
    }
    client.home_becomes(&leaving.access, 401).await;
    load.stop().await;
}

async fn patient() -> Portcullis {
    spawn_with(|config| config.token.max_staleness = Duration::from_mins(5)).await
}

#[tokio::test]
async fn without_redis_known_tokens_are_good_and_the_rest_waits() {
    if !on_servers() {
        return;
    }
    let redis = Server::redis().await;
    let stores = Stores::Servers(PostgresDatabase::create(), RedisDatabase::create_on(redis.url()));
    let mut portcullis = spawn_on(stores, |config| config.token.max_staleness = Duration::from_mins(5)).await;
    let expected = Expected {
        login: 503,
        refresh: 503,
        ..WELL
    };
    let down = async |_: &mut Portcullis| redis.stop(Signal::Kill).await;
    row(&mut portcullis, expected, down, async |_| redis.start_again().await).await;
}

#[tokio::test]
async fn without_postgres_nobody_logs_in_and_the_rest_goes_on() {
    if !on_servers() {
        return;
    }
    let postgres = Server::postgres().await;
    let stores = Stores::Servers(PostgresDatabase::create_on(postgres.url()), RedisDatabase::create());
    let mut portcullis = spawn_on(stores, |_| {}).await;
    let expected = Expected {
        login: 503,
        account: 503,
        ..WELL
    };
    let down = async |_: &mut Portcullis| postgres.stop(Signal::Quit).await;
    row(&mut portcullis, expected, down, async |_| postgres.start_again().await).await;
}

#[tokio::test]
async fn without_token_services_known_tokens_are_good_and_the_rest_waits() {
    if !on_servers() {
        return;
    }
    let expected = Expected {
        login: 503,
        refresh: 503,
        ..WELL
    };
    let down = async |portcullis: &mut Portcullis| portcullis.kill(Role::Token).await;
    row(&mut patient().await, expected, down, async |portcullis| {
        portcullis.start(Role::Token).await;
    })
    .await;
}

#[tokio::test]
async fn without_identity_nobody_logs_in_and_the_rest_goes_on() {
    if !on_servers() {
        return;
    }
    let expected = Expected {
        login: 503,
        account: 503,
        ..WELL
    };
    let down = async |portcullis: &mut Portcullis| portcullis.kill(Role::Identity).await;
    row(&mut patient().await, expected, down, async |portcullis| {
        portcullis.start(Role::Identity).await;
    })
    .await;
}

#[tokio::test]
async fn without_an_upstream_only_its_routes_fail() {
    if !on_servers() {
        return;
    }
    let expected = Expected { home: 503, ..WELL };
    let down = async |portcullis: &mut Portcullis| portcullis.kill(Role::Home).await;
    row(&mut patient().await, expected, down, async |portcullis| {
        portcullis.start(Role::Home).await;
    })
    .await;
}

#[tokio::test]
async fn one_of_two_token_services_is_enough() {
    if !on_servers() {
        return;
    }
    let mut portcullis = patient().await;
    // The one that identity does not open sessions at.
    let down = async |portcullis: &mut Portcullis| portcullis.kill_one(Role::Token, 1).await;
    row(&mut portcullis, WELL, down, async |portcullis| {
        portcullis.start(Role::Token).await;
    })
    .await;
}

#[tokio::test]
async fn past_the_staleness_protected_routes_say_503_until_redis_is_back() {
    if !on_servers() {
        return;
    }
    let redis = Server::redis().await;
    let stores = Stores::Servers(PostgresDatabase::create(), RedisDatabase::create_on(redis.url()));
    let portcullis = spawn_on(stores, |config| {
        config.token.max_staleness = Duration::from_millis(2500);
    })
    .await;
    let client = portcullis.client.clone();
    let user = client.register("ada").await;
    redis.stop(Signal::Kill).await;
    client.home(&user.access).await.expect(200, json!({}));
    let stale = client.home_becomes(&user.access, 503).await;
    stale.expect(503, json!({"code": "revocations_unknown"}));
    assert_eq!(stale.header("retry-after"), "1");
    redis.start_again().await;
    let began = clock::instant();
    client.home_becomes(&user.access, 200).await;
    assert!(began.elapsed() < HEALED, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_redis_that_is_killed_brings_no_acknowledged_logout_back() {
    if !on_servers() {
        return;
    }
    let redis = Server::redis().await;
    let stores = Stores::Servers(PostgresDatabase::create(), RedisDatabase::create_on(redis.url()));
    let portcullis = spawn_on(stores, |config| config.token.max_staleness = Duration::from_mins(5)).await;
    let client = portcullis.client.clone();
    let kept = client.register("ada").await;
    for _ in 0..3 {
        let mut left = Vec::new();
        for _ in 0..20 {
            let session = client.login("ada").await;
            client.logout(&session).await.expect(205, Value::Null);
            left.push(session);
        }
        redis.stop(Signal::Kill).await;
        redis.start_again().await;
        let began = clock::instant();
        while client.refresh(&kept.refresh).await.status != 200 {
            assert!(began.elapsed() < HEALED, "{:?}", began.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for session in left {
            client.home_becomes(&session.access, 401).await;
            client
                .refresh(&session.refresh)
                .await
                .expect(401, json!({"detail": "Token is blacklisted"}));
        }
        client.home(&kept.access).await.expect(200, json!({}));
    }
}
