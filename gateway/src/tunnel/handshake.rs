//! The opening handshake of a WebSocket (RFC 6455 section 4.2.1), as far as the gateway has a say in it.

use actix_web::http::header::HeaderName;
use actix_web::http::{Method, StatusCode};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_client::{TokenError, bearer_token_of};
use service_kit::Problem;

use crate::client::{Request, Wants};
use crate::config::Auth;
use crate::http1::{self, Fields};
use crate::upstream::{Head, HeadWriter};

/// What stands before a token among the protocols that a client offers.
const BEARER: &str = "bearer.";
/// The protocol that is chosen when a page offered it beside its token and the service chose none: browsers give up a
/// connection of whose protocols none was chosen.
const OURS: &str = "portcullis";
/// Where protocols are offered, and one is chosen.
const PROTOCOL: &str = "sec-websocket-protocol";
const KEY: &str = "sec-websocket-key";
/// Also how a server says what it speaks.
const SPOKEN: &str = "sec-websocket-version";
/// RFC 6455 section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The only version there is.
const VERSION: &str = "13";

/// Why a request to open a WebSocket is refused before anybody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHandshake {
    #[error("The WebSocket version has to be {VERSION}, in the header Sec-WebSocket-Version.")]
    Version,
    #[error("The header Sec-WebSocket-Key has to be there once, with 16 bytes in base64.")]
    Key,
    #[error("A request that opens a WebSocket has no body.")]
    Body,
    #[error("The protocols offered in Sec-WebSocket-Protocol are not a list of names.")]
    Protocols,
    #[error("Send one token: in the Authorization header, or as one protocol bearer.TOKEN.")]
    TwoTokens,
}

impl From<BadHandshake> for Problem {
    fn from(error: BadHandshake) -> Self {
        match error {
            BadHandshake::Version => Self::new(StatusCode::UPGRADE_REQUIRED, "websocket_version", error.to_string())
                .header(HeaderName::from_static(SPOKEN), VERSION),
            BadHandshake::TwoTokens => Self::bad_request("two_tokens", error.to_string()),
            BadHandshake::Key | BadHandshake::Body | BadHandshake::Protocols => {
                Self::bad_request("bad_websocket_handshake", error.to_string())
            }
        }
    }
}

/// A request to open a WebSocket.
#[derive(Debug)]
pub(crate) struct Handshake {
    /// What the service has to answer to show that it read this very request.
    accept: String,
    /// The token among the protocols, if it is looked for and there.
    token: Option<String>,
    /// Whether the client offered [`OURS`] beside its token.
    offered_ours: bool,
    /// What the service gets to choose from, when that is not what the client sent.
    protocols: Option<String>,
}

impl Handshake {
    /// The handshake that `request` is; `None` when it asks for no WebSocket: any other protocol, h2c above all, stays
    /// unoffered, and the request goes on without it. Where nobody has to show a token none is looked for.
    pub(crate) fn of(request: &Request, auth: Auth) -> Result<Option<Self>, BadHandshake> {
        if request.wants != Wants::Upgrade || !asks_for_web_socket(request) {
            return Ok(None);
        }
        let received = &request.fields;
        if request.has_body() {
            return Err(BadHandshake::Body);
        }
        if received.only(SPOKEN).map(str::trim) != Some(VERSION) {
            return Err(BadHandshake::Version);
        }
        let key = received
            .only(KEY)
            .map(str::trim)
            .filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16))
            .ok_or(BadHandshake::Key)?;
        let mut handshake = Self {
            accept: accept(key),
            token: None,
            offered_ours: false,
            protocols: None,
        };
        if auth != Auth::None {
            handshake.find_token(received)?;
        }
        Ok(Some(handshake))
    }

    fn find_token(&mut self, received: &Fields) -> Result<(), BadHandshake> {
        let mut offered = Vec::new();
        for value in received.all(PROTOCOL) {
            let value = http1::text(value).ok_or(BadHandshake::Protocols)?;
            offered.extend(value.split(',').map(str::trim).filter(|name| !name.is_empty()));
        }
        let mut tokens = offered.iter().filter_map(|name| name.strip_prefix(BEARER));
        let Some(token) = tokens.next() else { return Ok(()) };
        if tokens.next().is_some() {
            return Err(BadHandshake::TwoTokens);
        }
        match bearer_token_of(received.all("authorization")) {
            Err(TokenError::Missing) if !received.contains("authorization") => {}
            Ok(other) if other == token => {}
            _ => return Err(BadHandshake::TwoTokens),
        }
        self.token = Some(token.to_owned());
        self.offered_ours = offered.contains(&OURS);
        offered.retain(|name| !name.starts_with(BEARER) && *name != OURS);
        self.protocols = Some(offered.join(", "));
        Ok(())
    }

    /// The token that the client put among the protocols.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether the service does not get a header of this name as the client sent it, for the token in it.
    pub(crate) fn withholds(&self, name: &[u8]) -> bool {
        self.protocols.is_some() && name == PROTOCOL.as_bytes()
    }

    /// Makes `head`, which is on its way to the service, ask for a WebSocket.
    pub(crate) fn ask(&self, head: &mut HeadWriter<'_>) {
        head.say("connection", "upgrade");
        head.say("upgrade", "websocket");
        if let Some(protocols) = self.protocols.as_deref().filter(|protocols| !protocols.is_empty()) {
            head.say(PROTOCOL, protocols);
        }
    }

    /// Whether an answer of 101 with this head opens the WebSocket that was asked for, and no other protocol.
    pub(crate) fn is_answered_by(&self, head: &Head) -> bool {
        let is = |name, wanted: &dyn Fn(&[u8]) -> bool| {
            let mut values = head.values(name);
            matches!((values.next(), values.next()), (Some(value), None) if wanted(value.trim_ascii()))
        };
        is("upgrade", &|value| value.eq_ignore_ascii_case(b"websocket"))
            && is("sec-websocket-accept", &|value| value == self.accept.as_bytes())
    }

    /// Chooses [`OURS`] in `fields`, which are on their way to the client, when it was offered and the service chose
    /// nothing. No token ever goes back.
    pub(crate) fn settle(&self, fields: &mut Fields) {
        if self.token.is_none() {
            return;
        }
        let chosen = fields.get(PROTOCOL);
        if chosen.is_some_and(|name| name.starts_with(BEARER.as_bytes())) {
            fields.remove(PROTOCOL);
        }
        if self.offered_ours && !fields.contains(PROTOCOL) {
            fields.push(PROTOCOL.as_bytes(), OURS.as_bytes());
        }
    }
}

