//! Upstreams: what stands behind a route, which of its targets gets a request, and the connections that are kept to them.

mod breaker;
mod budget;
mod choice;
mod health;
mod http1;
mod pool;
mod report;
mod resolve;
mod target;

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use service_kit::clock;
use tokio::sync::watch;

use crate::config;
use crate::error::ProxyError;
use breaker::Breaker;
pub(crate) use choice::MAX_TARGETS;
pub(crate) use http1::{BadTarget, Broken, Head, HeadWriter, Reading, Writing};
pub(crate) use pool::{Kept, Lease, Pool, Slots};
use resolve::Resolver;
pub(crate) use target::Target;
use target::{Address, Site};

/// How long an upstream is left alone the first time; then twice as long each time.
const SHORTEST: Duration = Duration::from_secs(1);
/// And at most: who waits for it to come back shall not wait much longer than it takes.
const LONGEST: Duration = Duration::from_secs(4);

/// An upstream, shared by all workers.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    config: config::Upstream,
    sites: Vec<Site>,
    roster: watch::Sender<Roster>,
    /// Opens when requests fail whatever target they are brought to.
    breaker: Breaker,
    origin: Instant,
    /// The labels of its successor's targets, once it is only there for the requests that have begun.
    retired: OnceLock<Option<Vec<String>>>,
}

/// The targets there are at the moment.
#[derive(Debug)]
struct Roster {
    targets: Vec<Arc<Target>>,
    /// Whether every name was looked up, successfully or not.
    complete: bool,
}

impl Upstream {
    /// Starts the upstream that `config` describes: its checks and the looking up of its names run on the present runtime
    /// until it is retired, or nobody has it any more. Where it has targets of the upstream `before`, whose place it is to take,
    /// it goes on with what is known of them.
    ///
    /// # Errors
    /// When a target is not a URL that can be connected to.
    pub(crate) fn start(name: &str, config: &config::Upstream, before: Option<&Self>) -> anyhow::Result<Arc<Self>> {
        Self::start_with(name, config, before, Resolver::system())
    }

    fn start_with(
        name: &str,
        config: &config::Upstream,
        before: Option<&Self>,
        resolver: Resolver,
    ) -> anyhow::Result<Arc<Self>> {
        let sites: Vec<Site> = config.targets.iter().map(Site::new).collect::<anyhow::Result<_>>()?;
        let has_names = sites.iter().any(|site| site.known().is_none());
        let known = |site: &Site| site.known().or_else(|| before?.addresses_of(site));
        let known: Vec<_> = sites.iter().map(known).collect();
        let complete = known.iter().all(Option::is_some);
        let upstream = Arc::new(Self {
            name: name.to_owned(),
            config: config.clone(),
            sites,
            roster: watch::Sender::new(Roster {
                targets: Vec::new(),
                complete,
            }),
            breaker: Breaker::new(config.max_failures, SHORTEST, LONGEST),
            origin: before.map_or_else(clock::instant, |before| before.origin),
            retired: OnceLock::new(),
        });
        upstream.enlist(&known, complete, before);
        if has_names {
            tokio::spawn(resolve::keep_up(Arc::downgrade(&upstream), resolver));
        }
        tokio::spawn(report::report(Arc::downgrade(&upstream)));
        Ok(upstream)
    }

    /// Ends its checks and the looking up of its names. `successor` has its name now.
    pub(crate) fn retire(&self, successor: Option<&Arc<Self>>) {
        let labels = |upstream: &Arc<Self>| upstream.sites.iter().map(|site| site.label.clone()).collect();
        let _ = self.retired.set(successor.map(labels));
    }

    /// `upstream`, if there is still something to be done for it.
    fn alive(upstream: &Weak<Self>) -> Option<Arc<Self>> {
        upstream.upgrade().filter(|upstream| upstream.retired.get().is_none())
    }

    /// The addresses that `site` has, if it is one of ours and that is known.
    fn addresses_of(&self, site: &Site) -> Option<Vec<SocketAddr>> {
        let place = self.sites.iter().position(|ours| ours.leads_where(site))?;
        let roster = self.roster.borrow();
        let targets = roster.targets.iter().filter(|target| target.site == place);
        let addresses: Vec<_> = targets.map(|target| target.address).collect();
        (!addresses.is_empty()).then_some(addresses)
    }

