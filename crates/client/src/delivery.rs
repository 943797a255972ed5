//! How refresh tokens reach people: in the body of an answer, or in a cookie that no script can read.
//!
//! A browser app asks for the cookie with the header `X-Token-Delivery: cookie`. No page of another origin can send that
//! header unless a preflight allows it, so that nobody's cookie acts for a stranger.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{FromRequest, HttpRequest};
use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use service_kit::Problem;

use crate::wire::TokenPair;

/// The header that says how the refresh token is to be delivered: `body` (the default) or `cookie`.
pub const DELIVERY_HEADER: &str = "x-token-delivery";
/// The cookie. Its prefix makes browsers refuse it without TLS (but on the machine itself), for a domain, or for less than
/// every path (RFC 6265bis section 4.1.3.2).
pub const REFRESH_COOKIE: &str = "__Host-portcullis-refresh";

/// How a client wants its refresh token, and shows it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As a member of the body.
    Body,
    /// As [`REFRESH_COOKIE`].
    Cookie,
}

/// A refresh token on its way out: in exactly one of the two places.
#[derive(Debug, Default)]
pub struct Delivered {
    /// For the body.
    pub refresh: Option<String>,
    /// The value of `Set-Cookie`.
    pub cookie: Option<String>,
}

impl Delivery {
    /// Puts the refresh token of `pair` where the client wants it.
    #[must_use]
    pub fn deliver(self, pair: &TokenPair) -> Delivered {
        match self {
            Self::Body => Delivered {
                refresh: Some(pair.refresh.clone()),
                cookie: None,
            },
            Self::Cookie => Delivered {
                refresh: None,
                cookie: Some(set_cookie(&pair.refresh, pair.refresh_expires_in)),
            },
        }
    }
}

impl FromRequest for Delivery {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let delivery = match request.headers().get(DELIVERY_HEADER).map(HeaderValue::as_bytes) {
            None | Some(b"body") => Ok(Self::Body),
            Some(b"cookie") => Ok(Self::Cookie),
            Some(_) => Err(Problem::bad_request(
                "bad_delivery",
                "The header X-Token-Delivery may be \"body\" or \"cookie\".",
            )),
        };
        ready(delivery)
    }
}

/// The refresh token that a browser's cookie holds.
#[must_use]
pub fn refresh_cookie(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .filter_map(|value| value.to_str().ok())
        .flat_map(Cookie::split_parse)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == REFRESH_COOKIE)
        .map(|cookie| cookie.value().to_owned())
}

/// The value of `Set-Cookie` that makes a browser forget the refresh token.
#[must_use]
pub fn forget_cookie() -> String {
    set_cookie("", 0)
}

fn set_cookie(value: &str, seconds: u64) -> String {
    Cookie::build((REFRESH_COOKIE, value))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Strict)
        .max_age(Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX)))
        .build()
        .to_string()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_cookie_is_for_this_host_for_no_script_and_for_no_other_site() {
        let pair = TokenPair {
            access: "a".to_owned(),
            refresh: "pcr_x".to_owned(),
            refresh_expires_in: 60,
        };
        let delivered = Delivery::Cookie.deliver(&pair);
        assert_eq!(delivered.refresh, None);
        assert_eq!(
            delivered.cookie.as_deref(),
            Some("__Host-portcullis-refresh=pcr_x; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=60")
        );
        assert_eq!(
            forget_cookie(),
            "__Host-portcullis-refresh=; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=0"
        );
        let delivered = Delivery::Body.deliver(&pair);
        assert_eq!((delivered.refresh.as_deref(), delivered.cookie), (Some("pcr_x"), None));
    }

    #[test]
    fn the_refresh_cookie_is_found_among_others() {
        let request = TestRequest::default()
            .append_header(("cookie", "a=b; portcullis-refresh=no"))
            .append_header(("cookie", "%; c; __Host-portcullis-refresh=pcr_y; d=e"))
            .to_http_request();
        assert_eq!(refresh_cookie(request.headers()).as_deref(), Some("pcr_y"));
        let request = TestRequest::default()
            .append_header(("cookie", "a=b"))
            .to_http_request();
        assert_eq!(refresh_cookie(request.headers()), None);
    }

    #[test]
    fn a_delivery_that_nobody_knows_is_refused() {
        let delivery = |value: &'static str| {
            let request = TestRequest::default()
                .append_header((DELIVERY_HEADER, value))
                .to_http_request();
            Delivery::extract(&request).into_inner().ok()
        };
        assert_eq!(delivery("cookie"), Some(Delivery::Cookie));
        assert_eq!(delivery("body"), Some(Delivery::Body));
        assert_eq!(delivery("post"), None);
    }
}
