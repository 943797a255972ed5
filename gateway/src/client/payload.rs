//! The body of a request, by whatever protocol it comes.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use h2::RecvStream;

use super::Client;

/// What a client sends after the head of a request.
#[derive(Default)]
pub(crate) enum Payload {
    #[default]
    Nothing,
    /// Over HTTP/1.1, behind the request that is so manieth.
    First(Rc<Client>, u64),
    /// Over HTTP/2; and whether somebody has asked for it.
    Second(RecvStream, Rc<Cell<bool>>),
}

/// The client broke off, or what it sent cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request's body broke off")]
pub(crate) struct BrokenOff;

impl Payload {
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// The client's connection, if it is one of HTTP/1.1, and so for this request alone.
    pub(crate) fn client(&self) -> Option<&Rc<Client>> {
        match self {
            Self::First(client, _) => Some(client),
            Self::Nothing | Self::Second(..) => None,
        }
    }
}

impl Stream for Payload {
    type Item = Result<Bytes, BrokenOff>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Self::Nothing => Poll::Ready(None),
            Self::First(client, turn) => client.poll_body(cx, *turn),
            Self::Second(body, is_wanted) => {
                is_wanted.set(true);
                let piece = ready!(body.poll_data(cx)).map(|piece| piece.map_err(|_| BrokenOff));
                if let Some(Ok(piece)) = &piece {
                    // The client may send as much again. Whoever has reset the stream need not hear of it.
                    let _ = body.flow_control().release_capacity(piece.len());
                }
                Poll::Ready(piece)
            }
        }
    }
}
