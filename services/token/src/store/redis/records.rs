//! How what the domain speaks of is written in Redis, and read again. What makes no sense is an error, never a panic.

use std::collections::HashMap;

use anyhow::anyhow;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_client::wire::{Reason, Revocation, RevokedKind};
use serde::{Deserialize, Serialize};

use crate::keys::{Algorithm, KeyState, StoredKey};
use crate::rotation::{Chain, Serial};
use crate::session::{Session, SessionId};
use crate::store::StoredClient;

fn nonsense(what: &str) -> anyhow::Error {
    anyhow!("the token store holds a {what} that makes no sense")
}

/// The fields of a session's hash; the scripts know the names of those that change.
pub(super) fn session_fields(session: &Session) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("subject", session.subject.clone()),
        ("epoch", session.epoch.to_string()),
        ("roles", serde_json::to_string(&session.roles).unwrap_or_default()),
        ("generation", session.chain.current.generation.to_string()),
        ("reissues", session.chain.current.reissues.to_string()),
        ("rotated_at", session.chain.rotated_at.to_string()),
        ("issued_at", session.chain.issued_at.to_string()),
        ("created_at", session.created_at.to_string()),
        ("last_used_at", session.last_used_at.to_string()),
        ("idle_expires_at", session.idle_expires_at.to_string()),
        ("absolute_expires_at", session.absolute_expires_at.to_string()),
        ("access_expires_at", session.access_expires_at.to_string()),
    ];
    let optional = [
        (
            "replaced_reissues",
            session.chain.replaced_reissues.map(|count| count.to_string()),
        ),
        ("user_agent", session.user_agent.clone()),
        ("ip", session.ip.clone()),
        ("ended", session.ended.map(|reason| reason.as_str().to_owned())),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    fields
}

/// The session that a hash holds.
pub(super) fn session(id: SessionId, fields: &HashMap<String, String>) -> anyhow::Result<Session> {
    fn number<T: std::str::FromStr>(fields: &HashMap<String, String>, name: &str) -> anyhow::Result<T> {
        let text = fields.get(name).ok_or_else(|| nonsense("session"))?;
        text.parse().map_err(|_| nonsense("session"))
    }
    let optional = |name: &str| fields.get(name).cloned();
    Ok(Session {
        id,
        subject: optional("subject").ok_or_else(|| nonsense("session"))?,
        epoch: number(fields, "epoch")?,
        roles: serde_json::from_str(fields.get("roles").map_or("", String::as_str)).map_err(|_| nonsense("session"))?,
        chain: Chain {
            current: Serial {
                generation: number(fields, "generation")?,
                reissues: number(fields, "reissues")?,
            },
            replaced_reissues: fields
                .contains_key("replaced_reissues")
                .then(|| number(fields, "replaced_reissues"))
                .transpose()?,
            rotated_at: number(fields, "rotated_at")?,
            issued_at: number(fields, "issued_at")?,
        },
        created_at: number(fields, "created_at")?,
        last_used_at: number(fields, "last_used_at")?,
        idle_expires_at: number(fields, "idle_expires_at")?,
        absolute_expires_at: number(fields, "absolute_expires_at")?,
        access_expires_at: number(fields, "access_expires_at")?,
        user_agent: optional("user_agent"),
        ip: optional("ip"),
        ended: optional("ended").map(|name| reason(&name)).transpose()?,
    })
}

/// The reason of that name.
pub(super) fn reason(name: &str) -> anyhow::Result<Reason> {
    Reason::from_name(name).ok_or_else(|| nonsense("reason"))
}

/// The name of a kind of revocation.
pub(super) fn kind(kind: RevokedKind) -> &'static str {
    match kind {
        RevokedKind::Session => "session",
        RevokedKind::Token => "token",
        RevokedKind::Client => "client",
    }
}

/// An entry of the feed: kind, id, reason, expiry.
pub(super) type Entry = (String, String, String, i64);

/// The revocation that an entry of the feed holds.
pub(super) fn revocation((kind, id, name, expires_at): Entry) -> anyhow::Result<Revocation> {
    Ok(Revocation {
        kind: match kind.as_str() {
            "session" => RevokedKind::Session,
            "token" => RevokedKind::Token,
            "client" => RevokedKind::Client,
            _ => return Err(nonsense("revocation")),
        },
        id,
        reason: reason(&name)?,
        expires_at,
    })
}

#[derive(Serialize, Deserialize)]
struct KeyRecord {
    kid: String,
    algorithm: String,
    state: String,
    since: i64,
    public_jwk: String,
    sealed: String,
}

/// The key ring as JSON.
pub(super) fn ring_text(keys: &[StoredKey]) -> anyhow::Result<String> {
    let records: Vec<_> = keys
        .iter()
        .map(|key| KeyRecord {
            kid: key.kid.clone(),
            algorithm: key.algorithm.as_str().to_owned(),
            state: key.state.as_str().to_owned(),
            since: key.since,
            public_jwk: key.public_jwk.clone(),
            sealed: STANDARD.encode(&key.sealed),
        })
        .collect();
    Ok(serde_json::to_string(&records)?)
}

/// The key ring that [`ring_text`] wrote; an empty text is an empty ring.
pub(super) fn ring(text: &str) -> anyhow::Result<Vec<StoredKey>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let records: Vec<KeyRecord> = serde_json::from_str(text).map_err(|_| nonsense("key ring"))?;
    let read = |key: KeyRecord| {
        Some(StoredKey {
            algorithm: Algorithm::from_name(&key.algorithm)?,
            state: KeyState::from_name(&key.state)?,
            sealed: STANDARD.decode(&key.sealed).ok()?,
            kid: key.kid,
            since: key.since,
            public_jwk: key.public_jwk,
        })
    };
    records
        .into_iter()
        .map(|key| read(key).ok_or_else(|| nonsense("key")))
        .collect()
}

#[derive(Serialize, Deserialize)]
struct ClientRecord {
    secret_hash: String,
    scopes: Vec<String>,
    created_at: i64,
}

/// A service account as JSON; its id is beside it.
pub(super) fn client_text(client: StoredClient) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&ClientRecord {
        secret_hash: client.secret_hash,
        scopes: client.scopes,
        created_at: client.created_at,
    })?)
}

/// The service account that [`client_text`] wrote.
pub(super) fn client(id: String, text: &str) -> anyhow::Result<StoredClient> {
    let record: ClientRecord = serde_json::from_str(text).map_err(|_| nonsense("service account"))?;
    Ok(StoredClient {
        id,
        secret_hash: record.secret_hash,
        scopes: record.scopes,
        created_at: record.created_at,
    })
}
