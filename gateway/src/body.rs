//! Bodies on their way through: counted, timed, never collected.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Payload;
use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use service_kit::clock;
use tokio::time::Sleep;

use crate::connection::Answering;
use crate::upstream::Lease;

/// How the request's body is coming along: shared between the body, which hyper owns, and whoever waits for the answer.
#[derive(Debug)]
pub(crate) struct Progress {
    state: Cell<Sending>,
    began_at: Instant,
    bytes: Cell<u64>,
    moved_at: Cell<Instant>,
    awaits_client: Cell<bool>,
}

/// The states of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Some of it is still to come.
    Underway,
    /// All of it was handed over.
    Done,
    /// It is larger than the route allows.
    TooLarge,
    /// The client broke off.
    Broken,
}

impl Progress {
    pub(crate) fn new(has_body: bool) -> Rc<Self> {
        let now = clock::instant();
        Rc::new(Self {
            state: Cell::new(if has_body { Sending::Underway } else { Sending::Done }),
            began_at: now,
            bytes: Cell::new(0),
            moved_at: Cell::new(now),
            awaits_client: Cell::new(false),
        })
    }

    pub(crate) fn state(&self) -> Sending {
        self.state.get()
    }

    /// How long nothing has moved.
    pub(crate) fn quiet(&self) -> Duration {
        self.moved_at.get().elapsed()
    }

    /// How long ago forwarding began.
    pub(crate) fn age(&self) -> Duration {
        self.began_at.elapsed()
    }

    /// How many bytes of the body were handed over.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether the next piece is the client's to send, and not the upstream's to take.
    pub(crate) fn awaits_client(&self) -> bool {
        self.awaits_client.get()
    }

    fn moved(&self, state: Sending) {
        self.state.set(state);
        self.awaits_client.set(false);
        self.moved_at.set(clock::instant());
    }
}

/// Why a request's body ended before its end; the connection to the upstream is closed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestBodyError {
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("the client broke off")]
    Broken,
}

/// The body of a request to an upstream.
pub(crate) enum RequestBody {
    Empty,
    Streamed(Streamed),
}

pub(crate) struct Streamed {
    payload: Payload,
    length: Option<u64>,
    sent: u64,
    limit: u64,
    progress: Rc<Progress>,
}

impl RequestBody {
    /// `payload`, of the announced `length`, cut off beyond `limit` bytes.
    pub(crate) fn streamed(payload: Payload, length: Option<u64>, limit: u64, progress: Rc<Progress>) -> Self {
        Self::Streamed(Streamed {
            payload,
            length,
            sent: 0,
            limit,
            progress,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// The announced length; `None` for a body in chunks.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Streamed(body) => body.length,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streamed(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed(body) => body.length.map_or_else(SizeHint::default, |length| {
                SizeHint::with_exact(length.saturating_sub(body.sent))
            }),
        }
    }
}

impl Streamed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let Poll::Ready(piece) = Pin::new(&mut self.payload).poll_next(cx) else {
            self.progress.awaits_client.set(true);
            return Poll::Pending;
        };
        let (state, frame) = match piece {
            None => (Sending::Done, None),
            Some(Err(_)) => (Sending::Broken, Some(Err(RequestBodyError::Broken))),
            Some(Ok(piece)) => {
                self.sent = self.sent.saturating_add(piece.len() as u64);
                self.progress.bytes.set(self.sent);
                if self.sent > self.limit {
                    (Sending::TooLarge, Some(Err(RequestBodyError::TooLarge)))
                } else if self.length.is_some_and(|length| self.sent >= length) {
                    // With a known length nobody asks for the end.
                    (Sending::Done, Some(Ok(Frame::data(piece))))
                } else {
                    (Sending::Underway, Some(Ok(Frame::data(piece))))
                }
            }
        };
        self.progress.moved(state);
        Poll::Ready(frame)
    }
}

/// Why an upstream's body ended before its end; the client's connection is closed then, so that it can tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResponseBodyError {
    #[error("the upstream broke off its answer: {0}")]
    Upstream(#[from] hyper::Error),
    #[error("the upstream paused for too long in its answer")]
    Paused,
}

/// The body of an upstream's answer. Gives the connection back as soon as the last byte is read; dropped before that, it
/// closes the connection.
pub(crate) struct ResponseBody {
    incoming: Incoming,
    size: BodySize,
    lease: Option<Lease>,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    timing: bool,
    /// Comes when the answer has to end, as if it had come to its end, if that is ever so.
    ended: Option<Pin<Box<dyn Future<Output = ()>>>>,
    _answering: Option<Answering>,
}

impl ResponseBody {
    pub(crate) fn new(incoming: Incoming, size: BodySize, lease: Lease, pause: Duration) -> Self {
        let mut body = Self {
            incoming,
            size,
            lease: Some(lease),
            pause,
            timer: None,
            timing: false,
            ended: None,
            _answering: None,
        };
        body.release_at_end();
        body
    }

    /// Ends the answer, and closes the connection to the upstream, once `ended` comes. The answer's length must be open.
    pub(crate) fn until(self, ended: impl Future<Output = ()> + 'static) -> Self {
        Self {
            ended: Some(Box::pin(ended)),
            ..self
        }
    }

    /// The client's connection is in use for as long as this body is.
    pub(crate) fn on(self, connection: Option<Answering>) -> Self {
        Self {
            _answering: connection,
            ..self
        }
    }

    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }

    /// The upstream is to blame for `error`.
    fn failed(&mut self, error: ResponseBodyError) -> ResponseBodyError {
        if let Some(lease) = self.lease.take() {
            lease.failed(&error);
        }
        error
    }

    /// Waits for the upstream no longer than `pause`, counted from when it began to be waited for.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        if !self.timing {
            timer.as_mut().reset((clock::instant() + pause).into());
            self.timing = true;
        }
        timer.as_mut().poll(cx)
    }
}

impl MessageBody for ResponseBody {
    type Error = ResponseBodyError;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ResponseBodyError>>> {
        let body = self.get_mut();
        if let Some(ended) = &mut body.ended
            && ended.as_mut().poll(cx).is_ready()
        {
            // Whatever the upstream says from now on is for nobody.
            body.ended = Some(Box::pin(std::future::ready(())));
            body.lease = None;
            return Poll::Ready(None);
        }
        loop {
            let Poll::Ready(frame) = Pin::new(&mut body.incoming).poll_frame(cx) else {
                ready!(body.poll_pause(cx));
                return Poll::Ready(Some(Err(body.failed(ResponseBodyError::Paused))));
            };
            body.timing = false;
            let Some(frame) = frame.transpose().map_err(|error| body.failed(error.into()))? else {
                if let Some(lease) = body.lease.take() {
                    lease.give_back();
                }
                return Poll::Ready(None);
            };
            match frame.into_data() {
                // An empty piece would read as the end; trailers go no further.
                Ok(data) if data.is_empty() => {}
                Err(_) => {}
                Ok(data) => {
                    body.release_at_end();
                    return Poll::Ready(Some(Ok(data)));
                }
            }
        }
    }
}
