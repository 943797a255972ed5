//! Replacing what a running gateway goes by.

use std::sync::Arc;

use arc_swap::ArcSwap;
use service_kit::config::Mistake;

use crate::config::Config;
use crate::serve::Gateway;
use crate::state::State;
use crate::tls::{Certificate, Readable};

/// The keys of `[gateway]`, with all that is below them, which a reload replaces. The others need a restart.
const RELOADED: [&str; 9] = [
    "body_timeout",
    "connect_timeout",
    "cors_origins",
    "cors_headers",
    "cors_exposed_headers",
    "trusted_proxies",
    "idle_timeout",
    "routes",
    "upstreams",
];

/// Whether a reload makes a change of `key` (dotted, as in `gateway.routes`) count.
#[must_use]
pub fn is_reloaded(key: &str) -> bool {
    let Some(key) = key.strip_prefix("gateway.") else {
        return false;
    };
    // Whether there is TLS at all is said once, where a listener is opened.
    matches!(key, "tls.certificate" | "tls.key") || key.split('.').next().is_some_and(|name| RELOADED.contains(&name))
}

/// Replaces the configuration of a running gateway, as far as [`is_reloaded`] says.
#[derive(Clone)]
pub struct Reloader {
    state: Arc<ArcSwap<State>>,
    certificate: Option<Arc<Certificate>>,
}

impl Reloader {
    pub(crate) fn of(gateway: &Gateway, certificate: Option<Arc<Certificate>>) -> Self {
        Self {
            state: Arc::clone(&gateway.state),
            certificate,
        }
    }

    /// Makes `config` count for every request that begins from now on. Those that have begun end as they began, and
    /// upstreams that are described as before keep their connections. The certificate is read again, and shown in the
    /// handshakes to come.
    ///
    /// # Errors
    /// Everything that is wrong with `config`; nothing has changed then.
    pub fn reload(&self, config: &Config) -> Result<(), Vec<Mistake>> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let state = State::new(config, Some(&self.state.load())).map_err(|error| {
            let remedy = "Look at the targets of gateway.upstreams.";
            vec![Mistake::in_key("gateway", format_args!("{error:#}"), remedy)]
        })?;
        if let (Some(certificate), Some(tls)) = (&self.certificate, &config.tls) {
            let read = Readable::read(tls).map_err(|mistake| vec![mistake])?;
            certificate.replace(read, tls);
        }
        let state = Arc::new(state);
        self.state.swap(Arc::clone(&state)).retire(&state);
        Ok(())
    }
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Reloader")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_reloaded() {
        for key in [
            "gateway.routes",
            "gateway.upstreams.home.targets",
            "gateway.cors_origins",
            "gateway.tls.key",
        ] {
            assert!(is_reloaded(key), "{key}");
        }
        for key in [
            "gateway.listen",
            "gateway.tls",
            "gateway",
            "gateway.routes_of_others",
            "token.routes",
            "routes",
        ] {
            assert!(!is_reloaded(key), "{key}");
        }
    }
}
