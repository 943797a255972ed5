//! An answer on its way to a client of HTTP/2: no more of it is handed over than is being taken, and none any more to whoever
//! takes none for too long.

use std::cell::Cell;
use std::task::Poll;

use actix_web::body::BodySize;
use actix_web::http::StatusCode;
use bytes::Bytes;
use futures_util::future::poll_fn;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue};
use service_kit::clock;
use tokio::time::timeout;

use super::{AHEAD, Streams};
use crate::client::{Answer, with_date};
use crate::http1::{Body, Fields};
use crate::record::Watched;

impl Streams {
    /// Sends an answer, as it is taken.
    pub(super) async fn send(&self, mut respond: SendResponse<Bytes>, answer: Answer<Watched>) {
        let Answer {
            status,
            fields,
            mut body,
        } = answer;
        let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = match body.size() {
            // RFC 9110 section 8.6: a length there is that of another answer, and stands among the fields.
            _ if has_none => None,
            BodySize::Sized(length) => Some(length),
            BodySize::None | BodySize::Stream => None,
        };
        let mut head = http::Response::new(());
        if let Ok(status) = http::StatusCode::from_u16(status.as_u16()) {
            *head.status_mut() = status;
        }
        write(head.headers_mut(), &fields, length);
        drop(fields);
        let is_over = has_none || body.is_over();
        // Whoever has left needs no answer.
        let Ok(mut stream) = respond.send_response(head, is_over) else {
            return;
        };
        if is_over {
            self.moved_at.set(clock::instant());
            return body.was_sent();
        }
        loop {
            let next = poll_fn(|cx| match body.poll_piece(cx) {
                Poll::Ready(piece) => Poll::Ready(Some(piece)),
                Poll::Pending => stream.poll_reset(cx).map(|_| None),
            });
            let mut piece = match next.await {
                None => return,
                Some(None) => {
                    if stream.send_data(Bytes::new(), true).is_ok() {
                        body.was_sent();
                    }
                    return;
                }
                Some(Some(Ok(piece))) => piece,
                Some(Some(Err(_))) => return stream.send_reset(Reason::INTERNAL_ERROR),
            };
            while !piece.is_empty() {
                let length = piece.len();
                let Some(room) = self.room(&mut stream, &mut body, length).await else {
                    return body.keeps(length);
                };
                let part = piece.split_to(room.min(length));
                let is_over = piece.is_empty() && body.is_over();
                if stream.send_data(part, is_over).is_err() {
                    return body.keeps(length);
                }
                if is_over {
                    return body.was_sent();
                }
            }
        }
    }

    /// Waits until the client takes some of the next `length` bytes of an answer, and says how much. An answer of which it takes
    /// none for too long is given up; when it takes nothing of anything it has asked for, so is its connection.
    async fn room(&self, stream: &mut SendStream<Bytes>, body: &mut Watched, length: usize) -> Option<usize> {
        stream.reserve_capacity(length.min(AHEAD));
        if stream.capacity() == 0 {
            let waiting = Waiting::begin(&self.waiting);
            let waiting_for_room = poll_fn(|cx| {
                body.look(cx);
                stream.poll_capacity(cx)
            });
            let Ok(room) = timeout(self.patience, waiting_for_room).await else {
                metrics::counter!("http2_answers_given_up_total").increment(1);
                if self.waiting == self.open && self.moved_at.get().elapsed() > self.patience {
                    self.cut();
                }
                stream.send_reset(Reason::CANCEL);
                return None;
            };
            drop(waiting);
            // It has left.
            room?.ok()?;
        }
        self.moved_at.set(clock::instant());
        Some(stream.capacity())
    }
}

/// One more that waits for the client, for as long as this is kept.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn begin(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Writes the fields of an answer that has a body of this `length`, if one is told.
fn write(headers: &mut HeaderMap, fields: &Fields, length: Option<u64>) {
    headers.reserve(fields.len() + 2);
    for (name, value) in fields.iter() {
        // RFC 9113 section 8.2.2: these are of connections of HTTP/1.1.
        if matches!(
            name,
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
        ) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    if !headers.contains_key(DATE) {
        with_date(|date| {
            if let Ok(date) = HeaderValue::from_bytes(date) {
                headers.insert(DATE, date);
            }
        });
    }
}
