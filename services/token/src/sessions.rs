//! What can be done with sessions: open, refresh, log out, list and end one's own, end all of a subject's.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use portcullis_client::wire::{OpenSessionRequest, Reason, Revocation, RevokeSubjectRequest, RevokedKind, TokenPair};
use portcullis_client::{Claims, Verifier};
use service_kit::{Clock, Device};

use crate::account::Account;
use crate::config::OnReuse;
use crate::error::Error;
use crate::issuer::Issuer;
use crate::legacy::Legacy;
use crate::refresh_token::RefreshToken;
use crate::rotation::{Chain, Serial, Windows};
use crate::session::{Session, SessionId};
use crate::store::{Opening, Rotation, RotationTerms, Store};

/// Sessions, by the rules of the configuration.
pub struct Sessions {
    /// Where they are kept.
    pub store: Arc<dyn Store>,
    /// Who makes their tokens.
    pub issuer: Arc<Issuer>,
    /// Tells an access token shown in the place of a refresh token from garbage.
    pub verifier: Arc<Verifier>,
    /// How long a session lives unless it is refreshed.
    pub idle_ttl: Duration,
    /// How long it lives in any case.
    pub absolute_ttl: Duration,
    /// For how long superseded refresh tokens are answered.
    pub windows: Windows,
    /// What happens when one is shown later.
    pub on_reuse: OnReuse,
    /// Reads the refresh tokens of the system before, while they are exchanged.
    pub legacy: Option<Legacy>,
    /// Where time comes from.
    pub clock: Clock,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sessions")
            .field("windows", &self.windows)
            .finish_non_exhaustive()
    }
}

/// The session of a token of the system before.
enum Redeemed {
    /// It was opened just now.
    Now(Box<Session>),
    /// It had been opened before, and may have ended since.
    Before(SessionId),
}

/// The session that an access token belongs to.
fn session_of(bearer: &Claims) -> Option<SessionId> {
    bearer.sid.as_deref()?.parse().ok()
}

fn after(now: i64, ttl: Duration) -> i64 {
    now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX))
}

impl Sessions {
    /// Opens a session for somebody whom the identity service vouches for.
    pub async fn open(&self, request: OpenSessionRequest) -> Result<TokenPair, Error> {
        let session = self.session(request, Chain::opened);
        let pair = self.issuer.pair(&session)?;
        if self.store.open_session(session).await? {
            Ok(pair)
        } else {
            Err(Error::StaleEpoch)
        }
    }

    /// A session that begins now.
    fn session(&self, request: OpenSessionRequest, chain: impl Fn(i64) -> Chain) -> Session {
        let now = self.clock.now_ms();
        let absolute_expires_at = after(now, self.absolute_ttl);
        Session {
            id: SessionId::new(&request.subject),
            subject: request.subject,
            epoch: request.epoch,
            roles: request.roles,
            chain: chain(now),
            created_at: now,
            last_used_at: now,
            idle_expires_at: after(now, self.idle_ttl).min(absolute_expires_at),
            absolute_expires_at,
            access_expires_at: self.issuer.access_expiry(now),
            user_agent: request.user_agent,
            ip: request.ip,
            ended: None,
        }
    }

    /// Trades a refresh token for a fresh pair.
    pub async fn refresh(&self, presented: &str) -> Result<TokenPair, Error> {
        let Some(token) = RefreshToken::decode(presented, &self.issuer.secrets) else {
            return Err(self.not_a_refresh_token(presented).await);
        };
        self.show(token.session, token.serial).await
    }

    /// Trades a refresh token for a fresh pair, also one of the system before where such are exchanged: that one counts as
    /// the first of the session that it opens, and is shown again like any other.
    pub async fn refresh_or_exchange(&self, presented: &str, device: Device) -> Result<TokenPair, Error> {
        match self.redeem(presented, device).await? {
            None => self.refresh(presented).await,
            Some(Redeemed::Now(session)) => Ok(self.issuer.pair(&session)?),
            Some(Redeemed::Before(session)) => self.show(session, Chain::EXCHANGED).await,
        }
    }

