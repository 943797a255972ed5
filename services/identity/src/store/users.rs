//! Queries on users.
//!
//! Transactions that read and write begin with the write: SQLite then waits for another writer instead of failing, and
//! Postgres holds the row from the first statement on.

use anyhow::Context;
use diesel::prelude::*;
use diesel::result::DatabaseErrorKind::UniqueViolation;
use diesel::result::Error::DatabaseError;
use jiff::Timestamp;
use portcullis_client::wire::Reason;

use super::UserStore;
use super::connection::AnyConnection;
use super::schema::users;
use crate::IdentityError;
use crate::password::PasswordHash;
use crate::user::{Email, Login, User, UserId, Username};

/// An account to be made.
#[derive(Debug)]
pub(crate) struct NewAccount {
    pub(crate) username: Username,
    pub(crate) email: Email,
    pub(crate) password: PasswordHash,
    pub(crate) is_staff: bool,
    pub(crate) is_superuser: bool,
}

/// By the time of the last change: which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    OldestFirst,
    NewestFirst,
}

/// A place in the list of users: right behind the one who was changed then and has that id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) updated: i64,
    pub(crate) id: String,
}

impl Position {
    /// The place behind `user`.
    pub(crate) fn behind(user: &User) -> Self {
        Self {
            updated: user.updated.as_microsecond(),
            id: user.id.to_string(),
        }
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = users)]
struct Row {
    id: String,
    username: String,
    username_key: String,
    email: String,
    email_key: String,
    password: String,
    is_active: bool,
    is_staff: bool,
    is_superuser: bool,
    roles: String,
    epoch: i64,
    created: i64,
    updated: i64,
}

impl TryFrom<Row> for User {
    type Error = IdentityError;
    fn try_from(row: Row) -> Result<Self, IdentityError> {
        Ok(Self {
            id: row.id.parse().context("while reading a user's id")?,
            username: row.username,
            email: row.email,
            is_active: row.is_active,
            is_staff: row.is_staff,
            is_superuser: row.is_superuser,
            roles: serde_json::from_str(&row.roles).context("while reading a user's roles")?,
            epoch: row.epoch,
            created: Timestamp::from_microsecond(row.created).context("while reading a user's times")?,
            updated: Timestamp::from_microsecond(row.updated).context("while reading a user's times")?,
            password: PasswordHash(row.password),
        })
    }
}

impl UserStore {
    /// Makes an account. Of several with one username or email, whatever the case of its letters, one is made and the
    /// others are [`IdentityError::Taken`].
    pub(crate) async fn create(&self, account: NewAccount) -> Result<User, IdentityError> {
        let now = self.clock.now();
        let row = Row {
            id: UserId::new(now.as_millisecond()).to_string(),
            username: account.username.text,
            username_key: account.username.key,
            email: account.email.text,
            email_key: account.email.key,
            password: account.password.0,
            is_active: true,
            is_staff: account.is_staff,
            is_superuser: account.is_superuser,
            roles: "[]".to_owned(),
            epoch: 0,
            created: now.as_microsecond(),
            updated: now.as_microsecond(),
        };
        self.run(
            |connection| match diesel::insert_into(users::table).values(&row).execute(connection) {
                Ok(_) => Ok(Ok(row)),
                Err(DatabaseError(UniqueViolation, information)) => match taken(connection, &row)? {
                    // Whoever had the name is gone again; the caller may repeat the attempt.
                    (false, false) => Err(DatabaseError(UniqueViolation, information)),
                    (username, email) => Ok(Err(IdentityError::Taken { username, email })),
                },
                Err(error) => Err(error),
            },
        )
        .await??
        .try_into()
    }

    /// The account of that id.
    pub(crate) async fn find_by_id(&self, id: UserId) -> Result<Option<User>, IdentityError> {
        let id = id.to_string();
        self.one(move |connection| {
            users::table
                .find(id)
                .select(Row::as_select())
                .first(connection)
                .optional()
        })
        .await
    }

