//! Changing users and, in the same transaction, seeing to it that sessions end which must.
//!
//! Transactions that read and write begin with the write: SQLite then waits for another writer instead of failing, and
//! Postgres holds the row from the first statement on.

use diesel::prelude::*;
use diesel::result::DatabaseErrorKind::UniqueViolation;
use diesel::result::Error::DatabaseError;
use portcullis_client::wire::Reason;

use super::UserStore;
use super::schema::users;
use super::users::{Row, taken};
use crate::IdentityError;
use crate::password::PasswordHash;
use crate::user::{Email, User, UserId, Username};

/// What an administrator changes of an account; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) is_active: Option<bool>,
    pub(crate) is_staff: Option<bool>,
    pub(crate) is_superuser: Option<bool>,
    pub(crate) roles: Option<Vec<String>>,
}

impl Rights {
    /// The rights of an account that may log in, and that are otherwise as they were.
    fn active(is_active: bool) -> Self {
        Self {
            is_active: Some(is_active),
            ..Self::default()
        }
    }
}

impl UserStore {
    /// Lets an account log in again. `None` when there is no such account.
    pub(crate) async fn activate(&self, id: UserId) -> Result<Option<User>, IdentityError> {
        self.set_rights(id, Rights::active(true)).await
    }

    /// Keeps an account from logging in and sees to it that its sessions end. `None` when there is no such account.
    pub(crate) async fn deactivate(&self, id: UserId) -> Result<Option<User>, IdentityError> {
        self.set_rights(id, Rights::active(false)).await
    }

    /// Changes what an account may do. Its sessions end when it is deactivated and when it loses a role, since they vouch
    /// for the role; a role that it gains counts from the next login. `None` when there is no such account.
    pub(crate) async fn set_rights(&self, id: UserId, rights: Rights) -> Result<Option<User>, IdentityError> {
        let (key, now) = (id.to_string(), self.now());
        let changed = self
            .run(move |connection| {
                connection.transaction(|connection| {
                    let user = users::table.find(&key);
                    let found = diesel::update(user).set(users::updated.eq(now)).execute(connection)?;
                    if found == 0 {
                        return Ok(None);
                    }
                    let before: Row = user.select(Row::as_select()).first(connection)?;
                    let after = before.with(&rights)?;
                    diesel::update(user)
                        .set((
                            users::is_active.eq(after.is_active),
                            users::is_staff.eq(after.is_staff),
                            users::is_superuser.eq(after.is_superuser),
                            users::roles.eq(&after.roles),
                            users::epoch.eq(after.epoch),
                        ))
                        .execute(connection)?;
                    if after.epoch != before.epoch {
                        let reason = match rights.is_active {
                            Some(false) => Reason::Deactivated,
                            _ => Reason::Administrator,
                        };
                        super::outbox::revoke(connection, &key, after.epoch, reason, None, now)?;
                    }
                    Ok(Some(after))
                })
            })
            .await?;
        self.outbox_filled.notify_one();
        changed.map(User::try_from).transpose()
    }

    /// Gives an account another username, email address or both. `None` when there is no such account.
    ///
    /// # Errors
    /// [`IdentityError::Taken`] when another account has one of them, whatever the case of its letters.
    pub(crate) async fn rename(
        &self,
        id: UserId,
        username: Option<Username>,
        email: Option<Email>,
    ) -> Result<Option<User>, IdentityError> {
        let (key, now) = (id.to_string(), self.now());
        self.run(move |connection| {
            let names = (
                username
                    .as_ref()
                    .map(|name| (users::username.eq(&name.text), users::username_key.eq(&name.key))),
                email
                    .as_ref()
                    .map(|email| (users::email.eq(&email.text), users::email_key.eq(&email.key))),
                users::updated.eq(now),
            );
            match diesel::update(users::table.find(&key)).set(names).execute(connection) {
                Ok(_) => Ok(Ok(())),
                Err(DatabaseError(UniqueViolation, information)) => {
                    let username = username.as_ref().map_or("", |name| name.key.as_str());
                    let email = email.as_ref().map_or("", |email| email.key.as_str());
                    match taken(connection, &key, username, email)? {
                        // Whoever had the name is gone again; the caller may repeat the attempt.
                        None => Err(DatabaseError(UniqueViolation, information)),
                        Some(taken) => Ok(Err(taken)),
                    }
                }
                Err(error) => Err(error),
            }
        })
        .await??;
        self.find_by_id(id).await
    }

