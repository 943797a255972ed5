//! What is taken from headers and what is put into them, on the way to an upstream and back.

use actix_web::HttpRequest;
use actix_web::dev::RequestHead;
use actix_web::http::Version;
use actix_web::http::header::{self as inbound, HeaderMap as InboundMap};

use crate::admission::Caller;
use crate::client_address::Scheme;
use crate::config::{Auth, Purpose};
use crate::cookie;
use crate::record::Record;
use crate::routes::Route;
use crate::trace::Trace;
use crate::tunnel::Handshake;
use crate::upstream::{Head, HeadWriter};

const AUTHORIZATION: &str = "authorization";
const TRACEPARENT: &str = "traceparent";

/// The host that `request` is for: of an absolute target, else of `Host` (RFC 9112 section 3.2.2). `None` when it is not
/// one that could be passed on without quoting, or when both are there and differ; empty when there is none, as HTTP/1.0
/// allows.
pub(crate) fn host(request: &RequestHead) -> Option<&str> {
    let named = match request.headers.get(inbound::HOST) {
        Some(value) => Some(value.to_str().ok()?),
        None => None,
    };
    let host = match request.uri.authority() {
        Some(authority) => {
            let authority = authority.as_str();
            let is_ours = matches!(request.uri.scheme_str(), None | Some("http" | "https"));
            let agrees = named.is_none_or(|named| named.eq_ignore_ascii_case(authority));
            (is_ours && agrees).then_some(authority)?
        }
        None => named.unwrap_or_default(),
    };
    (host.is_empty() || is_host(host)).then_some(host)
}

/// Whether `text` is a name or an address, of IPv6 in brackets, and perhaps a port.
pub(crate) fn is_host(text: &str) -> bool {
    let (is_name, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) => (address.parse::<std::net::Ipv6Addr>().is_ok(), port),
        Some(None) => return false,
        None => {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            (plain && (1..=255).contains(&name.len()), port)
        }
    };
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_name && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Whether a request with these headers has a body. A `Transfer-Encoding` that got here is `chunked`.
pub(crate) fn has_body(headers: &InboundMap) -> bool {
    headers.contains_key(inbound::TRANSFER_ENCODING) || content_length(headers).is_some_and(|length| length > 0)
}

/// The announced length of the body.
pub(crate) fn content_length(headers: &InboundMap) -> Option<u64> {
    headers.get(inbound::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// How many bytes names and values have together.
pub(crate) fn size(headers: &InboundMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// Writes the headers that an upstream gets, except `Host` and what frames the body.
pub(crate) fn toward_upstream(
    head: &mut HeadWriter<'_>,
    request: &HttpRequest,
    host: &str,
    route: &Route,
    caller: Option<&Caller>,
    record: &Record,
    handshake: Option<&Handshake>,
) {
    let received = request.headers();
    let nominated = Nominated::in_request(received);
    let trace = Trace::received(received);
    let traced = trace.is_some();
    let takes_cookie = route.purpose == Purpose::Refresh && cookie::is_asked_for(received);
    let replaced = |name: &str| handshake.is_some_and(|handshake| handshake.withholds(name));
    for (name, value) in received {
        let name = name.as_str();
        let withheld = is_ours(name)
            || nominated.contains(name)
            || route.request_rules.withhold(name)
            || (name == AUTHORIZATION && route.auth != Auth::None)
            || name == TRACEPARENT
            || (!traced && name == "tracestate")
            || replaced(name);
        if withheld {
            continue;
        }
        if name == "cookie" && !takes_cookie {
            if let Some(value) = cookie::withhold(value.as_bytes()) {
                head.line(name, &value);
            }
        } else {
            head.field(name, value);
        }
    }
    if let Some(Caller {
        identity,
        authorization,
    }) = caller
    {
        if !route.request_rules.withhold(AUTHORIZATION) {
            head.field(AUTHORIZATION, authorization);
        }
        head.lines(identity.lines());
    }
    head.say("x-request-id", record.id.as_str());
    let arrival = &record.arrival;
    let (scheme, host) = (arrival.scheme(Scheme::of(request)).as_str(), arrival.host(host));
    head.say("x-forwarded-proto", scheme);
    if !host.is_empty() {
        head.say("x-forwarded-host", host);
    }
    if arrival.client.is_some() {
        head.say("x-forwarded-for", &arrival.addresses());
    }
    head.say("forwarded", &arrival.forwarded(host, scheme));
    let trace = record.trace(trace);
    if !route.request_rules.withhold(TRACEPARENT) {
        head.say(TRACEPARENT, trace.as_str());
    }
    route.request_rules.write(head, replaced);
    if let Some(handshake) = handshake {
        handshake.ask(head);
    }
}

/// Whether a header of a request is never passed on as it came, because it belongs to the connection, frames the body,
/// says what only we may say, or would have a service take the request for another than the one that was let through (of
/// another method or path), or speak through a proxy of the client's choice (`HTTP_PROXY`, to a CGI). Readers that turn
/// names into variables cannot tell `X_User.Id` from `X-User-Id`, so every character that is neither letter nor digit counts
/// as a dash.
pub(crate) fn is_ours(name: &str) -> bool {
    let is_odd = |b: u8| !b.is_ascii_alphanumeric() && b != b'-';
    if name.bytes().any(is_odd) {
        let plain: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        return is_ours_plainly(&plain) || plain == "traceparent" || plain == "authorization";
    }
    is_ours_plainly(name)
}

fn is_ours_plainly(name: &str) -> bool {
    is_hop_by_hop(name)
        || name.starts_with("x-forwarded-")
        || matches!(
            name,
            "x-user-id"
                | "x-user-roles"
                | "x-session-id"
                | "x-scope"
                | "x-request-id"
                | "x-real-ip"
                | "x-forwarded"
                | "x-original-url"
                | "x-rewrite-url"
                | "x-http-method"
                | "x-http-method-override"
                | "x-method-override"
                | "proxy"
                | "forwarded"
                | "host"
                | "content-length"
                | "expect"
        )
}

/// RFC 9110 section 7.6.1, and the older ones that proxies still meet.
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// The headers that `Connection` names, which go no further than it does itself.
struct Nominated<'a>(Vec<&'a str>);

impl<'a> Nominated<'a> {
    fn in_request(headers: &'a InboundMap) -> Self {
        Self::parse(headers.get_all(inbound::CONNECTION).map(inbound::HeaderValue::as_bytes))
    }

    fn parse(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let names = values
            .filter_map(|value| std::str::from_utf8(value).ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("keep-alive"));
        Self(names.collect())
    }

    fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|nominated| nominated.eq_ignore_ascii_case(name))
    }
}

