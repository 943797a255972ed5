//! A request as everything behind this reads it, by whatever protocol it came.

use std::mem::MaybeUninit;
use std::net::SocketAddr;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::http::{Method, StatusCode, Uri, Version};
use bytes::{Buf, BytesMut};
use http::header::{COOKIE, HOST};
use service_kit::Problem;

use crate::http1::{Fields, MAX_FIELDS, MAX_HEAD, may_end, number};

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    target: Target,
    pub(crate) fields: Fields,
    pub(crate) framing: Framing,
    /// The other end of the connection that it came by.
    pub(crate) peer: Option<SocketAddr>,
    /// Whether it came over TLS.
    pub(crate) is_secure: bool,
    version: Version,
    /// What its connection is for behind it.
    pub(crate) wants: Wants,
    /// Whether its body waits for a word that it is wanted (RFC 9110 section 10.1.1).
    pub(crate) expects: bool,
}

/// What a client says that it wants its connection for, behind a request (RFC 9112 section 9.3, RFC 9110 section 7.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// For nothing more.
    End,
    /// For further requests.
    Another,
    /// For another protocol, if that is agreed on, else for further requests.
    Upgrade,
}

/// Where the body of a request ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// At once: there is none.
    Nothing,
    /// After so many bytes, one at least.
    Length(u64),
    /// Where it says so itself.
    Open,
}

/// What a request is for (RFC 9112 section 3.2).
#[derive(Debug)]
struct Target {
    /// The path, and the query behind it.
    text: String,
    /// Where the path ends.
    path: usize,
    /// What stands in front of them in the absolute form.
    origin: Option<Box<Origin>>,
}

#[derive(Debug)]
struct Origin {
    scheme: Option<String>,
    authority: String,
}

/// Why what came is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    #[error("The request cannot be read as HTTP/1.1: {0}.")]
    Head(httparse::Error),
    #[error("A line of the request's head does not end with CR LF.")]
    LineEnd,
    #[error("The request line is longer than {MAX_HEAD} bytes.")]
    TargetTooLong,
    #[error(
        "The request's head is larger than the {MAX_HEAD} bytes, or has more than the {MAX_FIELDS} headers, allowed here."
    )]
    TooLarge,
    #[error("The request target has characters that URLs do not have, or is none.")]
    Target,
    #[error("The request has to have one Host header.")]
    Hosts,
    #[error(
        "Where the request's body ends is not clear: send one Content-Length, a plain number, or one Transfer-Encoding, \
         chunked, and no other."
    )]
    Framing,
    #[error("The request's head did not arrive in time.")]
    Late,
}

impl From<BadRequest> for Problem {
    fn from(bad: BadRequest) -> Self {
        let detail = bad.to_string();
        match bad {
            BadRequest::TargetTooLong => Self::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail),
            BadRequest::TooLarge => Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", detail),
            BadRequest::Late => Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail),
            BadRequest::Head(_)
            | BadRequest::LineEnd
            | BadRequest::Target
            | BadRequest::Hosts
            | BadRequest::Framing => Self::bad_request("bad_request", detail),
        }
    }
}

impl Request {
    /// Takes the head of a request of HTTP/1.1 out of `bytes`, of which `looked_at` were there the last time; `None` when it
    /// is not all there yet.
    pub(crate) fn take(
        bytes: &mut BytesMut,
        looked_at: usize,
        peer: Option<SocketAddr>,
        is_secure: bool,
    ) -> Result<Option<Self>, BadRequest> {
        if !may_end(bytes, looked_at) {
            return unfinished(bytes);
        }
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut head = httparse::Request::new(&mut []);
        let length = match head.parse_with_uninit_headers(bytes, &mut fields) {
            Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
            Err(httparse::Error::TooManyHeaders) | Ok(httparse::Status::Complete(_)) => return Err(too_large(bytes)),
            Ok(httparse::Status::Partial) => return unfinished(bytes),
            Err(error) => return Err(BadRequest::Head(error)),
        };
        let (fields, is_strict) = Fields::parsed(&bytes[..length], head.headers);
        if !is_strict {
            return Err(BadRequest::LineEnd);
        }
        let method = Method::from_bytes(head.method.unwrap_or_default().as_bytes())
            .map_err(|_| BadRequest::Head(httparse::Error::Token))?;
        let target = Target::parse(head.path.unwrap_or_default()).ok_or(BadRequest::Target)?;
        let is_current = head.version == Some(1);
        let version = if is_current { Version::HTTP_11 } else { Version::HTTP_10 };
        bytes.advance(length);
        let mut request = Self {
            method,
            target,
            fields,
            framing: Framing::Nothing,
            peer,
            is_secure,
            version,
            wants: Wants::End,
            expects: false,
        };
        request.settle()?;
        Ok(Some(request))
    }

