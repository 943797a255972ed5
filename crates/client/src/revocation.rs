//! The exact set of what is revoked and might still be presented.

use std::collections::{BTreeMap, HashMap};

use crate::wire::{CLIENT_REVOCATION, Reason, Revocation, RevokedKind};
use crate::{Claims, TokenType};

/// How far the clock of whoever deleted a service account may be behind that of whoever issued its tokens.
const SKEW_MS: i64 = 5000;

/// Revocations in memory: three look-ups answer for a token, however many there are.
#[derive(Debug, Default)]
pub struct Revocations {
    sessions: HashMap<Box<str>, (Reason, i64)>,
    tokens: HashMap<Box<str>, (Reason, i64)>,
    clients: HashMap<Box<str>, (Reason, i64)>,
    by_expiry: BTreeMap<i64, Vec<(RevokedKind, Box<str>)>>,
}

impl Revocations {
    fn of_kind(&mut self, kind: RevokedKind) -> &mut HashMap<Box<str>, (Reason, i64)> {
        match kind {
            RevokedKind::Session => &mut self.sessions,
            RevokedKind::Token => &mut self.tokens,
            RevokedKind::Client => &mut self.clients,
        }
    }

    /// Adds one. Adding it again changes nothing, except that it lives as long as the longer of the two.
    pub fn add(&mut self, revocation: &Revocation) {
        let id: Box<str> = revocation.id.as_str().into();
        let entries = self.of_kind(revocation.kind);
        if entries
            .get(&id)
            .is_some_and(|(_, expires_at)| *expires_at >= revocation.expires_at)
        {
            return;
        }
        entries.insert(id.clone(), (revocation.reason, revocation.expires_at));
        self.by_expiry
            .entry(revocation.expires_at)
            .or_default()
            .push((revocation.kind, id));
    }

    /// Forgets what expired before `now_ms`.
    pub fn sweep(&mut self, now_ms: i64) {
        while let Some(entry) = self.by_expiry.first_entry().filter(|entry| *entry.key() < now_ms) {
            let (expired_at, ids) = entry.remove_entry();
            for (kind, id) in ids {
                let entries = self.of_kind(kind);
                // A longer-lived entry may have taken the place of this one.
                if entries
                    .get(&id)
                    .is_some_and(|(_, expires_at)| *expires_at == expired_at)
                {
                    entries.remove(&id);
                }
            }
        }
    }

    /// Why the token with these claims is revoked, if it is.
    #[must_use]
    pub fn find(&self, claims: &Claims) -> Option<Reason> {
        let session = claims.sid.as_deref().and_then(|sid| self.sessions.get(sid));
        let found = session
            .or_else(|| self.tokens.get(claims.jti.as_str()))
            .or_else(|| self.of_client(claims));
        found.map(|(reason, _)| *reason)
    }

    fn of_client(&self, claims: &Claims) -> Option<&(Reason, i64)> {
        if claims.token_type != TokenType::Service {
            return None;
        }
        let lasts = i64::try_from(CLIENT_REVOCATION.as_millis()).unwrap_or(i64::MAX);
        let revocation = self.clients.get(claims.client_id.as_str())?;
        let made_at = revocation.1.saturating_sub(lasts);
        (claims.iat.saturating_mul(1000) <= made_at.saturating_add(SKEW_MS)).then_some(revocation)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len() + self.tokens.len() + self.clients.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, expires_at: i64) -> Revocation {
        Revocation {
            kind: RevokedKind::Session,
            id: id.to_owned(),
            reason: Reason::LoggedOut,
            expires_at,
        }
    }

    #[test]
    fn a_service_account_is_revoked_as_it_was_and_users_are_none() {
        let made_at = 1_800_000_000_000;
        let mut revocations = Revocations::default();
        revocations.add(&Revocation {
            kind: RevokedKind::Client,
            id: "billing".to_owned(),
            reason: Reason::Administrator,
            expires_at: made_at + i64::try_from(CLIENT_REVOCATION.as_millis()).unwrap(),
        });
        let token = |token_type, issued_at_ms: i64| Claims {
            token_type,
            iss: String::new(),
            sub: "billing".to_owned(),
            aud: String::new(),
            client_id: "billing".to_owned(),
            iat: issued_at_ms / 1000,
            exp: 0,
            nbf: None,
            jti: String::new(),
            sid: None,
            scope: String::new(),
            roles: Vec::new(),
            user_id: None,
        };
        assert!(revocations.find(&token(TokenType::Service, made_at - 1000)).is_some());
        assert!(revocations.find(&token(TokenType::Service, made_at + 6000)).is_none());
        assert!(revocations.find(&token(TokenType::Access, made_at - 1000)).is_none());
    }

    #[test]
    fn an_entry_is_forgotten_when_it_expires_and_not_before() {
        let mut revocations = Revocations::default();
        revocations.add(&session("a", 10));
        revocations.add(&session("b", 10));
        revocations.add(&session("b", 20));
        revocations.add(&session("b", 5));
        revocations.sweep(10);
        assert_eq!(revocations.len(), 2);
        revocations.sweep(11);
        assert_eq!(revocations.len(), 1);
        revocations.sweep(21);
        assert!(revocations.is_empty() && revocations.by_expiry.is_empty());
    }
}
