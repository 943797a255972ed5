//! The list of users: in any order, page by page, and searched.

use diesel::prelude::*;

use super::UserStore;
use super::schema::users;
use super::users::Row;
use crate::IdentityError;
use crate::user::{User, email_key, username_key};

/// What users are ordered by; those that are equal in it, by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// When they were last changed.
    Updated,
    /// When they were made, which is the order of their ids.
    Created,
    /// Their usernames, without regard to case.
    Username,
    /// Their email addresses, without regard to case.
    Email,
}

/// In which order users are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) by: By,
    pub(crate) descending: bool,
}

impl Order {
    /// Whoever was changed last comes last.
    pub(crate) const OLDEST_FIRST: Self = Self {
        by: By::Updated,
        descending: false,
    };

    /// The place in this order right behind `user`.
    pub(crate) fn behind(self, user: &User) -> Position {
        Position {
            value: match self.by {
                By::Updated => user.updated.as_microsecond().to_string(),
                By::Created => String::new(),
                By::Username => username_key(&user.username),
                By::Email => email_key(&user.email),
            },
            id: user.id.to_string(),
        }
    }
}

/// A place in the list: right behind the user with that id, who has that value of what the list is ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) value: String,
    pub(crate) id: String,
}

/// Which users are listed, and how.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) order: Order,
    /// What the username or the email address contains, without regard to case.
    pub(crate) search: Option<String>,
}

/// `$query`, ordered by `$column` and then by the id, and going on behind `$after` (a value and an id).
macro_rules! ordered {
    ($query:expr, $column:expr, $descending:expr, $after:expr) => {{
        let query = $query;
        match ($descending, $after) {
            (false, None) => query.order(($column.asc(), users::id.asc())),
            (true, None) => query.order(($column.desc(), users::id.desc())),
            (false, Some((value, id))) => query
                .filter($column.gt(value.clone()).or($column.eq(value).and(users::id.gt(id))))
                .order(($column.asc(), users::id.asc())),
            (true, Some((value, id))) => query
                .filter($column.lt(value.clone()).or($column.eq(value).and(users::id.lt(id))))
                .order(($column.desc(), users::id.desc())),
        }
    }};
}

impl UserStore {
    /// Up to `limit` accounts of the listing, from `after` on. A place that is none in this order is the beginning.
    pub(crate) async fn page(
        &self,
        listing: Listing,
        after: Option<Position>,
        limit: u16,
    ) -> Result<Vec<User>, IdentityError> {
        // No name has a NUL, and Postgres takes none.
        if listing.search.as_ref().is_some_and(|search| search.contains('\0')) {
            return Ok(Vec::new());
        }
        let rows = self
            .run(move |connection| {
                let mut query = users::table.select(Row::as_select()).limit(limit.into()).into_boxed();
                if let Some(search) = &listing.search {
                    let (username, email) = (containing(&username_key(search)), containing(&email_key(search)));
                    query = query.filter(
                        users::username_key
                            .like(username)
                            .escape('\\')
                            .or(users::email_key.like(email).escape('\\')),
                    );
                }
                let Order { by, descending } = listing.order;
                let after = after.map(|place| (place.value, place.id));
                let query = match by {
                    By::Updated => {
                        let after = after.and_then(|(value, id)| Some((value.parse::<i64>().ok()?, id)));
                        ordered!(query, users::updated, descending, after)
                    }
                    By::Created => ordered!(query, users::id, descending, after.map(|(_, id)| (id.clone(), id))),
                    By::Username => ordered!(query, users::username_key, descending, after),
                    By::Email => ordered!(query, users::email_key, descending, after),
                };
                query.load::<Row>(connection)
            })
            .await?;
        rows.into_iter().map(User::try_from).collect()
    }
}

/// The pattern of texts that contain `text`, none of which is a wildcard.
fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern + "%"
}