    /// The account that `login` names.
    pub(crate) async fn find_by_login(&self, login: Login) -> Result<Option<User>, IdentityError> {
        self.one(move |connection| {
            let query = users::table.select(Row::as_select());
            match login {
                Login::Email(key) => query.filter(users::email_key.eq(key)).first(connection),
                Login::Username(key) => query.filter(users::username_key.eq(key)).first(connection),
            }
            .optional()
        })
        .await
    }

    /// Up to `limit` accounts, from `after` on.
    pub(crate) async fn page(
        &self,
        order: Order,
        after: Option<Position>,
        limit: u16,
    ) -> Result<Vec<User>, IdentityError> {
        let rows = self
            .run(move |connection| {
                let mut query = users::table.select(Row::as_select()).limit(limit.into()).into_boxed();
                query = match order {
                    Order::OldestFirst => query.order((users::updated.asc(), users::id.asc())),
                    Order::NewestFirst => query.order((users::updated.desc(), users::id.desc())),
                };
                if let Some(Position { updated, id }) = after {
                    let same_time = users::updated.eq(updated);
                    query = match order {
                        Order::OldestFirst => {
                            query.filter(users::updated.gt(updated).or(same_time.and(users::id.gt(id))))
                        }
                        Order::NewestFirst => {
                            query.filter(users::updated.lt(updated).or(same_time.and(users::id.lt(id))))
                        }
                    };
                }
                query.load(connection)
            })
            .await?;
        rows.into_iter().map(User::try_from).collect()
    }

    /// Lets an account log in again. `None` when there is no such account.
    pub(crate) async fn activate(&self, id: UserId) -> Result<Option<User>, IdentityError> {
        let (key, now) = (id.to_string(), self.now());
        self.run(move |connection| {
            diesel::update(users::table.find(key))
                .set((users::is_active.eq(true), users::updated.eq(now)))
                .execute(connection)
        })
        .await?;
        self.find_by_id(id).await
    }

    /// Keeps an account from logging in and, in the same transaction, sees to it that its sessions end. `None` when there
    /// is no such account.
    pub(crate) async fn deactivate(&self, id: UserId) -> Result<Option<User>, IdentityError> {
        let (key, now) = (id.to_string(), self.now());
        let row = self
            .run(move |connection| {
                connection.transaction(|connection| {
                    let found = diesel::update(users::table.find(&key))
                        .set((
                            users::is_active.eq(false),
                            users::epoch.eq(users::epoch + 1),
                            users::updated.eq(now),
                        ))
                        .execute(connection)?;
                    if found == 0 {
                        return Ok(None);
                    }
                    let row: Row = users::table.find(&key).select(Row::as_select()).first(connection)?;
                    super::outbox::revoke(connection, &row.id, row.epoch, Reason::Deactivated, None, now)?;
                    Ok(Some(row))
                })
            })
            .await?;
        self.outbox_filled.notify_one();
        row.map(User::try_from).transpose()
    }

    /// Removes an account and, in the same transaction, sees to it that its sessions end. Whether there was one.
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

    async fn one<F>(&self, query: F) -> Result<Option<User>, IdentityError>
    where
        F: FnOnce(&mut AnyConnection) -> QueryResult<Option<Row>> + Send + 'static,
    {
        self.run(query).await?.map(User::try_from).transpose()
    }
}

/// Whether the username and the email of `row` belong to somebody.
fn taken(connection: &mut AnyConnection, row: &Row) -> QueryResult<(bool, bool)> {
    let present: Vec<(String, String)> = users::table
        .filter(
            users::username_key
                .eq(&row.username_key)
                .or(users::email_key.eq(&row.email_key)),
        )
        .select((users::username_key, users::email_key))
        .load(connection)?;
    Ok((
        present.iter().any(|(username, _)| *username == row.username_key),
        present.iter().any(|(_, email)| *email == row.email_key),
    ))
}
