//! What can be wrong with a configuration that could be read: every mistake, with its key and a remedy.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use actix_web::http::header::{HeaderName, SET_COOKIE};
use actix_web::http::{Method, Uri};
use service_kit::config::Mistake;
use service_kit::server;
use url::Url;

use crate::config::{Auth, By, Config, HealthCheck, Purpose, RateLimit, RouteConfig, Upstream};
use crate::header_rules::Toward;
use crate::routes::{self, Key};
use crate::tls::Readable;
use crate::upstream::MAX_TARGETS;
use crate::{cors, headers, path, web_app};

/// How long a limit may take until all that it allows is allowed again.
const LONGEST_RECOVERY: Duration = Duration::from_hours(30 * 24);

impl Config {
    /// Everything that is wrong and that reading the configuration could not see.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (key, duration) in [
            ("gateway.header_timeout", self.header_timeout),
            ("gateway.keep_alive", self.keep_alive),
            ("gateway.body_timeout", self.body_timeout),
            ("gateway.connect_timeout", self.connect_timeout),
            ("gateway.idle_timeout", self.idle_timeout),
        ] {
            if duration.is_zero() {
                mistakes.push(Mistake::in_key(key, "is zero", "Give it a duration, as in \"5s\"."));
            }
        }
        if self.max_connections == 0 {
            mistakes.push(Mistake::in_key(
                "gateway.max_connections",
                "is zero: nobody could connect",
                "Give it a number, as in 10000.",
            ));
        }
        mistakes.extend(self.too_many_streams());
        if !self.web_root.as_os_str().is_empty() {
            mistakes.extend(web_app::examine(&self.web_root).err());
        }
        if let Some(tls) = &self.tls {
            mistakes.extend(Readable::read(tls).err());
        }
        wrong_origins("gateway.cors_origins", &self.cors_origins, &mut mistakes);
        wrong_headers("gateway.cors_headers", &self.cors_headers, false, &mut mistakes);
        wrong_headers(
            "gateway.cors_exposed_headers",
            &self.cors_exposed_headers,
            true,
            &mut mistakes,
        );
        for (index, network) in self.trusted_proxies.iter().enumerate() {
            if network.prefix_len() == 0 {
                mistakes.push(Mistake::in_key(
                    &format!("gateway.trusted_proxies[{index}]"),
                    format_args!("is {network}: everybody could choose the address to be taken for"),
                    "Name the addresses or networks of your own proxies alone, as in [\"10.0.0.0/8\"].",
                ));
            }
        }
        for (name, upstream) in &self.upstreams {
            upstream.mistakes(&format!("gateway.upstreams.{name}"), &mut mistakes);
        }
        let mut seen = HashSet::new();
        for (index, route) in self.routes.iter().enumerate() {
            let key = format!("gateway.routes[{index}]");
            route.mistakes(&key, &self.upstreams, &mut mistakes);
            if !seen.insert(Key::of(route)) {
                mistakes.push(Mistake::in_key(
                    &key,
                    format_args!(
                        "another route has the path {:?} too, for the same host and methods",
                        route.path
                    ),
                    "Remove one of them, or give them different methods or hosts.",
                ));
            }
        }
        let mut missing = HashSet::new();
        for route in routes::all(self).iter().skip(self.routes.len()) {
            let leads = route.purpose != Purpose::Events;
            if leads && !self.upstreams.contains_key(&route.upstream) && missing.insert(route.upstream.clone()) {
                mistakes.push(Mistake::in_key(
                    &format!("gateway.upstreams.{}", route.upstream),
                    format_args!("is not there, and {} leads to it", route.path),
                    format!(
                        "Set gateway.upstreams.{}.targets, as in [\"http://127.0.0.1:8001\"].",
                        route.upstream
                    ),
                ));
            }
        }
        mistakes
    }

    /// Streams stay open for as long as pages do. Were they allowed to take every connection, others would wait for one
    /// instead of being answered, and no refusal would say why.
    fn too_many_streams(&self) -> Option<Mistake> {
        let workers = server::workers(self.workers, usize::MAX);
        let connections = workers.saturating_mul(self.max_connections);
        let most = connections / 2;
        // That there are no connections at all is a mistake of its own.
        (connections > 0 && self.max_event_streams > most).then(|| {
            Mistake::in_key(
                "gateway.max_event_streams",
                format_args!(
                    "is {}, more than half of the {connections} connections of clients that gateway.max_connections allows \
                     (gateway.workers: {workers}): streams could leave too few for everything else",
                    self.max_event_streams
                ),
                format!("Set it to {most} or less, or raise gateway.max_connections."),
            )
        })
    }
}

