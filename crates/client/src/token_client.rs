//! The calls that a service account makes to the token service.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::TokenServiceError;
use crate::http::Clients;
use crate::service_token::ServiceToken;
use crate::wire::{OpenSessionRequest, RevokeSubjectRequest, RevokeSubjectResponse, TokenPair};

/// How long a call to the token service may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long getting a service token may take; less, so that those who wait for it hear of a failure in their own time.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(3);

/// A service account's line to the token service. Clones share connections and the service token.
#[derive(Clone, Debug)]
pub struct TokenClient {
    http: Clients,
    base: Url,
    client_id: String,
    client_secret: SecretString,
    held: Arc<ServiceToken>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl TokenClient {
    /// A client of the token service at `base` (`http://127.0.0.1:8002`) that acts as the account `client_id`.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn new(base: Url, client_id: &str, client_secret: SecretString) -> anyhow::Result<Self> {
        Ok(Self {
            http: Clients::new(&base)?,
            base,
            client_id: client_id.to_owned(),
            client_secret,
            held: Arc::default(),
        })
    }

    /// Opens a session for a user who has just proved who they are.
    pub async fn open_session(&self, request: &OpenSessionRequest) -> Result<TokenPair, TokenServiceError> {
        self.call("internal/sessions", |http| http.json(request)).await
    }

    /// Ends every session of a user. Idempotent; returns once the revocation is durable and published.
    pub async fn revoke_subject(
        &self,
        request: &RevokeSubjectRequest,
    ) -> Result<RevokeSubjectResponse, TokenServiceError> {
        self.call("internal/revoke", |http| http.json(request)).await
    }

    /// The public keys, by the public endpoint.
    pub async fn jwks(&self) -> Result<JwkSet, TokenServiceError> {
        let http = &self.http.token_service;
        let request = http.get(self.url(".well-known/jwks.json")).timeout(TIMEOUT);
        read(check(send(request).await?).await?).await
    }

    /// Opens the feed, from `cursor` on.
    pub(crate) async fn feed(&self, cursor: Option<&str>) -> Result<Response, TokenServiceError> {
        let mut url = self.url("internal/feed");
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("after", cursor);
        }
        let request = |http: &Client| http.get(url.clone());
        let open = async { check(self.attempt(&self.http.token_service, request).await?).await };
        tokio::time::timeout(TIMEOUT, open)
            .await
            .map_err(|_| TokenServiceError::Unavailable("the feed did not begin in time".to_owned()))?
    }

    /// A token of this account, good for a while yet: to show to another service that asks for one
    /// ([`ServiceAccount`](crate::ServiceAccount)).
    ///
    /// It is got once and renewed before it expires, by one caller for all. [`TokenClient::send`] does the rest as well.
    pub async fn service_token(&self) -> Result<Arc<str>, TokenServiceError> {
        self.held.get(None, async || self.fetch_service_token().await).await
    }

    /// Sends a request to another service, with a token of this account. When that token is refused with 401 (the keys were
    /// replaced, say) it is sent once more with a new one. All of it takes 5 s at most; redirects are not followed.
    ///
    /// # Errors
    /// [`TokenServiceError::Unavailable`] also when it is the other service that does not answer. Any answer is one, whatever
    /// its status.
    pub async fn send(&self, request: impl Fn(&Client) -> RequestBuilder) -> Result<Response, TokenServiceError> {
        in_time(async { self.attempt(self.http.others().await?, request).await }).await
    }

    async fn attempt(
        &self,
        http: &Client,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Response, TokenServiceError> {
        let token = self.service_token().await?;
        let response = send(request(http).bearer_auth(&*token)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let fetch = async || self.fetch_service_token().await;
        let token = self.held.get(Some(&token), fetch).await?;
        send(request(http).bearer_auth(&*token)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        fill: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<T, TokenServiceError> {
        let request = |http: &Client| fill(http.post(self.url(path)).timeout(TIMEOUT));
        let response = in_time(self.attempt(&self.http.token_service, request)).await?;
        read(check(response).await?).await
    }

    async fn fetch_service_token(&self) -> Result<(Arc<str>, Duration), TokenServiceError> {
        let request = self
            .http
            .token_service
            .post(self.url("oauth/token"))
            .timeout(TOKEN_TIMEOUT)
            .basic_auth(&self.client_id, Some(self.client_secret.expose_secret()))
            .form(&[("grant_type", "client_credentials")]);
        let granted: Granted = read(check(send(request).await?).await?).await?;
        Ok((granted.access_token.into(), Duration::from_secs(granted.expires_in)))
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }
}

async fn in_time(
    answer: impl Future<Output = Result<Response, TokenServiceError>>,
) -> Result<Response, TokenServiceError> {
    tokio::time::timeout(TIMEOUT, answer)
        .await
        .map_err(|_| TokenServiceError::Unavailable("no answer in time".to_owned()))?
}

async fn send(request: RequestBuilder) -> Result<Response, TokenServiceError> {
    request
        .send()
        .await
        .map_err(|error| TokenServiceError::Unavailable(chain(&error)))
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, TokenServiceError> {
    response
        .json()
        .await
        .map_err(|error| TokenServiceError::Unavailable(chain(&error)))
}

/// reqwest says what failed only in the causes of its errors.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

async fn check(response: Response) -> Result<Response, TokenServiceError> {
    #[derive(Deserialize, Default)]
    struct Said {
        #[serde(default)]
        code: String,
        #[serde(default)]
        detail: String,
    }
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let said: Said = response.json().await.unwrap_or_default();
    let text = format!("{status} {} {}", said.code, said.detail);
    Err(match status {
        StatusCode::CONFLICT if said.code == "stale_epoch" => TokenServiceError::StaleEpoch,
        StatusCode::TOO_MANY_REQUESTS => TokenServiceError::Unavailable(text),
        status if status.is_server_error() => TokenServiceError::Unavailable(text),
        _ => TokenServiceError::Refused(text),
    })
}
