//! What is taken from headers and what is put into them, on the way to an upstream and back.

use crate::admission::Caller;
use crate::client::Request;
use crate::client_address::Scheme;
use crate::config::{Auth, Purpose};
use crate::cookie;
use crate::http1::{self, Fields};
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
pub(crate) fn host(request: &Request) -> Option<&str> {
    let named = match request.fields.get("host") {
        Some(named) => Some(http1::text(named)?),
        None => None,
    };
    let host = match request.origin() {
        Some((scheme, authority)) => {
            let is_ours = matches!(scheme, None | Some("http" | "https"));
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
            let (name, port) = text.split_at(text.bytes().position(|byte| byte == b':').unwrap_or(text.len()));
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            (plain && (1..=255).contains(&name.len()), port)
        }
    };
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_name && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Writes the headers that an upstream gets, except `Host` and what frames the body.
pub(crate) fn toward_upstream(
    head: &mut HeadWriter<'_>,
    host: &str,
    route: &Route,
    caller: Option<&Caller<'_>>,
    record: &Record,
    handshake: Option<&Handshake>,
) {
    let (request, received) = (&record.request, &record.request.fields);
    let nominated = Nominated::parse(received.all("connection"));
    let trace = Trace::received(received);
    let traced = trace.is_some();
    let takes_cookie = route.purpose == Purpose::Refresh && cookie::is_asked_for(received);
    let replaced = |name: &[u8]| handshake.is_some_and(|handshake| handshake.withholds(name));
    for (name, value, line) in received.iter_lines() {
        let withheld = is_ours(name)
            || nominated.contains(name)
            || route.extras.request_rules.withhold(name)
            || (name == AUTHORIZATION.as_bytes() && route.auth != Auth::None)
            || name == TRACEPARENT.as_bytes()
            || (!traced && name == b"tracestate")
            || replaced(name);
        if withheld {
            continue;
        }
        if name == b"cookie" && !takes_cookie {
            if let Some(value) = cookie::withhold(value) {
                head.copy(name, &value);
            }
        } else {
            head.copy_line(name, value, line);
        }
    }
    if let Some(Caller { identity, token }) = caller {
        if !route.extras.request_rules.withhold(AUTHORIZATION.as_bytes()) {
            // In the one spelling that every reader understands alike.
            head.parts(AUTHORIZATION, &["Bearer ", token]);
        }
        head.lines(identity.lines());
    }
    head.line("x-request-id", record.id.as_bytes());
    let arrival = &record.arrival;
    let (scheme, host) = (arrival.scheme(Scheme::of(request)).as_str(), arrival.host(host));
    head.say("x-forwarded-proto", scheme);
    if !host.is_empty() {
        head.say("x-forwarded-host", host);
    }
    if arrival.client.is_some() {
        head.compose("x-forwarded-for", |value| arrival.addresses(value));
    }
    head.compose("forwarded", |value| arrival.forwarded(host, scheme, value));
    let trace = record.trace(trace);
    if !route.extras.request_rules.withhold(TRACEPARENT.as_bytes()) {
        head.line(TRACEPARENT, trace.as_bytes());
    }
    route.extras.request_rules.write(head, replaced);
    if let Some(handshake) = handshake {
        handshake.ask(head);
    }
}

/// Whether a header of a request is never passed on as it came, because it belongs to the connection, frames the body,
/// says what only we may say, or would have a service take the request for another than the one that was let through (of
/// another method or path), or speak through a proxy of the client's choice (`HTTP_PROXY`, to a CGI). Readers that turn
/// names into variables cannot tell `X_User.Id` from `X-User-Id`, so every character that is neither letter nor digit counts
/// as a dash.
pub(crate) fn is_ours(name: &[u8]) -> bool {
    let is_odd = |b: &u8| !b.is_ascii_alphanumeric() && *b != b'-';
    if name.iter().any(is_odd) {
        let plain = |b: &u8| {
            if b.is_ascii_alphanumeric() {
                b.to_ascii_lowercase()
            } else {
                b'-'
            }
        };
        let plain: Vec<u8> = name.iter().map(plain).collect();
        return is_ours_plainly(&plain) || plain == b"traceparent" || plain == b"authorization";
    }
    is_ours_plainly(name)
}

fn is_ours_plainly(name: &[u8]) -> bool {
    is_hop_by_hop(name)
        || name.starts_with(b"x-forwarded-")
        || matches!(
            name,
            b"x-user-id"
                | b"x-user-roles"
                | b"x-session-id"
                | b"x-scope"
                | b"x-request-id"
                | b"x-real-ip"
                | b"x-forwarded"
                | b"x-original-url"
                | b"x-rewrite-url"
                | b"x-http-method"
                | b"x-http-method-override"
                | b"x-method-override"
                | b"proxy"
                | b"forwarded"
                | b"host"
                | b"content-length"
                | b"expect"
        )
}

/// RFC 9110 section 7.6.1, and the older ones that proxies still meet.
pub(crate) fn is_hop_by_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"proxy-connection"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
            | b"http2-settings"
    )
}

/// The headers that `Connection` names, which go no further than it does itself.
struct Nominated<'a>(Vec<&'a [u8]>);

impl<'a> Nominated<'a> {
    fn parse(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut names = Vec::new();
        // Most say only this, which names none.
        for value in values.filter(|value| *value != b"keep-alive") {
            let options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            names.extend(options.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"keep-alive")));
        }
        Self(names)
    }

    fn contains(&self, name: &[u8]) -> bool {
        self.0.iter().any(|nominated| nominated.eq_ignore_ascii_case(name))
    }
}

/// The headers of an upstream's answer that a client gets. What frames the body is left out, and so is what the upstream
/// says about other origins: that is for us to say. The refresh cookie is for services to set that give out its tokens: any
/// other could sign a browser in as somebody else.
pub(crate) fn toward_client(received: &Head, route: &Route, fields: &mut Fields) {
    let nominated = Nominated::parse(received.values("connection"));
    for (name, value, line) in received.fields.iter_lines() {
        let withheld = is_hop_by_hop(name)
            || name == b"content-length"
            || name.starts_with(b"access-control-")
            || (name == b"set-cookie" && route.purpose == Purpose::Service && cookie::sets_refresh(value))
            || nominated.contains(name);
        if !withheld {
            fields.push_line(name, value, line);
        }
    }
    route.extras.response_rules.apply(fields);
}

/// Whether an answer with these headers is a stream of events (WHATWG HTML, section 9.2), which goes on and on.
pub(crate) fn is_event_stream(received: &Head) -> bool {
    received.values("content-type").next().is_some_and(|value| {
        let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default();
        media_type.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}

#[cfg(test)]
mod tests {
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
            assert!(is_ours(name.as_bytes()), "{name}");
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
            assert!(!is_ours(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_host_that_needs_quoting_is_none() {
        let host_of = |value: &str| host(&Request::with(&[("Host", value)])).map(str::to_owned);
        assert_eq!(host_of("localhost:8000").as_deref(), Some("localhost:8000"));
        assert_eq!(host_of("[::1]:8000").as_deref(), Some("[::1]:8000"));
        assert_eq!(host_of("a\";proto=https"), None);
        assert_eq!(host_of("a, b"), None);
        let absolute = |named: &str| {
            let request = Request::of(&format!("GET http://a.example/x HTTP/1.1\r\nHost: {named}\r\n\r\n"));
            host(&request).map(str::to_owned)
        };
        assert_eq!(absolute("A.example").as_deref(), Some("a.example"));
        assert_eq!(absolute("b.example"), None);
    }
}