    /// Stores another password and sees to it that every session ends but `except`. Whether the account is still as `user`
    /// says: otherwise its password or more was changed meanwhile, and nothing was done.
    pub(crate) async fn set_password(
        &self,
        user: &User,
        to: PasswordHash,
        except: Option<String>,
    ) -> Result<bool, IdentityError> {
        let (key, epoch, now) = (user.id.to_string(), user.epoch, self.now());
        let changed = self
            .run(move |connection| {
                connection.transaction(|connection| {
                    let unchanged = users::table
                        .find(&key)
                        .filter(users::epoch.eq(epoch).and(users::is_active));
                    let changed = diesel::update(unchanged)
                        .set((
                            users::password.eq(to.0),
                            users::epoch.eq(epoch + 1),
                            users::updated.eq(now),
                        ))
                        .execute(connection)?;
                    if changed == 1 {
                        let reason = Reason::PasswordChanged;
                        super::outbox::revoke(connection, &key, epoch + 1, reason, except.as_deref(), now)?;
                    }
                    Ok(changed == 1)
                })
            })
            .await?;
        self.outbox_filled.notify_one();
        Ok(changed)
    }

    /// Removes an account and sees to it that its sessions end. Whether there was one.
    pub(crate) async fn delete(&self, id: UserId) -> Result<bool, IdentityError> {
        let (key, now) = (id.to_string(), self.now());
        let deleted = self
            .run(move |connection| {
                connection.transaction(|connection| {
                    let user = users::table.find(&key);
                    diesel::update(user)
                        .set(users::epoch.eq(users::epoch + 1))
                        .execute(connection)?;
                    let epoch: Option<i64> = user.select(users::epoch).first(connection).optional()?;
                    let Some(epoch) = epoch else { return Ok(false) };
                    diesel::delete(user).execute(connection)?;
                    super::outbox::revoke(connection, &key, epoch, Reason::Deleted, None, now)?;
                    Ok(true)
                })
            })
            .await?;
        self.outbox_filled.notify_one();
        Ok(deleted)
    }

    /// Stores the same password under another hash, unless it was changed in the meantime.
    pub(crate) async fn rehash(&self, user: &User, to: PasswordHash) -> Result<(), IdentityError> {
        let (id, from) = (user.id.to_string(), user.password.clone());
        self.run(move |connection| {
            diesel::update(users::table.find(id).filter(users::password.eq(from.0)))
                .set(users::password.eq(to.0))
                .execute(connection)
        })
        .await
        .map(drop)
    }
}

impl Row {
    /// The same with other rights, and with the next epoch when its sessions must end for them.
    fn with(&self, rights: &Rights) -> QueryResult<Self> {
        let unreadable = |error: serde_json::Error| diesel::result::Error::DeserializationError(error.into());
        let held: Vec<String> = serde_json::from_str(&self.roles).map_err(unreadable)?;
        let roles = rights.roles.clone().unwrap_or_else(|| held.clone());
        let is_staff = rights.is_staff.unwrap_or(self.is_staff);
        let is_superuser = rights.is_superuser.unwrap_or(self.is_superuser);
        let loses = (self.is_staff && !is_staff)
            || (self.is_superuser && !is_superuser)
            || held.iter().any(|role| !roles.contains(role));
        let ends = loses || rights.is_active == Some(false);
        Ok(Self {
            is_active: rights.is_active.unwrap_or(self.is_active),
            is_staff,
            is_superuser,
            roles: serde_json::to_string(&roles).map_err(unreadable)?,
            epoch: self.epoch + i64::from(ends),
            ..self.clone()
        })
    }
}