fn wrong_origins(key: &str, origins: &[String], mistakes: &mut Vec<Mistake>) {
    for (index, origin) in origins.iter().enumerate() {
        if let Some(problem) = wrong_origin(origin) {
            mistakes.push(Mistake::in_key(
                &format!("{key}[{index}]"),
                problem,
                "Write the origin exactly as browsers send it: scheme, host, and the port if it is not the scheme's \
                 own, as in \"http://localhost:3000\"; no path, no final slash.",
            ));
        }
    }
}

/// What is wrong with the names of headers that pages may send or, if they `read` them, find in answers.
fn wrong_headers(key: &str, names: &[String], read: bool, mistakes: &mut Vec<Mistake>) {
    for (index, name) in names.iter().enumerate() {
        let (problem, remedy) = match name.parse::<HeaderName>() {
            Ok(plain) if read && plain == SET_COOKIE => (
                "browsers let no page read it (the Fetch standard, section 2.2.6)",
                "Remove it.",
            ),
            Ok(plain) if !read && !cors::is_usual(plain.as_str()) && headers::is_ours(plain.as_str().as_bytes()) => (
                "no service would get it from a client",
                "Remove it, or choose another name.",
            ),
            // The Fetch standard, section 3.3.4: where cookies are allowed, that is a name like others.
            Ok(_) if name != "*" => continue,
            _ => (
                "is not the name of a header",
                "Write the names of all that are meant, as in [\"x-tenant\"].",
            ),
        };
        let problem = format_args!("{name:?}: {problem}");
        mistakes.push(Mistake::in_key(&format!("{key}[{index}]"), problem, remedy));
    }
}

/// What keeps `origin` from ever being equal to an `Origin` header (RFC 6454 section 6.2).
fn wrong_origin(origin: &str) -> Option<String> {
    if origin == "*" {
        return Some("is \"*\", which would let any page act for our users".to_owned());
    }
    let url = match Url::parse(origin) {
        Ok(url) => url,
        Err(error) => return Some(format!("{origin:?} is not an origin: {error}")),
    };
    let is_web = matches!(url.scheme(), "http" | "https");
    (!is_web || url.origin().ascii_serialization() != origin).then(|| format!("{origin:?} is not an origin"))
}

impl Upstream {
    fn mistakes(&self, key: &str, mistakes: &mut Vec<Mistake>) {
        if self.targets.is_empty() {
            mistakes.push(Mistake::in_key(
                &format!("{key}.targets"),
                "is empty",
                "Name at least one base URL, as in [\"http://127.0.0.1:8003\"].",
            ));
        }
        if self.targets.len() > MAX_TARGETS {
            mistakes.push(Mistake::in_key(
                &format!("{key}.targets"),
                format_args!("has more than {MAX_TARGETS} targets"),
                "Put a load balancer, or a name with several addresses, in front of some of them.",
            ));
        }
        if self.max_connections == 0 {
            mistakes.push(Mistake::in_key(
                &format!("{key}.max_connections"),
                "is zero: nothing could reach the upstream",
                "Give it a number, as in 1024.",
            ));
        }
        if let Some(health) = &self.health {
            health.mistakes(&format!("{key}.health"), mistakes);
        }
        for (index, target) in self.targets.iter().enumerate() {
            let key = format!("{key}.targets[{index}]");
            if target.scheme() != "http" {
                mistakes.push(Mistake::in_key(
                    &key,
                    format_args!(
                        "{target} has the scheme {:?}, and only http is spoken to upstreams",
                        target.scheme()
                    ),
                    "Use an http:// URL; keep the network between gateway and upstream private.",
                ));
            } else if target.host().is_none()
                || !target.username().is_empty()
                || target.password().is_some()
                || target.query().is_some()
                || target.fragment().is_some()
            {
                mistakes.push(Mistake::in_key(
                    &key,
                    "is not a plain base URL",
                    "Give scheme, host, port and perhaps a path, as in \"http://127.0.0.1:8003\"; no user, no query.",
                ));
            }
        }
    }
}

