//! What a reload replaces, as one thing: a request sees either all of the old or all of the new.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use arc_swap::{ArcSwap, Cache};

use crate::client::Request;
use crate::client_address::TrustedProxies;
use crate::config::{self, Config, RouteConfig};
use crate::limits::Limits;
use crate::routes::{self, Found, Place, Route, Table};
use crate::tally::{Ledger, Tally};
use crate::upstream::{Pool, Upstream};
use crate::{cors, headers, path};

/// Everything that requests go by and that a reload replaces. It never changes: the next one takes its place.
pub(crate) struct State {
    pub(crate) table: Table,
    /// All limits there are and were: those that did not change go on.
    pub(crate) limits: Arc<Limits>,
    /// Whose word on clients counts.
    pub(crate) proxies: TrustedProxies,
    /// In the order of their names, as [`crate::routes::Route::upstream`] counts them.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// What the upstreams were made from.
    described: BTreeMap<String, config::Upstream>,
    /// What pages of other origins may do, where a route says nothing else.
    cors: cors::Rules,
    /// The longest pause between two pieces of a body.
    pub(crate) body_timeout: Duration,
    connect_timeout: Duration,
    idle_timeout: Duration,
}

impl State {
    /// What `config` says, made within a runtime. Upstreams of the state `before` whose description is the same are taken over
    /// as they are, and others go on with what is known about the targets that they keep.
    ///
    /// # Errors
    /// When a target is not a URL that can be connected to.
    pub(crate) fn new(config: &Config, before: Option<&Self>) -> anyhow::Result<Self> {
        let names: Vec<&str> = config.upstreams.keys().map(String::as_str).collect();
        let limits = before.map_or_else(Arc::default, |before| Arc::clone(&before.limits));
        let upstream = |name: &str| names.iter().position(|known| *known == name);
        let cors = |route: &RouteConfig| cors::Rules::of_route(route, config);
        let table = Table::compile(&routes::all(config), upstream, cors, &limits);
        let upstreams =
            config.upstreams.iter().map(
                |(name, described)| match before.and_then(|before| before.described(name)) {
                    Some((known, as_before)) if as_before == described => Ok(Arc::clone(known)),
                    known => Upstream::start(name, described, known.map(|(known, _)| &**known)),
                },
            );
        Ok(Self {
            table,
            limits,
            proxies: TrustedProxies::new(&config.trusted_proxies),
            upstreams: upstreams.collect::<anyhow::Result<_>>()?,
            described: config.upstreams.clone(),
            cors: cors::Rules::of(config),
            body_timeout: config.body_timeout,
            connect_timeout: config.connect_timeout,
            idle_timeout: config.idle_timeout,
        })
    }

    /// What pages of other origins may do with `route`.
    pub(crate) fn cors_of<'a>(&'a self, route: &'a Route) -> &'a cors::Rules {
        route.cors.as_ref().unwrap_or(&self.cors)
    }

    /// What they may do with `request`, or, when it is a preflight, with the request that it is about.
    pub(crate) fn cors_for(&self, request: &Request) -> &cors::Rules {
        if !self.table.has_cors() {
            return &self.cors;
        }
        let asked = request.fields.get("access-control-request-method");
        let asked = asked.filter(|_| request.method == Method::OPTIONS);
        let method = asked.and_then(|method| Method::from_bytes(method).ok());
        let (host, path) = (headers::host(request), path::normalise(request.path()));
        let (Some(host), Ok(path)) = (host, path) else {
            return &self.cors;
        };
        match self.table.find(host, method.as_ref().unwrap_or(&request.method), &path) {
            Found::Route(place) => self.cors_of(&self.table[place]),
            Found::OtherMethods(_) | Found::Nothing => &self.cors,
        }
    }

    /// Gives up what `next`, which has taken its place, did not take over: requests that have begun end as they began, and
    /// nothing else is done for it any more.
    pub(crate) fn retire(&self, next: &Self) {
        for upstream in &self.upstreams {
            if !next.upstreams.iter().any(|kept| Arc::ptr_eq(kept, upstream)) {
                upstream.retire(next.upstreams.iter().find(|successor| successor.name == upstream.name));
            }
        }
    }

    /// The upstream of this name, and what it was made from.
    fn described(&self, name: &str) -> Option<(&Arc<Upstream>, &config::Upstream)> {
        let mut all = self.upstreams.iter().zip(&self.described);
        all.find_map(|(upstream, (known, described))| (known == name).then_some((upstream, described)))
    }
}

/// A state, and one worker's connections to its upstreams and numbers of its routes. Whoever works on a request keeps the view
/// that it began with.
pub(crate) struct View {
    pub(crate) state: Arc<State>,
    /// One for each of the state's upstreams.
    pub(crate) pools: Vec<Rc<Pool>>,
    pub(crate) ledger: Rc<Ledger>,
    /// One for each of the state's routes, since it was first taken.
    tallies: Vec<OnceCell<Arc<Tally>>>,
}

