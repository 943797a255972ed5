//! Which route a request takes: a tree of path segments, compiled once, as fast with a thousand routes as with ten.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Index;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;

use crate::config::{Auth, By, Config, Purpose, RateLimit, RouteConfig, Stale};
use crate::header_rules::{self, HeaderRules};
use crate::limits::{Limits, RouteLimits};
use crate::{cors, path};

/// The largest body that the endpoints for logging in and the like take.
const FORM: u64 = 64 * 1024;

/// Path, upstream, authentication, purpose and body limit of the routes that always exist.
const BUILT_IN: &[(&str, &str, Auth, Purpose, Option<u64>)] = &[
    (
        "/api/auth/register",
        "identity",
        Auth::None,
        Purpose::Tokens,
        Some(FORM),
    ),
    ("/api/auth/login", "identity", Auth::None, Purpose::Tokens, Some(FORM)),
    ("/token", "identity", Auth::None, Purpose::Tokens, Some(FORM)),
    ("/api/auth/me", "identity", Auth::Required, Purpose::Tokens, None),
    ("/api/auth/password", "identity", Auth::Required, Purpose::Tokens, None),
    ("/api/user", "identity", Auth::Required, Purpose::Tokens, None),
    ("/api/admin", "identity", Auth::Required, Purpose::Tokens, None),
    ("/api/auth/refresh", "token", Auth::None, Purpose::Refresh, Some(FORM)),
    ("/token/refresh", "token", Auth::None, Purpose::Refresh, Some(FORM)),
    ("/api/auth/logout", "token", Auth::None, Purpose::Refresh, Some(FORM)),
    ("/logout", "token", Auth::Required, Purpose::Refresh, None),
    ("/api/auth/events", "", Auth::Required, Purpose::Events, None),
    ("/api/auth/sessions", "token", Auth::Required, Purpose::Tokens, None),
    ("/.well-known", "token", Auth::None, Purpose::Tokens, None),
    ("/oauth", "token", Auth::None, Purpose::Tokens, None),
    ("/home", "home", Auth::Required, Purpose::Service, None),
];

/// Those of them that hash a password, which costs much, and may be a guess.
const HASHES_PASSWORDS: [&str; 3] = ["/api/auth/register", "/api/auth/login", "/token"];
/// Far more than people behind one address need, and about as much as a few cores can hash.
const GUESSING: RateLimit = RateLimit {
    by: By::Address,
    requests: 10,
    per: Duration::from_secs(1),
    burst: Some(60),
    spares_loopback: true,
};

/// What makes two routes the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    path: String,
    host: Option<String>,
    methods: BTreeSet<String>,
}

impl Key {
    pub(crate) fn of(route: &RouteConfig) -> Self {
        Self {
            path: plain_path(&route.path),
            host: route.host.as_deref().map(plain_host),
            methods: route.methods.iter().map(|method| method.to_ascii_uppercase()).collect(),
        }
    }
}

/// The operator's routes, then those that always exist and that none of the operator's replaces.
pub(crate) fn all(config: &Config) -> Vec<RouteConfig> {
    let own = config.routes.iter().map(|route| RouteConfig {
        purpose: purpose(route),
        ..route.clone()
    });
    let taken: HashSet<Key> = config.routes.iter().map(Key::of).collect();
    let built_in = BUILT_IN.iter().map(|(path, upstream, auth, purpose, body_limit)| {
        let mut route = RouteConfig::new(path, upstream);
        route.auth = *auth;
        route.purpose = *purpose;
        route.body_limit = body_limit.unwrap_or(route.body_limit);
        if HASHES_PASSWORDS.contains(path) {
            route.rate_limit.push(GUESSING);
        }
        route
    });
    let kept = built_in.filter(|route| !taken.contains(&Key::of(route)));
    own.chain(kept).collect()
}

/// What a route of the operator's is for: it goes on for a built-in one that has the same path and leads to the same
/// service, whatever else it says. Where another service answers, nothing of the built-in one's is left.
fn purpose(route: &RouteConfig) -> Purpose {
    let path = plain_path(&route.path);
    let built_in = BUILT_IN.iter().find(|(of_ours, upstream, _, purpose, _)| {
        *purpose != Purpose::Events && *of_ours == path && *upstream == route.upstream
    });
    built_in.map_or(Purpose::Service, |(_, _, _, purpose, _)| *purpose)
}

