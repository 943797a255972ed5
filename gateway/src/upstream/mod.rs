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

use std::collections::BTreeSet;
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
    /// The places of the sites whose names were not looked up yet, successfully or not.
    unknown: BTreeSet<usize>,
}

impl Roster {
    /// Whether all is known that can be at the moment.
    fn is_complete(&self) -> bool {
        self.unknown.is_empty()
    }
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
        let upstream = Arc::new(Self {
            name: name.to_owned(),
            config: config.clone(),
            roster: watch::Sender::new(Roster {
                targets: Vec::new(),
                unknown: (0..sites.len()).collect(),
            }),
            sites,
            breaker: Breaker::new(config.max_failures, SHORTEST, LONGEST),
            origin: before.map_or_else(clock::instant, |before| before.origin),
            retired: OnceLock::new(),
        });
        let resolver = Arc::new(resolver);
        for (place, site) in upstream.sites.iter().enumerate() {
            if let Address::Known(address) = site.address {
                upstream.enlist(place, Some(&[address]), before);
                continue;
            }
            if let Some(known) = before.and_then(|before| before.addresses_of(site)) {
                upstream.enlist(place, Some(&known), before);
            }
            tokio::spawn(resolve::keep_up(
                Arc::downgrade(&upstream),
                place,
                Arc::clone(&resolver),
            ));
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
        let place = self.sites.iter().position(|ours| ours.name() == site.name())?;
        let roster = self.roster.borrow();
        let targets = roster.targets.iter().filter(|target| target.site == place);
        let addresses: Vec<_> = targets.map(|target| target.address).collect();
        (!addresses.is_empty()).then_some(addresses)
    }

    /// Takes over the addresses that the site at `place` has now: those of before, with `None`. A target that stays keeps what
    /// is known about it, and a new one takes over what the upstream `before` knows.
    fn enlist(self: &Arc<Self>, place: usize, addresses: Option<&[SocketAddr]>, before: Option<&Self>) {
        let heritage = before.map(|before| (before, before.roster.borrow().targets.clone()));
        let site = &self.sites[place];
        let most = MAX_TARGETS / self.sites.len();
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        self.roster.send_if_modified(|roster| {
            let completed = roster.unknown.remove(&place) && roster.is_complete();
            let Some(addresses) = addresses else { return completed };
            let of_site = |target: &mut Arc<Target>| target.site == place;
            gone.extend(roster.targets.extract_if(.., of_site));
            for address in addresses.iter().take(most) {
                let known = gone.iter().position(|target| target.address == *address);
                let target = known.map_or_else(|| Target::new(*address, place, site), |known| gone.swap_remove(known));
                if known.is_none() {
                    self.inherit(&target, heritage.as_ref());
                    new.push(Arc::clone(&target));
                }
                roster.targets.push(target);
            }
            roster.targets.sort_by_key(|target| target.site);
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
    /// The name that has to be looked up for its addresses, if it is none itself, and their port.
    fn name(&self) -> Option<(&str, u16)> {
        match &self.address {
            Address::Named(name, port) => Some((name, *port)),
            Address::Known(_) => None,
        }
    }
}
