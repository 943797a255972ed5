//! SIGKILL for one process after the other, the stores' among them, at random moments while clients are busy: what was
//! acknowledged holds. Only with `PORTCULLIS_TEST_TOPOLOGY=servers`.
//!
//! `PORTCULLIS_TEST_KILL_SECONDS` says for how long (15), `PORTCULLIS_TEST_SEED` repeats a run, as far as the machine
//! does.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use portcullis_test_servers::{PostgresDatabase, RedisDatabase, Server, Signal, on_servers};
use serde_json::{Value, json};
use service_kit::{clock, config, random};

use crate::helpers::{Answer, Client, PASSWORD};
use crate::process::{Part, Place, Process};
use crate::topology::Stores;

const CLIENTS: usize = 6;
/// How many sessions each client has open at most.
const SESSIONS: usize = 8;
/// How many requests are made at once when everything is looked at in the end.
const AT_ONCE: usize = 8;
/// Something that is asked again and again is answered within this time, however many processes are killed.
const PATIENCE: Duration = Duration::from_mins(1);
/// Shorter than the default, so that sessions rotate; longer than a request that was given up may stay on its way.
const REPLAY_WINDOW: &str = "5s";

fn setting(name: &str, default: u64) -> u64 {
    config::environment(name).map_or(default, |text| text.parse().expect("a number"))
}

/// A session, with every token that was ever given for it.
#[derive(Clone, Debug)]
struct Session {
    access: Vec<String>,
    /// Each once, the newest last.
    refresh: Vec<String>,
}

impl Session {
    fn opened(answer: &Answer) -> Self {
        Self {
            access: vec![answer.field("access")],
            refresh: vec![answer.field("refresh")],
        }
    }

    fn refreshed(&mut self, answer: &Answer) {
        self.access.push(answer.field("access"));
        let refresh = answer.field("refresh");
        if *self.newest() != refresh {
            assert!(!self.refresh.contains(&refresh), "an older token came back");
            self.refresh.push(refresh);
        }
    }

    fn newest(&self) -> &String {
        self.refresh.last().expect("one was given when it was opened")
    }
}

/// Somebody who does everything, in any order, and writes down what was acknowledged.
struct Person {
    number: usize,
    client: Client,
    random: Rng,
    registered: Vec<String>,
    open: Vec<Session>,
    left: Vec<Session>,
    tried: usize,
    unanswered: usize,
}

impl Person {
    async fn live(mut self, enough: Arc<AtomicBool>) -> Self {
        while !enough.load(Ordering::SeqCst) {
            pause(&mut self.random, 0..40).await;
            match self.random.u8(0..10) {
                0..3 if self.open.len() < SESSIONS => self.register().await,
                3 if self.open.len() < SESSIONS => self.log_in().await,
                4..6 => self.log_out().await,
                6 => self.visit().await,
                _ => self.refresh().await,
            }
        }
        self
    }

    /// What is answered to a request; `None` when nobody can know what became of it.
    async fn attempt(&mut self, path: &str, body: &Value) -> Option<Answer> {
        self.tried += 1;
        let known = known(self.client.request("POST", path).json(body)).await;
        self.unanswered += usize::from(known.is_none());
        known
    }

    /// What is answered in the end, and whether that is the first attempt's answer.
    async fn settle(&mut self, path: &str, body: &Value) -> (Answer, bool) {
        let (began, mut is_first) = (clock::instant(), true);
        loop {
            if let Some(answer) = self.attempt(path, body).await {
                return (answer, is_first);
            }
            is_first = false;
            assert!(began.elapsed() < PATIENCE, "{path} is never answered");
            pause(&mut self.random, 10..50).await;
        }
    }

