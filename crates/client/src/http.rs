//! The HTTP clients of a service account.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Url};
use service_kit::blocking::BlockingPool;
use tokio::sync::OnceCell;

use crate::TokenServiceError;

/// One client for the token service and one for other services, the same where the token service speaks TLS.
///
/// The certificates that the system trusts are read only by a client that may need them: kept, they are a third of a megabyte,
/// which a service whose token service is beside it, without TLS, has no use for. Clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) token_service: Client,
    others: Arc<OnceCell<Client>>,
    threads: BlockingPool,
}

impl Clients {
    /// Clients of an account whose token service is at `base`.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub(crate) fn new(base: &Url) -> reqwest::Result<Self> {
        let (token_service, others) = if base.scheme() == "https" {
            let client = builder().build()?;
            (client.clone(), OnceCell::new_with(Some(client)))
        } else {
            // It follows no redirects, so TLS is never asked of it.
            (builder().tls_certs_only([]).build()?, OnceCell::new())
        };
        Ok(Self {
            token_service,
            others: Arc::new(others),
            threads: BlockingPool::new("trusted certificates", 1, 1024),
        })
    }

    /// The client for services that may be anywhere. It is made when it is first asked for.
    pub(crate) async fn others(&self) -> Result<&Client, TokenServiceError> {
        let make = async || {
            let made = self.threads.run(|| builder().build()).await;
            let made = made.map_err(|error| TokenServiceError::Unavailable(error.to_string()))?;
            made.map_err(|error| TokenServiceError::Unavailable(format!("TLS cannot be set up: {error}")))
        };
        self.others.get_or_try_init(make).await
    }
}

fn builder() -> ClientBuilder {
    Client::builder()
        .connect_timeout(Duration::from_secs(1))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn trusted_certificates_are_read_when_somebody_may_need_them_and_not_before() {
        let clients = Clients::new(&Url::parse("http://127.0.0.1:8002").unwrap()).unwrap();
        assert!(!clients.others.initialized());
        clients.others().await.unwrap();
        assert!(clients.clone().others.initialized(), "for every clone at once");

        let clients = Clients::new(&Url::parse("https://tokens.test").unwrap()).unwrap();
        assert!(clients.others.initialized(), "the token service needs them");
    }
}
