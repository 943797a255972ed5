//! What a route says about headers: those that it sets, and those that it takes out.

use std::collections::BTreeMap;

use actix_web::http::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use service_kit::config::list;

use crate::headers::{is_hop_by_hop, is_ours};
use crate::http1::Fields;
use crate::upstream::HeadWriter;

/// `request_headers` or `response_headers` of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderRules {
    /// Names and values, taken literally; each takes the place of every header of that name.
    pub set: BTreeMap<String, String>,
    /// The names of headers that go no further.
    #[serde(deserialize_with = "list")]
    pub remove: Vec<String>,
}

/// Where the headers are going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toward {
    Upstream,
    Client,
}

impl HeaderRules {
    /// What is wrong with them: the key below their own, the problem, and a remedy.
    pub(crate) fn mistakes(&self, toward: Toward) -> Vec<(String, String, &'static str)> {
        let mut found = Vec::new();
        let names = self.set.keys().map(|name| (format!("set.{name}"), name));
        let names = names.chain(self.remove.iter().map(|name| ("remove".to_owned(), name)));
        for (key, name) in names {
            let is_set = key != "remove";
            let problem = match name.parse::<HeaderName>() {
                Err(_) => format!("{name:?} is not the name of a header"),
                Ok(plain) if is_taken(plain.as_str(), toward, is_set) => {
                    format!("{name:?} is for the gateway alone to say")
                }
                Ok(_) => continue,
            };
            found.push((key, problem, "Remove it, or choose another name."));
        }
        for (name, value) in &self.set {
            if !value.is_ascii() || HeaderValue::from_str(value).is_err() {
                found.push((
                    format!("set.{name}"),
                    format!("{value:?} cannot be the value of a header"),
                    "Write visible ASCII characters and spaces, in one line.",
                ));
            }
        }
        found
    }
}

/// Whether the gateway keeps a header of this name (in lower case) to itself.
fn is_taken(name: &str, toward: Toward, is_set: bool) -> bool {
    match toward {
        Toward::Upstream => is_ours(name.as_bytes()),
        Toward::Client => {
            is_hop_by_hop(name.as_bytes())
                || name.starts_with("access-control-")
                || matches!(name, "content-length" | "date" | "x-request-id")
                // One value for everybody is no cookie: it would make them all the same.
                || (is_set && name == "set-cookie")
        }
    }
}

/// Rules, compiled.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Compiled {
    set: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl Compiled {
    /// Compiles `rules`, which have no mistakes. Of names that differ in their case only, the last one counts.
    pub(crate) fn of(rules: &HeaderRules) -> Self {
        let mut compiled = Self {
            set: Vec::new(),
            remove: rules.remove.iter().filter_map(|name| name.parse().ok()).collect(),
        };
        for (name, value) in &rules.set {
            if let (Ok(name), Ok(value)) = (name.parse(), value.parse()) {
                compiled.set.retain(|(known, _)| *known != name);
                compiled.set.push((name, value));
            }
        }
        compiled
    }

    /// Whether a header that a client sent is replaced or removed. Readers that turn names into variables cannot tell
    /// `X_Tenant` from `X-Tenant`, so that every character that is neither letter nor digit counts as a dash.
    pub(crate) fn withhold(&self, name: &[u8]) -> bool {
        let names = self.set.iter().map(|(name, _)| name).chain(&self.remove);
        let plain = |b: &u8| {
            if b.is_ascii_alphanumeric() {
                b.to_ascii_lowercase()
            } else {
                b'-'
            }
        };
        let mut names = names.map(|name| name.as_str().as_bytes());
        names.any(|known| known.len() == name.len() && known.iter().map(plain).eq(name.iter().map(plain)))
    }

    /// What they set, except what is withheld for another reason.
    pub(crate) fn write(&self, head: &mut HeadWriter<'_>, withheld: impl Fn(&[u8]) -> bool) {
        for (name, value) in &self.set {
            if !withheld(name.as_str().as_bytes()) {
                head.field(name.as_str(), value);
            }
        }
    }

    /// The route's word on the `fields` of its upstream's answer.
    pub(crate) fn apply(&self, fields: &mut Fields) {
        for name in &self.remove {
            fields.remove(name.as_str());
        }
        for (name, value) in &self.set {
            fields.set(name.as_str(), value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(set: &[(&str, &str)], remove: &[&str]) -> HeaderRules {
        HeaderRules {
            set: set
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            remove: remove.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_for_the_gateway_to_say_cannot_be_set_or_removed() {
        for name in [
            "X-User-Id",
            "x_user_roles",
            "X-Scope",
            "X-Session-Id",
            "x-request-id",
            "X-Forwarded-For",
            "forwarded",
            "host",
            "Connection",
            "transfer-encoding",
            "content-length",
            "te",
            "upgrade",
            "not a name",
            "",
        ] {
            assert_eq!(
                rules(&[(name, "v")], &[]).mistakes(Toward::Upstream).len(),
                1,
                "set {name}"
            );
            assert_eq!(rules(&[], &[name]).mistakes(Toward::Upstream).len(), 1, "remove {name}");
        }
        for name in [
            "connection",
            "Keep-Alive",
            "content-length",
            "Access-Control-Allow-Origin",
            "x-request-id",
            "trailer",
        ] {
            assert_eq!(
                rules(&[(name, "v")], &[]).mistakes(Toward::Client).len(),
                1,
                "set {name}"
            );
            assert_eq!(rules(&[], &[name]).mistakes(Toward::Client).len(), 1, "remove {name}");
        }
        assert_eq!(rules(&[("set-cookie", "a=b")], &[]).mistakes(Toward::Client).len(), 1);
        for value in ["a\nb", "\u{0}", "é"] {
            let found = rules(&[("x-a", value)], &[]).mistakes(Toward::Client);
            assert_eq!(found.len(), 1, "{value:?}");
            assert_eq!(found[0].0, "set.x-a");
        }
    }

    #[test]
    fn everything_else_can() {
        for name in ["authorization", "X-Tenant", "cookie", "user-agent", "traceparent"] {
            assert!(
                rules(&[(name, "v")], &[name]).mistakes(Toward::Upstream).is_empty(),
                "{name}"
            );
        }
        for name in [
            "server",
            "X-Frame-Options",
            "cache-control",
            "strict-transport-security",
            "content-security-policy",
        ] {
            assert!(
                rules(&[(name, "v w")], &[name]).mistakes(Toward::Client).is_empty(),
                "{name}"
            );
        }
        assert!(rules(&[], &["set-cookie"]).mistakes(Toward::Client).is_empty());
    }

    #[test]
    fn a_header_that_is_set_twice_is_sent_once() {
        let mut bytes = Vec::new();
        let rules = Compiled::of(&rules(&[("X-A", "1"), ("x-a", "2"), ("x-b", "3")], &[]));
        rules.write(&mut HeadWriter::new(&mut bytes), |_| false);
        assert_eq!(bytes, b"x-a: 2\r\nx-b: 3\r\n");
    }

    #[test]
    fn a_client_cannot_pass_a_name_off_as_another() {
        let rules = Compiled::of(&rules(&[("X-Tenant", "a")], &["x-debug"]));
        for name in ["x-tenant", "x_tenant", "x.tenant", "x-debug", "X_DEBUG"] {
            assert!(rules.withhold(name.as_bytes()), "{name}");
        }
        for name in ["x-tenants", "xtenant", "x-debu"] {
            assert!(!rules.withhold(name.as_bytes()), "{name}");
        }
    }
}
