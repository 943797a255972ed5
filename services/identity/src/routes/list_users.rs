//! `GET /api/user`: the accounts, for superusers.

use std::collections::HashMap;

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_TYPE, LINK};
use actix_web::web::{Bytes, Data, Query};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream::{self, Stream, StreamExt};
use service_kit::Problem;

use super::caller::Superuser;
use super::view::UserView;
use crate::IdentityError;
use crate::store::{Order, Position, UserStore};
use crate::user::User;

/// The longest page, and how many accounts are read at once when no page is asked for.
const MOST: u16 = 1000;

/// What the query string asks for. What cannot be understood is passed over, as existing clients expect.
#[derive(Debug)]
struct Wanted {
    order: Order,
    limit: Option<u16>,
    after: Option<Position>,
}

impl Wanted {
    fn read(query: &HashMap<String, String>) -> Self {
        Self {
            order: match query.get("ordering").map(String::as_str) {
                Some("updated") => Order::OldestFirst,
                _ => Order::NewestFirst,
            },
            limit: query
                .get("limit")
                .and_then(|limit| limit.parse().ok())
                .filter(|limit| (1..=MOST).contains(limit)),
            after: query.get("cursor").and_then(|cursor| position(cursor)),
        }
    }

    fn link_behind(&self, user: &User, limit: u16) -> String {
        let ordering = match self.order {
            Order::OldestFirst => "updated",
            Order::NewestFirst => "-updated",
        };
        format!(
            "</api/user?ordering={ordering}&limit={limit}&cursor={}>; rel=\"next\"",
            cursor(&Position::behind(user))
        )
    }
}

/// 200 with a plain array of all accounts, or of a page of them, the latest changed first unless asked otherwise.
pub(crate) async fn list_users(
    _: Superuser,
    query: Query<HashMap<String, String>>,
    users: Data<UserStore>,
) -> Result<HttpResponse, Problem> {
    let wanted = Wanted::read(&query);
    let mut response = HttpResponse::Ok();
    if let Some(limit) = wanted.limit {
        // One more than asked for tells whether there is a next page.
        let mut page = users.page(wanted.order, wanted.after.clone(), limit + 1).await?;
        if page.len() > usize::from(limit) {
            page.truncate(usize::from(limit));
            if let Some(last) = page.last() {
                response.insert_header((LINK, wanted.link_behind(last, limit)));
            }
        }
        return Ok(response.json(page.iter().map(UserView::from).collect::<Vec<_>>()));
    }
    let first = users.page(wanted.order, wanted.after, MOST).await?;
    Ok(response
        .insert_header((CONTENT_TYPE, "application/json"))
        .streaming(array(users, wanted.order, first)))
}

/// A JSON array of `first` and of everybody behind, read as fast as the client takes it, so that it needs the memory of
/// one batch however many there are.
fn array(users: Data<UserStore>, order: Order, first: Vec<User>) -> impl Stream<Item = Result<Bytes, IdentityError>> {
    let rest = stream::try_unfold((users, Some(first), "["), move |(users, batch, before)| async move {
        let Some(batch) = batch else { return Ok(None) };
        let mut text = String::new();
        for (index, user) in batch.iter().enumerate() {
            text.push_str(if index == 0 { before } else { "," });
            let user = serde_json::to_string(&UserView::from(user)).map_err(anyhow::Error::from)?;
            text.push_str(&user);
        }
        let next = match batch.last() {
            Some(last) if batch.len() == usize::from(MOST) => {
                Some(users.page(order, Some(Position::behind(last)), MOST).await?).filter(|next| !next.is_empty())
            }
            _ => None,
        };
        if next.is_none() {
            text.push_str(if batch.is_empty() { "[]" } else { "]" });
        }
        Ok(Some((Bytes::from(text), (users, next, ","))))
    });
    rest.boxed_local()
}

fn cursor(position: &Position) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}:{}", position.updated, position.id))
}

fn position(cursor: &str) -> Option<Position> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (updated, id) = text.split_once(':')?;
    Some(Position {
        updated: updated.parse().ok()?,
        id: id.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_the_place_it_was_made_for_and_a_foreign_one_none() {
        let place = Position {
            updated: 1_700_000_000_000_001,
            id: "x".to_owned(),
        };
        assert_eq!(position(&cursor(&place)), Some(place));
        for foreign in ["", "abc", "%", "MTIz"] {
            assert_eq!(position(foreign), None, "{foreign}");
        }
    }
}