impl HealthCheck {
    fn mistakes(&self, key: &str, mistakes: &mut Vec<Mistake>) {
        let mut add = |field: &str, problem: &str, remedy: &str| {
            mistakes.push(Mistake::in_key(&format!("{key}.{field}"), problem, remedy));
        };
        if !self.path.starts_with('/') || Uri::try_from(&self.path).is_err() {
            add(
                "path",
                "is not a path",
                "Write one that begins with a slash, as in \"/healthz\".",
            );
        }
        for (field, duration) in [("interval", self.interval), ("timeout", self.timeout)] {
            if duration.is_zero() {
                add(field, "is zero", "Give it a duration, as in \"5s\".");
            }
        }
        for (field, checks) in [
            ("healthy_after", self.healthy_after),
            ("unhealthy_after", self.unhealthy_after),
        ] {
            if checks == 0 {
                add(
                    field,
                    "is zero",
                    "Give it the number of checks in a row that decide, as in 2.",
                );
            }
        }
    }
}

impl RouteConfig {
    fn mistakes(&self, key: &str, upstreams: &BTreeMap<String, Upstream>, mistakes: &mut Vec<Mistake>) {
        let mut add = |field: &str, problem: String, remedy: &str| {
            mistakes.push(Mistake::in_key(&format!("{key}.{field}"), problem, remedy));
        };
        match path::normalise(&self.path) {
            Ok(path) if path != self.path => {
                add(
                    "path",
                    format!("{:?} is not in its normal form", self.path),
                    &format!("Write {path:?}."),
                );
            }
            Ok(path) if path::is_internal(&path) => add(
                "path",
                format!("{:?} would open internal endpoints to the public", self.path),
                "Choose another path; services reach /internal on each other's own ports.",
            ),
            Ok(_) => {}
            Err(error) => add(
                "path",
                format!("{:?}: {error}", self.path),
                "Write a path that begins with a slash, as in \"/api/orders\".",
            ),
        }
        if let Some(host) = &self.host
            && (host.is_empty()
                || !host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._[:]".contains(&b)))
        {
            add(
                "host",
                format!("{host:?} is not a host name"),
                "Write the name alone, without scheme, port or path.",
            );
        }
        for method in &self.methods {
            if Method::from_bytes(method.to_ascii_uppercase().as_bytes()).is_err() {
                add(
                    "methods",
                    format!("{method:?} is not a method"),
                    "Write methods as in [\"GET\", \"POST\"].",
                );
            }
        }
        if !upstreams.contains_key(&self.upstream) {
            let known = upstreams.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            add(
                "upstream",
                format!("there is no upstream {:?}", self.upstream),
                &format!("Name one of: {known}; or add gateway.upstreams.{}.", self.upstream),
            );
        }
        if self.auth != Auth::Required && !(self.scopes.is_empty() && self.roles.is_empty()) {
            add(
                "auth",
                "scopes and roles are asked for, but not a token".to_owned(),
                "Set auth = \"required\", or remove scopes and roles.",
            );
        }
        // RFC 6749 section 3.3: what a token can have, and what can be told to a client that lacks it.
        let is_scope =
            |scope: &&String| !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b));
        if let Some(scope) = self.scopes.iter().find(|scope| !is_scope(scope)) {
            add(
                "scopes",
                format!("{scope:?} is not a scope"),
                "Write visible ASCII characters, without spaces, quotes and backslashes.",
            );
        }
        for (index, limit) in self.rate_limit.iter().enumerate() {
            if let Some((field, problem, remedy)) = limit.mistake(self.auth) {
                add(&format!("rate_limit[{index}].{field}"), problem, remedy);
            }
        }
        if self.timeout.is_zero() {
            add("timeout", "is zero".to_owned(), "Give it a duration, as in \"30s\".");
        }
        if self.body_timeout.is_some_and(|pause| pause.is_zero()) {
            add(
                "body_timeout",
                "is zero".to_owned(),
                "Give it a duration, as in \"10m\".",
            );
        }
        for (table, rules, toward) in [
            ("request_headers", &self.request_headers, Toward::Upstream),
            ("response_headers", &self.response_headers, Toward::Client),
        ] {
            for (name, problem, remedy) in rules.mistakes(toward) {
                add(&format!("{table}.{name}"), problem, remedy);
            }
        }
        let origins = self.cors_origins.as_deref().unwrap_or_default();
        wrong_origins(&format!("{key}.cors_origins"), origins, mistakes);
        for (field, names, read) in [
            ("cors_headers", &self.cors_headers, false),
            ("cors_exposed_headers", &self.cors_exposed_headers, true),
        ] {
            let names = names.as_deref().unwrap_or_default();
            wrong_headers(&format!("{key}.{field}"), names, read, mistakes);
        }
    }
}

