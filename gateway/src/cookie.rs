//! The refresh cookie: which requests may use it, and that nobody but the services it belongs to ever sees or sets it.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use portcullis_client::{DELIVERY_HEADER, REFRESH_COOKIE};
use service_kit::Problem;
use url::Url;

use crate::http1::{self, Fields};

const ORIGIN: &str = "origin";
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// A request that would use the cookie, and that a page of another origin may have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "With X-Token-Delivery: cookie requests are taken from pages of this very origin only. Serve the page from here, \
     name its origin in gateway.cors_origins, or leave the header out and get tokens in the body."
)]
pub(crate) struct Forged;

impl From<Forged> for Problem {
    fn from(error: Forged) -> Self {
        Self::new(StatusCode::FORBIDDEN, "csrf_failed", error.to_string())
    }
}

/// Whether the refresh token is to travel in the cookie. Of several such headers one is enough to be careful.
pub(crate) fn is_asked_for(fields: &Fields) -> bool {
    fields
        .all(DELIVERY_HEADER)
        .any(|value| value.trim_ascii().eq_ignore_ascii_case(b"cookie"))
}

/// Makes sure that no page but our own, and those of `origins`, made a request that uses the cookie. Browsers say where a
/// request comes from in headers that pages cannot write; what says nothing is no browser, and has no cookies of others.
pub(crate) fn check(fields: &Fields, host: &str, origins: &[String]) -> Result<(), Forged> {
    let (site, origin) = (Said::by(fields, SEC_FETCH_SITE), Said::by(fields, ORIGIN));
    let trusted = match (site, origin) {
        (Said::Nothing, Said::Nothing) | (Said::One("same-origin" | "none"), _) => true,
        (_, Said::One(origin)) => is_own(origin, host) || origins.iter().any(|known| known == origin),
        (_, Said::Nothing | Said::Unclear) => false,
    };
    if trusted { Ok(()) } else { Err(Forged) }
}

/// What a request says in a header that may stand in it once.
enum Said<'a> {
    Nothing,
    One(&'a str),
    Unclear,
}

impl<'a> Said<'a> {
    fn by(fields: &'a Fields, name: &'static str) -> Self {
        let mut values = fields.all(name);
        match (values.next().map(http1::text), values.next()) {
            (None, _) => Self::Nothing,
            (Some(Some(value)), None) => Self::One(value),
            (Some(_), _) => Self::Unclear,
        }
    }
}

/// Whether `origin` (RFC 6454 section 6.2) is where requests for `host` come to. Its scheme is not compared: TLS may end in
/// front of us.
fn is_own(origin: &str, host: &str) -> bool {
    let Ok(theirs) = Url::parse(origin) else { return false };
    let is_plain = matches!(theirs.scheme(), "http" | "https") && theirs.origin().ascii_serialization() == origin;
    let ours = Url::parse(&format!("{}://{host}", theirs.scheme()));
    is_plain && ours.is_ok_and(|ours| ours.origin() == theirs.origin())
}

/// A `Cookie` header without the refresh cookie; `None` when nothing else is in it.
pub(crate) fn withhold(cookies: &[u8]) -> Option<Cow<'_, [u8]>> {
    let pairs = || cookies.split(|byte| *byte == b';');
    if !pairs().any(is_refresh) {
        return Some(Cow::Borrowed(cookies));
    }
    let kept: Vec<&[u8]> = pairs()
        .filter(|pair| !is_refresh(pair))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
        .collect();
    (!kept.is_empty()).then(|| Cow::Owned(kept.join(&b"; "[..])))
}

/// Whether a value of `Set-Cookie` would make a browser send something as the refresh cookie. One without a name is sent
/// as its value alone.
pub(crate) fn sets_refresh(set_cookie: &[u8]) -> bool {
    let named = set_cookie.trim_ascii_start();
    is_refresh(named.strip_prefix(b"=").unwrap_or(named))
}

