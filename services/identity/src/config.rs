//! The section `[identity]` of `portcullis.toml`.

use std::fmt;
use std::net::SocketAddr;

use secrecy::SecretString;
use service_kit::config::Mistake;

use crate::store::{BadUrl, Database};

/// How the identity service runs. Defaults stand in `defaults.toml` only.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the service listens.
    pub listen: SocketAddr,
    /// Where `/healthz`, `/readyz` and `/metrics` are.
    pub admin_listen: SocketAddr,
    /// Worker threads; 0: chosen by the number of cores.
    pub workers: usize,
    /// The service account it calls the token service with.
    pub client_id: String,
    /// That account's secret.
    pub client_secret: SecretString,
    /// `sqlite:///absolute/path/identity.db` or `postgres://user:password@host/name`.
    pub database_url: String,
    /// The most connections to the database.
    pub database_pool: usize,
    /// bcrypt's cost; each step doubles the time a login takes.
    pub bcrypt_cost: u32,
    /// Passwords hashed at once; 0: one core is left free of it.
    pub hashing_threads: usize,
    /// Logins and registrations that may wait for a hashing thread; the next is answered 503.
    pub hashing_queue: usize,
}

impl Config {
    /// What cannot work, key by key. The service account's secret is not looked at: whoever reads the configuration may
    /// still have to make it.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut found = |key: &str, problem: &str, remedy: &str| {
            mistakes.push(Mistake::in_key(&format!("identity.{key}"), problem, remedy));
        };
        if let Err(BadUrl { problem, remedy }) = Database::parse(&self.database_url) {
            found("database_url", problem, remedy);
        }
        if !(4..=31).contains(&self.bcrypt_cost) {
            found(
                "bcrypt_cost",
                "is outside of 4 to 31",
                "12 is a good cost; each step doubles the time.",
            );
        }
        if self.database_pool == 0 || u32::try_from(self.database_pool).is_err() {
            found(
                "database_pool",
                "allows no connection, or too many",
                "8 is plenty for most.",
            );
        }
        if self.client_id.is_empty() {
            found(
                "client_id",
                "is empty",
                "Name the service account that may open and end sessions.",
            );
        }
        mistakes
    }
}

/// The database's URL may hold a password, so it is left out.
impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("listen", &self.listen)
            .field("admin_listen", &self.admin_listen)
            .field("workers", &self.workers)
            .field("client_id", &self.client_id)
            .field("database_pool", &self.database_pool)
            .field("bcrypt_cost", &self.bcrypt_cost)
            .field("hashing_threads", &self.hashing_threads)
            .field("hashing_queue", &self.hashing_queue)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            listen: ([127, 0, 0, 1], 8001).into(),
            admin_listen: ([127, 0, 0, 1], 9001).into(),
            workers: 0,
            client_id: "identity".to_owned(),
            client_secret: SecretString::from("hidden"),
            database_url: "postgres://identity:hidden@localhost/identity".to_owned(),
            database_pool: 8,
            bcrypt_cost: 12,
            hashing_threads: 0,
            hashing_queue: 32,
        }
    }

    #[test]
    fn a_configuration_shown_for_debugging_shows_no_secret() {
        assert!(!format!("{:?}", config()).contains("hidden"));
    }

    #[test]
    fn every_mistake_names_its_key() {
        assert!(config().mistakes().is_empty());
        let wrong = Config {
            database_url: "mysql://identity:hidden@localhost".to_owned(),
            bcrypt_cost: 3,
            database_pool: 0,
            client_id: String::new(),
            ..config()
        };
        let mistakes = wrong.mistakes();
        let places: Vec<_> = mistakes.iter().map(|mistake| mistake.place.as_str()).collect();
        let keys = ["database_url", "bcrypt_cost", "database_pool", "client_id"];
        assert_eq!(places, keys.map(|key| format!("identity.{key}")));
        assert!(mistakes.iter().all(|mistake| !mistake.to_string().contains("hidden")));
    }
}