/// Where a request goes and what it must satisfy. With many routes, what a request has to look at is what costs it: what each
/// looks at is in the first 64 bytes, a line of a processor's cache.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Route {
    pub(crate) auth: Auth,
    pub(crate) stale: Stale,
    pub(crate) purpose: Purpose,
    pub(crate) strip_prefix: bool,
    /// The place of the upstream among those of the configuration, in the order of their names; `None` where the gateway
    /// itself answers.
    pub(crate) upstream: Option<usize>,
    pub(crate) timeout: Duration,
    pub(crate) body_limit: u64,
    pub(crate) extras: Arc<Extras>,
    /// The path prefix: what logs call the route.
    pub(crate) name: String,
    /// What pages of other origins may do, instead of what the gateway says.
    pub(crate) cors: Option<cors::Rules>,
}

const _: () = assert!(std::mem::offset_of!(Route, name) <= 64, "that is more than a line");

/// What most routes say nothing of: all those have the same.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    pub(crate) limits: RouteLimits,
    /// The longest pause in a body, instead of the gateway's.
    pub(crate) body_timeout: Option<Duration>,
    pub(crate) scopes: Vec<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) request_rules: header_rules::Compiled,
    pub(crate) response_rules: header_rules::Compiled,
}

impl Extras {
    /// Those of `route`, which are `none` if it says nothing of them.
    fn of(route: &RouteConfig, key: &Key, limits: &Limits, none: &Arc<Self>) -> Arc<Self> {
        let rules = [&route.request_headers, &route.response_headers];
        let says_nothing = route.rate_limit.is_empty()
            && route.body_timeout.is_none()
            && route.scopes.is_empty()
            && route.roles.is_empty()
            && rules.iter().all(|rules| **rules == HeaderRules::default());
        if says_nothing {
            return Arc::clone(none);
        }
        let [request_rules, response_rules] = rules.map(header_rules::Compiled::of);
        Arc::new(Self {
            limits: limits.of_route(key, &route.rate_limit),
            body_timeout: route.body_timeout,
            scopes: route.scopes.clone(),
            roles: route.roles.clone(),
            request_rules,
            response_rules,
        })
    }
}

/// The place of a route in the table that found it: less than the length of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) usize);

/// What a look-up found.
#[derive(Debug)]
pub(crate) enum Found {
    Route(Place),
    /// The path is routed, but not for this method; these are.
    OtherMethods(String),
    Nothing,
}

/// Routes of one path and host: those for all methods, and those for some.
#[derive(Debug, Default)]
struct ByMethod {
    any: Option<Place>,
    some: Vec<(Method, Place)>,
}

/// Of names that the operator chose: nobody else can make them collide.
type Map<Value> = HashMap<Box<str>, Value, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
struct Node {
    any_host: Option<ByMethod>,
    /// Most nodes have none.
    by_host: Option<Box<Map<ByMethod>>>,
    children: Option<Box<Map<Node>>>,
}

/// All routes, compiled.
#[derive(Debug, Default)]
pub(crate) struct Table {
    routes: Vec<Route>,
    root: Node,
    /// Most tables name no host, and then nobody looks at it.
    names_hosts: bool,
    /// Whether any route says itself what pages of other origins may do.
    has_cors: bool,
}

impl Table {
    /// Compiles `routes`; one whose upstream does not exist is left out. Of two for the same thing the first counts. What pages
    /// of other origins may do, `cors` says, if the route has a say in it.
    pub(crate) fn compile(
        routes: &[RouteConfig],
        upstream: impl Fn(&str) -> Option<usize>,
        cors: impl Fn(&RouteConfig) -> Option<cors::Rules>,
        limits: &Limits,
    ) -> Self {
        let mut table = Self::default();
        let none = Arc::default();
        for config in routes {
            let upstream = upstream(&config.upstream);
            if upstream.is_some() || config.purpose == Purpose::Events {
                let key = Key::of(config);
                let extras = Extras::of(config, &key, limits, &none);
                table.add(config, key, upstream, cors(config), extras);
            }
        }
        table
    }

