//! Upstreams, their targets, and the connections to them that each worker keeps.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_web::rt;
use anyhow::Context;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use service_kit::clock;
use tokio::net::TcpStream;
use url::{Host, Url};

use crate::alive;
use crate::body::{Progress, RequestBody, Sending};
use crate::config;
use crate::error::ProxyError;

/// The most targets an upstream may have: those tried for a request are remembered in the bits of a word.
pub(crate) const MAX_TARGETS: usize = 64;
/// How long a target that could not be connected to is passed over while there are others.
const FAIL_PAUSE: Duration = Duration::from_secs(2);

/// An upstream, shared by all workers.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) targets: Vec<Target>,
    max_connections: usize,
    max_idle: usize,
    origin: Instant,
}

/// One of an upstream's interchangeable addresses.
#[derive(Debug)]
pub(crate) struct Target {
    address: Address,
    /// The value of `Host`.
    pub(crate) host: HeaderValue,
    /// What stands before the path: empty, or a path without final slash.
    pub(crate) base: String,
    in_flight: AtomicUsize,
    connections: AtomicUsize,
    /// Milliseconds after the upstream's `origin`, plus one, of the last failure to connect; 0 for none.
    failed_at: AtomicU64,
}

#[derive(Debug)]
enum Address {
    Known(SocketAddr),
    Named(String, u16),
}

impl Upstream {
    /// The upstream that `config` describes.
    ///
    /// # Errors
    /// When a target is not a URL that can be connected to.
    pub(crate) fn new(name: &str, config: &config::Upstream) -> anyhow::Result<Self> {
        let targets = config.targets.iter().map(Target::new).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            name: name.to_owned(),
            targets,
            max_connections: config.max_connections,
            max_idle: config.max_idle,
            origin: clock::instant(),
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn failed_lately(&self, target: &Target) -> bool {
        let failed_at = target.failed_at.load(Ordering::Relaxed);
        failed_at != 0 && self.now_ms().saturating_sub(failed_at) < FAIL_PAUSE.as_secs() * 1000
    }
}

impl Target {
    fn new(url: &Url) -> anyhow::Result<Self> {
        let port = url
            .port_or_known_default()
            .with_context(|| format!("{url} has no port"))?;
        let address = match url.host().with_context(|| format!("{url} has no host"))? {
            Host::Ipv4(address) => Address::Known((IpAddr::V4(address), port).into()),
            Host::Ipv6(address) => Address::Known((IpAddr::V6(address), port).into()),
            Host::Domain(name) => Address::Named(name.to_owned(), port),
        };
        let host = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        Ok(Self {
            address,
            host: HeaderValue::try_from(host).with_context(|| format!("{url} has a host that no header can hold"))?,
            base: url.path().trim_end_matches('/').to_owned(),
            in_flight: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            failed_at: AtomicU64::new(0),
        })
    }
}

/// Counts a connection or a request for as long as it lives.
struct Counted {
    upstream: Arc<Upstream>,
    target: usize,
    counter: fn(&Target) -> &AtomicUsize,
}

impl Counted {
    /// `None` when there are `most` already.
    fn new(upstream: &Arc<Upstream>, target: usize, counter: fn(&Target) -> &AtomicUsize, most: usize) -> Option<Self> {
        let one = Self {
            upstream: Arc::clone(upstream),
            target,
            counter,
        };
        let before = counter(&upstream.targets[target]).fetch_add(1, Ordering::Relaxed);
        (before < most).then_some(one)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.counter)(&self.upstream.targets[self.target]).fetch_sub(1, Ordering::Relaxed);
    }
}

struct Idle {
    sender: SendRequest<RequestBody>,
    since: Instant,
}

/// One worker's connections to one upstream.
pub(crate) struct Pool {
    pub(crate) upstream: Arc<Upstream>,
    connect_timeout: Duration,
    idle_timeout: Duration,
    /// The unused connections to each target, the last used one last.
    idle: Vec<RefCell<Vec<Idle>>>,
    turn: Cell<usize>,
    sweeping: Cell<bool>,
}

/// A connection that is in use, by one request.
pub(crate) struct Lease {
    pool: Rc<Pool>,
    target: usize,
    pub(crate) sender: SendRequest<RequestBody>,
    /// Whether it has served a request before, so that the upstream may be closing it just now.
    pub(crate) reused: bool,
    progress: Rc<Progress>,
    in_flight: Option<Counted>,
}

impl Lease {
    /// Keeps the connection for another request, when it can serve one.
    pub(crate) fn give_back(self) {
        let Self {
            pool,
            target,
            sender,
            progress,
            ..
        } = self;
        if progress.state() != Sending::Done || sender.is_closed() {
            return;
        }
        let mut idle = pool.idle[target].borrow_mut();
        if idle.len() < pool.upstream.max_idle {
            idle.push(Idle {
                sender,
                since: clock::instant(),
            });
            drop(idle);
            pool.sweep_from_time_to_time();
        }
    }
}

