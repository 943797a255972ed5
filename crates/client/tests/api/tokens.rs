//! Calls to other services, with the token of one's own account.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use futures_util::future::join_all;
use portcullis_client::bearer_token;

use crate::issuer::Issuer;

/// Another service, which refuses tokens as a test wants.
struct Other {
    /// How many of the first tokens it was shown are refused.
    refuses: usize,
    seen: std::sync::Mutex<Vec<String>>,
    calls: AtomicUsize,
}

fn start(refuses: usize) -> (Arc<Other>, String) {
    let other = Arc::new(Other {
        refuses,
        seen: std::sync::Mutex::default(),
        calls: AtomicUsize::new(0),
    });
    let data = Data::from(Arc::clone(&other));
    let server = HttpServer::new(move || App::new().app_data(data.clone()).route("/", web::get().to(answer)));
    let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.addrs()[0]);
    tokio::spawn(server.run());
    (other, url)
}

async fn answer(request: HttpRequest, other: Data<Other>) -> HttpResponse {
    other.calls.fetch_add(1, Ordering::SeqCst);
    let token = bearer_token(request.headers()).unwrap().to_owned();
    let mut seen = other.seen.lock().unwrap();
    let place = seen.iter().position(|known| *known == token).unwrap_or_else(|| {
        seen.push(token);
        seen.len() - 1
    });
    if place < other.refuses {
        HttpResponse::Unauthorized().finish()
    } else {
        HttpResponse::Ok().finish()
    }
}

#[tokio::test]
async fn one_token_serves_every_call() {
    let issuer = Issuer::start();
    let tokens = issuer.follower().await.client();
    let (other, url) = start(0);
    let calls = (0..50).map(|_| tokens.send(|http| http.get(&url)));
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert_eq!(other.calls.load(Ordering::SeqCst), 50);
    // The follower had asked for it before.
    assert_eq!(issuer.state.token_fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_token_that_is_refused_is_got_anew_once_for_all_and_the_calls_are_made_again() {
    let issuer = Issuer::start();
    let tokens = issuer.follower().await.client();
    let (other, url) = start(1);
    let calls = (0..50).map(|_| tokens.send(|http| http.get(&url)));
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert_eq!(issuer.state.token_fetches.load(Ordering::SeqCst), 2);
    let calls = other.calls.load(Ordering::SeqCst);
    assert!((51..=100).contains(&calls), "{calls}");
}

#[tokio::test]
async fn a_second_refusal_is_the_answer() {
    let issuer = Issuer::start();
    let tokens = issuer.follower().await.client();
    let (other, url) = start(usize::MAX);
    let answer = tokens.send(|http| http.get(&url)).await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(other.calls.load(Ordering::SeqCst), 2);
    assert_eq!(issuer.state.token_fetches.load(Ordering::SeqCst), 2);
}