impl View {
    /// `state`, with the pools of `before` for upstreams that it took over. Other pools end with the last request that
    /// uses them.
    fn new(state: Arc<State>, ledger: &Rc<Ledger>, before: Option<&Self>) -> Self {
        let (connect, idle) = (state.connect_timeout, state.idle_timeout);
        let before =
            before.filter(|before| (before.state.connect_timeout, before.state.idle_timeout) == (connect, idle));
        let known = |upstream: &Arc<Upstream>| {
            let mut pools = before?.pools.iter();
            pools.find(|pool| Arc::ptr_eq(&pool.upstream, upstream)).map(Rc::clone)
        };
        let pools = state.upstreams.iter();
        let pools =
            pools.map(|upstream| known(upstream).unwrap_or_else(|| Pool::new(Arc::clone(upstream), connect, idle)));
        Self {
            pools: pools.collect(),
            ledger: Rc::clone(ledger),
            tallies: vec![OnceCell::new(); state.table.len()],
            state,
        }
    }

    /// The numbers of the route at this place, or of what takes none.
    pub(crate) fn tally(&self, route: Option<Place>) -> &Tally {
        let Some(place) = route else {
            return &self.ledger.rest;
        };
        self.tallies[place.0].get_or_init(|| self.ledger.of_route(&self.state.table[place].name))
    }
}

/// One worker's look at the state that counts now. Seeing that there is no new one costs a load and a comparison.
pub(crate) struct Views {
    pub(crate) ledger: Rc<Ledger>,
    current: RefCell<Current>,
}

struct Current {
    cache: Cache<Arc<ArcSwap<State>>, Arc<State>>,
    view: Rc<View>,
}

impl Views {
    pub(crate) fn of(state: &Arc<ArcSwap<State>>, ledger: Rc<Ledger>) -> Self {
        let current = Current {
            cache: Cache::new(Arc::clone(state)),
            view: Rc::new(View::new(state.load_full(), &ledger, None)),
        };
        Self {
            ledger,
            current: RefCell::new(current),
        }
    }

    /// For a request that begins now.
    pub(crate) fn current(&self) -> Rc<View> {
        let Current { cache, view } = &mut *self.current.borrow_mut();
        let state = cache.load();
        if !Arc::ptr_eq(state, &view.state) {
            *view = Rc::new(View::new(Arc::clone(state), &self.ledger, Some(view)));
        }
        Rc::clone(view)
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::tally::Present;

    fn state(upstreams: &[(&str, u16)], before: Option<&State>) -> State {
        let mut config = crate::mistakes::tests::config("");
        config.upstreams = upstreams
            .iter()
            .map(|(name, port)| {
                let target = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
                ((*name).to_owned(), config::Upstream::of(vec![target]))
            })
            .collect();
        State::new(&config, before).unwrap()
    }

    #[tokio::test]
    async fn upstreams_that_did_not_change_are_taken_over_with_their_pools() {
        let first = state(&[("a", 1), ("b", 2), ("c", 3)], None);
        let shared = Arc::new(ArcSwap::from_pointee(first));
        let views = Views::of(&shared, Ledger::new(&Present::default()));
        let before = views.current();
        assert!(Rc::ptr_eq(&before, &views.current()), "nothing has changed");

        let second = state(&[("b", 2), ("c", 4), ("d", 1)], Some(&before.state));
        shared.store(Arc::new(second));
        let after = views.current();
        let names = after.pools.iter().map(|pool| pool.upstream.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["b", "c", "d"]);
        assert!(Rc::ptr_eq(&after.pools[0], &before.pools[1]), "b is the same");
        assert!(!Rc::ptr_eq(&after.pools[1], &before.pools[2]), "c has another target");
        assert_eq!(before.pools.len(), 3, "who still holds the old view sees all of it");

        let old = Rc::downgrade(&before.pools[0]);
        drop(before);
        assert!(old.upgrade().is_none(), "a is gone with its last request");
    }

    #[tokio::test]
    async fn pools_with_other_timeouts_are_new_and_the_upstream_stays() {
        let first = state(&[("a", 1)], None);
        let mut second = state(&[("a", 1)], Some(&first));
        assert!(Arc::ptr_eq(&first.upstreams[0], &second.upstreams[0]));
        second.idle_timeout += Duration::from_secs(1);
        let ledger = Ledger::new(&Present::default());
        let before = View::new(Arc::new(first), &ledger, None);
        let after = View::new(Arc::new(second), &ledger, Some(&before));
        assert!(!Rc::ptr_eq(&before.pools[0], &after.pools[0]));
    }
}