fn is_refresh(pair: &[u8]) -> bool {
    let name = pair.split(|byte| matches!(byte, b'=' | b';')).next().unwrap_or(pair);
    name.trim_ascii() == REFRESH_COOKIE.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Request;

    fn verdict(host: &str, headers: &[(&'static str, &'static str)]) -> bool {
        check(
            &Request::with(headers).fields,
            host,
            &["http://localhost:3000".to_owned()],
        )
        .is_ok()
    }

    #[test]
    fn pages_of_this_origin_and_of_listed_ones_may_use_the_cookie_and_so_may_programs() {
        for (host, headers) in [
            ("gate.test", &[][..]),
            ("gate.test", &[("sec-fetch-site", "same-origin")]),
            ("gate.test", &[("sec-fetch-site", "none")]),
            // A proxy in front gave us another host than the browser asked for.
            (
                "inner:8000",
                &[("sec-fetch-site", "same-origin"), ("origin", "https://gate.test")],
            ),
            // Browsers that do not say more than the origin.
            ("gate.test", &[("origin", "https://gate.test")]),
            ("gate.test:443", &[("origin", "https://gate.test")]),
            ("gate.test", &[("origin", "http://gate.test")]),
            ("GATE.test:8000", &[("origin", "http://gate.test:8000")]),
            ("[::1]:8000", &[("origin", "http://[::1]:8000")]),
            ("gate.test", &[("origin", "http://localhost:3000")]),
            (
                "gate.test",
                &[("sec-fetch-site", "cross-site"), ("origin", "http://localhost:3000")],
            ),
            (
                "localhost:8000",
                &[("sec-fetch-site", "same-site"), ("origin", "http://localhost:3000")],
            ),
        ] {
            assert!(verdict(host, headers), "{host} {headers:?}");
        }
    }

    #[test]
    fn pages_of_any_other_origin_may_not() {
        for (host, headers) in [
            ("gate.test", &[("sec-fetch-site", "cross-site")][..]),
            ("gate.test", &[("sec-fetch-site", "same-site")]),
            (
                "gate.test",
                &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")],
            ),
            (
                "gate.test",
                &[("sec-fetch-site", "same-site"), ("origin", "https://evil.gate.test")],
            ),
            ("gate.test", &[("sec-fetch-site", "cross-site"), ("origin", "null")]),
            ("gate.test", &[("sec-fetch-site", "SAME-ORIGIN, same-origin")]),
            (
                "gate.test",
                &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            ),
            ("gate.test", &[("sec-fetch-site", "")]),
            ("gate.test", &[("origin", "null")]),
            ("gate.test", &[("origin", "")]),
            ("gate.test", &[("origin", "https://evil.test")]),
            ("gate.test", &[("origin", "https://evil.gate.test")]),
            ("gate.test", &[("origin", "https://gate.test.evil.test")]),
            ("gate.test", &[("origin", "https://gate.test:8443")]),
            ("gate.test:8000", &[("origin", "http://gate.test")]),
            ("gate.test", &[("origin", "https://gate.test@evil.test")]),
            ("gate.test", &[("origin", "https://evil.test/https://gate.test")]),
            ("gate.test", &[("origin", "https://gate.test/")]),
            ("gate.test", &[("origin", "gate.test")]),
            ("gate.test", &[("origin", "file://gate.test")]),
            (
                "gate.test",
                &[("origin", "https://gate.test"), ("origin", "https://evil.test")],
            ),
            ("gate.test", &[("origin", "http://localhost:3000.evil.test")]),
            ("gate.test", &[("origin", "http://localhost:3001")]),
            ("", &[("origin", "https://gate.test")]),
            ("", &[("origin", "https://")]),
        ] {
            assert!(!verdict(host, headers), "{host} {headers:?}");
        }
    }

    #[test]
    fn the_refresh_cookie_is_taken_out_and_its_look_alikes_stay() {
        for (cookies, left) in [
            ("__Host-portcullis-refresh=pcr_x", None),
            (" __Host-portcullis-refresh = pcr_x ; ", None),
            ("a=b; __Host-portcullis-refresh=pcr_x; c=d", Some("a=b; c=d")),
            (
                "__Host-portcullis-refresh=1;a=b;__Host-portcullis-refresh=2",
                Some("a=b"),
            ),
            ("__Host-portcullis-refresh", None),
            ("\t__Host-portcullis-refresh=pcr_x;a", Some("a")),
            ("a=\"x; __Host-portcullis-refresh=pcr_x\"", Some("a=\"x")),
            ("a=b;  c=d;", Some("a=b;  c=d;")),
            (
                "x__Host-portcullis-refresh=1; __Host-portcullis-refresh2=2",
                Some("x__Host-portcullis-refresh=1; __Host-portcullis-refresh2=2"),
            ),
            (
                "portcullis-refresh=1; __host-portcullis-refresh=2",
                Some("portcullis-refresh=1; __host-portcullis-refresh=2"),
            ),
            ("a=__Host-portcullis-refresh=3", Some("a=__Host-portcullis-refresh=3")),
            ("", Some("")),
        ] {
            let kept = withhold(cookies.as_bytes());
            assert_eq!(kept.as_deref(), left.map(str::as_bytes), "{cookies}");
        }
        assert_eq!(
            withhold(b"\xff=1; __Host-portcullis-refresh=\xff").as_deref(),
            Some(&b"\xff=1"[..])
        );
    }

    #[test]
    fn whatever_browsers_would_keep_as_the_refresh_cookie_is_seen_as_setting_it() {
        for set in [
            "__Host-portcullis-refresh=x; Secure",
            "__Host-portcullis-refresh=; Max-Age=0",
            "  __Host-portcullis-refresh  =x",
            "=__Host-portcullis-refresh=x",
            "= __Host-portcullis-refresh=x",
            "__Host-portcullis-refresh",
            "__Host-portcullis-refresh; Path=/",
        ] {
            assert!(sets_refresh(set.as_bytes()), "{set}");
        }
        for set in [
            "a=b",
            "a=__Host-portcullis-refresh=x",
            "__Host-portcullis-refresh2=x",
            "a; __Host-portcullis-refresh=x",
        ] {
            assert!(!sets_refresh(set.as_bytes()), "{set}");
        }
    }
}
