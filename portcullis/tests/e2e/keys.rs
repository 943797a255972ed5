//! Keys that are rotated and killed while everybody goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use portcullis_token::keys::KeyState;
use serde_json::json;
use service_kit::clock;
use tokio::task::JoinHandle;

use crate::helpers::{SignedIn, in_time, signed_by, spawn};

/// As many as do not take long: the key set grows with each, and everybody reads it each time. `bench/keys.py` does more.
const ROTATIONS: usize = 300;
const KILLS: usize = 10;

/// People who go on until they are told to stop, and who must never be refused.
struct Load {
    stop: Arc<AtomicBool>,
    people: Vec<JoinHandle<usize>>,
}

impl Load {
    fn new() -> Self {
        Self {
            stop: Arc::default(),
            people: Vec::new(),
        }
    }

    /// One more, who does this again and again.
    fn add<F: Future<Output = ()> + Send>(&mut self, deed: impl Fn() -> F + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.people.push(tokio::spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::SeqCst) {
                deed().await;
                count += 1;
            }
            count
        }));
    }

    /// Fails as soon as somebody has been refused.
    fn goes_on(&self) {
        assert!(
            self.people.iter().all(|person| !person.is_finished()),
            "somebody was refused"
        );
    }

    /// How often each has done it.
    async fn stop(self) -> Vec<usize> {
        self.stop.store(true, Ordering::SeqCst);
        let counts = join_all(self.people).await;
        counts.into_iter().map(Result::unwrap).collect()
    }
}

#[tokio::test]
async fn rotating_keys_again_and_again_under_load_refuses_nobody() {
    let portcullis = spawn().await;
    let client = portcullis.client.clone();
    let early = client.register("early").await;
    let (store, ring) = portcullis.keys().await;
    let mut load = Load::new();
    let asks = |path: &'static str, user: &SignedIn| {
        let (client, access) = (client.clone(), user.access.clone());
        move || {
            let (client, access) = (client.clone(), access.clone());
            async move {
                client.get(path, &access).await.expect(200, json!({}));
            }
        }
    };
    load.add(asks("/home", &early));
    load.add(asks("/api/auth/me", &early));
    let newcomer = client.clone();
    load.add(move || {
        let client = newcomer.clone();
        async move {
            let user = client.login("early").await;
            for gateway in client.each() {
                gateway.home(&user.access).await.expect(200, json!({}));
            }
        }
    });
    let (refresher, refresh) = (client.clone(), early.refresh.clone());
    load.add(move || {
        let (client, refresh) = (refresher.clone(), refresh.clone());
        async move {
            let access = client.refresh(&refresh).await.expect(200, json!({})).field("access");
            for gateway in client.each() {
                gateway.home(&access).await.expect(200, json!({}));
            }
        }
    });
    let began = clock::instant();
    for _ in 0..ROTATIONS {
        ring.rotate(&*store, portcullis.clock.now_ms()).await.unwrap();
        load.goes_on();
    }
    let took = began.elapsed();
    // Until the last of them signs, which it does once everybody must have heard of it.
    let keys = store.ring().await.unwrap().keys;
    let active = keys.into_iter().find(|key| key.state == KeyState::Active).unwrap();
    while signed_by(&client.login("early").await.access) != active.kid {
        load.goes_on();
        assert!(in_time(began + took), "{} never signs", active.kid);
    }
    let counts = load.stop().await;
    println!("{ROTATIONS} rotations in {took:?}, meanwhile {counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    client.home(&early.access).await.expect(200, json!({}));
}

#[tokio::test]
async fn tokens_of_a_killed_key_are_refused_everywhere_within_a_tenth_of_a_second() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    client.register("ada").await;
    let (store, ring) = portcullis.keys().await;
    let mut took = Vec::new();
    for _ in 0..KILLS {
        let user = client.login("ada").await;
        client.home_becomes(&user.access, 200).await;
        let began = clock::instant();
        ring.kill(&*store, &signed_by(&user.access), portcullis.clock.now_ms())
            .await
            .unwrap();
        client.home_becomes(&user.access, 401).await;
        took.push(began.elapsed());
        // The session goes on.
        let renewed = client
            .refresh(&user.refresh)
            .await
            .expect(200, json!({}))
            .field("access");
        assert_ne!(signed_by(&renewed), signed_by(&user.access));
        client.home_becomes(&renewed, 200).await;
    }
    took.sort_unstable();
    println!("from the order to kill a key to the last refusal: {took:?}");
    // Of the fastest quarter, since the machine may be busy; `bench/keys.py` measures.
    assert!(took[took.len() / 4] < Duration::from_millis(100), "{took:?}");
}
