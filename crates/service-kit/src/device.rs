//! What a session's owner will recognise it by.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpRequest};

/// The most characters that are kept of either.
const LENGTH: usize = 256;

/// Where a request comes from, as far as it says.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// The address that the gateway saw, or, without one, the peer's.
    pub ip: Option<String>,
    /// What the browser or program calls itself.
    pub user_agent: Option<String>,
}

impl FromRequest for Device {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let forwarded = text(request.headers(), &header::X_FORWARDED_FOR);
        // Our own gateway wrote all of it: the client, and after it the proxies that it trusts.
        let client = forwarded
            .as_deref()
            .and_then(|list| list.split(',').next())
            .map(|entry| kept(entry.trim()));
        ready(Ok(Self {
            ip: client
                .filter(|entry| !entry.is_empty())
                .or_else(|| request.peer_addr().map(|peer| peer.ip().to_string())),
            user_agent: text(request.headers(), &header::USER_AGENT).map(|text| kept(&text)),
        }))
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get_all(name).last()?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn kept(text: &str) -> String {
    text.chars().take(LENGTH).collect()
}
