//! Upstreams that fail, come back, and are restarted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use portcullis_gateway::{Config, HealthCheck, Upstream};
use reqwest::Method;
use serde_json::json;
use service_kit::clock;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::helpers::{PATIENCE, TestApp, listener, read, read_head, route, spawn_with, until, url};
use crate::service::{Leaves, Service};

/// Adds an upstream `name` with these targets, and a route `/odd` to it. All tests share their metrics, so that who looks at
/// those needs a name of its own.
fn odd(config: &mut Config, name: &str, targets: &[SocketAddr], change: impl FnOnce(&mut Upstream)) {
    let mut upstream = Upstream::of(targets.iter().map(|address| url(*address)).collect());
    change(&mut upstream);
    config.upstreams.insert(name.to_owned(), upstream);
    config.routes.push(route(&format!(
        r#"{{"path": "/odd", "upstream": "{name}", "auth": "none", "timeout": "2s"}}"#
    )));
}

fn check() -> HealthCheck {
    HealthCheck {
        path: "/healthz".to_owned(),
        interval: Duration::from_millis(20),
        timeout: PATIENCE,
        healthy_after: 2,
        unhealthy_after: 2,
    }
}

async fn ask(app: &TestApp) -> (u16, String) {
    let (status, body) = read(app.get("/odd").await).await;
    let said = body["code"].as_str().or(body.as_str()).unwrap_or_default();
    (status, said.to_owned())
}

async fn metrics(app: &TestApp) -> String {
    let url = format!("http://{}/metrics", app.running.admin_address);
    app.http.get(url).send().await.unwrap().text().await.unwrap()
}

#[actix_web::test]
async fn a_target_that_checks_find_bad_gets_nothing_until_they_find_it_good() {
    let (a, b) = (Service::start("a"), Service::start("b"));
    let app = spawn_with(|config| {
        odd(config, "checked", &[a.address, b.address], |upstream| {
            upstream.health = Some(check());
        });
    })
    .await;
    let both = async || {
        let answers = [ask(&app).await, ask(&app).await];
        answers.iter().all(|(status, _)| *status == 200) && answers[0] != answers[1]
    };
    until(both).await;
    a.well.store(false, Ordering::SeqCst);
    until(async || !both().await).await;
    let seen = a.seen.load(Ordering::SeqCst);
    for _ in 0..10 {
        assert_eq!(ask(&app).await, (200, "b".to_owned()));
    }
    assert_eq!(a.seen.load(Ordering::SeqCst), seen);
    let shown = format!("upstream_healthy{{upstream=\"checked\",target=\"{}\"}}", a.address);
    until(async || metrics(&app).await.contains(&format!("{shown} 0\n"))).await;

    b.well.store(false, Ordering::SeqCst);
    until(async || ask(&app).await == (503, "upstream_unavailable".to_owned())).await;
    let seen = b.seen.load(Ordering::SeqCst);
    let refused = app.get("/odd").await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert_eq!(b.seen.load(Ordering::SeqCst), seen, "and nobody is asked");

    a.well.store(true, Ordering::SeqCst);
    until(async || ask(&app).await == (200, "a".to_owned())).await;
    until(async || metrics(&app).await.contains(&format!("{shown} 1\n"))).await;
}

#[actix_web::test]
async fn a_target_that_breaks_off_again_and_again_is_passed_over() {
    let (odd_one, good) = (listener().await, Service::start("good"));
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, "odd", &[address, good.address], |_| {})).await;
    let asked = Arc::new(AtomicUsize::new(0));
    tokio::spawn({
        let asked = Arc::clone(&asked);
        async move {
            while let Ok((mut stream, _)) = odd_one.accept().await {
                read_head(&mut stream).await;
                asked.fetch_add(1, Ordering::SeqCst);
                // Its answers begin well.
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
                    .await;
            }
        }
    });
    let mut broken = 0;
    // An answer that was begun cannot be taken back.
    while broken < 5 {
        let answer = app.request(Method::GET, "/odd").send().await;
        let whole = match answer {
            Ok(answer) => answer.bytes().await.is_ok(),
            Err(_) => false,
        };
        broken += usize::from(!whole);
    }
    for _ in 0..10 {
        assert_eq!(ask(&app).await, (200, "good".to_owned()));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 5);
}

