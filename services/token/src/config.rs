//! The `[token]` section of the configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use portcullis_client::VerifierConfig;
use portcullis_client::wire::LONGEST_TOKEN;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use service_kit::config::{Mistake, word};
use service_kit::sqlite;
use url::Url;

use crate::keys::Algorithm;
use crate::legacy::LegacyConfig;
use crate::secret::MIN_SECRET_LENGTH;
use crate::store;

/// The longest life an access token may be given; what lives longer is refused by every verifier, and a key is kept for
/// verifying this much longer than it signs.
pub const LONGEST_ACCESS_TTL: Duration = LONGEST_TOKEN;

/// What happens when a superseded refresh token is shown outside its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnReuse {
    /// The session ends.
    Revoke,
    /// The token is refused and the session lives on.
    Deny,
}

/// A service account that the configuration itself declares.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Its secret, at least 32 characters.
    pub secret: SecretString,
    /// What it may do.
    #[serde(deserialize_with = "service_kit::config::list")]
    pub scopes: Vec<String>,
}

/// The `[token]` section; `defaults.toml` says what each key means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml documents every key")]
pub struct Config {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub workers: usize,
    pub url: Url,
    pub store_url: String,
    #[serde(with = "humantime_serde")]
    pub store_timeout: Duration,
    pub root_secret: SecretString,
    #[serde(default, deserialize_with = "secrets")]
    pub previous_root_secrets: Vec<SecretString>,
    pub issuer: String,
    pub audience: String,
    #[serde(deserialize_with = "word")]
    pub algorithm: Algorithm,
    #[serde(with = "humantime_serde")]
    pub access_ttl: Duration,
    #[serde(with = "humantime_serde")]
    pub refresh_idle_ttl: Duration,
    #[serde(with = "humantime_serde")]
    pub refresh_absolute_ttl: Duration,
    #[serde(with = "humantime_serde")]
    pub replay_window: Duration,
    #[serde(with = "humantime_serde")]
    pub recovery_window: Duration,
    #[serde(deserialize_with = "word")]
    pub on_reuse: OnReuse,
    #[serde(with = "humantime_serde")]
    pub key_rotation: Duration,
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    #[serde(with = "humantime_serde")]
    pub max_staleness: Duration,
    pub verified_tokens: usize,
    #[serde(default)]
    pub clients: BTreeMap<String, ClientConfig>,
    pub legacy: Option<LegacyConfig>,
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretString>, D::Error> {
    Ok(service_kit::config::list(deserializer)?
        .into_iter()
        .map(SecretString::from)
        .collect())
}

impl Config {
    /// What every verifier of this deployment insists on.
    #[must_use]
    pub fn verifier(&self) -> VerifierConfig {
        VerifierConfig {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            leeway: self.leeway,
            max_staleness: self.max_staleness,
            cache_size: self.verified_tokens,
        }
    }

    /// Every mistake that can be seen without touching a store.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        let mut check = |wrong: bool, key: &str, problem: &str, remedy: &str| {
            if wrong {
                found.push(Mistake::in_key(key, problem, remedy));
            }
        };
        check(
            self.access_ttl < Duration::from_secs(1) || self.access_ttl > LONGEST_ACCESS_TTL,
            "token.access_ttl",
            "is not between 1s and 1h",
            "Choose a few minutes: clients refresh by themselves.",
        );
        check(
            self.refresh_idle_ttl < self.access_ttl || self.refresh_absolute_ttl < self.refresh_idle_ttl,
            "token.refresh_idle_ttl",
            "access_ttl, refresh_idle_ttl and refresh_absolute_ttl do not grow in this order",
            "Make each at least as long as the one before.",
        );
        check(
            self.recovery_window < self.replay_window && !self.recovery_window.is_zero(),
            "token.recovery_window",
            "is shorter than token.replay_window",
            "Make it longer, or 0s to switch recovery off.",
        );
        check(
            self.leeway > Duration::from_mins(1),
            "token.leeway",
            "is more than 60s",
            "Keep clocks in step with NTP and leave the leeway at 5s.",
        );
        check(
            self.issuer.is_empty(),
            "token.issuer",
            "is empty",
            "Name the public URL of the gateway.",
        );
        check(
            self.audience.is_empty(),
            "token.audience",
            "is empty",
            "Name whom tokens are meant for, as \"portcullis\".",
        );
        check(
            self.verified_tokens == 0,
            "token.verified_tokens",
            "is 0",
            "Leave room for some thousand tokens.",
        );
        check(
            self.store_timeout < Duration::from_millis(10) || self.store_timeout > Duration::from_mins(1),
            "token.store_timeout",
            "is not between 10ms and 1m",
            "Leave it at 1s: whoever waits longer has gone away.",
        );
        if sqlite::path(&self.store_url).is_none()
            && let Some((problem, remedy)) = store::redis::mistake(&self.store_url)
        {
            found.push(Mistake::in_key("token.store_url", problem, remedy));
        }
        let clients = self
            .clients
            .iter()
            .map(|(id, client)| (format!("token.clients.{id}.secret"), &client.secret));
        let previous = self
            .previous_root_secrets
            .iter()
            .map(|secret| ("token.previous_root_secrets".to_owned(), secret));
        let root = std::iter::once(("token.root_secret".to_owned(), &self.root_secret));
        if let Some(legacy) = &self.legacy {
            found.extend(legacy.mistakes());
            let known = root.clone().chain(previous.clone()).chain(clients.clone());
            for (key, secret) in known {
                if secret.expose_secret() == legacy.secret.expose_secret() && !secret.expose_secret().is_empty() {
                    found.push(Mistake::in_key(
                        "token.legacy.secret",
                        format!("is the same as {key}"),
                        "Give the system before's own key here, and another secret there.",
                    ));
                }
            }
        }
        for (key, secret) in root.chain(previous).chain(clients) {
            let problem = match secret.expose_secret().len() {
                0 => "is missing",
                1..MIN_SECRET_LENGTH => "is shorter than 32 characters",
                _ => continue,
            };
            let variable = key.to_uppercase().replace('.', "__");
            found.push(Mistake::in_key(
                &key,
                problem,
                format!(
                    "Put a random one in a file (openssl rand -base64 32) and name it in PORTCULLIS_{variable}_FILE."
                ),
            ));
        }
        found
    }
}