/// The headers of an upstream's answer that a client gets. What frames the body is left out, and so is what the upstream
/// says about other origins: that is for us to say. The refresh cookie is for services to set that give out its tokens: any
/// other could sign a browser in as somebody else.
pub(crate) fn toward_client(received: &Head, route: &Route, headers: &mut InboundMap) {
    let nominated = Nominated::parse(received.values("connection"));
    for (name, value) in received.fields() {
        let text = name.as_str();
        let withheld = is_hop_by_hop(text)
            || text == "content-length"
            || text.starts_with("access-control-")
            || (text == "set-cookie" && route.purpose == Purpose::Service && cookie::sets_refresh(value.as_bytes()))
            || nominated.contains(text);
        if !withheld {
            headers.append(name, value);
        }
    }
    route.response_rules.apply(headers);
}

/// Whether an answer with these headers is a stream of events (WHATWG HTML, section 9.2), which goes on and on.
pub(crate) fn is_event_stream(received: &Head) -> bool {
    received.values("content-type").next().is_some_and(|value| {
        let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default();
        media_type.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}

/// Whether an answer to `request` may come in chunks (RFC 9112 section 7.1), or in frames that need no length. The library
/// writes none, although it says so, where a WebSocket is asked for and another answer given.
pub(crate) fn takes_chunks(request: &HttpRequest) -> bool {
    let mut protocols = request.headers().get_all(inbound::UPGRADE);
    request.version() >= Version::HTTP_11
        && !protocols.any(|name| name.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn every_alias_of_a_header_that_is_ours_is_withheld() {
        for name in [
            "x-user-id",
            "x_user_id",
            "x.user.id",
            "x-user_roles",
            "x~session!id",
            "x_scope",
            "x_forwarded.for",
            "forwarded",
            "x_real_ip",
            "transfer_encoding",
            "content_length",
            "x_request_id",
            "connection",
            "te",
        ] {
            assert!(is_ours(name), "{name}");
        }
        for name in [
            "x-user",
            "x-user-identity",
            "x_custom",
            "accept",
            "cookie",
            "scope",
            "x-scopes",
        ] {
            assert!(!is_ours(name), "{name}");
        }
    }

    #[test]
    fn a_host_that_needs_quoting_is_none() {
        let host_of = |value: &'static str| {
            let request = TestRequest::get()
                .insert_header((inbound::HOST, value))
                .to_http_request();
            host(request.head()).map(str::to_owned)
        };
        assert_eq!(host_of("localhost:8000").as_deref(), Some("localhost:8000"));
        assert_eq!(host_of("[::1]:8000").as_deref(), Some("[::1]:8000"));
        assert_eq!(host_of("a\";proto=https"), None);
        assert_eq!(host_of("a, b"), None);
        let absolute = |named: &'static str| {
            let request = TestRequest::with_uri("http://a.example/x")
                .insert_header((inbound::HOST, named))
                .to_http_request();
            host(request.head()).map(str::to_owned)
        };
        assert_eq!(absolute("A.example").as_deref(), Some("a.example"));
        assert_eq!(absolute("b.example"), None);
    }
}
