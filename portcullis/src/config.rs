//! The whole configuration: every role's section, and what the data directory fills in.

use std::path::Path;

use portcullis_client::{FollowerConfig, wire::scope};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use service_kit::config::{Layers, Mistake, load, overrides};

use crate::data::DataDirectory;
use crate::role::Role;

/// The reference: every key with its meaning and default.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// `portcullis.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml documents every section")]
pub struct Config {
    pub gateway: portcullis_gateway::Config,
    pub identity: portcullis_identity::Config,
    pub token: portcullis_token::Config,
    pub home: portcullis_home::Config,
}

/// Whether secrets that are missing are made or reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// `up` makes them in the data directory.
    Make,
    /// A role that is started alone has to be given the ones that the other roles have.
    Leave,
}

impl Config {
    /// Reads the defaults, `file` and the environment, and fills in what the data directory has.
    pub fn read(file: Option<&Path>, data: &DataDirectory, missing: Missing) -> anyhow::Result<Self> {
        Ok(Self::read_layers(file, data, missing)?.0)
    }

    /// The same, and the layers that it was read from.
    pub fn read_layers(file: Option<&Path>, data: &DataDirectory, missing: Missing) -> anyhow::Result<(Self, Layers)> {
        let layers = Layers::join(DEFAULTS, file, overrides())?;
        let mut config: Self = layers.read()?;
        config.fill(data, missing)?;
        Ok((config, layers))
    }

    /// The defaults alone, for `data`: what tests begin with.
    pub fn embedded(data: &DataDirectory) -> anyhow::Result<Self> {
        let mut config: Self = load(DEFAULTS, None, [])?;
        config.fill(data, Missing::Make)?;
        Ok(config)
    }

    fn fill(&mut self, data: &DataDirectory, missing: Missing) -> anyhow::Result<()> {
        if missing == Missing::Make {
            data.create()?;
        }
        if self.identity.database_url.is_empty() {
            self.identity.database_url = data.sqlite_url("identity.db");
        }
        if self.token.store_url.is_empty() {
            self.token.store_url = data.sqlite_url("token.db");
        }
        let fill = |secret: &mut SecretString, name: &str| {
            if !secret.expose_secret().is_empty() {
                return anyhow::Ok(());
            }
            let found = match missing {
                Missing::Make => Some(data.secret(name)?),
                Missing::Leave => data.find_secret(name)?,
            };
            *secret = found.unwrap_or_default().into();
            Ok(())
        };
        fill(&mut self.token.root_secret, "root")?;
        fill(&mut self.gateway.client_secret, "gateway")?;
        fill(&mut self.identity.client_secret, "identity")?;
        fill(&mut self.home.client_secret, "home")?;
        let accounts: [(&str, &SecretString, &[&str]); 3] = [
            (&self.gateway.client_id, &self.gateway.client_secret, &[scope::FEED]),
            (
                &self.identity.client_id,
                &self.identity.client_secret,
                &[scope::ISSUE, scope::REVOKE, scope::FEED],
            ),
            (&self.home.client_id, &self.home.client_secret, &[scope::FEED]),
        ];
        for (id, secret, scopes) in accounts {
            if !secret.expose_secret().is_empty() {
                let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
                let declared = portcullis_token::ClientConfig {
                    secret: secret.clone(),
                    scopes,
                };
                self.token.clients.entry(id.to_owned()).or_insert(declared);
            }
        }
        Ok(())
    }

    /// Every mistake that would keep `roles` from working, with its key and remedy.
    #[must_use]
    pub fn mistakes(&self, roles: &[Role]) -> Vec<Mistake> {
        let mut found = Vec::new();
        let account = |secret: &SecretString, role: Role| {
            secret.expose_secret().is_empty().then(|| {
                Mistake::in_key(
                    &format!("{role}.client_secret"),
                    "is missing",
                    format!(
                        "Give the secret of the service account in PORTCULLIS_{}__CLIENT_SECRET_FILE, the same as in \
                         token.clients, or let `portcullis up` make one in the data directory.",
                        role.to_string().to_uppercase()
                    ),
                )
            })
        };
        for role in roles {
            match role {
                Role::Gateway => {
                    found.extend(self.gateway.mistakes());
                    found.extend(account(&self.gateway.client_secret, Role::Gateway));
                }
                Role::Identity => {
                    found.extend(self.identity.mistakes());
                    found.extend(account(&self.identity.client_secret, Role::Identity));
                }
                Role::Token => found.extend(self.token.mistakes()),
                Role::Home => found.extend(account(&self.home.client_secret, Role::Home)),
            }
        }
        found
    }

    /// How the role with this service account follows the token service.
    #[must_use]
    pub fn follower(&self, client_id: &str, client_secret: &SecretString) -> FollowerConfig {
        FollowerConfig {
            token_url: self.token.url.clone(),
            client_id: client_id.to_owned(),
            client_secret: client_secret.clone(),
            verifier: self.token.verifier(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedded() -> (tempfile::TempDir, Config) {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::embedded(&DataDirectory::new(directory.path().join("data"))).unwrap();
        (directory, config)
    }

    #[test]
    fn no_file_at_all_is_a_valid_configuration() {
        let (_directory, config) = embedded();
        let mistakes = config.mistakes(&Role::ALL);
        assert!(mistakes.is_empty(), "{mistakes:?}");
    }

    #[test]
    fn the_defaults_are_valid_on_a_single_core_too() {
        let (_directory, mut config) = embedded();
        config.gateway.workers = 1;
        let mistakes = config.mistakes(&Role::ALL);
        assert!(mistakes.is_empty(), "{mistakes:?}");
    }

    #[test]
    fn secrets_are_private_and_the_same_the_next_time() {
        use std::os::unix::fs::PermissionsExt;
        let (directory, config) = embedded();
        let data = directory.path().join("data");
        let again = Config::embedded(&DataDirectory::new(data.clone())).unwrap();
        assert_eq!(
            config.token.root_secret.expose_secret(),
            again.token.root_secret.expose_secret()
        );
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&data.join("secrets"))), (0o700, 0o700));
        for name in ["root", "gateway", "identity", "home"] {
            assert_eq!(mode(&data.join("secrets").join(name)), 0o600);
        }
    }

    #[test]
    fn a_role_without_its_secrets_is_told_which() {
        let directory = tempfile::tempdir().unwrap();
        let mut config: Config = load(DEFAULTS, None, []).unwrap();
        config
            .fill(&DataDirectory::new(directory.path().join("nothing")), Missing::Leave)
            .unwrap();
        let mistakes: Vec<_> = config
            .mistakes(&Role::ALL)
            .into_iter()
            .map(|mistake| mistake.place)
            .collect();
        assert_eq!(
            mistakes,
            [
                "gateway.client_secret",
                "identity.client_secret",
                "token.root_secret",
                "home.client_secret"
            ]
        );
    }

    #[test]
    fn secrets_do_not_show_when_the_configuration_is_printed() {
        let (_directory, config) = embedded();
        let secret = config.token.root_secret.expose_secret().to_owned();
        assert!(!format!("{config:?}").contains(&secret));
    }
}