    /// A request of HTTP/2, which has a body of the length it says, or of an open one when it `has_body`; `None` when it is not
    /// what a request may be.
    pub(crate) fn of_http2(head: &http::request::Parts, peer: Option<SocketAddr>, has_body: bool) -> Option<Self> {
        let target = Target::of_http2(&head.uri)?;
        let hosts = head.headers.get_all(HOST).iter().count();
        // RFC 9113 section 8.3.1: a target has one, be it a field.
        if hosts > 1 || hosts == 0 && target.origin.is_none() {
            return None;
        }
        let mut fields = Fields::new();
        for (name, value) in head.headers.iter().filter(|(name, _)| *name != COOKIE) {
            fields.push(name.as_str().as_bytes(), value.as_bytes());
        }
        // RFC 9113 section 8.2.3: they are one that came in pieces.
        let cookies: Vec<&[u8]> = head
            .headers
            .get_all(COOKIE)
            .iter()
            .map(http::HeaderValue::as_bytes)
            .collect();
        if !cookies.is_empty() {
            fields.push(b"cookie", &cookies.join(&b"; "[..]));
        }
        let length = fields.get("content-length").and_then(number);
        let expects = fields.all("expect").any(expects);
        Some(Self {
            method: Method::from_bytes(head.method.as_str().as_bytes()).ok()?,
            target,
            fields,
            framing: match length {
                Some(0) => Framing::Nothing,
                Some(length) => Framing::Length(length),
                None if has_body => Framing::Open,
                None => Framing::Nothing,
            },
            peer,
            is_secure: true,
            version: Version::HTTP_2,
            wants: Wants::Another,
            expects,
        })
    }

    /// Goes by what its fields say of its connection and its body.
    fn settle(&mut self) -> Result<(), BadRequest> {
        let (mut closes, mut keeps, mut upgrades) = (false, self.is_current(), false);
        let (mut hosts, mut lengths, mut codings) = (0, 0, 0);
        let (mut length, mut coding) = (None, None);
        for (name, value) in self.fields.iter() {
            match name {
                b"host" => hosts += 1,
                b"content-length" => (lengths, length) = (lengths + 1, number(value)),
                b"transfer-encoding" => (codings, coding) = (codings + 1, Some(value)),
                b"connection" => {
                    for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                        closes |= option.eq_ignore_ascii_case(b"close");
                        keeps |= option.eq_ignore_ascii_case(b"keep-alive");
                        upgrades |= option.eq_ignore_ascii_case(b"upgrade");
                    }
                }
                b"expect" if self.version == Version::HTTP_11 => {
                    self.expects |= expects(value);
                }
                _ => {}
            }
        }
        // RFC 9112 section 3.2.
        if hosts > 1 || (hosts == 0 && self.is_current()) {
            return Err(BadRequest::Hosts);
        }
        self.framing = match (lengths, codings) {
            // RFC 1945 section 7.2.2: there is no other way to say it.
            (0, 0) if !self.is_current() && self.method == Method::POST => return Err(BadRequest::Framing),
            (0, 0) => Framing::Nothing,
            (1, 0) => match length.ok_or(BadRequest::Framing)? {
                0 => Framing::Nothing,
                length => Framing::Length(length),
            },
            // Another coding would have to be undone, and both may be an attempt to have the rest of the body read as another
            // request.
            (0, 1) if self.is_current() && coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) => {
                Framing::Open
            }
            _ => return Err(BadRequest::Framing),
        };
        // Whoever asks for a tunnel may go on as if it had got one.
        let is_connect = self.method == Method::CONNECT;
        self.wants = if closes || is_connect || !keeps {
            Wants::End
        } else if upgrades && self.is_current() {
            Wants::Upgrade
        } else {
            Wants::Another
        };
        Ok(())
    }

    /// Whether it did not come by a version before HTTP/1.1.
    pub(crate) fn is_current(&self) -> bool {
        self.version != Version::HTTP_10
    }

    /// The path, as it came; `*` and what has none are their own.
    pub(crate) fn path(&self) -> &str {
        &self.target.text[..self.target.path]
    }

    /// What stands behind the question mark, if there is one.
    pub(crate) fn query(&self) -> Option<&str> {
        self.target.text.get(self.target.path + 1..)
    }

    /// Scheme and host of an absolute target.
    pub(crate) fn origin(&self) -> Option<(Option<&str>, &str)> {
        let origin = self.target.origin.as_ref()?;
        Some((origin.scheme.as_deref(), &origin.authority))
    }

    /// Its headers, for those who read them with the library.
    pub(crate) fn message(&self) -> actix_http::Request {
        let mut message = actix_http::Request::new();
        for (name, value) in self.fields.iter() {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                message.headers_mut().append(name, value);
            }
        }
        message
    }

    /// Whether it has a body.
    pub(crate) fn has_body(&self) -> bool {
        self.framing != Framing::Nothing
    }

    /// The length of its body, as far as it is said beforehand.
    pub(crate) fn body_length(&self) -> Option<u64> {
        match self.framing {
            Framing::Nothing => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Open => None,
        }
    }

    /// The request that `text` is.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        let peer = "127.0.0.1:1".parse().ok();
        Self::take(&mut BytesMut::from(text), 0, peer, false).unwrap().unwrap()
    }

    /// `GET /` with these lines.
    #[cfg(test)]
    pub(crate) fn with(lines: &[(&str, &str)]) -> Self {
        let lines: Vec<String> = lines
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let lines = lines.concat();
        let host = if lines.to_ascii_lowercase().contains("host: ") {
            ""
        } else {
            "Host: x\r\n"
        };
        Self::of(&format!("GET / HTTP/1.1\r\n{host}{lines}\r\n"))
    }
}