    /// Takes over the addresses that each site has now; `None` for a site about which nothing new is known. A target that
    /// stays keeps what is known about it, and a new one takes over what the upstream `before` knows.
    fn enlist(self: &Arc<Self>, addresses: &[Option<Vec<SocketAddr>>], complete: bool, before: Option<&Self>) {
        let heritage = before.map(|before| (before, before.roster.borrow().targets.clone()));
        let most = MAX_TARGETS / self.sites.len().max(1);
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        self.roster.send_if_modified(|roster| {
            let before = std::mem::take(&mut roster.targets);
            for (index, (site, addresses)) in self.sites.iter().zip(addresses).enumerate() {
                let old = before.iter().filter(|target| target.site == index);
                let Some(addresses) = addresses else {
                    roster.targets.extend(old.map(Arc::clone));
                    continue;
                };
                for address in addresses.iter().take(most) {
                    let known = old.clone().find(|target| target.address == *address);
                    let target = known.map_or_else(|| Target::new(*address, index, site), Arc::clone);
                    if known.is_none() {
                        self.inherit(&target, heritage.as_ref());
                        new.push(Arc::clone(&target));
                    }
                    roster.targets.push(target);
                }
            }
            let left = |old: &&Arc<Target>| !roster.targets.iter().any(|target| Arc::ptr_eq(target, old));
            gone.extend(before.iter().filter(left).map(Arc::clone));
            let completed = complete && !std::mem::replace(&mut roster.complete, complete);
            completed || !new.is_empty() || !gone.is_empty()
        });
        for target in gone {
            target.gone.store(true, Ordering::Relaxed);
            log::info!(upstream = self.name.as_str(), address:% = target.address; "an address of an upstream is gone");
        }
        for target in new {
            log::debug!(upstream = self.name.as_str(), address:% = target.address; "an upstream has an address");
            if self.config.health.is_some() {
                tokio::spawn(health::watch(Arc::downgrade(self), Arc::downgrade(&target)));
            }
        }
    }

    /// Takes over what the upstream before, with its targets, knows of one that is the same as `target`.
    fn inherit(&self, target: &Target, heritage: Option<&(&Self, Vec<Arc<Target>>)>) {
        let Some((before, targets)) = heritage else { return };
        if let Some(same) = targets.iter().find(|known| known.is_like(target)) {
            self.breaker.take_over(&before.breaker);
            target.breaker.take_over(&same.breaker);
            // Of other checks nobody knows what they will say.
            if self.question().is_some() && self.question() == before.question() {
                target.health.take_over(&same.health);
            }
        }
    }

    /// What checks ask of targets, and how long the answer may take, if there are checks.
    fn question(&self) -> Option<(&str, Duration)> {
        let health = self.config.health.as_ref()?;
        Some((&health.path, health.timeout))
    }

    /// Milliseconds by the clock that it shares with those it took the place of.
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a request may be brought to it.
    fn admit(&self) -> Result<(), ProxyError> {
        if self.breaker.is_closed() {
            return Ok(());
        }
        self.breaker
            .enter(self.now())
            .map_err(|left| ProxyError::Unavailable("it failed too often, and is left alone for a moment", left))
    }

    /// Takes note of how a request ended that was brought to it: with the head of an answer, or with `error`.
    pub(crate) fn note(&self, error: Option<&ProxyError>) {
        match error {
            None => self.breaker.succeeded(),
            Some(error) if error.is_upstreams() => {
                if self.breaker.failed(self.now()) {
                    log::warn!(upstream = self.name.as_str(), cause:% = error; "an upstream fails, and is left alone for a moment");
                }
            }
            Some(_) => {}
        }
    }

    /// Counts a failure of `target`, with which it may have to be passed over for a while.
    fn suspect(&self, target: &Target, fail: fn(&Breaker, u64) -> bool, cause: &dyn Display) {
        if fail(&target.breaker, self.now()) {
            metrics::counter!("upstream_ejections_total", "upstream" => self.name.clone()).increment(1);
            log::warn!(
                upstream = self.name.as_str(), address:% = target.address, cause:% = cause;
                "a target of an upstream fails, and is passed over for a while"
            );
        }
    }

    /// Why there is no target to bring a request to.
    fn nobody(&self, has_targets: bool) -> ProxyError {
        let pause = self.config.health.as_ref().map_or(SHORTEST, |health| health.interval);
        if has_targets {
            ProxyError::Unavailable("checks found every target bad", pause)
        } else {
            ProxyError::Unavailable("its names have no address", SHORTEST)
        }
    }
}

impl Site {
    /// Whether it is looked up under the same name as `other`.
    fn leads_where(&self, other: &Self) -> bool {
        match (&self.address, &other.address) {
            (Address::Named(ours, port), Address::Named(other, others)) => (ours, port) == (other, others),
            _ => false,
        }
    }

    /// Its address, unless that has to be looked up.
    fn known(&self) -> Option<Vec<SocketAddr>> {
        match &self.address {
            Address::Known(address) => Some(vec![*address]),
            Address::Named(..) => None,
        }
    }
}
