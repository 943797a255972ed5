//! What accounts were known by in the system before.

use std::collections::HashMap;
use std::fmt;

use diesel::prelude::*;
use diesel::result::Error::RollbackTransaction;

use super::UserStore;
use super::connection::AnyConnection;
use super::schema::users;
use super::users::Row;
use crate::IdentityError;
use crate::user::{User, UserId, email_key, username_key};

/// The most characters of such an id.
const LENGTH: usize = 255;

/// An account, by id, email address or username, and what it was known by: a line of the operator's file.
#[derive(Clone, Debug)]
pub(crate) struct LegacyRow {
    pub(crate) line: u64,
    pub(crate) account: String,
    pub(crate) legacy_id: String,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegacyProblem {
    /// No account has that id, email address or username.
    NoAccount(String),
    /// The account stands in an earlier line too.
    AccountAgain(String, u64),
    /// The id stands in an earlier line too.
    IdAgain(String, u64),
    /// Another account, which the file does not name, has the id.
    IdTaken(String),
    /// The id is empty or too long.
    NoId,
}

/// A line that keeps the whole file from being applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyMistake {
    /// The number of the line, from 1 on.
    pub line: u64,
    /// What is wrong with it.
    pub problem: LegacyProblem,
}

impl fmt::Display for LegacyMistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: ", self.line)?;
        match &self.problem {
            LegacyProblem::NoAccount(name) => {
                write!(
                    formatter,
                    "there is no account with the email address, username or id {name:?}"
                )
            }
            LegacyProblem::AccountAgain(name, line) => {
                write!(formatter, "the account {name:?} stands in line {line} already")
            }
            LegacyProblem::IdAgain(id, line) => write!(formatter, "the id {id:?} stands in line {line} already"),
            LegacyProblem::IdTaken(id) => write!(
                formatter,
                "the id {id:?} belongs to another account, which the file does not name"
            ),
            LegacyProblem::NoId => write!(formatter, "an id has 1 to {LENGTH} characters"),
        }
    }
}

impl UserStore {
    /// Whom the system before knew as `legacy_id`; where that is nobody, who has this id here.
    pub(crate) async fn find_by_legacy_id(&self, legacy_id: &str) -> Result<Option<User>, IdentityError> {
        let (known_as, id) = (legacy_id.to_owned(), legacy_id.parse::<UserId>().ok());
        let found = self
            .run(move |connection| {
                let rows = users::table.select(Row::as_select());
                let found = rows
                    .filter(users::legacy_id.eq(known_as))
                    .first(connection)
                    .optional()?;
                match (found, id) {
                    (None, Some(id)) => rows.filter(users::id.eq(id.to_string())).first(connection).optional(),
                    (found, _) => Ok(found),
                }
            })
            .await?;
        found.map(User::try_from).transpose()
    }

    /// Sets what accounts were known by, all of them or, where any line is wrong, none.
    pub(crate) async fn set_legacy_ids(&self, rows: Vec<LegacyRow>) -> Result<Vec<LegacyMistake>, IdentityError> {
        self.run_long(move |connection| {
            let mut mistakes = Vec::new();
            let done = connection.transaction(|connection| {
                mistakes = apply(connection, &rows)?;
                if mistakes.is_empty() {
                    Ok(())
                } else {
                    Err(RollbackTransaction)
                }
            });
            match done {
                Err(RollbackTransaction) => Ok(mistakes),
                done => done.map(|()| mistakes),
            }
        })
        .await
    }
}

/// The id of the account of that id, email address or username, looked for in that order.
fn find(connection: &mut AnyConnection, name: &str) -> QueryResult<Option<String>> {
    let ids = users::table.select(users::id);
    if let Ok(id) = name.parse::<UserId>() {
        let found = ids.filter(users::id.eq(id.to_string())).first(connection).optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    let found = ids
        .filter(users::email_key.eq(email_key(name)))
        .first(connection)
        .optional()?;
    match found {
        Some(found) => Ok(Some(found)),
        None => ids
            .filter(users::username_key.eq(username_key(name)))
            .first(connection)
            .optional(),
    }
}

/// Sets the ids, and says what is wrong; a transaction around it takes everything back then.
fn apply(connection: &mut AnyConnection, rows: &[LegacyRow]) -> QueryResult<Vec<LegacyMistake>> {
    let (mut mistakes, mut accounts, mut ids) = (Vec::new(), HashMap::new(), HashMap::new());
    let mistake = |row: &LegacyRow, problem| LegacyMistake {
        line: row.line,
        problem,
    };
    for row in rows {
        let (account, id) = (row.account.clone(), row.legacy_id.clone());
        if id.is_empty() || id.chars().count() > LENGTH {
            mistakes.push(mistake(row, LegacyProblem::NoId));
        } else if let Some(line) = ids.insert(id.clone(), row.line) {
            mistakes.push(mistake(row, LegacyProblem::IdAgain(id, line)));
        }
        match find(connection, &account)? {
            None => mistakes.push(mistake(row, LegacyProblem::NoAccount(account))),
            Some(key) => {
                if let Some(earlier) = accounts.insert(key, row) {
                    mistakes.push(mistake(row, LegacyProblem::AccountAgain(account, earlier.line)));
                }
            }
        }
    }
    if !mistakes.is_empty() {
        return Ok(mistakes);
    }
    // Ids may change hands among the accounts of the file: all of them let go first.
    for key in accounts.keys() {
        diesel::update(users::table.find(key))
            .set(users::legacy_id.eq(None::<String>))
            .execute(connection)?;
    }
    for (key, row) in accounts {
        let holder = users::table.filter(users::legacy_id.eq(&row.legacy_id));
        if holder.count().get_result::<i64>(connection)? > 0 {
            mistakes.push(mistake(row, LegacyProblem::IdTaken(row.legacy_id.clone())));
            continue;
        }
        diesel::update(users::table.find(&key))
            .set(users::legacy_id.eq(&row.legacy_id))
            .execute(connection)?;
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    Ok(mistakes)
}