fn unfinished(bytes: &[u8]) -> Result<Option<Request>, BadRequest> {
    if bytes.len() > MAX_HEAD {
        return Err(too_large(bytes));
    }
    Ok(None)
}

fn too_large(head: &[u8]) -> BadRequest {
    if head.iter().take(MAX_HEAD).any(|byte| *byte == b'\n') {
        BadRequest::TooLarge
    } else {
        BadRequest::TargetTooLong
    }
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        if !text.starts_with('/') {
            let uri: Uri = text.parse().ok()?;
            let authority = uri.authority().map(Authority::as_str);
            return Some(Self::of(uri.path(), uri.query(), uri.scheme_str(), authority));
        }
        // RFC 3986 section 3.5: a fragment is for the client alone.
        let find = |text: &str, mark| text.bytes().position(|byte| byte == mark).unwrap_or(text.len());
        let text = &text[..find(text, b'#')];
        let path = find(text, b'?');
        is_sound(&text[..path], &text[path..]).then(|| Self {
            text: text.to_owned(),
            path,
            origin: None,
        })
    }

    /// The target of a request of HTTP/2, if it could be one of HTTP/1.1.
    fn of_http2(uri: &http::Uri) -> Option<Self> {
        let authority = uri.authority().map(http::uri::Authority::as_str);
        is_sound(uri.path(), uri.query().unwrap_or_default())
            .then(|| Self::of(uri.path(), uri.query(), uri.scheme_str(), authority))
    }

    fn of(path: &str, query: Option<&str>, scheme: Option<&str>, authority: Option<&str>) -> Self {
        let (mark, query) = query.map_or(("", ""), |query| ("?", query));
        let origin = authority.map(|authority| {
            Box::new(Origin {
                scheme: scheme.map(str::to_owned),
                authority: authority.to_owned(),
            })
        });
        Self {
            text: [path, mark, query].concat(),
            path: path.len(),
            origin,
        }
    }
}

/// Whether the client waits for a word before it sends the body, by a field of this value (RFC 9110 section 10.1.1).
fn expects(value: &[u8]) -> bool {
    let mut expectations = value.split(|byte| *byte == b',');
    expectations.any(|one| one.trim_ascii().eq_ignore_ascii_case(b"100-continue"))
}

