//! Users as rows: making one, and finding one.

use anyhow::Context;
use diesel::prelude::*;
use diesel::result::DatabaseErrorKind::UniqueViolation;
use diesel::result::Error::DatabaseError;
use jiff::Timestamp;

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

#[derive(Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = users)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) username: String,
    pub(super) username_key: String,
    pub(super) email: String,
    pub(super) email_key: String,
    pub(super) password: String,
    pub(super) is_active: bool,
    pub(super) is_staff: bool,
    pub(super) is_superuser: bool,
    pub(super) roles: String,
    pub(super) epoch: i64,
    pub(super) created: i64,
    pub(super) updated: i64,
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
                Err(DatabaseError(UniqueViolation, information)) => {
                    match taken(connection, &row.id, &row.username_key, &row.email_key)? {
                        // Whoever had the name is gone again; the caller may repeat the attempt.
                        None => Err(DatabaseError(UniqueViolation, information)),
                        Some(taken) => Ok(Err(taken)),
                    }
                }
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

    async fn one<F>(&self, query: F) -> Result<Option<User>, IdentityError>
    where
        F: FnOnce(&mut AnyConnection) -> QueryResult<Option<Row>> + Send + 'static,
    {
        self.run(query).await?.map(User::try_from).transpose()
    }
}

/// Which of these keys belongs to anybody but the user with this id: [`IdentityError::Taken`], or `None`.
pub(super) fn taken(
    connection: &mut AnyConnection,
    id: &str,
    username_key: &str,
    email_key: &str,
) -> QueryResult<Option<IdentityError>> {
    let others: Vec<(String, String)> = users::table
        .filter(users::username_key.eq(username_key).or(users::email_key.eq(email_key)))
        .filter(users::id.ne(id))
        .select((users::username_key, users::email_key))
        .load(connection)?;
    let username = others.iter().any(|(key, _)| key == username_key);
    let email = others.iter().any(|(_, key)| key == email_key);
    Ok((username || email).then_some(IdentityError::Taken { username, email }))
}