    fn add(
        &mut self,
        config: &RouteConfig,
        key: Key,
        upstream: Option<usize>,
        cors: Option<cors::Rules>,
        extras: Arc<Extras>,
    ) {
        self.has_cors |= cors.is_some();
        let name = if key.path.is_empty() { "/" } else { &key.path };
        let route = Place(self.routes.len());
        self.routes.push(Route {
            auth: config.auth,
            stale: config.stale,
            purpose: config.purpose,
            strip_prefix: config.strip_prefix,
            upstream,
            timeout: config.timeout,
            body_limit: config.body_limit,
            extras,
            name: name.to_owned(),
            cors,
        });
        let mut node = &mut self.root;
        for segment in path::segments(&key.path) {
            node = node.children.get_or_insert_default().entry(segment.into()).or_default();
        }
        let by_method = match key.host {
            Some(host) => {
                self.names_hosts = true;
                node.by_host.get_or_insert_default().entry(host.into()).or_default()
            }
            None => node.any_host.get_or_insert_default(),
        };
        if key.methods.is_empty() {
            by_method.any.get_or_insert(route);
            return;
        }
        let methods: Vec<Method> = key
            .methods
            .iter()
            .filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
            .collect();
        for method in &methods {
            by_method.add(method, route);
        }
        // RFC 9110 section 9.3.2: HEAD is GET without the content.
        if methods.contains(&Method::GET) {
            by_method.add(&Method::HEAD, route);
        }
    }

    /// How many routes there are.
    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether any route says itself what pages of other origins may do.
    pub(crate) fn has_cors(&self) -> bool {
        self.has_cors
    }

    /// The route of the longest prefix of `path` (a normal one) that is routed at all for `host`: there, one that names
    /// the host before one that does not, and one that names the method before one that does not. A shorter prefix is
    /// never fallen back to: that might be a less guarded route.
    pub(crate) fn find(&self, host: &str, method: &Method, path: &str) -> Found {
        let host = if self.names_hosts {
            plain_host(host)
        } else {
            String::new()
        };
        let mut node = &self.root;
        let mut best = node.candidates(&host);
        for segment in path::segments(path) {
            match node.children.as_ref().and_then(|children| children.get(segment)) {
                None => break,
                Some(child) => node = child,
            }
            best = node.candidates(&host).or(best);
        }
        let Some((named, any)) = best else {
            return Found::Nothing;
        };
        match named.and_then(|routes| routes.get(method)).or_else(|| any?.get(method)) {
            Some(route) => Found::Route(route),
            None => Found::OtherMethods(allowed([named, any])),
        }
    }
}

impl Index<Place> for Table {
    type Output = Route;

    fn index(&self, Place(place): Place) -> &Route {
        &self.routes[place]
    }
}

type Candidates<'a> = (Option<&'a ByMethod>, Option<&'a ByMethod>);

impl Node {
    fn candidates(&self, host: &str) -> Option<Candidates<'_>> {
        let named = self.by_host.as_ref().and_then(|by_host| by_host.get(host));
        let any = self.any_host.as_ref();
        (named.is_some() || any.is_some()).then_some((named, any))
    }
}

impl ByMethod {
    fn add(&mut self, method: &Method, route: Place) {
        if !self.some.iter().any(|(known, _)| known == method) {
            self.some.push((method.clone(), route));
        }
    }

    fn get(&self, method: &Method) -> Option<Place> {
        let named = self.some.iter().find(|(known, _)| known == method);
        named.map(|(_, route)| *route).or(self.any)
    }
}

fn allowed(candidates: [Option<&ByMethod>; 2]) -> String {
    let methods: BTreeSet<&str> = candidates
        .into_iter()
        .flatten()
        .flat_map(|routes| routes.some.iter().map(|(method, _)| method.as_str()))
        .collect();
    methods.into_iter().collect::<Vec<_>>().join(", ")
}

/// A path without empty segments and a final slash; empty for the root.
fn plain_path(path: &str) -> String {
    path::segments(path).fold(String::new(), |path, segment| path + "/" + segment)
}