    /// Opens the one session that a token of the system before is good for, or finds it. `None`: it is no such token.
    async fn redeem(&self, presented: &str, device: Device) -> Result<Option<Redeemed>, Error> {
        let Some(legacy) = &self.legacy else { return Ok(None) };
        let token = match legacy.read(presented, self.clock.now()) {
            Ok(token) => token,
            Err(Error::InvalidToken) => return Ok(None),
            Err(error) => return Err(error),
        };
        let user = legacy.user(&token, &self.issuer).await?.ok_or(Error::InvalidToken)?;
        let proof = token.proof(&user.subject);
        let request = OpenSessionRequest {
            subject: user.subject,
            epoch: user.epoch,
            roles: user.roles,
            user_agent: device.user_agent,
            ip: device.ip,
        };
        let session = self.session(request, Chain::exchanged);
        match self.store.open_session_once(session.clone(), proof).await? {
            Opening::Opened => {
                log::info!(user_id = session.subject.as_str(), session = session.id.to_string().as_str();
                    "a refresh token of the system before was exchanged for a session");
                metrics::counter!("legacy_exchanges_total").increment(1);
                Ok(Some(Redeemed::Now(Box::new(session))))
            }
            Opening::Before(session) => Ok(Some(Redeemed::Before(session))),
            // What ended the sessions of the account a moment ago ended this one too.
            Opening::StaleEpoch => Err(Error::InvalidToken),
        }
    }

    /// Shows a token of a session.
    async fn show(&self, session: SessionId, serial: Serial) -> Result<TokenPair, Error> {
        let now = self.clock.now_ms();
        let terms = RotationTerms {
            now,
            windows: self.windows,
            on_reuse: self.on_reuse,
            idle_expires_at: after(now, self.idle_ttl),
            access_expires_at: self.issuer.access_expiry(now),
        };
        match self.store.rotate(session, serial, terms).await? {
            Rotation::Granted(granted) => Ok(self.issuer.pair(&granted)?),
            Rotation::Reused { subject } => {
                log::warn!(user_id = subject.as_str(), session = session.to_string().as_str();
                    "a superseded refresh token was shown: the session is ended");
                metrics::counter!("refresh_reuse_total").increment(1);
                Err(Error::Reused)
            }
            Rotation::Denied => Err(Error::Superseded),
            Rotation::Ended(reason) => Err(Error::SessionEnded(reason)),
            Rotation::Expired => Err(Error::SessionExpired),
            Rotation::Unknown => Err(Error::InvalidToken),
        }
    }

    /// Ends the session that `refresh` belongs to. Any authentic token of a live session does, also a rotated one; it
    /// has to belong to `bearer`, where there is one.
    pub async fn log_out_by_refresh_token(&self, refresh: &str, bearer: Option<&Claims>) -> Result<(), Error> {
        const ENDED: Error = Error::CannotLogOut("The session has ended already.");
        let session = self.session_shown(refresh).await?;
        let shown = session.ok_or(Error::CannotLogOut("This is not a refresh token of ours."))?;
        if let Some(bearer) = bearer {
            let session = self.store.find_session(shown).await?.ok_or(ENDED)?;
            if session.subject != bearer.sub {
                return Err(Error::AnothersSession);
            }
        }
        let ended = self
            .store
            .end_session(shown, None, Reason::LoggedOut, self.clock.now_ms())
            .await?;
        if let Some(bearer) = bearer
            && ended
        {
            // Where the two are of two sessions, whoever shows both means both.
            self.log_out(bearer).await?;
        }
        if ended { Ok(()) } else { Err(ENDED) }
    }

