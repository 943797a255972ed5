//! Bodies on their way through: counted, timed, never collected.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::body::BodySize;
use bytes::Bytes;
use futures_util::Stream;
use service_kit::clock;
use tokio::time::Sleep;

use crate::client::Payload;
use crate::http1::Body;
use crate::upstream::{Broken, Lease};

/// How the request's body is coming along: shared between the body, and whoever waits for the answer, or keeps a record.
pub(crate) struct Progress {
    /// What the client sends.
    payload: RefCell<Payload>,
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
    /// Of a request without a body, when there is no `payload`.
    pub(crate) fn of(payload: Option<Payload>) -> Rc<Self> {
        let now = clock::instant();
        Rc::new(Self {
            state: Cell::new(if payload.is_some() {
                Sending::Underway
            } else {
                Sending::Done
            }),
            payload: RefCell::new(payload.unwrap_or_default()),
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

    /// When something moved last.
    pub(crate) fn moved_at(&self) -> Instant {
        self.moved_at.get()
    }

    /// When forwarding began.
    pub(crate) fn began_at(&self) -> Instant {
        self.began_at
    }

    /// How many bytes of the body were handed over.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether the next piece is the client's to send, and not the upstream's to take.
    pub(crate) fn awaits_client(&self) -> bool {
        self.awaits_client.get()
    }

    /// Whether it is the client that did not send the rest, or does not go on.
    pub(crate) fn is_clients_fault(&self) -> bool {
        match self.state() {
            Sending::Underway => self.awaits_client(),
            Sending::TooLarge | Sending::Broken => true,
            Sending::Done => false,
        }
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
    /// A piece that nobody got, and that comes once more.
    returned: Option<Bytes>,
    length: Option<u64>,
    sent: u64,
    limit: u64,
    progress: Rc<Progress>,
}

impl RequestBody {
    /// What comes of the payload of `progress`, of the announced `length`, cut off beyond `limit` bytes.
    pub(crate) fn streamed(length: Option<u64>, limit: u64, progress: Rc<Progress>) -> Self {
        Self::Streamed(Streamed {
            returned: None,
            length,
            sent: 0,
            limit,
            progress,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for RequestBody {
    type Error = RequestBodyError;

    fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Streamed(body) => body.length,
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(body) => body.is_over(),
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RequestBodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Streamed(body) => body.poll_piece(cx),
        }
    }

    fn take_back(&mut self, piece: Bytes) {
        if let (Self::Streamed(body), false) = (self, piece.is_empty()) {
            body.sent = body.sent.saturating_sub(piece.len() as u64);
            body.returned = Some(piece);
            body.progress.moved(Sending::Underway);
        }
    }
}

impl Streamed {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RequestBodyError>>> {
        let piece = match self.returned.take() {
            Some(piece) => Some(Ok(piece)),
            None => match Pin::new(&mut *self.progress.payload.borrow_mut()).poll_next(cx) {
                Poll::Ready(piece) => piece,
                Poll::Pending => {
                    self.progress.awaits_client.set(true);
                    return Poll::Pending;
                }
            },
        };
        let (state, piece) = match piece {
            None if self.length.is_none_or(|length| self.sent == length) => (Sending::Done, None),
            None | Some(Err(_)) => (Sending::Broken, Some(Err(RequestBodyError::Broken))),
            Some(Ok(piece)) => {
                self.sent = self.sent.saturating_add(piece.len() as u64);
                self.progress.bytes.set(self.sent);
                if self.sent > self.limit {
                    (Sending::TooLarge, Some(Err(RequestBodyError::TooLarge)))
                } else if self.is_over() {
                    (Sending::Done, Some(Ok(piece)))
                } else {
                    (Sending::Underway, Some(Ok(piece)))
                }
            }
        };
        self.progress.moved(state);
        Poll::Ready(piece)
    }

    fn is_over(&self) -> bool {
        self.length.is_some_and(|length| self.sent >= length)
    }
}

/// Why an upstream's body ended before its end; the client's connection is closed then, so that it can tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResponseBodyError {
    #[error("the upstream broke off its answer: {0}")]
    Upstream(#[from] Broken),
    #[error("the upstream paused for too long in its answer")]
    Paused,
}

/// The body of an upstream's answer. Gives the connection back as soon as the last byte is read; dropped before that, it
/// closes the connection.
pub(crate) struct ResponseBody {
    size: BodySize,
    lease: Option<Lease>,
    /// How the request's body is coming along, which the answer may be waiting for.
    progress: Rc<Progress>,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    timing: bool,
    /// Why it breaks off, once what came before was passed on.
    failure: Option<ResponseBodyError>,
    /// Comes when the answer has to end, as if it had come to its end, if that is ever so.
    ended: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl ResponseBody {
    /// What comes over `lease`, of an answer that began about `now`.
    pub(crate) fn new(size: BodySize, lease: Lease, progress: Rc<Progress>, pause: Duration, now: Instant) -> Self {
        let mut body = Self {
            size,
            lease: Some(lease),
            progress,
            pause,
            timer: None,
            timing: false,
            failure: None,
            ended: None,
        };
        body.release_at_end(|| now);
        body
    }

    /// Ends the answer, and closes the connection to the upstream, once `ended` comes. The answer's length must be open.
    pub(crate) fn until(self, ended: impl Future<Output = ()> + 'static) -> Self {
        Self {
            ended: Some(Box::pin(ended)),
            ..self
        }
    }

    fn release_at_end(&mut self, now: impl FnOnce() -> Instant) {
        if let Some(lease) = self.lease.take_if(|lease| lease.is_answered()) {
            lease.give_back(now());
        }
    }

    /// The upstream is to blame for `error`, unless it is the request that broke off, or does not go on. What was read before
    /// it is still to be written, and is, when its connection finds that nothing more is ready just now.
    fn fail(&mut self, error: ResponseBodyError, cx: &Context<'_>) -> Poll<Option<Result<Bytes, ResponseBodyError>>> {
        let is_clients = match error {
            ResponseBodyError::Upstream(Broken::RequestBody) => true,
            ResponseBodyError::Upstream(_) => false,
            ResponseBodyError::Paused => self.progress.is_clients_fault(),
        };
        if let Some(lease) = self.lease.take().filter(|_| !is_clients) {
            lease.failed(&error);
        }
        self.failure = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits for the upstream no longer than `pause`, counted from when it began to be waited for, or from when the request
    /// moved last.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        if !self.timing {
            timer.as_mut().reset((clock::instant() + pause).into());
            self.timing = true;
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            let left = pause.saturating_sub(self.progress.quiet());
            if left.is_zero() {
                return Poll::Ready(());
            }
            timer.as_mut().reset((clock::instant() + left).into());
        }
    }

    pub(crate) fn size(&self) -> BodySize {
        self.size
    }

    /// Whether it was ended, and with it the connection to the upstream: whatever that says from now on is for nobody.
    pub(crate) fn look(&mut self, cx: &mut Context<'_>) -> bool {
        let is_ended = self
            .ended
            .as_mut()
            .is_some_and(|ended| ended.as_mut().poll(cx).is_ready());
        if is_ended {
            self.ended = Some(Box::pin(std::future::ready(())));
            self.lease = None;
        }
        is_ended
    }

    /// The next piece; `None` is the end.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ResponseBodyError>>> {
        let body = self;
        if body.look(cx) {
            return Poll::Ready(None);
        }
        let Some(lease) = &mut body.lease else {
            return Poll::Ready(body.failure.take().map(Err));
        };
        let Poll::Ready(piece) = lease.poll_body(cx) else {
            ready!(body.poll_pause(cx));
            if body.ended.is_some() {
                // Nothing has happened for so long, which is nobody's fault: whoever listens asks again.
                body.lease = None;
                return Poll::Ready(None);
            }
            return body.fail(ResponseBodyError::Paused, cx);
        };
        body.timing = false;
        match piece.transpose() {
            Ok(piece) => {
                body.release_at_end(clock::instant);
                Poll::Ready(piece.map(Ok))
            }
            Err(error) => body.fail(error.into(), cx),
        }
    }
}