#[actix_web::test]
async fn an_upstream_that_fails_again_and_again_is_left_alone_until_one_request_is_answered() {
    let odd_one = listener().await;
    let address = odd_one.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, "failing", &[address], |upstream| upstream.max_failures = 3)).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let (well, mut is_well) = watch::channel(false);
    tokio::spawn({
        let asked = Arc::clone(&asked);
        async move {
            while let Ok((mut stream, _)) = odd_one.accept().await {
                read_head(&mut stream).await;
                asked.fetch_add(1, Ordering::SeqCst);
                if *is_well.borrow_and_update() {
                    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngood";
                    stream.write_all(answer).await.unwrap();
                }
            }
        }
    });
    for _ in 0..3 {
        assert_eq!(ask(&app).await, (502, "bad_gateway".to_owned()));
    }
    let started = service_kit::clock::instant();
    let refused = app.get("/odd").await;
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(read(refused).await.1["code"], "upstream_unavailable");
    assert_eq!(asked.load(Ordering::SeqCst), 3, "nobody is asked");
    until(async || {
        metrics(&app)
            .await
            .contains("upstream_breaker_open{upstream=\"failing\"} 1\n")
    })
    .await;

    until(async || ask(&app).await.0 == 502).await;
    assert_eq!(asked.load(Ordering::SeqCst), 4, "one request is let through");
    assert!(started.elapsed() > Duration::from_millis(900), "after a second");
    assert_eq!(
        ask(&app).await,
        (503, "upstream_unavailable".to_owned()),
        "and the next is not"
    );

    well.send_replace(true);
    until(async || ask(&app).await == (200, "good".to_owned())).await;
    assert_eq!(asked.load(Ordering::SeqCst), 5);
    for _ in 0..10 {
        assert_eq!(ask(&app).await, (200, "good".to_owned()), "all are let through");
    }
    until(async || {
        metrics(&app)
            .await
            .contains("upstream_breaker_open{upstream=\"failing\"} 0\n")
    })
    .await;
}

/// Two targets that say this to every request, and hang up; and how many they got.
async fn two_that_say(words: &'static str) -> (Vec<SocketAddr>, Arc<AtomicUsize>) {
    let asked = Arc::<AtomicUsize>::default();
    let mut targets = Vec::new();
    for _ in 0..2 {
        let odd_one = listener().await;
        targets.push(odd_one.local_addr().unwrap());
        let asked = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = odd_one.accept().await {
                read_head(&mut stream).await;
                asked.fetch_add(1, Ordering::SeqCst);
                stream.write_all(words.as_bytes()).await.unwrap();
            }
        });
    }
    (targets, asked)
}

#[actix_web::test]
async fn what_speaks_no_http_is_not_asked_once_more_as_what_breaks_off_is() {
    for (says, sent) in [("garbage\r\n\r\n", 1), ("", 2)] {
        let (targets, asked) = two_that_say(says).await;
        let app = spawn_with(|config| odd(config, "odd", &targets, |_| {})).await;
        assert_eq!(ask(&app).await.0, 502);
        assert_eq!(asked.load(Ordering::SeqCst), sent, "{says:?}");
    }
}

#[actix_web::test]
async fn an_upstream_in_trouble_does_not_get_many_times_its_load() {
    let (targets, asked) = two_that_say("").await;
    let app = spawn_with(|config| odd(config, "troubled", &targets, |upstream| upstream.max_failures = 0)).await;
    for _ in 0..400 {
        assert_eq!(ask(&app).await.0, 502);
    }
    let repeated = asked.load(Ordering::SeqCst) - 400;
    // A fifth, and what was saved; what comes back with time depends on how long this took.
    assert!((180..250).contains(&repeated), "{repeated} were sent once more");
    let shown = metrics(&app).await;
    assert!(
        shown.contains(&format!("upstream_retries_total{{upstream=\"troubled\"}} {repeated}\n")),
        "{shown}"
    );
}

