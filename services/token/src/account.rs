//! Service accounts: who may call the internal endpoints, and how they show who they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use aws_lc_rs::constant_time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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

    /// The scopes to grant when `asked` for (RFC 6749 section 3.3): all of them when nothing is asked.
    pub fn grant(self, asked: Option<&str>) -> Result<Vec<String>, Error> {
        let Some(asked) = asked else { return Ok(self.scopes) };
        let asked: Vec<String> = asked.split_ascii_whitespace().map(str::to_owned).collect();
        match asked.iter().find(|scope| !self.scopes.contains(scope)) {
            Some(scope) => Err(Error::InvalidScope(scope.clone())),
            None => Ok(asked),
        }
    }
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

    /// The account of that id, if `secret` is its secret.
    pub async fn authenticate(&self, id: &str, secret: &str) -> Result<Account, Error> {
        let (secret_hash, scopes) = match self.declared.get(id) {
            Some(declared) => declared.clone(),
            None => match self.store.find_client(id).await? {
                Some(client) => (client.secret_hash, client.scopes),
                None => return Err(Error::InvalidClient),
            },
        };
        constant_time::verify_slices_are_equal(secret_hash.as_bytes(), fingerprint(secret).as_bytes())
            .map_err(|_| Error::InvalidClient)?;
        Ok(Account {
            id: id.to_owned(),
            scopes,
        })
    }
}

/// The id and secret in a Basic `Authorization` header (RFC 6749 section 2.3.1), if there is one.
#[must_use]
pub fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
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
