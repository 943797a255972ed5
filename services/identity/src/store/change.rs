//! Changing users and, in the same transaction, seeing to it that sessions end which must.
//!
//! Transactions that read and write begin with the write: SQLite then waits for another writer instead of failing, and
//! Postgres holds the row from the first statement on.

use diesel::prelude::*;
use diesel::result::DatabaseErrorKind::UniqueViolation;
use diesel::result::Error::{DatabaseError, RollbackTransaction};
use portcullis_client::wire::Reason;

use super::UserStore;
use super::connection::AnyConnection;
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
    pub(super) fn active(is_active: bool) -> Self {
        Self {
            is_active: Some(is_active),
            ..Self::default()
        }
    }
}

/// What must still be true of somebody when a change of theirs is made: neither a new password, nor anything else that
/// ends sessions, has come since they were read.
struct Standing {
    key: String,
    epoch: i64,
}

impl Standing {
    fn of(user: &User) -> Self {
        Self {
            key: user.id.to_string(),
            epoch: user.epoch,
        }
    }
}

/// Makes sure, until the transaction ends, that `by` is still the superuser that was read, and begins the change of the
/// user `key` with `touch`; gives what that gives. Rows are taken in the order of ids: of two superusers who change each
/// other one comes first.
fn by_superuser(
    connection: &mut AnyConnection,
    by: Option<&Standing>,
    key: &str,
    touch: impl Fn(&mut AnyConnection) -> QueryResult<usize>,
) -> QueryResult<usize> {
    let Some(by) = by else {
        return touch(connection);
    };
    let confirm = |connection: &mut AnyConnection| {
        let still = users::table
            .find(&by.key)
            .filter(users::epoch.eq(by.epoch))
            .filter(users::is_active.and(users::is_superuser));
        match diesel::update(still)
            .set(users::epoch.eq(by.epoch))
            .execute(connection)?
        {
            0 => Err(RollbackTransaction),
            _ => Ok(()),
        }
    };
    if by.key.as_str() <= key {
        confirm(connection)?;
        touch(connection)
    } else {
        let touched = touch(connection)?;
        confirm(connection)?;
        Ok(touched)
    }
}

/// Begins the change of the user `key` with its next epoch.
fn raise(connection: &mut AnyConnection, key: &str) -> QueryResult<usize> {
    diesel::update(users::table.find(key))
        .set(users::epoch.eq(users::epoch + 1))
        .execute(connection)
}

impl UserStore {
    /// Lets an account log in again. `None` when there is no such account.
    pub(crate) async fn activate(&self, id: UserId) -> Result<Option<User>, IdentityError> {
        self.set_rights(id, Rights::active(true), None).await
    }

    /// Keeps an account from logging in and sees to it that its sessions end. `None` when there is no such account.
    pub(crate) async fn deactivate(&self, id: UserId) -> Result<Option<User>, IdentityError> {
        self.set_rights(id, Rights::active(false), None).await
    }

