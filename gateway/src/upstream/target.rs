//! The interchangeable addresses behind an upstream.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::http::header::HeaderValue;
use anyhow::Context;
use url::{Host, Url};

use super::breaker::Breaker;
use super::health::Health;

/// How many answers in a row a target may break off, or fail to begin in time, before it is passed over.
const LIMIT: u32 = 5;
/// How long a target is passed over the first time; then twice as long each time.
const SHORTEST: Duration = Duration::from_secs(2);
/// And at most.
const LONGEST: Duration = Duration::from_mins(1);

/// A target as it is configured: one address, or a name that has some.
#[derive(Debug)]
pub(crate) struct Site {
    pub(super) address: Address,
    /// The value of `Host`.
    pub(super) host: HeaderValue,
    /// The same as text, for people.
    pub(super) label: String,
    /// What stands before the path: empty, or a path without final slash.
    pub(super) base: String,
}

#[derive(Debug)]
pub(super) enum Address {
    Known(SocketAddr),
    Named(String, u16),
}

impl Site {
    pub(super) fn new(url: &Url) -> anyhow::Result<Self> {
        let port = url
            .port_or_known_default()
            .with_context(|| format!("{url} has no port"))?;
        let address = match url.host().with_context(|| format!("{url} has no host"))? {
            Host::Ipv4(address) => Address::Known((IpAddr::V4(address), port).into()),
            Host::Ipv6(address) => Address::Known((IpAddr::V6(address), port).into()),
            Host::Domain(name) => Address::Named(name.to_owned(), port),
        };
        let label = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        Ok(Self {
            address,
            host: HeaderValue::try_from(label.as_str())
                .with_context(|| format!("{url} has a host that no header can hold"))?,
            label,
            base: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// One address, shared by all workers for as long as the upstream has it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Which of the upstream's sites it belongs to.
    pub(super) site: usize,
    /// The value of `Host`.
    pub(crate) host: HeaderValue,
    /// What stands before the path: empty, or a path without final slash.
    pub(crate) base: String,
    pub(super) in_flight: AtomicUsize,
    pub(super) connections: AtomicUsize,
    /// What its answers say about it.
    pub(super) breaker: Breaker,
    /// What checks say about it.
    pub(super) health: Health,
    /// Its name leads elsewhere now.
    pub(super) gone: AtomicBool,
}

impl Target {
    pub(super) fn new(address: SocketAddr, index: usize, site: &Site) -> Arc<Self> {
        Arc::new(Self {
            address,
            site: index,
            host: site.host.clone(),
            base: site.base.clone(),
            in_flight: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            breaker: Breaker::new(LIMIT, SHORTEST, LONGEST),
            health: Health::default(),
            gone: AtomicBool::new(false),
        })
    }

    /// Whether it is asked for the same, at the same address.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.address, &self.host, &self.base) == (other.address, &other.host, &other.base)
    }

    /// Whether requests are brought to it at `now` while there are others.
    pub(super) fn is_in(&self, now: u64) -> bool {
        !self.health.is_bad() && !self.breaker.is_open(now)
    }
}

/// A connection to a target, counted for as long as it lives.
#[derive(Debug)]
pub(super) struct Connected(Arc<Target>);

impl Connected {
    /// `None` when there are `most` already.
    pub(super) fn new(target: &Arc<Target>, most: usize) -> Option<Self> {
        let one = Self(Arc::clone(target));
        let before = target.connections.fetch_add(1, Ordering::Relaxed);
        (before < most).then_some(one)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
