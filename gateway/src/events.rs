//! `GET /api/auth/events`: a stream (WHATWG HTML, section 9.2) that tells a page at once that its session is over.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use portcullis_client::TokenError;
use portcullis_client::wire::Reason;
use serde_json::json;
use service_kit::Problem;
use tokio::sync::watch;

use crate::admission::Caller;
use crate::identity::{Verifier, Watch};
use crate::routes::Route;

/// How often a stream says that it is still there.
const BEAT: Duration = Duration::from_secs(15);
/// How many streams one user may have open: one a browser, with room for those that cannot share among their tabs.
const MOST_A_USER: usize = 20;
/// Keeps proxies that know it from collecting what they pass on.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// All streams of this gateway.
#[derive(Debug)]
pub(crate) struct Events {
    most: usize,
    /// How often a stream says that it is still there.
    beat: Duration,
    open: Mutex<Open>,
    closing: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_user: HashMap<Box<str>, usize>,
}

/// Why no stream is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("Too many streams are open already. Try again in a moment.")]
    Full,
    #[error("You have {MOST_A_USER} streams open already. Close one of them first.")]
    TooMany,
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::unavailable("busy", refused.to_string()),
            Refused::TooMany => Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", refused.to_string())
                .header(header::RETRY_AFTER, "15"),
        }
    }
}

impl Events {
    /// At most `most` at once.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            beat: BEAT,
            open: Mutex::default(),
            closing: watch::Sender::new(false),
        }
    }

    /// Ends every stream, and those that are still to come.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Turns true when everything that goes on has to end.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Opens a stream to `caller`, who was admitted to `route` with a request for `path`.
    pub(crate) fn answer(
        self: &Arc<Self>,
        method: &Method,
        route: &Route,
        path: &str,
        verifier: &Arc<Verifier>,
        caller: &Caller<'_>,
    ) -> Result<HttpResponse, Problem> {
        if path.trim_end_matches('/') != route.name {
            return Err(Problem::not_found());
        }
        if *method != Method::GET {
            return Err(Problem::method_not_allowed(method.as_str(), "GET"));
        }
        let listener = Listener {
            place: self.place(caller.identity.user_id())?,
            closing: self.closing.subscribe(),
            watch: verifier.watch(caller.token),
            greeted: false,
        };
        let mut answer = HttpResponse::Ok();
        answer
            .content_type("text/event-stream")
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header(UNBUFFERED);
        Ok(answer.streaming(listener.stream()))
    }

    fn place(self: &Arc<Self>, user: &str) -> Result<Place, Refused> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.most {
            return Err(Refused::Full);
        }
        let of_user = open.by_user.entry(user.into()).or_default();
        if *of_user >= MOST_A_USER {
            return Err(Refused::TooMany);
        }
        *of_user += 1;
        open.all += 1;
        metrics::gauge!("event_streams").increment(1.0);
        Ok(Place {
            events: Arc::clone(self),
            user: user.into(),
        })
    }
}

/// A place among the open streams, for as long as it is kept.
struct Place {
    events: Arc<Events>,
    user: Box<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.events.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(of_user) = open.by_user.get_mut(&self.user) {
            *of_user -= 1;
            if *of_user == 0 {
                open.by_user.remove(&self.user);
            }
        }
        metrics::gauge!("event_streams").decrement(1.0);
    }
}

/// One stream.
struct Listener {
    place: Place,
    closing: watch::Receiver<bool>,
    watch: Watch,
    greeted: bool,
}

impl Listener {
    fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        unfold(Some(self), async |listener| {
            let (text, listener) = listener?.next().await?;
            Some((Ok(text), listener))
        })
    }

    /// What is said next, and whoever goes on listening after that.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        if !self.greeted {
            self.greeted = true;
            return Some((Bytes::from_static(b": connected\n\n"), Some(self)));
        }
        let ended = tokio::select! {
            biased;
            _ = self.closing.wait_for(|closing| *closing) => return None,
            ended = self.watch.ended() => Some(ended),
            () = tokio::time::sleep(self.place.events.beat) => None,
        };
        match ended {
            None => Some((Bytes::from_static(b": still here\n\n"), Some(self))),
            Some(TokenError::Revoked(reason)) => Some((farewell(reason), None)),
            // The session may well go on, with a fresh token.
            Some(_) => None,
        }
    }
}