    /// Changes what an account may do. Its sessions end when it is deactivated and when it loses a role, since they vouch
    /// for the role; a role that it gains counts from the next login. `None` when there is no such account.
    ///
    /// # Errors
    /// [`IdentityError::AccountChanged`] when `by`, who does it, is no longer the superuser that was read.
    pub(crate) async fn set_rights(
        &self,
        id: UserId,
        rights: Rights,
        by: Option<&User>,
    ) -> Result<Option<User>, IdentityError> {
        let (key, now) = (id.to_string(), self.now());
        let by = by.map(Standing::of);
        let changed = self
            .run(move |connection| {
                connection.transaction(|connection| {
                    let user = users::table.find(&key);
                    let touch = |connection: &mut AnyConnection| {
                        diesel::update(user).set(users::updated.eq(now)).execute(connection)
                    };
                    if by_superuser(connection, by.as_ref(), &key, touch)? == 0 {
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

    /// Gives `user` another username, email address or both.
    ///
    /// # Errors
    /// [`IdentityError::Taken`] when another account has one of them, whatever the case of its letters;
    /// [`IdentityError::AccountChanged`] when `user` is no longer as it was read.
    pub(crate) async fn rename(
        &self,
        user: &User,
        username: Option<Username>,
        email: Option<Email>,
    ) -> Result<User, IdentityError> {
        let (Standing { key, epoch }, now) = (Standing::of(user), self.now());
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
            let unchanged = users::table
                .find(&key)
                .filter(users::epoch.eq(epoch).and(users::is_active));
            match diesel::update(unchanged).set(names).execute(connection) {
                Ok(1) => Ok(Ok(())),
                Ok(_) => Ok(Err(IdentityError::AccountChanged)),
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
        self.find_by_id(user.id).await?.ok_or(IdentityError::AccountChanged)
    }

    /// Stores another password and sees to it that every session ends but `except`.
    ///
    /// # Errors
    /// [`IdentityError::AccountChanged`] when `user` is no longer as it was read.
    pub(crate) async fn set_password(
        &self,
        user: &User,
        to: PasswordHash,
        except: Option<String>,
    ) -> Result<(), IdentityError> {
        let (Standing { key, epoch }, now) = (Standing::of(user), self.now());
        self.run(move |connection| {
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
                if changed == 0 {
                    return Err(RollbackTransaction);
                }
                let reason = Reason::PasswordChanged;
                super::outbox::revoke(connection, &key, epoch + 1, reason, except.as_deref(), now)
            })
        })
        .await?;
        self.outbox_filled.notify_one();
        Ok(())
    }

    /// Removes an account and sees to it that its sessions end. Whether there was one.
    ///
    /// # Errors
    /// [`IdentityError::AccountChanged`] when `by`, who does it, is no longer the superuser that was read.
    pub(crate) async fn delete(&self, id: UserId, by: Option<&User>) -> Result<bool, IdentityError> {
        let by = by.map(Standing::of);
        self.remove(id, move |connection, key| {
            by_superuser(connection, by.as_ref(), key, |connection| raise(connection, key))
        })
        .await
    }

    /// [`UserStore::delete`] by `user`, of whom it is.
    ///
    /// # Errors
    /// [`IdentityError::AccountChanged`] when `user` is no longer as it was read.
    pub(crate) async fn delete_own(&self, user: &User) -> Result<(), IdentityError> {
        let Standing { epoch, .. } = Standing::of(user);
        let deleted = self.remove(user.id, move |connection, key| {
            let unchanged = users::table
                .find(key)
                .filter(users::epoch.eq(epoch).and(users::is_active));
            diesel::update(unchanged)
                .set(users::epoch.eq(epoch + 1))
                .execute(connection)
        });
        if deleted.await? {
            Ok(())
        } else {
            Err(IdentityError::AccountChanged)
        }
    }

    /// Removes an account whose epoch `raise` raises, when it does.
    async fn remove<F>(&self, id: UserId, raise: F) -> Result<bool, IdentityError>
    where
        F: FnOnce(&mut AnyConnection, &str) -> QueryResult<usize> + Send + 'static,
    {
        let (key, now) = (id.to_string(), self.now());
        let deleted = self
            .run(move |connection| {
                connection.transaction(|connection| {
                    if raise(connection, &key)? == 0 {
                        return Ok(false);
                    }
                    let user = users::table.find(&key);
                    let epoch: i64 = user.select(users::epoch).first(connection)?;
                    diesel::delete(user).execute(connection)?;
                    super::outbox::revoke(connection, &key, epoch, Reason::Deleted, None, now)?;
                    Ok(true)
                })
            })
            .await?;
        self.outbox_filled.notify_one();
        Ok(deleted)
    }

    /// Sees to it that every session of an account ends; it may log in again at once. Whether there is such an account.
    ///
    /// # Errors
    /// [`IdentityError::AccountChanged`] when `by`, who does it, is no longer the superuser that was read.
    pub(crate) async fn end_sessions(&self, id: UserId, by: &User) -> Result<bool, IdentityError> {
        let (key, now) = (id.to_string(), self.now());
        let by = Standing::of(by);
        let found = self
            .run(move |connection| {
                connection.transaction(|connection| {
                    if by_superuser(connection, Some(&by), &key, |connection| raise(connection, &key))? == 0 {
                        return Ok(false);
                    }
                    let epoch: i64 = users::table.find(&key).select(users::epoch).first(connection)?;
                    super::outbox::revoke(connection, &key, epoch, Reason::Administrator, None, now)?;
                    Ok(true)
                })
            })
            .await?;
        self.outbox_filled.notify_one();
        Ok(found)
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
