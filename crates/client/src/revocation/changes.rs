//! Which tokens there is something new to know about.

use std::sync::atomic::{AtomicU64, Ordering};

use super::id::Id;
use super::{Holder, Revocable};
use crate::wire::{Revocation, RevokedKind};

/// Into how many groups sessions fall. Their numbers stay in the caches of the processor.
const GROUPS: usize = 512;

/// How much was known of a token's group when it was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsOf(u64);

impl AsOf {
    /// Of a token that was not looked up yet.
    pub(crate) const NEVER: Self = Self(0);
}

/// Counts what becomes known of each group of sessions, so that a token that was found good need not be looked up again
/// before something does. A look-up among very many revocations costs memory that is in no cache.
#[derive(Debug)]
pub(crate) struct Changes([AtomicU64; GROUPS]);

impl Default for Changes {
    fn default() -> Self {
        Self([const { AtomicU64::new(1) }; GROUPS])
    }
}

impl Changes {
    /// How much is known now. To be asked before the token is looked up: what is added meanwhile then makes it another.
    pub(crate) fn now(&self, token: &Revocable) -> AsOf {
        let group = match token.holder {
            Holder::User { session: Some(id) } => group(&id),
            // These few are looked up again whenever that group changes.
            Holder::User { session: None } | Holder::Service { .. } => 0,
        };
        AsOf(self.0[group].load(Ordering::Acquire))
    }

    /// Notes that `revocation` can be found from now on.
    pub(crate) fn note(&self, revocation: &Revocation) {
        match revocation.kind {
            RevokedKind::Session => raise(&self.0[group(&Id::of(&revocation.id))]),
            // Which sessions these belong to is not known, and there are few.
            RevokedKind::Token | RevokedKind::Client => self.0.iter().for_each(raise),
        }
    }
}

fn raise(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Release);
}

/// The bytes of an id are random, or a hash.
fn group(id: &Id) -> usize {
    usize::from(u16::from_ne_bytes([id.0[0], id.0[1]])) % GROUPS
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
    fn whatever_can_concern_a_token_changes_what_is_known_of_it() {
        let ids: Vec<String> = (0..2000).map(|number| format!("session {number}")).collect();
        let tokens = ids.iter().map(|id| revocable(TokenType::Access, Some(id)));
        let others = [revocable(TokenType::Service, None), revocable(TokenType::Access, None)];
        let tokens: Vec<_> = tokens.chain(others).collect();
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
            assert!(concerned < 30, "few share its group, not {concerned}");
        }
        for kind in [RevokedKind::Token, RevokedKind::Client] {
            assert!(note(kind, "any").iter().all(|other| *other));
        }
    }
}
