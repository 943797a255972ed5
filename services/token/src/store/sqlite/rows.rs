//! Rows, and how they become what the domain speaks of. A row that makes no sense is an error, never a panic.

use diesel::prelude::*;
use diesel::result::Error::DeserializationError;
use portcullis_client::wire::{Reason, Revocation, RevokedKind};

use super::schema::{clients, keys, revocations, sessions};
use crate::keys::{Algorithm, KeyState, StoredKey};
use crate::rotation::{Chain, Serial};
use crate::session::{Session, SessionId};
use crate::store::StoredClient;

fn nonsense(what: &str) -> diesel::result::Error {
    DeserializationError(format!("the token store holds a {what} that makes no sense").into())
}

/// Reads the id of a session.
pub(super) fn session_id(text: &str) -> QueryResult<SessionId> {
    text.parse().map_err(|_| nonsense("session id"))
}

#[derive(Insertable, AsChangeset, Queryable)]
#[diesel(table_name = sessions, treat_none_as_null = true)]
pub(super) struct SessionRow {
    id: String,
    subject: String,
    epoch: i64,
    roles: String,
    generation: i64,
    reissues: i32,
    replaced_reissues: Option<i32>,
    rotated_at: i64,
    issued_at: i64,
    created_at: i64,
    last_used_at: i64,
    idle_expires_at: i64,
    absolute_expires_at: i64,
    access_expires_at: i64,
    user_agent: Option<String>,
    ip: Option<String>,
    end_reason: Option<String>,
}

impl SessionRow {
    pub(super) fn new(session: &Session) -> Self {
        Self {
            id: session.id.to_string(),
            subject: session.subject.clone(),
            epoch: session.epoch,
            roles: serde_json::to_string(&session.roles).unwrap_or_default(),
            generation: session.chain.current.generation.into(),
            reissues: session.chain.current.reissues.into(),
            replaced_reissues: session.chain.replaced_reissues.map(Into::into),
            rotated_at: session.chain.rotated_at,
            issued_at: session.chain.issued_at,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            idle_expires_at: session.idle_expires_at,
            absolute_expires_at: session.absolute_expires_at,
            access_expires_at: session.access_expires_at,
            user_agent: session.user_agent.clone(),
            ip: session.ip.clone(),
            end_reason: session.ended.map(|reason| reason.as_str().to_owned()),
        }
    }

    pub(super) fn read(self) -> QueryResult<Session> {
        let wrong = || nonsense("session");
        let count = |reissues: i32| u8::try_from(reissues).map_err(|_| wrong());
        Ok(Session {
            id: self.id.parse().map_err(|_| wrong())?,
            subject: self.subject,
            epoch: self.epoch,
            roles: serde_json::from_str(&self.roles).map_err(|_| wrong())?,
            chain: Chain {
                current: Serial {
                    generation: u32::try_from(self.generation).map_err(|_| wrong())?,
                    reissues: count(self.reissues)?,
                },
                replaced_reissues: self.replaced_reissues.map(count).transpose()?,
                rotated_at: self.rotated_at,
                issued_at: self.issued_at,
            },
            created_at: self.created_at,
            last_used_at: self.last_used_at,
            idle_expires_at: self.idle_expires_at,
            absolute_expires_at: self.absolute_expires_at,
            access_expires_at: self.access_expires_at,
            user_agent: self.user_agent,
            ip: self.ip,
            ended: self
                .end_reason
                .map(|name| Reason::from_name(&name).ok_or_else(wrong))
                .transpose()?,
        })
    }
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = revocations)]
pub(super) struct RevocationRow {
    kind: String,
    id: String,
    reason: String,
    expires_at: i64,
}

impl RevocationRow {
    pub(super) fn new(revocation: &Revocation) -> Self {
        let kind = match revocation.kind {
            RevokedKind::Session => "session",
            RevokedKind::Token => "token",
            RevokedKind::Client => "client",
        };
        Self {
            kind: kind.to_owned(),
            id: revocation.id.clone(),
            reason: revocation.reason.as_str().to_owned(),
            expires_at: revocation.expires_at,
        }
    }

    pub(super) fn read(self) -> QueryResult<Revocation> {
        Ok(Revocation {
            kind: match self.kind.as_str() {
                "session" => RevokedKind::Session,
                "token" => RevokedKind::Token,
                "client" => RevokedKind::Client,
                _ => return Err(nonsense("revocation")),
            },
            id: self.id,
            reason: Reason::from_name(&self.reason).ok_or_else(|| nonsense("revocation"))?,
            expires_at: self.expires_at,
        })
    }
}

#[derive(Insertable, Queryable)]
#[diesel(table_name = keys)]
pub(super) struct KeyRow {
    kid: String,
    algorithm: String,
    state: String,
    since: i64,
    public_jwk: String,
    sealed: Vec<u8>,
}

impl KeyRow {
    pub(super) fn new(key: &StoredKey) -> Self {
        Self {
            kid: key.kid.clone(),
            algorithm: key.algorithm.as_str().to_owned(),
            state: key.state.as_str().to_owned(),
            since: key.since,
            public_jwk: key.public_jwk.clone(),
            sealed: key.sealed.clone(),
        }
    }

    pub(super) fn read(self) -> QueryResult<StoredKey> {
        let wrong = || nonsense("key");
        Ok(StoredKey {
            kid: self.kid,
            algorithm: Algorithm::from_name(&self.algorithm).ok_or_else(wrong)?,
            state: KeyState::from_name(&self.state).ok_or_else(wrong)?,
            since: self.since,
            public_jwk: self.public_jwk,
            sealed: self.sealed,
        })
    }
}

#[derive(Insertable, Queryable)]
#[diesel(table_name = clients)]
pub(super) struct ClientRow {
    id: String,
    secret_hash: String,
    scopes: String,
    created_at: i64,
}

impl ClientRow {
    pub(super) fn new(client: &StoredClient) -> Self {
        Self {
            id: client.id.clone(),
            secret_hash: client.secret_hash.clone(),
            scopes: client.scopes.join(" "),
            created_at: client.created_at,
        }
    }

    pub(super) fn read(self) -> StoredClient {
        StoredClient {
            id: self.id,
            secret_hash: self.secret_hash,
            scopes: self.scopes.split_ascii_whitespace().map(str::to_owned).collect(),
            created_at: self.created_at,
        }
    }
}
