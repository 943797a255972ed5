//! Replacing the configuration of a gateway that is at work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use bytes::Bytes;
use futures_util::StreamExt;
use portcullis_gateway::{Config, Upstream};
use tokio::sync::watch;

use crate::helpers::{ORIGIN, TestApp, read, route, spawn, spawn_with, until, url};

/// What holds slow answers back.
#[derive(Default)]
struct Gate {
    released: watch::Sender<bool>,
    arrived: AtomicUsize,
}

/// An upstream that says its name and the path it was asked for; below `/slow` only once it is released.
fn named(name: &'static str, gate: &Arc<Gate>) -> SocketAddr {
    let gate = Data::from(Arc::clone(gate));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(gate.clone())
            .app_data(Data::new(name))
            .default_service(web::to(answer))
    })
    .workers(1)
    .disable_signals()
    .bind("127.0.0.1:0")
    .unwrap();
    let address = server.addrs()[0];
    tokio::spawn(server.run());
    address
}

async fn answer(request: HttpRequest, name: Data<&'static str>, gate: Data<Gate>) -> HttpResponse {
    let text = format!("{} {}", **name, request.path());
    let mut released = gate.released.subscribe();
    let wait = async move { released.wait_for(|released| *released).await.map(drop).unwrap() };
    if request.path().contains("/slow") {
        gate.arrived.fetch_add(1, Ordering::SeqCst);
    }
    if request.path().ends_with("/stream") {
        let pieces = futures_util::stream::once(async { Ok::<_, std::convert::Infallible>(Bytes::from("first,")) })
            .chain(futures_util::stream::once(async move {
                wait.await;
                Ok(Bytes::from(text))
            }));
        return HttpResponse::Ok().streaming(pieces);
    }
    if request.path().contains("/slow") {
        wait.await;
    }
    HttpResponse::Ok().body(text)
}