/// Whether these have all that browsers send, and nothing that could end a target, or what it is quoted in, for a reader.
fn is_sound(path: &str, query: &str) -> bool {
    let is_sound = |byte: u8| byte > b' ' && byte < 0x7f && byte != b'<' && byte != b'>';
    let all = |text: &str| text.bytes().fold(true, |all, byte| all & is_sound(byte));
    all(path) && all(query) && !query.as_bytes().contains(&b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<Option<Request>, BadRequest> {
        Request::take(&mut BytesMut::from(text), 0, None, false)
    }

    fn line(line: &str) -> Result<Request, BadRequest> {
        take(&format!("{line}\r\nHost: x\r\n\r\n")).map(Option::unwrap)
    }

    fn lines(version: &str, lines: &str) -> Result<Request, BadRequest> {
        take(&format!("PUT / HTTP/{version}\r\nHost: x\r\n{lines}\r\n")).map(Option::unwrap)
    }

    #[test]
    fn a_request_of_http_2_is_for_one_host() {
        let of = |target: &str, hosts: &[&str]| {
            let request = hosts.iter().fold(http::Request::get(target), |request, host| {
                request.header("host", *host)
            });
            Request::of_http2(&request.body(()).unwrap().into_parts().0, None, false)
        };
        assert!(of("https://a.test/", &[]).is_some());
        assert!(of("https://a.test/", &["a.test"]).is_some());
        assert!(of("/", &["a.test"]).is_some());
        assert!(of("/", &[]).is_none());
        assert!(of("/", &["a.test", "a.test"]).is_none());
        assert!(of("https://a.test/", &["a.test", "b.test"]).is_none());
    }

    #[test]
    fn a_target_is_a_path_and_a_query_and_what_stands_in_front_of_them() {
        for (target, path, query, authority) in [
            ("/", "/", None, None),
            ("/a?", "/a", Some(""), None),
            ("/a?b?c", "/a", Some("b?c"), None),
            ("/a#b?c", "/a", None, None),
            ("/a?b#c", "/a", Some("b"), None),
            ("http://a.test/b?c", "/b", Some("c"), Some("a.test")),
            ("HTTP://a.test", "/", None, Some("a.test")),
            ("a.test:80", "", None, Some("a.test:80")),
            ("*", "*", None, None),
        ] {
            let request = line(&format!("GET {target} HTTP/1.1")).unwrap();
            assert_eq!((request.path(), request.query()), (path, query), "{target}");
            assert_eq!(request.origin().map(|(_, authority)| authority), authority, "{target}");
        }
        for target in [
            "?x",
            "#",
            "/a<b",
            "/a?b>",
            "/a?\"",
            "/caf\u{e9}",
            "/?\u{e9}",
            "http:///x",
            "http://[::1/x",
        ] {
            assert!(line(&format!("GET {target} HTTP/1.1")).is_err(), "{target}");
        }
    }

    #[test]
    fn one_length_or_chunks_and_nothing_else() {
        let framing = |version, text: &str| lines(version, text).map(|request| request.framing);
        assert_eq!(framing("1.1", "").unwrap(), Framing::Nothing);
        assert_eq!(framing("1.1", "Content-Length: 0\r\n").unwrap(), Framing::Nothing);
        assert_eq!(framing("1.0", "Content-Length: 05\r\n").unwrap(), Framing::Length(5));
        assert_eq!(framing("1.1", "Transfer-Encoding: Chunked\r\n").unwrap(), Framing::Open);
        for bad in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: +5\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding:\r\n",
        ] {
            assert_eq!(framing("1.1", bad).unwrap_err(), BadRequest::Framing, "{bad:?}");
        }
        let none = take("POST / HTTP/1.0\r\n\r\n");
        assert_eq!(none.unwrap_err(), BadRequest::Framing);
        for hosts in ["", "Host: x\r\nHost: x\r\n"] {
            let refused = take(&format!("GET / HTTP/1.1\r\n{hosts}\r\n"));
            assert_eq!(refused.unwrap_err(), BadRequest::Hosts);
        }
        let old = framing("1.0", "Transfer-Encoding: chunked\r\n");
        assert_eq!(old.unwrap_err(), BadRequest::Framing);
    }

    #[test]
    fn a_connection_persists_unless_it_is_to_be_closed() {
        for (version, text, persists) in [
            ("1.1", "", true),
            ("1.1", "Connection: Close\r\n", false),
            ("1.1", "Connection: x, close\r\n", false),
            ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
            ("1.1", "Connection: closed\r\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: keep-alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let wants = lines(version, text).unwrap().wants;
            assert_eq!(wants != Wants::End, persists, "{version} {text:?}");
        }
    }

    #[test]
    fn a_head_is_the_same_in_whatever_pieces_it_comes() {
        let text = "\r\nPOST /a?b HTTP/1.1\r\nHost: x\r\nA: 1\r\nb:\r\na: \t2 \r\nExpect: 100-Continue\r\n\r\nrest";
        for step in 1..text.len() {
            let (mut bytes, mut looked_at) = (BytesMut::new(), 0);
            let mut pieces = text.as_bytes().chunks(step);
            let request = loop {
                bytes.extend_from_slice(pieces.next().unwrap());
                match Request::take(&mut bytes, looked_at, None, true).unwrap() {
                    Some(request) => break request,
                    None => looked_at = bytes.len(),
                }
            };
            pieces.for_each(|piece| bytes.extend_from_slice(piece));
            assert_eq!(bytes, "rest");
            assert_eq!((request.path(), request.query()), ("/a", Some("b")));
            assert_eq!(request.fields.all("a").collect::<Vec<_>>(), [&b"1"[..], b"2"]);
            assert!(request.expects && request.is_secure && request.is_current());
        }
    }

    #[test]
    fn a_head_without_end_is_given_up() {
        let long = "x".repeat(MAX_HEAD);
        assert_eq!(take(&format!("GET /{long}")).unwrap_err(), BadRequest::TargetTooLong);
        assert_eq!(
            take(&format!("GET / HTTP/1.1\r\nA: {long}")).unwrap_err(),
            BadRequest::TooLarge
        );
        let whole = format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n");
        assert_eq!(take(&whole).unwrap_err(), BadRequest::TooLarge);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(take(&many).unwrap_err(), BadRequest::TooLarge);
    }
}