/// A host without its port and final dot, in lower case.
fn plain_host(host: &str) -> String {
    let name = match host.rfind([':', ']']) {
        Some(at) if host.as_bytes()[at] == b':' => &host[..at],
        _ => host,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(path: &str, host: Option<&str>, methods: &[&str]) -> RouteConfig {
        let mut route = RouteConfig::new(path, "home");
        route.host = host.map(str::to_owned);
        route.methods = methods.iter().map(|method| (*method).to_owned()).collect();
        route
    }

    fn table(routes: &[RouteConfig]) -> Table {
        Table::compile(routes, |_| Some(0), |_| None, &Limits::default())
    }

    fn name(table: &Table, host: &str, method: &Method, path: &str) -> String {
        match table.find(host, method, path) {
            Found::Route(place) => table[place].name.clone(),
            Found::OtherMethods(allowed) => format!("405 {allowed}"),
            Found::Nothing => "404".to_owned(),
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_prefixes_end_at_segment_borders() {
        let table = table(&[
            route("/token", None, &[]),
            route("/token/refresh", None, &[]),
            route("/home", None, &[]),
        ]);
        for (path, found) in [
            ("/token", "/token"),
            ("/token/", "/token"),
            ("/token/refresh", "/token/refresh"),
            ("/token/refresh/", "/token/refresh"),
            ("/token/refreshed", "/token"),
            ("/home/a/b", "/home"),
            ("/homework", "404"),
            ("/", "404"),
        ] {
            assert_eq!(name(&table, "", &Method::GET, path), found, "{path}");
        }
    }

    #[test]
    fn a_method_that_is_not_routed_never_falls_back_to_a_shorter_prefix() {
        let table = table(&[
            route("/a", None, &[]),
            route("/a/b", None, &["get"]),
            route("/a/b", Some("x"), &["PUT"]),
        ]);
        assert_eq!(name(&table, "", &Method::HEAD, "/a/b"), "/a/b");
        assert_eq!(name(&table, "", &Method::POST, "/a/b/c"), "405 GET, HEAD");
        assert_eq!(name(&table, "X.:80", &Method::PUT, "/a/b"), "/a/b");
        assert_eq!(name(&table, "x", &Method::POST, "/a/b"), "405 GET, HEAD, PUT");
        assert_eq!(name(&table, "", &Method::POST, "/a/c"), "/a");
    }

    #[test]
    fn a_host_may_be_an_address() {
        assert_eq!(plain_host("[::1]:80"), "[::1]");
        assert_eq!(plain_host("[::1]"), "[::1]");
        assert_eq!(plain_host("LocalHost:80"), "localhost");
    }

    /// What [`Table::find`] says, by looking at every route.
    fn naive(routes: &[RouteConfig], host: &str, method: &Method, path: &str) -> Option<usize> {
        let split = |path: &str| path::segments(path).map(str::to_owned).collect::<Vec<_>>();
        let (path, host) = (split(path), plain_host(host));
        let fits = |route: &RouteConfig| {
            path.starts_with(&split(&route.path)) && route.host.as_deref().is_none_or(|name| plain_host(name) == host)
        };
        let longest = routes
            .iter()
            .filter(|route| fits(route))
            .map(|route| split(&route.path).len())
            .max()?;
        let takes = |route: &RouteConfig| {
            let named = |name: &str| route.methods.iter().any(|method| method == name);
            named(method.as_str()) || (*method == Method::HEAD && named("GET"))
        };
        let candidates = routes.iter().enumerate().filter(|(_, route)| {
            fits(route) && split(&route.path).len() == longest && (route.methods.is_empty() || takes(route))
        });
        // `max_by_key` takes the last of equals, and the first is wanted.
        let best = candidates
            .rev()
            .max_by_key(|(_, route)| (route.host.is_some(), takes(route)));
        best.map(|(index, _)| index)
    }

    fn routes() -> impl Strategy<Value = Vec<RouteConfig>> {
        let path = prop::collection::vec("[ab]", 0..4).prop_map(|segments| format!("/{}", segments.join("/")));
        let host = prop::option::of("[xy]");
        let methods = prop::sample::subsequence(vec!["GET", "POST", "HEAD"], 0..3);
        let one = (path, host, methods).prop_map(|(path, host, methods)| route(&path, host.as_deref(), &methods));
        prop::collection::vec(one, 0..12)
    }

    proptest! {
        #[test]
        fn the_tree_agrees_with_looking_at_every_route(
            routes in routes(), host in "[xyz]", method in prop::sample::select(vec![Method::GET, Method::HEAD, Method::PUT]),
            path in prop::collection::vec("[abc]", 0..5),
        ) {
            // The body limit tells routes apart, since several may have one name.
            let routes: Vec<RouteConfig> = routes.into_iter().enumerate().map(|(index, mut route)| {
                route.body_limit = index as u64;
                route
            }).collect();
            let path = format!("/{}", path.join("/"));
            let table = table(&routes);
            let found = match table.find(&host, &method, &path) {
                Found::Route(place) => Some(table[place].body_limit),
                Found::OtherMethods(_) | Found::Nothing => None,
            };
            prop_assert_eq!(found, naive(&routes, &host, &method, &path).map(|index| index as u64));
        }
    }
}