/// Two configurations in which everything about `/which` differs, and one of which has neither `/slow` nor its upstream.
fn pair(base: &Config, gate: &Arc<Gate>) -> [Config; 2] {
    ["a", "b"].map(|name| {
        let mut config = base.clone();
        let upstream = Upstream::of(vec![url(named(name, gate))]);
        config.upstreams.insert(name.to_owned(), upstream.clone());
        let strip = name == "a";
        config.routes.push(route(&format!(
            r#"{{"path": "/which", "upstream": "{name}", "auth": "none", "strip_prefix": {strip}}}"#
        )));
        if name == "a" {
            // The built-in route disappears in this one, so that places in the table and of upstreams move.
            config.upstreams.insert("0 first".to_owned(), upstream);
            config
                .routes
                .push(route(r#"{"path": "/slow", "upstream": "0 first", "auth": "none"}"#));
        }
        config
    })
}

/// Clients that ask all the time, each over a connection that it keeps.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Vec<Arc<AtomicUsize>>,
    clients: Vec<tokio::task::JoinHandle<[usize; 2]>>,
}

impl Load {
    fn start(address: SocketAddr, clients: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let answered: Vec<_> = (0..clients).map(|_| Arc::<AtomicUsize>::default()).collect();
        let clients = answered.iter().map(|count| {
            let (stop, count) = (Arc::clone(&stop), Arc::clone(count));
            tokio::spawn(async move {
                let http = reqwest::Client::builder().no_proxy().build().unwrap();
                let mut by = [0; 2];
                while !stop.load(Ordering::SeqCst) {
                    let answer = http.get(format!("http://{address}/which/x")).send().await.unwrap();
                    assert_eq!(answer.status(), 200);
                    match answer.text().await.unwrap().as_str() {
                        "a /x" => by[0] += 1,
                        "b /which/x" => by[1] += 1,
                        mixed => panic!("{mixed:?} is of neither configuration"),
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                }
                by
            })
        });
        let clients = clients.collect();
        Self {
            stop,
            answered,
            clients,
        }
    }

    /// Until every client was answered once more, with a request that began after this.
    async fn goes_on(&self) {
        let before: Vec<_> = self.answered.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        until(|| async {
            assert!(
                self.clients.iter().all(|client| !client.is_finished()),
                "a client gave up"
            );
            let now = self.answered.iter().map(|count| count.load(Ordering::SeqCst));
            now.zip(&before).all(|(now, before)| now > before + 1)
        })
        .await;
    }

    /// How many answers each of the two configurations gave.
    async fn end(self) -> [usize; 2] {
        self.stop.store(true, Ordering::SeqCst);
        let mut sum = [0; 2];
        for client in self.clients {
            let by = client.await.unwrap();
            sum = [sum[0] + by[0], sum[1] + by[1]];
        }
        sum
    }
}

#[tokio::test]
async fn a_hundred_reloads_under_load_lose_no_request_and_mix_no_two_configurations() {
    let gate = Arc::<Gate>::default();
    let app = spawn_with(|config| config.workers = 2).await;
    let [a, b] = pair(&app.config, &gate);
    app.reloader.reload(&a).unwrap();

    let slow: Vec<_> = (0..10)
        .map(|n| {
            let path = if n % 2 == 0 {
                format!("/slow/{n}")
            } else {
                format!("/slow/{n}/stream")
            };
            (
                path.clone(),
                tokio::spawn(app.request(reqwest::Method::GET, &path).send()),
            )
        })
        .collect();
    let mut streams = Vec::new();
    let mut answers = Vec::new();
    for (path, request) in slow {
        if path.ends_with("/stream") {
            streams.push((path, request.await.unwrap().unwrap()));
        } else {
            answers.push((path, request));
        }
    }
    until(|| async { gate.arrived.load(Ordering::SeqCst) == 10 }).await;
    let load = Load::start(app.address, 4);
    load.goes_on().await;
    for turn in 0..100 {
        app.reloader.reload(if turn % 2 == 0 { &b } else { &a }).unwrap();
        load.goes_on().await;
    }
    let by = load.end().await;
    assert!(by[0] >= 200 && by[1] >= 200, "{by:?}");
    println!(
        "100 reloads, {} answers of one configuration, {} of the other",
        by[0], by[1]
    );

    app.reloader.reload(&b).unwrap();
    assert_eq!(
        app.get("/slow/1").await.status(),
        404,
        "the route is gone for new requests"
    );
    gate.released.send_replace(true);
    for (path, request) in answers {
        let answer = request.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.unwrap(), format!("a {path}"));
    }
    for (path, stream) in streams {
        assert_eq!(stream.text().await.unwrap(), format!("first,a {path}"));
    }
}

#[tokio::test]
async fn a_configuration_with_mistakes_is_refused_with_all_of_them_and_the_old_one_stays() {
    let app = spawn().await;
    let mut bad = app.config.clone();
    bad.routes = vec![
        route(r#"{"path": "/fine", "upstream": "echo", "auth": "none"}"#),
        route(r#"{"path": "/x", "upstream": "nowhere"}"#),
        route(r#"{"path": "y", "upstream": "echo"}"#),
    ];
    let refused = app.reloader.reload(&bad).unwrap_err();
    let places: Vec<_> = refused.iter().map(|mistake| mistake.place.as_str()).collect();
    assert_eq!(places, ["gateway.routes[1].upstream", "gateway.routes[2].path"]);
    assert!(refused.iter().all(|mistake| !mistake.remedy.is_empty()));
    assert_eq!(app.get("/open").await.status(), 200);
    assert_eq!(app.get("/fine").await.status(), 404);
}

async fn connection(app: &TestApp, path: &str) -> u64 {
    let (status, body) = read(app.get(path).await).await;
    assert_eq!(status, 200);
    body["connection"].as_u64().unwrap()
}

#[tokio::test]
async fn connections_to_upstreams_that_did_not_change_are_kept_and_others_are_not() {
    let app = spawn().await;
    let before = connection(&app, "/open").await;
    let mut config = app.config.clone();
    config.upstreams.remove("nobody");
    config.routes.retain(|route| route.upstream != "nobody");
    config
        .routes
        .push(route(r#"{"path": "/new", "upstream": "echo", "auth": "none"}"#));
    app.reloader.reload(&config).unwrap();
    assert_eq!(connection(&app, "/new").await, before);
    config.upstreams.get_mut("echo").unwrap().max_idle += 1;
    app.reloader.reload(&config).unwrap();
    assert_ne!(connection(&app, "/new").await, before);
}

#[tokio::test]
async fn origins_and_the_routes_of_every_kind_are_replaced() {
    let app = spawn().await;
    let asked_by = async |origin: &str| {
        let request = app.request(reqwest::Method::GET, "/open").header("origin", origin);
        let answer = request.send().await.unwrap();
        answer.headers().contains_key("access-control-allow-origin")
    };
    assert!(asked_by(ORIGIN).await);
    let mut config = app.config.clone();
    config.cors_origins = vec!["https://new.example".to_owned()];
    config
        .routes
        .push(route(r#"{"path": "/home", "upstream": "echo", "auth": "none"}"#));
    app.reloader.reload(&config).unwrap();
    assert!(!asked_by(ORIGIN).await && asked_by("https://new.example").await);
    assert_eq!(
        app.get("/home").await.status(),
        200,
        "the operator's route has taken the built-in one's place"
    );
    app.reloader.reload(&app.config).unwrap();
    assert_eq!(app.get("/home").await.status(), 401, "and is gone again");
}