impl Lease {
    /// Takes the connection out of the pool's hands, which counts it, and its request, until what this returns is dropped.
    pub(crate) fn keep(self) -> impl Sized {
        let connection = Counted::new(
            &self.pool.upstream,
            self.target,
            |target| &target.connections,
            usize::MAX,
        );
        (connection, self.in_flight)
    }
}

impl Pool {
    pub(crate) fn new(upstream: Arc<Upstream>, connect_timeout: Duration, idle_timeout: Duration) -> Rc<Self> {
        let idle = upstream.targets.iter().map(|_| RefCell::default()).collect();
        Rc::new(Self {
            upstream,
            connect_timeout,
            idle_timeout,
            idle,
            turn: Cell::new(0),
            sweeping: Cell::new(false),
        })
    }

    /// The target with the fewest requests in flight that is not among `tried` (a set of bits); one that failed lately
    /// only if every other did, too.
    pub(crate) fn pick(&self, tried: u64) -> Option<usize> {
        let targets = &self.upstream.targets;
        if let [_] = targets.as_slice() {
            return (tried == 0).then_some(0);
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        // Equals take turns.
        let order = (0..targets.len()).map(|offset| turn.wrapping_add(offset) % targets.len());
        order.filter(|index| tried & (1 << index) == 0).min_by_key(|index| {
            let target = &targets[*index];
            (
                self.upstream.failed_lately(target),
                target.in_flight.load(Ordering::Relaxed),
            )
        })
    }

    /// A connection to `target`: an unused one, unless `fresh` asks for a new one.
    pub(crate) async fn lease(
        self: &Rc<Self>,
        target: usize,
        fresh: bool,
        progress: &Rc<Progress>,
    ) -> Result<Lease, ProxyError> {
        let in_flight = Counted::new(&self.upstream, target, |target| &target.in_flight, usize::MAX);
        let unused = if fresh { None } else { self.unused(target) };
        let reused = unused.is_some();
        let sender = match unused {
            Some(sender) => sender,
            None => self.connect(target).await?,
        };
        Ok(Lease {
            pool: Rc::clone(self),
            target,
            sender,
            reused,
            progress: Rc::clone(progress),
            in_flight,
        })
    }

    /// Takes the connection used last: it is the least likely to be closed, and the others may grow old and go.
    fn unused(&self, target: usize) -> Option<SendRequest<RequestBody>> {
        let mut idle = self.idle[target].borrow_mut();
        idle.retain(|connection| !connection.sender.is_closed());
        let index = idle
            .iter()
            .rposition(|connection| connection.sender.is_ready() && connection.since.elapsed() < self.idle_timeout)?;
        Some(idle.remove(index).sender)
    }

    async fn connect(&self, target: usize) -> Result<SendRequest<RequestBody>, ProxyError> {
        let upstream = &self.upstream;
        let counted = Counted::new(upstream, target, |target| &target.connections, upstream.max_connections)
            .ok_or(ProxyError::Full)?;
        let connecting = tokio::time::timeout(self.connect_timeout, open(&upstream.targets[target].address)).await;
        let failed_at = &upstream.targets[target].failed_at;
        let opened = connecting
            .map_err(|_| ProxyError::ConnectTimeout)
            .and_then(|opened| opened.map_err(ProxyError::Connect));
        let stream = match opened {
            Ok(stream) => stream,
            Err(error) => {
                failed_at.store(upstream.now_ms().saturating_add(1), Ordering::Relaxed);
                return Err(error);
            }
        };
        failed_at.store(0, Ordering::Relaxed);
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(ProxyError::Upstream)?;
        rt::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                log::debug!(cause = error.to_string().as_str(); "a connection to an upstream ended");
            }
            drop(counted);
        });
        metrics::counter!("upstream_connections_total", "upstream" => upstream.name.clone()).increment(1);
        Ok(sender)
    }

    /// Closes connections that nobody has used for too long, for as long as there are any.
    fn sweep_from_time_to_time(self: &Rc<Self>) {
        if !self.sweeping.replace(true) {
            rt::spawn(sweep(Rc::downgrade(self), self.idle_timeout));
        }
    }

    /// Whether unused connections are left.
    fn sweep(&self) -> bool {
        let mut left = false;
        for idle in &self.idle {
            let mut idle = idle.borrow_mut();
            idle.retain(|connection| !connection.sender.is_closed() && connection.since.elapsed() < self.idle_timeout);
            left |= !idle.is_empty();
        }
        self.sweeping.set(left);
        left
    }
}

async fn sweep(pool: Weak<Pool>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        match pool.upgrade() {
            Some(pool) if pool.sweep() => {}
            _ => return,
        }
    }
}

async fn open(address: &Address) -> std::io::Result<TcpStream> {
    let stream = match address {
        Address::Known(address) => TcpStream::connect(address).await?,
        Address::Named(name, port) => TcpStream::connect((name.as_str(), *port)).await?,
    };
    stream.set_nodelay(true)?;
    alive::look_after(&stream, None)?;
    Ok(stream)
}
