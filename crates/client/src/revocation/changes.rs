//! Which tokens there is something new to know about.

use std::sync::atomic::{AtomicU64, Ordering};

use super::id::Id;
use super::{Holder, Revocable};
use crate::wire::{Revocation, RevokedKind};

/// Into how many groups sessions fall: so many that one of many logouts a second hardly ever concerns a given token, and so few
/// that their numbers stay in the caches of a processor.
const GROUPS: usize = 4096;

/// How much was known of a token's group, and of single tokens, when it was looked up: the sum of both counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsOf(u64);

impl AsOf {
    /// Of a token that was not looked up yet.
    pub(crate) const NEVER: Self = Self(0);
}

/// Counts what becomes known of each group of sessions, of service accounts, and of single tokens, so that a token that was
/// found good need not be looked up again before something does. A look-up among very many revocations costs memory that is
/// in no cache.
#[derive(Debug)]
pub(crate) struct Changes {
    sessions: Box<[AtomicU64]>,
    clients: AtomicU64,
    /// Of whom these are is not known. There are few.
    tokens: AtomicU64,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            sessions: (0..GROUPS).map(|_| AtomicU64::new(1)).collect(),
            clients: AtomicU64::new(1),
            tokens: AtomicU64::new(0),
        }
    }
}

impl Changes {
    /// How much is known now. To be asked before the token is looked up: what is added meanwhile then makes it another.
    pub(crate) fn now(&self, token: &Revocable) -> AsOf {
        let of_holder = match token.holder {
            Holder::User { session: Some(id) } => self.of(&id),
            Holder::User { session: None } | Holder::Service { .. } => &self.clients,
        };
        // Neither ever becomes less: as long as the sum is the same, so are both.
        AsOf(of_holder.load(Ordering::Acquire) + self.tokens.load(Ordering::Acquire))
    }

    /// Notes that `revocation` can be found from now on.
    pub(crate) fn note(&self, revocation: &Revocation) {
        let count = match revocation.kind {
            RevokedKind::Session => self.of(&Id::of(&revocation.id)),
            RevokedKind::Client => &self.clients,
            RevokedKind::Token => &self.tokens,
        };
        count.fetch_add(1, Ordering::Release);
    }

    /// The count of the group of a session. The bytes of its id are random, or a hash.
    fn of(&self, id: &Id) -> &AtomicU64 {
        let [first, second, ..] = id.0;
        &self.sessions[usize::from(u16::from_ne_bytes([first, second])) % GROUPS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Reason;
    use crate::{Claims, TokenType};

    fn revocable(token_type: TokenType, session: Option<&str>) -> Revocable {
        Revocable::of(&Claims {
            token_type,
            iss: String::new(),
            sub: String::new(),
            aud: String::new(),
            client_id: "client".to_owned(),
            iat: 0,
            exp: 0,
            nbf: None,
            jti: "token".to_owned(),
            sid: session.map(str::to_owned),
            scope: String::new(),
            roles: Vec::new(),
            user_id: None,
        })
    }

    #[test]
    fn whatever_can_concern_a_token_changes_what_is_known_of_it_and_hardly_anything_else_does() {
        let ids: Vec<String> = (0..2000).map(|number| format!("session {number}")).collect();
        let tokens = ids.iter().map(|id| revocable(TokenType::Access, Some(id)));
        let tokens: Vec<_> = tokens.chain([revocable(TokenType::Service, None)]).collect();
        let changes = Changes::default();
        let note = |kind, id: &str| {
            let before: Vec<_> = tokens.iter().map(|token| changes.now(token)).collect();
            changes.note(&Revocation {
                kind,
                id: id.to_owned(),
                reason: Reason::LoggedOut,
                expires_at: 0,
            });
            let now = tokens.iter().map(|token| changes.now(token));
            now.zip(before).map(|(now, before)| now != before).collect::<Vec<_>>()
        };
        for (number, id) in ids.iter().enumerate() {
            let other = note(RevokedKind::Session, id);
            assert!(other[number], "{id}");
            let concerned = other.iter().filter(|other| **other).count();
            assert!(concerned < 20, "few share its group, not {concerned}");
        }
        assert!(note(RevokedKind::Token, "any").iter().all(|other| *other));
        let other = note(RevokedKind::Client, "any");
        let (users, services) = other.split_at(ids.len());
        assert!(services[0] && !users.contains(&true));
    }
}
