//! Queries on the outbox: what the token service must still be told.

use std::time::Duration;

use anyhow::Context;
use diesel::prelude::*;
use portcullis_client::wire::{Reason, RevokeSubjectRequest};

use super::UserStore;
use super::connection::AnyConnection;
use super::schema::outbox;
use crate::IdentityError;

/// How many rows are read at once.
const BATCH: i64 = 100;
/// The kind of a [`RevokeSubjectRequest`].
const REVOKE_SUBJECT: &str = "revoke_subject";

/// Something to be told.
#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = outbox)]
pub(crate) struct Pending {
    pub(crate) id: String,
    kind: String,
    pub(crate) subject: String,
    payload: String,
    created: i64,
    pub(crate) attempts: i32,
    pub(crate) next_attempt: i64,
}

impl Pending {
    /// The call that tells it.
    ///
    /// # Errors
    /// When a newer release wrote it.
    pub(crate) fn request(&self) -> Result<RevokeSubjectRequest, IdentityError> {
        if self.kind != REVOKE_SUBJECT {
            return Err(anyhow::anyhow!("an outbox row of the unknown kind {}", self.kind).into());
        }
        Ok(serde_json::from_str(&self.payload).context("while reading an outbox row")?)
    }
}

/// Notes, in the caller's transaction, that the sessions of `subject` that are older than `epoch` must end, but for
/// the session `except`.
pub(super) fn revoke(
    connection: &mut AnyConnection,
    subject: &str,
    epoch: i64,
    reason: Reason,
    except: Option<&str>,
    now: i64,
) -> QueryResult<()> {
    let request = RevokeSubjectRequest {
        subject: subject.to_owned(),
        epoch,
        reason,
        except: except.map(str::to_owned),
    };
    let payload =
        serde_json::to_string(&request).map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
    let row = Pending {
        id: service_kit::random::ordered_uuid(now / 1000).to_string(),
        kind: REVOKE_SUBJECT.to_owned(),
        subject: subject.to_owned(),
        payload,
        created: now,
        attempts: 0,
        next_attempt: now,
    };
    diesel::insert_into(outbox::table)
        .values(&row)
        .execute(connection)
        .map(drop)
}

impl UserStore {
    /// The rows that come after `after`, oldest first; not all of them at once.
    pub(crate) async fn pending(&self, after: Option<&Pending>) -> Result<Vec<Pending>, IdentityError> {
        let after = after.map(|row| (row.created, row.id.clone()));
        self.run(move |connection| {
            let mut query = outbox::table.select(Pending::as_select()).into_boxed();
            if let Some((created, id)) = after {
                query = query.filter(
                    outbox::created
                        .gt(created)
                        .or(outbox::created.eq(created).and(outbox::id.gt(id))),
                );
            }
            query
                .order((outbox::created.asc(), outbox::id.asc()))
                .limit(BATCH)
                .load(connection)
        })
        .await
    }

    /// Forgets a row that has been told.
    pub(crate) async fn told(&self, row: &Pending) -> Result<(), IdentityError> {
        let id = row.id.clone();
        self.run(move |connection| diesel::delete(outbox::table.find(id)).execute(connection))
            .await
            .map(drop)
    }

    /// Leaves a row that could not be told for later.
    pub(crate) async fn postpone(&self, row: &Pending, by: Duration) -> Result<(), IdentityError> {
        let id = row.id.clone();
        let next_attempt = self
            .now()
            .saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
        self.run(move |connection| {
            diesel::update(outbox::table.find(id))
                .set((
                    outbox::attempts.eq(outbox::attempts + 1),
                    outbox::next_attempt.eq(next_attempt),
                ))
                .execute(connection)
        })
        .await
        .map(drop)
    }
}