    /// The session that a refresh token belongs to, good or not any more. One of the system before opens its session for
    /// that: whoever ends it then has spent the token.
    async fn session_shown(&self, refresh: &str) -> Result<Option<SessionId>, Error> {
        if let Some(token) = RefreshToken::decode(refresh, &self.issuer.secrets) {
            return Ok(Some(token.session));
        }
        match self.redeem(refresh, Device::default()).await {
            Ok(redeemed) => Ok(redeemed.map(|redeemed| match redeemed {
                Redeemed::Now(session) => session.id,
                Redeemed::Before(session) => session,
            })),
            // It opens nothing any more, so that there is nothing to end.
            Err(Error::InvalidToken | Error::WrongTokenType | Error::SessionExpired) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether this is a refresh token that we made, good or not any more.
    #[must_use]
    pub fn is_refresh_token(&self, text: &str) -> bool {
        RefreshToken::decode(text, &self.issuer.secrets).is_some()
    }

    /// Ends the session that a bearer token belongs to.
    pub async fn log_out(&self, bearer: &Claims) -> Result<(), Error> {
        let session = session_of(bearer).ok_or(Error::CannotLogOut("The token belongs to no session."))?;
        // One that has ended meanwhile is what was asked for.
        self.store
            .end_session(session, None, Reason::LoggedOut, self.clock.now_ms())
            .await?;
        Ok(())
    }

    /// Ends the session of a refresh token that a browser kept, and that of `bearer`, whichever there are; both have to
    /// belong to one user. Where nothing is left to end, that is what was asked for.
    pub async fn sign_out(&self, refresh: Option<&str>, bearer: Option<&Claims>) -> Result<(), Error> {
        if let Some(refresh) = refresh {
            match self.log_out_by_refresh_token(refresh, bearer).await {
                Err(Error::CannotLogOut(_)) => {}
                outcome => return outcome,
            }
        }
        match bearer {
            Some(bearer) => self.log_out(bearer).await,
            None => Ok(()),
        }
    }

    /// The live sessions of `bearer`'s user, last used first.
    pub async fn list(&self, bearer: &Claims) -> Result<Vec<Session>, Error> {
        let mut sessions = self.store.list_sessions(&bearer.sub, self.clock.now_ms()).await?;
        sessions.sort_by_cached_key(|session| {
            (
                Reverse(session.last_used_at),
                Reverse(session.created_at),
                session.id.to_string(),
            )
        });
        Ok(sessions)
    }

    /// Ends a live session of `bearer`'s user.
    pub async fn end_own(&self, bearer: &Claims, id: &str) -> Result<(), Error> {
        let id = id.parse().map_err(|_| Error::NoSuchSession)?;
        let now = self.clock.now_ms();
        let ended = self
            .store
            .end_session(id, Some(&bearer.sub), Reason::LoggedOut, now)
            .await?;
        if ended { Ok(()) } else { Err(Error::NoSuchSession) }
    }

    /// Ends all sessions of `bearer`'s user but `bearer`'s own. One that has been ended cannot end the others any more.
    pub async fn end_others(&self, bearer: &Claims) -> Result<(), Error> {
        let own = session_of(bearer).ok_or(Error::InvalidToken)?;
        let now = self.clock.now_ms();
        let ended = self.store.end_others(&bearer.sub, own, Reason::LoggedOut, now).await?;
        ended.map(drop).ok_or(Error::InvalidToken)
    }

    /// Ends every session of a subject that is older than its new epoch, but the one that is excepted. Gives how many.
    pub async fn end_subject(&self, request: &RevokeSubjectRequest) -> Result<u64, Error> {
        // What is no session id is no session that could go on. Everything else has to end all the same.
        let except = request.except.as_deref().and_then(|sid| sid.parse().ok());
        let now = self.clock.now_ms();
        Ok(self
            .store
            .end_subject(&request.subject, request.epoch, except, request.reason, now)
            .await?)
    }

    /// Revokes a service token, which has to be `account`'s own.
    pub async fn revoke_token_of(&self, account: &Account, token: &Claims) -> Result<(), Error> {
        if token.client_id != account.id {
            return Err(Error::AnothersToken);
        }
        let revocation = Revocation {
            kind: RevokedKind::Token,
            id: token.jti.clone(),
            reason: Reason::LoggedOut,
            expires_at: token.exp.saturating_add(60).saturating_mul(1000),
        };
        Ok(self.store.revoke(revocation).await?)
    }

    async fn not_a_refresh_token(&self, presented: &str) -> Error {
        match self.verifier.user(presented).await {
            Ok(_) => Error::WrongTokenType,
            Err(_) => Error::InvalidToken,
        }
    }
}