impl RateLimit {
    /// The field that is wrong, what is wrong with it, and a remedy.
    fn mistake(&self, auth: Auth) -> Option<(&'static str, String, &'static str)> {
        let burst = self.burst.unwrap_or(self.requests);
        let number = "Give it a number, as in 10.";
        if self.by == By::User && auth == Auth::None {
            let problem = "is \"user\", and the route does not look who asks".to_owned();
            return Some((
                "by",
                problem,
                "Set by = \"address\", or auth of the route to \"required\".",
            ));
        }
        if self.requests == 0 {
            return Some(("requests", "is zero: nobody would be let through".to_owned(), number));
        }
        if burst == 0 {
            return Some(("burst", "is zero: nobody would be let through".to_owned(), number));
        }
        let step = self.per / self.requests;
        if step < Duration::from_micros(1) {
            let problem = format!("is {:?} for {} requests, too many to count", self.per, self.requests);
            return Some((
                "per",
                problem,
                "Allow a million a second or fewer, as in requests = 10, per = \"1s\".",
            ));
        }
        let recovery = step.checked_mul(burst);
        recovery.is_none_or(|recovery| recovery > LONGEST_RECOVERY).then(|| {
            let problem = format!("with {burst} at once it would take more than 30 days until all are allowed again");
            ("per", problem, "Make it shorter, or burst smaller.")
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::Stale;

    /// A sound configuration with these further members (JSON).
    pub(crate) fn config(extra: &str) -> Config {
        let text = format!(
            r#"
            {{"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "workers": 1, "client_id": "gateway",
              "client_secret": "s", "cors_origins": "http://localhost:3000", "cors_headers": "x-tenant",
              "cors_exposed_headers": [], "web_root": "", "access_log": "off", "trusted_proxies": "10.0.0.0/8,::1",
              "max_connections": 10, "max_event_streams": 5, "header_timeout": "5s", "keep_alive": "5s", "body_timeout": "5s",
              "connect_timeout": "1s", "idle_timeout": "4s",
              "upstreams": {{"identity": {{"targets": "http://127.0.0.1:1"}}, "token": {{"targets": ["http://127.0.0.1:2"]}},
                             "home": {{"targets": ["http://127.0.0.1:3", "http://127.0.0.1:4"]}}}}
              {extra}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn mistakes(config: &Config) -> Vec<String> {
        config.mistakes().iter().map(|mistake| mistake.place.clone()).collect()
    }

    #[test]
    fn a_sound_configuration_has_no_mistakes_and_routes_fail_closed() {
        let config = config(r#", "routes": [{"path": "/api/orders", "upstream": "home"}]"#);
        assert_eq!(mistakes(&config), Vec::<String>::new());
        assert_eq!(
            (config.routes[0].auth, config.routes[0].stale),
            (Auth::Required, Stale::Deny)
        );
    }

    #[test]
    fn streams_may_take_half_of_the_connections_of_all_workers_and_no_more() {
        let mut config = config("");
        for (workers, connections, most) in [(1, 10, 5), (1, 11, 5), (3, 10, 15), (2, usize::MAX, usize::MAX / 2)] {
            (config.workers, config.max_connections) = (workers, connections);
            config.max_event_streams = most;
            assert_eq!(mistakes(&config), Vec::<String>::new());
            config.max_event_streams = most + 1;
            let found = config.mistakes();
            assert_eq!(mistakes(&config), ["gateway.max_event_streams"]);
            assert!(
                found[0].remedy.contains(&format!(" {most} or less")),
                "{}",
                found[0].remedy
            );
        }
        config.workers = 0;
        config.max_connections = 10;
        config.max_event_streams = 5;
        assert_eq!(mistakes(&config), Vec::<String>::new(), "there is one core at least");
    }

    #[test]
    fn checks_have_defaults_and_need_a_path_and_times_and_numbers_that_are_not_zero() {
        let mut config = config("");
        let check = r#"{"targets": "http://127.0.0.1:1", "health": {"path": "/healthz"}}"#;
        config
            .upstreams
            .insert("good".to_owned(), serde_json::from_str(check).unwrap());
        assert_eq!(mistakes(&config), Vec::<String>::new());
        let health = config.upstreams["good"].health.as_ref().unwrap();
        assert_eq!(
            (health.interval, health.timeout),
            (Duration::from_secs(5), Duration::from_secs(2))
        );
        assert_eq!((health.healthy_after, health.unhealthy_after), (2, 3));
        let check = r#"{"targets": "http://127.0.0.1:1", "health": {"path": "healthz", "interval": "0s", "timeout": "0s",
                        "healthy_after": 0, "unhealthy_after": 0}}"#;
        config
            .upstreams
            .insert("wrong".to_owned(), serde_json::from_str(check).unwrap());
        let keys = ["path", "interval", "timeout", "healthy_after", "unhealthy_after"];
        assert_eq!(
            mistakes(&config),
            keys.map(|key| format!("gateway.upstreams.wrong.health.{key}"))
        );
    }

    #[test]
    fn every_mistake_is_named_with_its_key() {
        let mut config = config(
            r#", "routes": [
              {"path": "orders", "upstream": "home"},
              {"path": "/internal/feed", "upstream": "token"},
              {"path": "/a/../b/", "upstream": "nowhere", "methods": ["G ET"]},
              {"path": "/c", "upstream": "home", "auth": "none", "roles": ["staff"], "timeout": "0s", "body_timeout": "0s"},
              {"path": "/d", "upstream": "home", "host": "https://x"},
              {"path": "/e", "upstream": "home", "methods": "get,post"},
              {"path": "/e", "upstream": "home", "methods": ["POST", "GET"]},
              {"path": "/f", "upstream": "home", "cors_origins": ["http://a", "http://a/"],
               "cors_headers": ["x-a", "x a", "X_User_Id", "If-Match"], "cors_exposed_headers": "*,x-b,Set-Cookie",
               "request_headers": {"set": {"x-user-id": "7"}}, "response_headers": {"remove": ["connection"]}}]"#,
        );
        config.cors_origins = ["*", "http://localhost:3000/", "localhost", "http://x:80"]
            .map(str::to_owned)
            .to_vec();
        config.cors_headers = vec!["*".to_owned()];
        config.cors_exposed_headers = vec![String::new()];
        config.upstreams.remove("identity");
        config.upstreams.insert(
            "secure".to_owned(),
            Upstream::of(vec![Url::parse("https://x").unwrap()]),
        );
        config.upstreams.insert("none".to_owned(), Upstream::of(Vec::new()));
        config.idle_timeout = Duration::ZERO;
        assert_eq!(
            mistakes(&config),
            [
                "gateway.idle_timeout",
                "gateway.cors_origins[0]",
                "gateway.cors_origins[1]",
                "gateway.cors_origins[2]",
                "gateway.cors_origins[3]",
                "gateway.cors_headers[0]",
                "gateway.cors_exposed_headers[0]",
                "gateway.upstreams.none.targets",
                "gateway.upstreams.secure.targets[0]",
                "gateway.routes[0].path",
                "gateway.routes[1].path",
                "gateway.routes[2].path",
                "gateway.routes[2].methods",
                "gateway.routes[2].upstream",
                "gateway.routes[3].auth",
                "gateway.routes[3].timeout",
                "gateway.routes[3].body_timeout",
                "gateway.routes[4].host",
                "gateway.routes[6]",
                "gateway.routes[7].request_headers.set.x-user-id",
                "gateway.routes[7].response_headers.remove",
                "gateway.routes[7].cors_origins[1]",
                "gateway.routes[7].cors_headers[1]",
                "gateway.routes[7].cors_headers[2]",
                "gateway.routes[7].cors_exposed_headers[0]",
                "gateway.routes[7].cors_exposed_headers[2]",
                "gateway.upstreams.identity",
            ]
        );
    }
}