    /// An account that nobody acknowledged may exist or not; it is forgotten.
    async fn register(&mut self) {
        let name = format!("c{}n{}", self.number, self.tried);
        let body = json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD});
        if let Some(answer) = self.attempt("/api/auth/register", &body).await {
            answer.expect(201, json!({}));
            self.registered.push(name);
            self.open.push(Session::opened(&answer));
        }
    }

    async fn log_in(&mut self) {
        let Some(name) = self.random.choice(&self.registered) else {
            return;
        };
        let body = json!({"email": format!("{name}@example.com"), "password": PASSWORD});
        if let Some(answer) = self.attempt("/api/auth/login", &body).await {
            answer.expect(200, json!({}));
            self.open.push(Session::opened(&answer));
        }
    }

    /// Presents the newest token until there is an answer: whoever does that is never signed out.
    async fn refresh(&mut self) {
        let Some(session) = self.any() else { return };
        let body = json!({"refresh": self.open[session].newest()});
        let (answer, _) = self.settle("/api/auth/refresh", &body).await;
        answer.expect(200, json!({}));
        self.open[session].refreshed(&answer);
    }

    /// A session that has ended already was ended by an attempt that nobody answered.
    async fn log_out(&mut self) {
        let Some(session) = self.any() else { return };
        let body = json!({"refresh": self.open[session].newest()});
        let (answer, is_first) = self.settle("/api/auth/logout", &body).await;
        if is_first || answer.status == 205 {
            answer.expect(205, Value::Null);
        } else {
            answer.expect(400, json!({"detail": "The session has ended already."}));
        }
        self.left.push(self.open.swap_remove(session));
    }

    async fn visit(&mut self) {
        let Some(session) = self.any() else { return };
        let access = self.random.choice(&self.open[session].access).expect("one at least");
        let request = self.client.request("GET", "/home").bearer_auth(access);
        if let Some(answer) = known(request).await {
            answer.expect(200, json!({}));
        }
    }

    fn any(&mut self) -> Option<usize> {
        (!self.open.is_empty()).then(|| self.random.usize(..self.open.len()))
    }
}

/// An answer that says what became of the request: not one that was broken off, and none of those by which a server says
/// that it could not see to it.
async fn known(request: reqwest::RequestBuilder) -> Option<Answer> {
    let response = request.send().await.ok()?;
    let answer = Answer {
        status: response.status(),
        headers: response.headers().clone(),
        text: response.text().await.ok()?,
    };
    (![502, 503, 504].contains(&answer.status.as_u16())).then_some(answer)
}

async fn pause(random: &mut Rng, milliseconds: Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.u64(milliseconds))).await;
}

