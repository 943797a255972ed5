//! Service accounts: who may call the internal endpoints, and how they show who they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::constant_time;
use portcullis_client::wire::CLIENT_REVOCATION;
use secrecy::ExposeSecret;
use service_kit::{Clock, random};

use crate::config::ClientConfig;
use crate::error::Error;
use crate::secret::fingerprint;
use crate::store::{Store, StoreError, StoredClient};

/// A service account that has shown who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: String,
    /// Everything it may do.
    pub scopes: Vec<String>,
}

impl Account {
    /// Whether `scope` is among what it may do.
    #[must_use]
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.iter().any(|held| held == scope)
    }

    /// The scopes to grant when `asked` for: all of them when nothing is asked.
    pub fn grant(self, asked: Option<&str>) -> Result<Vec<String>, Error> {
        narrowed(asked, self.scopes)
    }
}

/// Which of the scopes that are `held` to grant when `asked` for (RFC 6749 sections 3.3 and 6): all when nothing is asked,
/// and never more than are held.
pub fn narrowed(asked: Option<&str>, held: Vec<String>) -> Result<Vec<String>, Error> {
    let Some(asked) = asked else { return Ok(held) };
    let mut granted = Vec::new();
    for scope in asked.split_ascii_whitespace() {
        if !held.iter().any(|held| held == scope) {
            return Err(Error::InvalidScope(scope.to_owned()));
        }
        if !granted.iter().any(|granted| granted == scope) {
            granted.push(scope.to_owned());
        }
    }
    Ok(granted)
}

/// Every service account: those the configuration declares, and those an operator created.
pub struct Accounts {
    declared: BTreeMap<String, (String, Vec<String>)>,
    store: Arc<dyn Store>,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.declared.keys()).finish()
    }
}

impl Accounts {
    /// The accounts in `declared` and those in `store`.
    #[must_use]
    pub fn new(declared: &BTreeMap<String, ClientConfig>, store: Arc<dyn Store>) -> Self {
        let declared = declared.iter().map(|(id, client)| {
            let secret_hash = fingerprint(client.secret.expose_secret());
            (id.clone(), (secret_hash, client.scopes.clone()))
        });
        Self {
            declared: declared.collect(),
            store,
        }
    }

    /// The hash of the secret of the account of that id, and its scopes.
    async fn find(&self, id: &str) -> Result<Option<(String, Vec<String>)>, Error> {
        if let Some(declared) = self.declared.get(id) {
            return Ok(Some(declared.clone()));
        }
        let created = self.store.find_client(id).await?;
        Ok(created.map(|client| (client.secret_hash, client.scopes)))
    }

    /// Whether there is an account of that id, which then has a secret to show.
    pub async fn exists(&self, id: &str) -> Result<bool, Error> {
        Ok(self.find(id).await?.is_some())
    }

    /// The account of that id, if `secret` is its secret.
    pub async fn authenticate(&self, id: &str, secret: &str) -> Result<Account, Error> {
        let (secret_hash, scopes) = self.find(id).await?.ok_or(Error::InvalidClient)?;
        constant_time::verify_slices_are_equal(secret_hash.as_bytes(), fingerprint(secret).as_bytes())
            .map_err(|_| Error::InvalidClient)?;
        Ok(Account {
            id: id.to_owned(),
            scopes,
        })
    }
}

/// Creates a service account and gives its secret, which is kept nowhere. `None`: there is one of that id.
pub async fn create(
    store: &dyn Store,
    id: &str,
    scopes: Vec<String>,
    clock: &Clock,
) -> Result<Option<String>, StoreError> {
    let secret = random::hex(&random::bytes::<32>());
    let client = StoredClient {
        id: id.to_owned(),
        secret_hash: fingerprint(&secret),
        scopes,
        created_at: clock.now_ms(),
    };
    Ok(store.create_client(client).await?.then_some(secret))
}

/// Removes a service account; its tokens are refused from now on. `false`: there is none of that id.
pub async fn delete(store: &dyn Store, id: &str, clock: &Clock) -> Result<bool, StoreError> {
    let lasts = i64::try_from(CLIENT_REVOCATION.as_millis()).unwrap_or(i64::MAX);
    store.delete_client(id, clock.now_ms().saturating_add(lasts)).await
}