#[actix_web::test]
async fn what_is_known_of_a_target_is_not_forgotten_when_something_else_of_its_upstream_changes() {
    let (ill, well) = (Service::start("ill"), Service::start("well"));
    ill.well.store(false, Ordering::SeqCst);
    // Nobody else gets the address, and nobody listens there.
    let dead = TcpSocket::new_v4().unwrap();
    dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let targets = [ill.address, dead.local_addr().unwrap(), well.address];
    let mut next = None;
    let app = spawn_with(|config| {
        let mut changed = config.clone();
        odd(config, "kept", &targets, |upstream| {
            upstream.health = Some(HealthCheck {
                unhealthy_after: 1,
                ..check()
            });
        });
        odd(&mut changed, "kept", &targets, |upstream| {
            upstream.max_idle += 1;
            // That is, never: what is not known already is not found out.
            upstream.health = Some(HealthCheck {
                unhealthy_after: u32::MAX,
                ..check()
            });
        });
        next = Some(changed);
    })
    .await;
    for target in &targets[..2] {
        let bad = format!("upstream_healthy{{upstream=\"kept\",target=\"{target}\"}} 0\n");
        until(async || metrics(&app).await.contains(&bad)).await;
    }
    app.reloader.reload(&next.unwrap()).unwrap();
    for _ in 0..6 {
        assert_eq!(ask(&app).await, (200, "well".to_owned()));
    }
    assert_eq!(ill.seen.load(Ordering::SeqCst), 0);
    let shown = metrics(&app).await;
    assert!(
        !shown.contains("upstream_ejections_total{upstream=\"kept\"}"),
        "{shown}"
    );
}

#[actix_web::test]
async fn nor_is_that_it_failed() {
    let well = Service::start("well");
    let dead = TcpSocket::new_v4().unwrap();
    dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let targets = [dead.local_addr().unwrap(), well.address];
    let mut next = None;
    let app = spawn_with(|config| {
        let mut changed = config.clone();
        odd(config, "failed", &targets, |_| {});
        odd(&mut changed, "failed", &targets, |upstream| upstream.max_idle += 1);
        next = Some(changed);
    })
    .await;
    let once = "upstream_ejections_total{upstream=\"failed\"} 1\n";
    until(async || {
        assert_eq!(ask(&app).await, (200, "well".to_owned()));
        metrics(&app).await.contains(once)
    })
    .await;
    app.reloader.reload(&next.unwrap()).unwrap();
    for _ in 0..6 {
        assert_eq!(ask(&app).await, (200, "well".to_owned()));
    }
    let shown = metrics(&app).await;
    assert!(shown.contains(once), "{shown}");
}

/// A listener that takes no connection any more, as one whose machine is gone: the system answers nobody who asks for one.
async fn deaf() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    loop {
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        match tokio::time::timeout(Duration::from_millis(300), connecting).await {
            Ok(connected) => waiting.push(connected.unwrap()),
            Err(_) => return (listener, waiting),
        }
        assert!(waiting.len() < 10, "its queue has no end");
    }
}

#[actix_web::test]
async fn a_target_that_no_connection_comes_to_is_given_up_in_time_and_passed_over() {
    let (deaf, _waiting) = deaf().await;
    let (deaf, well) = (deaf.local_addr().unwrap(), Service::start("well"));
    let with = |name: &'static str, targets: Vec<SocketAddr>| {
        spawn_with(move |config| {
            config.connect_timeout = Duration::from_millis(300);
            odd(config, name, &targets, |upstream| upstream.max_failures = 0);
        })
    };
    let alone = with("deaf", vec![deaf]).await;
    let started = clock::instant();
    assert_eq!(ask(&alone).await, (504, "gateway_timeout".to_owned()));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(300) && took < PATIENCE / 2, "{took:?}");

    for (method, name) in [(Method::GET, "deaf to GET"), (Method::POST, "deaf to POST")] {
        let beside = with(name, vec![deaf, well.address]).await;
        let once = format!("upstream_ejections_total{{upstream=\"{name}\"}} 1\n");
        until(async || {
            let answer = beside
                .request(method.clone(), "/odd")
                .body("what")
                .send()
                .await
                .unwrap();
            let answer = read(answer).await;
            assert_eq!(answer, (200, "well".into()), "{method}: nothing was sent to the other");
            metrics(&beside).await.contains(&once)
        })
        .await;
    }
}

