//! What the operator's commands do with accounts.

use std::fmt;

use portcullis_client::TokenClient;
use secrecy::SecretString;
use service_kit::Clock;

use crate::password::{Password, PasswordHasher};
use crate::store::{LegacyMistake, LegacyRow, Listing, NewAccount, Order, UserStore};
use crate::user::{Email, Login, User, UserId, Username};
use crate::{Config, IdentityError, outbox};

/// How many accounts are read at once.
const BATCH: u16 = 500;

/// The accounts, beside a running service or without one.
pub struct Accounts {
    users: UserStore,
    hasher: PasswordHasher,
}

/// An account to be made, as somebody typed it.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Up to 255 characters.
    pub username: String,
    /// An email address of up to 128 characters.
    pub email: String,
    /// 8 to 128 characters.
    pub password: SecretString,
    /// Whether it may see and change other accounts.
    pub is_superuser: bool,
    /// Whether it belongs to the staff.
    pub is_staff: bool,
}

/// Why an account was not made.
#[derive(Debug)]
pub enum CreateError {
    /// Each field that is not acceptable, with the reason.
    Invalid(Vec<(&'static str, String)>),
    /// Anything else, [`IdentityError::Taken`] among it.
    Failed(IdentityError),
}

impl fmt::Display for CreateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(formatter),
            Self::Invalid(fields) => {
                let lines: Vec<_> = fields
                    .iter()
                    .map(|(field, message)| format!("{field}: {message}"))
                    .collect();
                formatter.write_str(&lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::Invalid(_) => None,
        }
    }
}

impl From<IdentityError> for CreateError {
    fn from(error: IdentityError) -> Self {
        Self::Failed(error)
    }
}

impl Accounts {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be reached or its schema cannot be made.
    pub async fn open(config: &Config, clock: Clock) -> anyhow::Result<Self> {
        Ok(Self {
            users: UserStore::open(config, clock).await?,
            hasher: PasswordHasher::new(config.bcrypt_cost, config.hashing_threads, config.hashing_queue)?,
        })
    }

    /// Some of the accounts, the longest unchanged first: those behind `after`, the last one of the call before. An empty
    /// list is the end.
    pub async fn list(&self, after: Option<&User>) -> Result<Vec<User>, IdentityError> {
        let order = Order::OLDEST_FIRST;
        let everybody = Listing { order, search: None };
        self.users
            .page(everybody, after.map(|user| order.behind(user)), BATCH)
            .await
    }

    /// Makes an account that may log in.
    pub async fn create(&self, new: NewUser) -> Result<User, CreateError> {
        let mut wrong = Vec::new();
        let username = Username::parse(new.username.trim()).map_err(|message| wrong.push(("username", message)));
        let email = Email::parse(new.email.trim()).map_err(|message| wrong.push(("email", message)));
        let password = Password::parse(new.password).map_err(|message| wrong.push(("password", message.to_owned())));
        let (Ok(username), Ok(email), Ok(password)) = (username, email, password) else {
            return Err(CreateError::Invalid(wrong));
        };
        let account = NewAccount {
            username,
            email,
            password: self.hasher.hash(password).await?,
            is_staff: new.is_staff,
            is_superuser: new.is_superuser,
        };
        Ok(self.users.create(account).await?)
    }

    /// The account with this id, email address or username, looked for in that order.
    pub async fn find(&self, name: &str) -> Result<Option<User>, IdentityError> {
        let name = name.trim();
        if let Ok(id) = name.parse()
            && let Some(user) = self.users.find_by_id(id).await?
        {
            return Ok(Some(user));
        }
        match self.users.find_by_login(Login::email(name)).await? {
            Some(user) => Ok(Some(user)),
            None => self.users.find_by_login(Login::username(name)).await,
        }
    }

    /// Sets what accounts were known by in the system before: of each line its number, an account as [`Accounts::find`]
    /// finds it, and the id. All of them or, where there are mistakes, none.
    pub async fn set_legacy_ids(
        &self,
        lines: impl IntoIterator<Item = (u64, String, String)>,
    ) -> Result<Vec<LegacyMistake>, IdentityError> {
        let rows = lines.into_iter().map(|(line, account, legacy_id)| LegacyRow {
            line,
            account: account.trim().to_owned(),
            legacy_id: legacy_id.trim().to_owned(),
        });
        self.users.set_legacy_ids(rows.collect()).await
    }

    /// Lets an account log in again. `None` when there is no such account.
    pub async fn activate(&self, id: UserId) -> Result<Option<User>, IdentityError> {
        self.users.activate(id).await
    }

    /// Keeps an account from logging in; its sessions end with the next [`Accounts::deliver`], here or in a running
    /// service. `None` when there is no such account.
    pub async fn deactivate(&self, id: UserId) -> Result<Option<User>, IdentityError> {
        self.users.deactivate(id).await
    }

    /// Removes an account; its sessions end as with [`Accounts::deactivate`]. Whether there was one.
    pub async fn delete(&self, id: UserId) -> Result<bool, IdentityError> {
        self.users.delete(id, None).await
    }

    /// Tells the token service whose sessions must end, and how many messages that took. What cannot be delivered stays
    /// for a running service.
    pub async fn deliver(&self, tokens: &TokenClient) -> Result<usize, IdentityError> {
        outbox::deliver(&self.users, tokens).await
    }
}
