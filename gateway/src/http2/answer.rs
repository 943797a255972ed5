//! An answer on its way to a client of HTTP/2: no more of it is handed over than is being taken.
//!
//! The library may keep 400 kB of each answer for a client that does not read, for as long as the client likes, and tells
//! nobody. So answers are handed to it in pieces that are seen to be sent: a few at a time, and none any more to whoever
//! takes none for too long.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::rt;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use service_kit::clock;

use super::load::Place;

/// The largest piece, as large as the frames that are made of them.
const PIECE: usize = 16 * 1024;
/// How much of an answer is handed over and not sent.
const AHEAD: usize = 64 * 1024;
/// How often answers are looked at, at least and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

thread_local! {
    /// This worker's answers that have more than a piece.
    static LONG: RefCell<Vec<Rc<Answer>>> = const { RefCell::new(Vec::new()) };
    /// Whether somebody looks after them.
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

/// What was handed over of an answer.
struct Sent {
    /// How many bytes of it were not sent yet.
    left: AtomicUsize,
    /// How many pieces were sent.
    pieces: AtomicU64,
    /// Whoever waits for some to be sent.
    waker: AtomicWaker,
    /// Kept for as long as some are left.
    place: Place,
}

struct Piece {
    bytes: Bytes,
    sent: Arc<Sent>,
}

impl Piece {
    fn new(bytes: Bytes, sent: &Arc<Sent>) -> Self {
        sent.left.fetch_add(bytes.len(), Ordering::Relaxed);
        sent.place.gives();
        Self {
            bytes,
            sent: Arc::clone(sent),
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.sent.place.gave();
        self.sent.pieces.fetch_add(1, Ordering::Relaxed);
        self.sent.left.fetch_sub(self.bytes.len(), Ordering::Release);
        self.sent.waker.wake();
    }
}

/// An answer, for as long as there is more of it to hand over.
struct Answer {
    /// `None` once it was given up.
    body: RefCell<Option<BoxBody>>,
    size: BodySize,
    sent: Arc<Sent>,
    /// For how long its client may take nothing of it.
    patience: Duration,
    /// How much was sent at the last look, and since when it is no more although there is some to send.
    seen: Cell<(u64, Instant)>,
    /// Where it is among the long ones.
    index: Cell<Option<usize>>,
}

/// Why an answer ends before its end.
#[derive(Debug, thiserror::Error)]
#[error("the client takes nothing of its answer")]
struct GivenUp;

/// The body of an answer that is handed over as it is taken.
pub(super) struct Taken {
    answer: Rc<Answer>,
    /// What is left of the last piece of the body.
    rest: Bytes,
}

impl Taken {
    pub(super) fn new(body: BoxBody, place: Place, patience: Duration) -> Self {
        let answer = Rc::new(Answer {
            size: body.size(),
            body: RefCell::new(Some(body)),
            sent: Arc::new(Sent {
                left: AtomicUsize::new(0),
                pieces: AtomicU64::new(0),
                waker: AtomicWaker::new(),
                place,
            }),
            patience,
            seen: Cell::new((0, clock::instant())),
            index: Cell::new(None),
        });
        Self {
            answer,
            rest: Bytes::new(),
        }
    }
}

impl MessageBody for Taken {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let Self { answer, rest } = self.get_mut();
        let sent = &answer.sent;
        if sent.left.load(Ordering::Acquire) >= AHEAD {
            sent.waker.register(cx.waker());
            // Some may have been sent just now.
            if sent.left.load(Ordering::Acquire) >= AHEAD {
                return Poll::Pending;
            }
        }
        if rest.is_empty() {
            let mut body = answer.body.borrow_mut();
            let body = body.as_mut().ok_or(GivenUp)?;
            match ready!(Pin::new(body).poll_next(cx)) {
                Some(piece) => *rest = piece?,
                None => return Poll::Ready(None),
            }
        }
        let bytes = rest.split_to(rest.len().min(PIECE));
        if answer.size != BodySize::Sized(bytes.len() as u64) {
            answer.is_long();
        }
        Poll::Ready(Some(Ok(Bytes::from_owner(Piece::new(bytes, sent)))))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.answer.forget();
    }
}

impl Answer {
    /// Has it looked after from now on: whoever gives it waits for its client.
    fn is_long(self: &Rc<Self>) {
        if self.index.get().is_some() {
            return;
        }
        LONG.with_borrow_mut(|long| {
            self.index.set(Some(long.len()));
            long.push(Rc::clone(self));
        });
        if !LOOKING.replace(true) {
            rt::spawn(look_after(self.patience));
        }
    }

    fn forget(&self) {
        let Some(index) = self.index.take() else { return };
        // A worker that ends has none any more.
        let _ = LONG.try_with(|long| {
            let mut long = long.borrow_mut();
            long.swap_remove(index);
            if let Some(moved) = long.get(index) {
                moved.index.set(Some(index));
            }
        });
    }

    /// Whether its client takes nothing of it for too long.
    fn is_stuck(&self) -> bool {
        let (before, since) = self.seen.get();
        let pieces = self.sent.pieces.load(Ordering::Relaxed);
        if pieces != before || self.sent.left.load(Ordering::Relaxed) == 0 {
            self.seen.set((pieces, clock::instant()));
            return false;
        }
        since.elapsed() > self.patience
    }

    /// Lets go of whoever gives it.
    fn give_up(&self) {
        if self.body.take().is_some() {
            metrics::counter!("http2_answers_given_up_total").increment(1);
        }
    }
}

/// Gives up what nobody takes, for as long as there are long answers.
async fn look_after(patience: Duration) {
    loop {
        rt::time::sleep((patience / 4).clamp(PAUSE.0, PAUSE.1)).await;
        let answers = LONG.with_borrow(Vec::clone);
        if answers.is_empty() {
            LOOKING.set(false);
            return;
        }
        for answer in answers.iter().filter(|answer| answer.is_stuck()) {
            answer.give_up();
        }
    }
}
