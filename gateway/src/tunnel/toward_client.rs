//! From the service to the client. The client's own connection asks for more, so nothing is read that it does not take.

use std::convert::Infallible;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

use super::frames::Frames;
use super::shared::{Downward, Shared};
use super::{FRAME, PIECE};
use crate::upstream::Reading;

/// What the client is sent after the handshake.
pub(crate) struct TowardClient {
    state: State,
    frames: Frames,
    shared: Rc<Shared>,
}

enum State {
    /// Passing on what the service says; with a deadline, only to the end of the current frame.
    Open(Reading, Option<Pin<Box<Sleep>>>),
    /// Everything is said; the other direction says when the connection is to be closed.
    Said,
    Finished,
}

impl TowardClient {
    pub(super) fn new(service: Reading, shared: Rc<Shared>) -> Self {
        Self {
            state: State::Open(service, None),
            frames: Frames::default(),
            shared,
        }
    }

    /// The connection is closed as soon as everything is written.
    fn finish(&mut self) -> Poll<Option<Bytes>> {
        self.state = State::Finished;
        self.shared.report(Downward::Gone);
        Poll::Ready(None)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.shared.wake_on_news(cx.waker());
        let (service, deadline) = match &mut self.state {
            State::Open(service, deadline) => (service, deadline),
            State::Said if self.shared.is_done() => return self.finish(),
            State::Said => return Poll::Pending,
            State::Finished => return Poll::Ready(None),
        };
        if self.shared.is_done() {
            return self.finish();
        }
        let goodbye = self.shared.goodbye();
        if let Some((goodbye, since)) = goodbye {
            if self.frames.at_boundary() {
                self.state = State::Said;
                // After its Close nothing more may follow.
                if self.frames.closed() {
                    return self.poll(cx);
                }
                return Poll::Ready(Some(goodbye.frame()));
            }
            let deadline = deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end_of(since).into())));
            if deadline.as_mut().poll(cx).is_ready() {
                return self.finish();
            }
        }
        let mut space = [MaybeUninit::uninit(); PIECE];
        let mut piece = ReadBuf::uninit(&mut space);
        let read = ready!(Pin::new(service).poll_read(cx, &mut piece));
        let piece = piece.filled();
        if read.is_err() || piece.is_empty() {
            let in_order = self.frames.closed();
            self.state = State::Said;
            self.shared.report(Downward::Ended { in_order });
            return self.poll(cx);
        }
        let piece = if goodbye.is_some() {
            &piece[..self.frames.advance(piece)]
        } else {
            self.frames.follow(piece);
            piece
        };
        Poll::Ready(Some(Bytes::copy_from_slice(piece)))
    }
}

fn end_of(since: Instant) -> Instant {
    since + FRAME
}

impl MessageBody for TowardClient {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.get_mut().poll(cx).map(|piece| piece.map(Ok))
    }
}

impl Drop for TowardClient {
    fn drop(&mut self) {
        self.shared.report(Downward::Gone);
    }
}
