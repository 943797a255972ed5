//! The exact set of what is revoked and might still be presented.

mod changes;
mod id;
mod sessions;
mod table;

use std::collections::{BTreeMap, HashMap};

pub(crate) use self::changes::{AsOf, Changes};
use self::id::Id;
use self::sessions::Sessions;

use crate::mark::Mark;
use crate::wire::{CLIENT_REVOCATION, Reason, Revocation, RevokedKind};
use crate::{Claims, TokenType};

/// How far the clock of whoever deleted a service account may be behind that of whoever issued its tokens.
const SKEW_MS: i64 = 5000;

/// How much of what has expired is forgotten in one step.
const STEP: usize = 10_000;

/// All that has to be known of a token to find out whether it is revoked. Short, and without anything elsewhere in memory:
/// it is kept for each of very many tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Revocable {
    token: Mark,
    holder: Holder,
}

/// Whom the token was issued to.
#[derive(Clone, Copy, Debug)]
enum Holder {
    User { session: Option<Id> },
    Service { client: Mark, issued_at: i64 },
}

impl Revocable {
    pub(crate) fn of(claims: &Claims) -> Self {
        Self {
            token: Mark::of(&claims.jti),
            holder: match claims.token_type {
                TokenType::Access => Holder::User {
                    session: claims.sid.as_deref().map(Id::of),
                },
                TokenType::Service => Holder::Service {
                    client: Mark::of(&claims.client_id),
                    issued_at: claims.iat,
                },
            },
        }
    }

    pub(crate) fn token_type(&self) -> TokenType {
        match self.holder {
            Holder::User { .. } => TokenType::Access,
            Holder::Service { .. } => TokenType::Service,
        }
    }
}

/// Revocations in memory: two look-ups answer for a token, however many there are.
#[derive(Debug, Default)]
pub struct Revocations {
    sessions: Sessions,
    tokens: HashMap<Mark, (Reason, i64)>,
    clients: HashMap<Mark, (Reason, i64)>,
    by_expiry: BTreeMap<i64, Vec<(Kind, Mark)>>,
}

/// Of what there are few.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Token,
    Client,
}

impl Revocations {
    fn of_kind(&mut self, kind: Kind) -> &mut HashMap<Mark, (Reason, i64)> {
        match kind {
            Kind::Token => &mut self.tokens,
            Kind::Client => &mut self.clients,
        }
    }

    /// Adds one. Adding it again changes nothing, except that it lives as long as the longer of the two.
    pub fn add(&mut self, revocation: &Revocation) {
        let Revocation {
            id, reason, expires_at, ..
        } = revocation;
        let kind = match revocation.kind {
            RevokedKind::Session => return self.sessions.add(Id::of(id), *reason, seconds(*expires_at)),
            RevokedKind::Token => Kind::Token,
            RevokedKind::Client => Kind::Client,
        };
        let (mark, entries) = (Mark::of(id), self.of_kind(kind));
        if entries.get(&mark).is_some_and(|(_, known)| known >= expires_at) {
            return;
        }
        entries.insert(mark, (*reason, *expires_at));
        self.by_expiry.entry(*expires_at).or_default().push((kind, mark));
    }

    /// Forgets what expired before `now_ms` (a session: up to a second later), but no more than does not take long. Gives
    /// whether there may be more.
    pub fn sweep(&mut self, now_ms: i64) -> bool {
        while let Some(entry) = self.by_expiry.first_entry().filter(|entry| *entry.key() < now_ms) {
            let (expired_at, marks) = entry.remove_entry();
            for (kind, mark) in marks {
                let entries = self.of_kind(kind);
                // A longer-lived entry may have taken the place of this one.
                if entries
                    .get(&mark)
                    .is_some_and(|(_, expires_at)| *expires_at == expired_at)
                {
                    entries.remove(&mark);
                }
            }
        }
        self.sessions.sweep(seconds(now_ms), STEP)
    }

    /// Why the token with these claims is revoked, if it is.
    #[must_use]
    pub fn find(&self, claims: &Claims) -> Option<Reason> {
        self.of(&Revocable::of(claims))
    }

    /// Why this token is revoked, if it is.
    pub(crate) fn of(&self, token: &Revocable) -> Option<Reason> {
        let of_holder = match token.holder {
            Holder::User { session } => session.and_then(|id| self.sessions.find(&id)),
            Holder::Service { client, issued_at } => self.of_client(client, issued_at),
        };
        of_holder.or_else(|| self.tokens.get(&token.token).map(|(reason, _)| *reason))
    }

    fn of_client(&self, client: Mark, issued_at: i64) -> Option<Reason> {
        let lasts = i64::try_from(CLIENT_REVOCATION.as_millis()).unwrap_or(i64::MAX);
        let (reason, expires_at) = self.clients.get(&client)?;
        let made_at = expires_at.saturating_sub(lasts);
        (issued_at.saturating_mul(1000) <= made_at.saturating_add(SKEW_MS)).then_some(*reason)
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

/// Milliseconds as seconds, rounded up: nothing is forgotten too early.
fn seconds(ms: i64) -> u32 {
    let whole = ms.div_euclid(1000) + i64::from(ms.rem_euclid(1000) > 0);
    u32::try_from(whole.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSIONS: [&str; 2] = ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"];

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
        let [one, other] = SESSIONS;
        for (a, b) in [("a", "b"), (one, other), (one, "b")] {
            let mut revocations = Revocations::default();
            revocations.add(&session(a, 10_000));
            revocations.add(&session(b, 10_000));
            revocations.add(&session(b, 20_000));
            revocations.add(&session(b, 5_000));
            revocations.sweep(10_000);
            assert_eq!(revocations.len(), 2);
            revocations.sweep(10_001);
            assert_eq!(revocations.len(), 1);
            revocations.sweep(20_001);
            assert!(revocations.is_empty() && revocations.by_expiry.is_empty());
        }
    }

    #[test]
    fn a_session_is_revoked_whatever_its_id_looks_like_and_no_other_is() {
        let [one, other] = SESSIONS;
        let ids = [one, other, "s1", "s2", ""];
        for revoked in ids {
            let mut revocations = Revocations::default();
            revocations.add(&session(revoked, 1_800_000_000_001));
            revocations.sweep(1_800_000_000_000);
            for id in ids {
                let found = revocations.sessions.find(&Id::of(id));
                assert_eq!(found.is_some(), id == revoked, "{revoked} {id}");
            }
        }
    }
}