/// Restarts the targets of an upstream in turn, again and again, under load; what was not answered 200.
async fn restarted(methods: &[Method], leaves: Leaves) -> Vec<String> {
    let start = |address, name| Service::start_at(address, name, leaves);
    let nowhere = "127.0.0.1:0".parse().unwrap();
    let mut services = vec![start(nowhere, "a"), start(nowhere, "b")];
    let addresses = [services[0].address, services[1].address];
    let app = Arc::new(
        spawn_with(|config| {
            config.workers = 2;
            odd(config, "odd", &addresses, |_| {});
        })
        .await,
    );
    let done = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for method in methods.iter().cycle().take(8) {
        let (app, done, method) = (Arc::clone(&app), Arc::clone(&done), method.clone());
        clients.spawn(async move {
            let mut failed = Vec::new();
            while !done.load(Ordering::SeqCst) {
                let (status, body) = read(app.request(method.clone(), "/odd").send().await.unwrap()).await;
                if status != 200 {
                    failed.push(format!("{method}: {status} {body}"));
                }
            }
            failed
        });
    }
    for _ in 0..6 {
        let service = services.remove(0);
        let (address, name, seen) = (service.address, service.name, Arc::clone(&service.seen));
        until(async || seen.load(Ordering::SeqCst) > 20).await;
        service.stop().await;
        let other = services[0].seen.load(Ordering::SeqCst);
        until(async || services[0].seen.load(Ordering::SeqCst) > other + 20).await;
        services.push(start(address, name));
        // Until it has its share again, or the other one is down as well.
    }
    done.store(true, Ordering::SeqCst);
    clients.join_all().await.concat()
}

#[actix_web::test]
async fn a_rolling_restart_of_services_that_hang_up_at_once_loses_no_request_that_may_be_repeated() {
    let failed = restarted(&[Method::GET, Method::DELETE], Leaves::AtOnce).await;
    assert_eq!(failed, Vec::<String>::new());
}

#[actix_web::test]
async fn a_rolling_restart_of_services_that_say_so_loses_no_request_at_all() {
    let failed = restarted(&[Method::GET, Method::POST], Leaves::WithNotice).await;
    assert_eq!(failed, Vec::<String>::new());
}

#[actix_web::test]
async fn connections_and_requests_are_counted() {
    let service = Service::start("a");
    let app = spawn_with(|config| odd(config, "counted", &[service.address], |_| {})).await;
    assert_eq!(ask(&app).await, (200, "a".to_owned()));
    let shows = async |text: &'static str| metrics(&app).await.contains(text);
    until(|| shows("upstream_connections_idle{upstream=\"counted\"} 1\n")).await;
    assert!(shows("upstream_connections_open{upstream=\"counted\"} 1\n").await);
    assert!(shows("upstream_in_flight{upstream=\"counted\"} 0\n").await);
    service.stop().await;
    until(|| shows("upstream_connections_open{upstream=\"counted\"} 0\n")).await;
    assert_eq!(
        read(app.get("/odd").await).await.1["code"],
        json!("upstream_unavailable")
    );
}

#[actix_web::test]
async fn a_target_can_have_a_name() {
    let service = Service::start("a");
    let app = spawn_with(|config| {
        odd(config, "odd", &[], |upstream| {
            let named = format!("http://localhost:{}", service.address.port());
            upstream.targets.push(named.parse().unwrap());
        });
    })
    .await;
    // It may have an address of the other kind as well, where nobody listens.
    for _ in 0..10 {
        assert_eq!(ask(&app).await, (200, "a".to_owned()));
    }
}

#[actix_web::test]
async fn an_upstream_that_a_reload_replaced_is_checked_and_shown_no_more_even_while_nobody_asks() {
    let (old, new) = (Service::start("old"), Service::start("new"));
    let mut next = None;
    let app = spawn_with(|config| {
        let mut changed = config.clone();
        odd(config, "changing", &[old.address], |upstream| {
            upstream.health = Some(check());
        });
        odd(&mut changed, "changing", &[new.address], |upstream| {
            upstream.health = Some(check());
        });
        next = Some(changed);
    })
    .await;
    assert_eq!(ask(&app).await, (200, "old".to_owned()));
    let shown = |service: &Service| {
        format!(
            "upstream_healthy{{upstream=\"changing\",target=\"{}\"}}",
            service.address
        )
    };
    until(async || metrics(&app).await.contains(&format!("{} 1\n", shown(&old)))).await;
    app.reloader.reload(&next.unwrap()).unwrap();
    until(async || metrics(&app).await.contains(&format!("{} NaN\n", shown(&old)))).await;
    until(async || metrics(&app).await.contains(&format!("{} 1\n", shown(&new)))).await;
    // A check may have been under way.
    let goes_on = async || {
        let before = new.checked();
        until(async || new.checked() > before + 3).await;
    };
    goes_on().await;
    let no_more = old.checked();
    goes_on().await;
    assert_eq!(old.checked(), no_more);
    assert_eq!(ask(&app).await, (200, "new".to_owned()));
}
