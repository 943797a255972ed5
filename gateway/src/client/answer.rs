//! An answer, as everything that makes one gives it, whatever protocol it goes by.

use std::cell::RefCell;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::StatusCode;
use bytes::Bytes;

use crate::body::ResponseBody;
use crate::http1::Fields;

/// An answer with a body of the kind `B`.
pub(crate) struct Answer<B = Content> {
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
    pub(crate) body: B,
}

/// What an answer has for its body.
pub(crate) enum Content {
    /// What an upstream says, as it comes.
    Upstream(Box<ResponseBody>),
    /// Anything else.
    Other(BoxBody),
}

impl Content {
    pub(crate) fn size(&self) -> BodySize {
        match self {
            Self::Upstream(body) => body.size(),
            Self::Other(body) => body.size(),
        }
    }

    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Box<dyn std::error::Error>>>> {
        match self {
            Self::Upstream(body) => body.poll_piece(cx).map(|piece| piece.map(|piece| Ok(piece?))),
            Self::Other(body) => Pin::new(body).poll_next(cx),
        }
    }
}

impl From<HttpResponse> for Answer {
    fn from(response: HttpResponse) -> Self {
        let (response, body) = response.into_parts();
        let mut fields = Fields::new();
        for (name, value) in response.headers() {
            fields.push(name.as_str().as_bytes(), value.as_bytes());
        }
        Self {
            status: response.status(),
            fields,
            body: Content::Other(body),
        }
    }
}

/// How the end of an answer is told (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There is no body, and nothing is said of one.
    Nothing,
    Length(u64),
    Chunks,
    /// By the end of the connection.
    Connection,
}

/// Writes the head of an answer with this `connection` option, if any.
pub(super) fn write_head(front: &mut Vec<u8>, status: StatusCode, fields: &Fields, end: End, connection: &str) {
    if status == StatusCode::OK {
        front.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        let reason = status.canonical_reason().unwrap_or_default();
        // A vector takes everything.
        let _ = write!(front, "HTTP/1.1 {} {reason}\r\n", status.as_u16());
    }
    front.extend_from_slice(fields.lines());
    match end {
        End::Nothing | End::Connection => {}
        End::Length(length) => {
            front.extend_from_slice(b"content-length: ");
            front.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            front.extend_from_slice(b"\r\n");
        }
        End::Chunks => front.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    for part in if connection.is_empty() {
        ["", "", ""]
    } else {
        ["connection: ", connection, "\r\n"]
    } {
        front.extend_from_slice(part.as_bytes());
    }
    if !fields.contains("date") {
        write_date(front);
    }
    front.extend_from_slice(b"\r\n");
}

/// Writes when the answer was made, which nobody has said yet.
fn write_date(front: &mut Vec<u8>) {
    front.extend_from_slice(b"date: ");
    with_date(|date| front.extend_from_slice(date));
    front.extend_from_slice(b"\r\n");
}

/// Has the time written that an answer was made at (RFC 9110 section 6.6.1).
pub(crate) fn with_date(write: impl FnOnce(&[u8])) {
    thread_local! {
        /// It, and the second it is of.
        static DATE: RefCell<(u64, String)> = RefCell::default();
    }
    let now = service_kit::Clock::system().now().as_second();
    let now = u64::try_from(now).unwrap_or_default();
    DATE.with_borrow_mut(|(second, date)| {
        if *second != now {
            (*second, *date) = (
                now,
                httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(now)),
            );
        }
        write(date.as_bytes());
    });
}