fn asks_for_web_socket(request: &Request) -> bool {
    let protocol = request.fields.only("upgrade").map(str::trim);
    request.method == Method::GET
        && request.is_current()
        && protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

fn accept(key: &str) -> String {
    let text = format!("{key}{GUID}");
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 section 1.3.
    const EXAMPLE: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn offered(protocols: &[&'static str], authorization: Option<&'static str>) -> Result<Handshake, BadHandshake> {
        let mut lines = vec![
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            (SPOKEN, VERSION),
            (KEY, EXAMPLE),
        ];
        lines.extend(protocols.iter().map(|value| (PROTOCOL, *value)));
        lines.extend(authorization.map(|value| ("authorization", value)));
        Handshake::of(&Request::with(&lines), Auth::Required).map(Option::unwrap)
    }

    fn asked(handshake: &Handshake, protocols: &'static str) -> Option<String> {
        let mut bytes = Vec::new();
        let mut head = HeadWriter::new(&mut bytes);
        if !handshake.withholds(PROTOCOL.as_bytes()) {
            head.say(PROTOCOL, protocols);
        }
        handshake.ask(&mut head);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("connection: upgrade\r\nupgrade: websocket\r\n"), "{text}");
        let mut offers = text
            .lines()
            .filter_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        let offer = offers.next().map(str::to_owned);
        assert_eq!(offers.next(), None);
        offer
    }

    fn settled(handshake: &Handshake, chosen: Option<&'static str>) -> Option<String> {
        let mut fields = Fields::new();
        if let Some(chosen) = chosen {
            fields.push(PROTOCOL.as_bytes(), chosen.as_bytes());
        }
        handshake.settle(&mut fields);
        fields.only(PROTOCOL).map(str::to_owned)
    }

    #[test]
    fn the_token_is_taken_out_of_the_protocols_and_nothing_else_is() {
        for (protocols, token, left) in [
            (&["bearer.a.b.c"][..], "a.b.c", None),
            (&["bearer.t, portcullis"], "t", None),
            (
                &["chat.v1, bearer.t,portcullis , chat.v2"],
                "t",
                Some("chat.v1, chat.v2"),
            ),
            (&["chat", "bearer.t"], "t", Some("chat")),
        ] {
            let handshake = offered(protocols, None).unwrap();
            assert_eq!(handshake.token(), Some(token));
            assert_eq!(asked(&handshake, "bearer.t, chat").as_deref(), left);
        }
        let handshake = offered(&["chat, portcullis"], None).unwrap();
        assert_eq!(handshake.token(), None);
        assert_eq!(
            asked(&handshake, "chat, portcullis").as_deref(),
            Some("chat, portcullis")
        );
    }

    #[test]
    fn two_tokens_are_refused_unless_they_are_one() {
        assert_eq!(offered(&["bearer.t"], Some("Bearer t")).unwrap().token(), Some("t"));
        for (protocols, authorization) in [
            (&["bearer.t"][..], Some("Bearer u")),
            (&["bearer.t"], Some("Basic dDp0")),
            (&["bearer.t, bearer.t"], None),
            (&["bearer.t", "bearer.u"], None),
        ] {
            assert_eq!(offered(protocols, authorization).unwrap_err(), BadHandshake::TwoTokens);
        }
    }

    #[test]
    fn what_the_service_chooses_goes_back_and_ours_stands_in_for_nothing() {
        let both = offered(&["bearer.t, chat, portcullis"], None).unwrap();
        assert_eq!(settled(&both, Some("chat")).as_deref(), Some("chat"));
        assert_eq!(settled(&both, None).as_deref(), Some("portcullis"));
        assert_eq!(
            settled(&both, Some("bearer.t")).as_deref(),
            Some("portcullis"),
            "no token goes back"
        );
        let alone = offered(&["bearer.t, chat"], None).unwrap();
        assert_eq!(settled(&alone, None), None);
        assert_eq!(settled(&alone, Some("bearer.t")), None);
        let none = offered(&["portcullis"], None).unwrap();
        assert_eq!(settled(&none, None), None);
    }

    #[test]
    fn only_an_answer_to_this_very_key_opens_it() {
        let handshake = offered(&[], None).unwrap();
        let answered = |headers: &[(&str, &str)]| {
            let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
            handshake.is_answered_by(&Head::of(&lines.collect::<String>()))
        };
        let accept = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(answered(&[("upgrade", "WebSocket"), accept]));
        assert!(!answered(&[accept]));
        assert!(!answered(&[("upgrade", "h2c"), accept]));
        assert!(!answered(&[("upgrade", "websocket"), ("upgrade", "h2c"), accept]));
        assert!(!answered(&[("upgrade", "websocket")]));
        assert!(!answered(&[
            ("upgrade", "websocket"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=")
        ]));
    }
}
