//! Making tokens: what they say, how long they live, who signs.

use std::sync::Arc;
use std::time::Duration;

use portcullis_client::wire::{FIRST_PARTY_CLIENT, TokenPair};
use portcullis_client::{Claims, TokenType};
use service_kit::{Clock, random};

use crate::keys::KeyRing;
use crate::refresh_token::RefreshToken;
use crate::secret::RootSecrets;
use crate::session::Session;

/// Issues access tokens and the refresh tokens that go with them.
#[derive(Debug)]
pub struct Issuer {
    /// The keys that sign.
    pub ring: Arc<KeyRing>,
    /// What refresh tokens are tagged under.
    pub secrets: Arc<RootSecrets>,
    /// The `iss` claim.
    pub issuer: String,
    /// The `aud` claim.
    pub audience: String,
    /// How long access tokens live.
    pub access_ttl: Duration,
    /// Where time comes from.
    pub clock: Clock,
}

impl Issuer {
    /// When an access token that is made now expires, in milliseconds since the epoch.
    #[must_use]
    pub fn access_expiry(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(i64::try_from(self.access_ttl.as_millis()).unwrap_or(i64::MAX))
    }

    /// A fresh access token of `session`, and its current refresh token.
    pub fn pair(&self, session: &Session) -> anyhow::Result<TokenPair> {
        let refresh = RefreshToken {
            session: session.id,
            serial: session.chain.current,
        };
        let claims = self.claims(TokenType::Access, &session.subject, FIRST_PARTY_CLIENT);
        let claims = Claims {
            // Nothing outlives its session.
            exp: claims.exp.min(session.absolute_expires_at / 1000),
            sid: Some(session.id.to_string()),
            roles: session.roles.clone(),
            user_id: Some(session.subject.clone()),
            ..claims
        };
        let expires_at = session.idle_expires_at.min(session.absolute_expires_at);
        Ok(TokenPair {
            access: self.ring.sign(&claims)?,
            refresh: refresh.encode(&self.secrets),
            refresh_expires_in: u64::try_from((expires_at - self.clock.now_ms()) / 1000).unwrap_or(0),
        })
    }

    /// An access token for a service account that may do `scopes`.
    pub fn service_token(&self, client_id: &str, scopes: &[String]) -> anyhow::Result<String> {
        self.ring.sign(&Claims {
            scope: scopes.join(" "),
            ..self.claims(TokenType::Service, client_id, client_id)
        })
    }

    fn claims(&self, token_type: TokenType, subject: &str, client_id: &str) -> Claims {
        let now = self.clock.now().as_second();
        Claims {
            token_type,
            iss: self.issuer.clone(),
            sub: subject.to_owned(),
            aud: self.audience.clone(),
            client_id: client_id.to_owned(),
            iat: now,
            exp: now.saturating_add(i64::try_from(self.access_ttl.as_secs()).unwrap_or(i64::MAX)),
            nbf: None,
            jti: random::hex(&random::bytes::<16>()),
            sid: None,
            scope: String::new(),
            roles: Vec::new(),
            user_id: None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Claims as a user's token has them.
    pub(crate) fn claims() -> Claims {
        Claims {
            token_type: TokenType::Access,
            iss: "http://localhost".to_owned(),
            sub: "u1".to_owned(),
            aud: "portcullis".to_owned(),
            client_id: FIRST_PARTY_CLIENT.to_owned(),
            iat: 1,
            exp: 2,
            nbf: None,
            jti: "j1".to_owned(),
            sid: Some("s1".to_owned()),
            scope: String::new(),
            roles: vec!["superuser".to_owned()],
            user_id: Some("u1".to_owned()),
        }
    }
}
