//! Refresh tokens of the system before, djangorestframework-simplejwt: for a while, each is exchanged for a session.
//!
//! The key of that system opens this one door. Nothing else knows it: it verifies no access token, here or at the gateway,
//! and what it verifies here is only ever exchanged.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use portcullis_client::wire::{LegacyUser, LegacyUserRequest, LegacyUserResponse, scope};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use service_kit::config::Mistake;
use url::Url;

use crate::error::Error;
use crate::issuer::Issuer;
use crate::secret::{MIN_SECRET_LENGTH, fingerprint};
use crate::store::Proof;

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;
/// How long asking the identity service may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The account that the identity service is asked as. It has no secret: the service signs its token itself.
const ACCOUNT: &str = "token";

/// The section `[token.legacy]`; `defaults.toml` says what each key means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml documents every key")]
pub struct LegacyConfig {
    #[serde(default)]
    pub secret: SecretString,
    pub until: Timestamp,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    #[serde(default = "user_claim")]
    pub user_claim: String,
    #[serde(default = "identity_url")]
    pub identity_url: String,
    /// Where the identity service turned out to listen, in a process that starts it too: this counts then.
    #[serde(skip)]
    pub identity: Arc<OnceLock<Url>>,
}

fn user_claim() -> String {
    "user_id".to_owned()
}

fn identity_url() -> String {
    "http://127.0.0.1:8001".to_owned()
}

/// The URL, if it is one that can be called.
fn callable(url: &str) -> Option<Url> {
    url.parse()
        .ok()
        .filter(|url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

impl LegacyConfig {
    pub(crate) fn mistakes(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        let mut check = |wrong: bool, key: &str, problem: &str, remedy: &str| {
            if wrong {
                found.push(Mistake::in_key(&format!("token.legacy.{key}"), problem, remedy));
            }
        };
        check(
            self.secret.expose_secret().len() < MIN_SECRET_LENGTH,
            "secret",
            "is missing or shorter than 32 characters",
            "Name a file with SIMPLE_JWT's SIGNING_KEY (by default Django's SECRET_KEY) in \
             PORTCULLIS_TOKEN__LEGACY__SECRET_FILE. A shorter key can be guessed: leave this section out then, and let \
             everybody log in again.",
        );
        check(
            self.user_claim.is_empty(),
            "user_claim",
            "is empty",
            "Name SIMPLE_JWT's USER_ID_CLAIM, by default user_id.",
        );
        check(
            callable(&self.identity_url).is_none(),
            "identity_url",
            "is no http: or https: URL",
            "Name where this service reaches the identity service, as http://identity:8001.",
        );
        found
    }
}

/// A refresh token of the system before that is good, as far as it can say itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyToken {
    /// Its user, as that system knew them.
    pub user_id: String,
    /// Its id.
    jti: String,
    /// When it expires, in milliseconds since the epoch.
    expires_at: i64,
}

impl LegacyToken {
    /// What it proves, and to whom: good for one session of `subject`.
    pub(crate) fn proof(&self, subject: &str) -> Proof {
        Proof {
            id: fingerprint(&format!("{subject}\0{}", self.jti)),
            expires_at: self.expires_at,
        }
    }
}

/// Reads those tokens, and knows whom to ask whose they are.
pub struct Legacy {
    key: DecodingKey,
    config: LegacyConfig,
    leeway: i64,
    identity_url: Url,
    http: reqwest::Client,
}

impl std::fmt::Debug for Legacy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Legacy").finish_non_exhaustive()
    }
}

impl Legacy {
    /// By the rules of `config`; clocks may differ by `leeway`.
    ///
    /// # Errors
    /// When the URL of the identity service is none, or TLS cannot be set up on this machine.
    pub fn new(config: LegacyConfig, leeway: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            key: DecodingKey::from_secret(config.secret.expose_secret().as_bytes()),
            leeway: i64::try_from(leeway.as_secs()).unwrap_or(0),
            identity_url: callable(&config.identity_url).context("token.legacy.identity_url is no URL")?,
            http: reqwest::Client::builder()
                .connect_timeout(Duration::from_secs(1))
                .timeout(TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()
                .context("while setting up the client of the identity service")?,
            config,
        })
    }

    /// The token, if it is a refresh token of that system and good at `now`. Costs one hash, whatever is shown.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] for anything that was not signed there, and for everything once the time has passed;
    /// [`Error::WrongTokenType`] and [`Error::SessionExpired`] for what was.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<LegacyToken, Error> {
        if token.len() > LONGEST || now >= self.config.until {
            return Err(Error::InvalidToken);
        }
        // Only the signature is left to the library: it would compare times with another clock.
        let mut rules = Validation::new(Algorithm::HS256);
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        rules.validate_aud = false;
        let read = jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &rules);
        let claims = read.map_err(|_| Error::InvalidToken)?.claims;
        self.check(&claims, now.as_second())
    }

    fn check(&self, claims: &Map<String, Value>, now: i64) -> Result<LegacyToken, Error> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if text("token_type") != Some("refresh") {
            return Err(Error::WrongTokenType);
        }
        let expected = |name: &str, wanted: &Option<String>| match (wanted, claims.get(name)) {
            (None, _) => true,
            (Some(wanted), Some(Value::String(found))) => found == wanted,
            (Some(wanted), Some(Value::Array(found))) => found.iter().any(|one| one == wanted),
            (Some(_), _) => false,
        };
        let begun = |name: &str| match claims.get(name) {
            None => true,
            Some(at) => at.as_i64().is_some_and(|at| at <= now.saturating_add(self.leeway)),
        };
        let exp = claims.get("exp").and_then(Value::as_i64).ok_or(Error::InvalidToken)?;
        if !expected("iss", &self.config.issuer)
            || !expected("aud", &self.config.audience)
            || !begun("nbf")
            || !begun("iat")
        {
            return Err(Error::InvalidToken);
        }
        if exp <= now {
            return Err(Error::SessionExpired);
        }
        let user_id = match claims.get(&self.config.user_claim) {
            Some(Value::Number(id)) if id.is_i64() || id.is_u64() => id.to_string(),
            _ => text(&self.config.user_claim).ok_or(Error::InvalidToken)?.to_owned(),
        };
        Ok(LegacyToken {
            user_id,
            jti: text("jti").ok_or(Error::InvalidToken)?.to_owned(),
            expires_at: exp.saturating_mul(1000),
        })
    }

    /// Whose the token is, if anybody's who may still use it.
    ///
    /// # Errors
    /// [`Error::IdentityUnavailable`] when the identity service does not say.
    pub async fn user(&self, token: &LegacyToken, issuer: &Issuer) -> Result<Option<LegacyUser>, Error> {
        let service_token = issuer.service_token(ACCOUNT, &[scope::LEGACY.to_owned()])?;
        let asked = self.ask(&token.user_id, &service_token).await;
        Ok(asked.map_err(Error::IdentityUnavailable)?.user)
    }

    async fn ask(&self, user_id: &str, service_token: &str) -> anyhow::Result<LegacyUserResponse> {
        let mut url = self.config.identity.get().unwrap_or(&self.identity_url).clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/internal/legacy-user"));
        let request = LegacyUserRequest {
            user_id: user_id.to_owned(),
        };
        let response = self
            .http
            .post(url)
            .bearer_auth(service_token)
            .json(&request)
            .send()
            .await?;
        if !response.status().is_success() {
            bail!("it answered {}", response.status());
        }
        Ok(response.json().await?)
    }
}

#[cfg(test)]
mod tests;
