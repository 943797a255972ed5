//! The pool against sockets that a test holds in its hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use service_kit::clock;
use tokio::sync::oneshot;
use tokio::task::coop;
use url::Url;

use super::super::resolve::tests::Names;
use super::*;
use crate::config;

const PATIENCE: Duration = Duration::from_secs(20);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn pool(upstream: Arc<Upstream>) -> Rc<Pool> {
    Pool::new(upstream, PATIENCE, PATIENCE)
}

fn known(addresses: &[SocketAddr]) -> Arc<Upstream> {
    let targets = addresses
        .iter()
        .map(|address| Url::parse(&format!("http://{address}")).unwrap());
    Upstream::start("pool", &config::Upstream::of(targets.collect()), None).unwrap()
}

/// Asks for `/` over `lease`, and reads the answer.
async fn exchange(lease: &mut Lease) -> Result<String, Broken> {
    let mut head = lease.head();
    head.begin(&Method::GET, &["/"]).unwrap();
    head.say("host", "x");
    lease.send(&Method::GET, RequestBody::Empty);
    lease
        .head_of_answer(clock::instant() + PATIENCE)
        .await
        .expect("it answers in time")?;
    let mut text = Vec::new();
    while let Some(piece) = poll_fn(|cx| lease.poll_body(cx)).await {
        text.extend(piece?);
    }
    Ok(String::from_utf8(text).unwrap())
}

/// A connection to a target that is chosen.
async fn lease(pool: &Rc<Pool>, kept: Kept) -> Result<Lease, ProxyError> {
    let slots = pool.enter().await?;
    let index = pool.pick(&slots, 0).ok_or_else(|| pool.nobody(&slots))?;
    pool.lease(&slots[index], kept, clock::instant()).await
}

async fn ask(pool: &Rc<Pool>) -> Result<String, ProxyError> {
    let mut lease = lease(pool, Kept::Quiet).await?;
    let text = exchange(&mut lease).await.map_err(ProxyError::Upstream)?;
    lease.give_back(clock::instant());
    Ok(text)
}

/// Reads a request, answers it, and gives back the connection, on a thread.
fn serve_one(listener: &TcpListener) -> oneshot::Receiver<TcpStream> {
    let (done, served) = oneshot::channel();
    let listener = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1000];
        assert!(stream.read(&mut head).unwrap() > 0);
        // What is written is there at once.
        stream.set_nodelay(true).unwrap();
        stream.write_all(OK).unwrap();
        let _ = done.send(stream);
    });
    served
}

/// Answers every request on every connection with `name`.
fn serve_all(listener: TcpListener, name: &'static str) {
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut head = [0; 1000];
                while stream.read(&mut head).is_ok_and(|size| size > 0) {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
}

#[actix_web::test]
async fn no_request_is_sent_over_a_connection_that_was_closed_or_spoken_on_this_very_moment() {
    for spoken in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pool = pool(known(&[listener.local_addr().unwrap()]));
        let served = serve_one(&listener);
        assert_eq!(ask(&pool).await.unwrap(), "ok");
        let mut stream = served.await.unwrap();
        // From here on the event loop gets no chance to hear of it before the request is written.
        if spoken {
            stream.write_all(OK).unwrap();
        } else {
            drop(stream);
        }
        assert!(!lease(&pool, Kept::Quiet).await.unwrap().reused);
    }
}

#[actix_web::test]
async fn a_connection_is_kept_only_when_its_answer_was_read_to_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    serve_all(listener, "a");
    let pool = pool(known(&[address]));
    let reused = async || lease(&pool, Kept::Quiet).await.unwrap().reused;
    assert_eq!(ask(&pool).await.unwrap(), "a");
    assert!(reused().await);
    assert!(!reused().await, "a lease that is dropped closes its connection");
    assert_eq!(ask(&pool).await.unwrap(), "a");
    assert!(!lease(&pool, Kept::New).await.unwrap().reused);
    let target = Arc::clone(&pool.slots()[0].target);
    assert_eq!(target.in_flight.load(Ordering::Relaxed), 0);
    let one = async {
        while target.connections.load(Ordering::Relaxed) != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, one).await.expect("the one that is kept");
}

#[actix_web::test]
async fn requests_follow_a_name_that_moves_and_connections_to_its_old_address_are_closed() {
    let (first, second) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("127.0.0.2:0").unwrap(),
    );
    let (here, there) = (first.local_addr().unwrap(), second.local_addr().unwrap());
    let names = Names::default();
    names.lead_to(&[here]);
    let pool = pool(names.upstream());
    let served = serve_one(&first);
    assert_eq!(
        ask(&pool).await.unwrap(),
        "ok",
        "the first request waits for the first answer"
    );
    let mut kept = served.await.unwrap();
    serve_all(second, "moved");
    names.lead_to(&[there]);
    let mut roster = pool.upstream.roster.subscribe();
    let moved = roster.wait_for(|roster| roster.targets.iter().all(|target| target.address == there));
    drop(tokio::time::timeout(PATIENCE, moved).await.unwrap().unwrap());
    assert_eq!(ask(&pool).await.unwrap(), "moved");
    let closed = std::thread::spawn(move || kept.read(&mut [0; 10]).unwrap());
    let waiting = async {
        while !closed.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it is closed");
    assert_eq!(closed.join().unwrap(), 0);
}

#[actix_web::test]
async fn a_name_that_leads_nowhere_is_said_at_once_and_comes_back_by_itself() {
    let names = Names::default();
    let pool = pool(names.upstream());
    assert!(matches!(ask(&pool).await, Err(ProxyError::Unavailable(..))));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    names.lead_to(&[listener.local_addr().unwrap()]);
    serve_all(listener, "found");
    let found = async {
        while ask(&pool).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("it is found");
}

#[actix_web::test]
async fn no_more_unused_connections_are_kept_than_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    serve_all(listener, "a");
    let mut config = config::Upstream::of(vec![Url::parse(&format!("http://{address}")).unwrap()]);
    config.max_idle = 2;
    let pool = pool(Upstream::start("few", &config, None).unwrap());
    let mut leases = Vec::new();
    for _ in 0..5 {
        let mut lease = lease(&pool, Kept::New).await.unwrap();
        assert_eq!(exchange(&mut lease).await.unwrap(), "a");
        leases.push(lease);
    }
    for lease in leases {
        lease.give_back(clock::instant());
    }
    assert_eq!(pool.slots()[0].idle.borrow().len(), 2);
}

#[actix_web::test]
async fn an_upstream_that_is_never_silent_does_not_put_off_the_end_of_patience() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pool = pool(known(&[listener.local_addr().unwrap()]));
    let mut lease = lease(&pool, Kept::New).await.unwrap();
    let mut head = lease.head();
    head.begin(&Method::GET, &["/"]).unwrap();
    lease.send(&Method::GET, RequestBody::Empty);
    let mut waiting = pin!(lease.head_of_answer(clock::instant() + Duration::from_millis(10)));
    let answer = poll_fn(|cx| {
        // As interim answers without end do, which are read for as long as the runtime lets them be.
        while let Poll::Ready(one) = coop::poll_proceed(cx) {
            one.made_progress();
        }
        waiting.as_mut().poll(cx)
    });
    let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
    assert!(answer.expect("it ends").is_none());
}