/// The event `revoked`: the code that refusals of the token have from now on, and why, for people and for programs.
fn farewell(reason: Reason) -> Bytes {
    let detail = match reason {
        Reason::LoggedOut => "You signed out of this session, here or from another device.",
        Reason::Deactivated => "Your account was deactivated.",
        Reason::Deleted => "Your account was deleted.",
        Reason::PasswordChanged => "The password of your account was changed. Sign in with the new one.",
        Reason::Reuse => "This session was ended for safety: one of its old tokens was used again.",
        Reason::Administrator => "An administrator ended this session. Sign in again.",
    };
    let code = Problem::from(TokenError::Revoked(reason)).code();
    let data = json!({"code": code, "detail": detail, "reason": reason.as_str()});
    format!("event: revoked\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::StreamExt;
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use portcullis_client::{KeySet, TokenType, Trust, VerifierConfig};
    use service_kit::{Clock, clock};

    use super::*;

    /// The key of RFC 8037 appendix A, as PKCS#8 and as a JWK's `x`.
    const PRIVATE: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20\
        \x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4\
        \x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60";
    const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    /// A stream for a token that lives for a minute.
    async fn listener(events: &Arc<Events>, clock: &Clock) -> Listener {
        let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "key", "x": PUBLIC}]});
        let trust = Arc::new(Trust::default());
        trust.set_keys(KeySet::from_jwks(&serde_json::from_value::<JwkSet>(jwks).unwrap()));
        let config = VerifierConfig {
            issuer: "issuer".to_owned(),
            audience: "audience".to_owned(),
            leeway: Duration::ZERO,
            max_staleness: Duration::from_secs(10),
            cache_size: 10,
        };
        let verifier = Arc::new(Verifier::keeping(config, trust, clock.clone()));
        let now = clock.now().as_second();
        let claims = json!({"token_type": "access", "iss": "issuer", "sub": "7", "aud": "audience", "client_id": "c",
            "iat": now, "exp": now + 60, "jti": "j", "sid": "s", "scope": "", "roles": []});
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some("key".to_owned());
        let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(PRIVATE)).unwrap();
        verifier.verify(&token, TokenType::Access).await.unwrap();
        Listener {
            place: events.place("7").unwrap(),
            closing: events.closing.subscribe(),
            watch: verifier.watch(&token),
            greeted: false,
        }
    }

    #[tokio::test]
    async fn a_stream_greets_says_from_time_to_time_that_it_is_there_and_ends_when_the_token_expires() {
        let clock = Clock::standing();
        let mut events = Events::new(1);
        assert_eq!(events.beat, Duration::from_secs(15));
        events.beat = Duration::from_millis(20);
        let events = Arc::new(events);
        let mut stream = pin!(listener(&events, &clock).await.stream());
        let started = clock::instant();
        for (text, beats) in [(": connected\n\n", 0), (": still here\n\n", 1), (": still here\n\n", 2)] {
            let Ok(said) = stream.next().await.unwrap();
            assert_eq!(&said[..], text.as_bytes());
            assert!(started.elapsed() >= events.beat * beats);
        }
        clock.advance(Duration::from_mins(1));
        assert!(stream.next().await.is_none());
        assert!(events.place("7").is_ok(), "its place is free again");
    }

    #[tokio::test]
    async fn closing_ends_streams_that_are_open_and_those_that_are_still_to_come() {
        let (events, clock) = (Arc::new(Events::new(2)), Clock::standing());
        let started = clock::instant();
        let mut open = pin!(listener(&events, &clock).await.stream());
        assert!(open.next().await.is_some());
        events.close();
        assert!(open.next().await.is_none());
        let mut late = pin!(listener(&events, &clock).await.stream());
        assert!(late.next().await.is_some() && late.next().await.is_none());
        assert!(started.elapsed() < BEAT, "and nobody waits for the next sign of life");
    }
}
