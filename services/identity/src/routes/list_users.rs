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
use crate::store::{By, Listing, Order, Position, UserStore};
use crate::user::User;

/// The longest page, and how many accounts are read at once when no page is asked for.
const MOST: u16 = 1000;
/// The longest text that is searched for, in characters: no username is longer.
const LONGEST_SEARCH: usize = 255;
/// What `ordering` may say, each also with a hyphen before it for the other direction.
const ORDERINGS: [(&str, By); 4] = [
    ("updated", By::Updated),
    ("created", By::Created),
    ("username", By::Username),
    ("email", By::Email),
];

/// What the query string asks for. What cannot be understood is passed over, as existing clients expect.
#[derive(Debug)]
struct Wanted {
    listing: Listing,
    limit: Option<u16>,
    after: Option<Position>,
}

impl Wanted {
    fn read(query: &HashMap<String, String>) -> Self {
        let search = query
            .get("search")
            .map(|text| text.trim())
            .filter(|text| !text.is_empty());
        Self {
            listing: Listing {
                order: query.get("ordering").and_then(|text| order(text)).unwrap_or(Order {
                    by: By::Updated,
                    descending: true,
                }),
                search: search.map(|text| text.chars().take(LONGEST_SEARCH).collect()),
            },
            limit: query
                .get("limit")
                .and_then(|limit| limit.parse().ok())
                .filter(|limit| (1..=MOST).contains(limit)),
            after: query.get("cursor").and_then(|cursor| position(cursor)),
        }
    }

    /// Where the page behind `user` is (RFC 8288).
    fn link_behind(&self, user: &User, limit: u16) -> Result<String, Problem> {
        let order = self.listing.order;
        let query = [
            ("ordering", name(order)),
            ("limit", limit.to_string()),
            ("cursor", cursor(&order.behind(user))),
            ("search", self.listing.search.clone().unwrap_or_default()),
        ];
        let given: Vec<_> = query.iter().filter(|(_, value)| !value.is_empty()).collect();
        let query = serde_urlencoded::to_string(given).map_err(Problem::internal)?;
        Ok(format!("</api/user?{query}>; rel=\"next\""))
    }
}

fn order(text: &str) -> Option<Order> {
    let (name, descending) = match text.strip_prefix('-') {
        Some(name) => (name, true),
        None => (text, false),
    };
    let (_, by) = ORDERINGS.into_iter().find(|(known, _)| *known == name)?;
    Some(Order { by, descending })
}

fn name(order: Order) -> String {
    let known = ORDERINGS.iter().find(|(_, by)| *by == order.by);
    let hyphen = if order.descending { "-" } else { "" };
    format!("{hyphen}{}", known.map_or("", |(name, _)| name))
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
        let mut page = users
            .page(wanted.listing.clone(), wanted.after.clone(), limit + 1)
            .await?;
        if page.len() > usize::from(limit) {
            page.truncate(usize::from(limit));
            if let Some(last) = page.last() {
                response.insert_header((LINK, wanted.link_behind(last, limit)?));
            }
        }
        return Ok(response.json(page.iter().map(UserView::from).collect::<Vec<_>>()));
    }
    let first = users.page(wanted.listing.clone(), wanted.after, MOST).await?;
    Ok(response
        .insert_header((CONTENT_TYPE, "application/json"))
        .streaming(array(users, wanted.listing, first)))
}

/// A JSON array of `first` and of everybody behind, read as fast as the client takes it, so that it needs the memory of
/// one batch however many there are.
fn array(
    users: Data<UserStore>,
    listing: Listing,
    first: Vec<User>,
) -> impl Stream<Item = Result<Bytes, IdentityError>> {
    let rest = stream::try_unfold((users, Some(first), "["), move |(users, batch, before)| {
        let listing = listing.clone();
        async move {
            let Some(batch) = batch else { return Ok(None) };
            let mut text = String::new();
            for (index, user) in batch.iter().enumerate() {
                text.push_str(if index == 0 { before } else { "," });
                let user = serde_json::to_string(&UserView::from(user)).map_err(anyhow::Error::from)?;
                text.push_str(&user);
            }
            let next = match batch.last() {
                Some(last) if batch.len() == usize::from(MOST) => {
                    let behind = listing.order.behind(last);
                    Some(users.page(listing, Some(behind), MOST).await?).filter(|next| !next.is_empty())
                }
                _ => None,
            };
            if next.is_none() {
                text.push_str(if batch.is_empty() { "[]" } else { "]" });
            }
            Ok(Some((Bytes::from(text), (users, next, ","))))
        }
    });
    rest.boxed_local()
}

fn cursor(position: &Position) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}:{}", position.id, position.value))
}

fn position(cursor: &str) -> Option<Position> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    // No text in the database has one, and Postgres takes none.
    if text.contains('\0') {
        return None;
    }
    let (id, value) = text.split_once(':')?;
    Some(Position {
        value: value.to_owned(),
        id: id.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_the_place_it_was_made_for_and_a_foreign_one_none() {
        let place = Position {
            value: "a:b".to_owned(),
            id: "x".to_owned(),
        };
        assert_eq!(position(&cursor(&place)), Some(place));
        for foreign in ["", "abc", "%", "MTIz"] {
            assert_eq!(position(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn an_order_has_the_name_it_was_asked_for_by() {
        for text in ["updated", "-updated", "created", "-username", "email"] {
            assert_eq!(order(text).map(name).as_deref(), Some(text));
        }
        assert_eq!(order("--updated"), None);
        assert_eq!(order("password"), None);
    }
}