/// Kills everything once, in any order, one after the other and each at any moment, and starts it again; and again, until
/// the time is over. How often each was killed.
async fn kill_at_random(
    process: &mut Process,
    stores: [(&'static str, &Server); 2],
    random: &mut Rng,
    duration: Duration,
) -> BTreeMap<&'static str, usize> {
    let (began, mut killed) = (clock::instant(), BTreeMap::new());
    while began.elapsed() < duration {
        let parts = process.parts().len();
        let mut victims: Vec<usize> = (0..parts + stores.len()).collect();
        random.shuffle(&mut victims);
        for victim in victims {
            pause(random, 0..700).await;
            // Whoever could not start while a store was away.
            process.parts().iter_mut().for_each(Part::revive);
            let name = if let Some(part) = process.parts().get_mut(victim) {
                part.kill();
                pause(random, 0..300).await;
                part.start_again();
                part.name
            } else {
                let (name, server) = stores[victim - parts];
                server.stop(Signal::Kill).await;
                pause(random, 0..300).await;
                server.start_again().await;
                name
            };
            *killed.entry(name).or_default() += 1;
        }
    }
    killed
}

#[tokio::test]
async fn whoever_is_killed_at_whatever_moment_nothing_acknowledged_is_lost() {
    if !on_servers() {
        return;
    }
    let seed = setting("PORTCULLIS_TEST_SEED", u64::from_le_bytes(random::bytes()));
    let duration = Duration::from_secs(setting("PORTCULLIS_TEST_KILL_SECONDS", 15));
    let seeded = format!("processes are killed for {duration:?} with PORTCULLIS_TEST_SEED={seed}\n");
    std::io::stderr().write_all(seeded.as_bytes()).unwrap();
    let mut random = Rng::with_seed(seed);

    let (postgres, redis) = (Server::postgres().await, Server::redis().await);
    let stores = Stores::Servers(
        PostgresDatabase::create_on(postgres.url()),
        RedisDatabase::create_on(redis.url()),
    );
    let place = Place::on(stores).with("PORTCULLIS_TOKEN__REPLAY_WINDOW", REPLAY_WINDOW);
    let mut process = Process::start(&place).await;
    let client = process.client.clone();
    let enough = Arc::new(AtomicBool::new(false));
    let people: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let person = Person {
                number,
                client: client.clone(),
                random: random.fork(),
                registered: Vec::new(),
                open: Vec::new(),
                left: Vec::new(),
                tried: 0,
                unanswered: 0,
            };
            tokio::spawn(person.live(Arc::clone(&enough)))
        })
        .collect();
    let victims = [("postgres", &postgres), ("redis", &redis)];
    let killed = kill_at_random(&mut process, victims, &mut random, duration).await;
    process.ready().await;
    enough.store(true, Ordering::SeqCst);
    let people: Vec<Person> = join_all(people).await.into_iter().map(Result::unwrap).collect();

    // From here on a refresh token is good once and no more, and one that is shown again harms nobody.
    for part in process.parts() {
        part.kill();
        for (name, value) in [("REPLAY_WINDOW", "0s"), ("RECOVERY_WINDOW", "0s"), ("ON_REUSE", "deny")] {
            part.set(&format!("PORTCULLIS_TOKEN__{name}"), value);
        }
        part.start_again();
    }
    process.ready().await;

    let sum = |of: fn(&Person) -> usize| people.iter().map(of).sum::<usize>();
    let refreshed = sum(|person| {
        person
            .open
            .iter()
            .chain(&person.left)
            .map(|it| it.refresh.len() - 1)
            .sum()
    });
    let (registered, left, open) = (
        sum(|person| person.registered.len()),
        sum(|person| person.left.len()),
        sum(|person| person.open.len()),
    );
    println!(
        "killed {killed:?}; of {} requests {} without an answer; {registered} registered, {refreshed} rotated, {left} \
         logged out, {open} sessions open",
        sum(|person| person.tried),
        sum(|person| person.unanswered),
    );
    assert!([registered, refreshed, left, open].iter().all(|count| *count > 0));

    let names = people.iter().flat_map(|person| &person.registered);
    each(names, async |name| drop(client.login(name).await)).await;
    each(people.iter().flat_map(|person| &person.left), async |session| {
        stays_left(&client, session).await;
    })
    .await;
    let open = people.into_iter().flat_map(|person| person.open);
    each(open, async |session| lives_once(&client, session, seed).await).await;
}

/// Does `with` to each, several at a time.
async fn each<T>(all: impl IntoIterator<Item = T>, with: impl AsyncFn(T)) {
    stream::iter(all).for_each_concurrent(AT_ONCE, |one| with(one)).await;
}

/// None of its tokens is good anywhere.
async fn stays_left(client: &Client, session: &Session) {
    for access in &session.access {
        for gateway in client.each() {
            let answer = gateway.home(access).await;
            answer.expect(401, json!({"code": "token_not_valid"}));
            assert_eq!(
                answer.json()["messages"][0]["message"],
                "Token is revoked",
                "{answer:?}"
            );
        }
    }
    for refresh in &session.refresh {
        client
            .refresh(refresh)
            .await
            .expect(401, json!({"detail": "Token is blacklisted"}));
    }
}

/// Of all tokens that were ever given for it the newest is good, once, and no other.
async fn lives_once(client: &Client, session: Session, seed: u64) {
    let mut shown = session.refresh.clone();
    Rng::with_seed(seed).shuffle(&mut shown);
    let mut next = None;
    for refresh in shown {
        let answer = client.refresh(&refresh).await;
        if refresh == *session.newest() {
            next = Some(answer.expect(200, json!({})).clone());
        } else {
            answer.expect(401, json!({"detail": "Token is blacklisted"}));
        }
    }
    let next = next.expect("the newest was among them");
    client.refresh(session.newest()).await.expect(401, json!({}));
    client.home(&next.field("access")).await.expect(200, json!({}));
    client.refresh(&next.field("refresh")).await.expect(200, json!({}));
}
