//! Forwarding a request that was let through, and its answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody};
use actix_web::http::StatusCode;
use service_kit::clock;

use crate::admission::Caller;
use crate::body::{Progress, RequestBody, ResponseBody, Sending};
use crate::client::{Answer, Content, Payload};
use crate::ending::Watcher;
use crate::error::ProxyError;
use crate::events::Events;
use crate::headers;
use crate::http1::Fields;
use crate::identity::Verifier;
use crate::record::Record;
use crate::routes::Route;
use crate::tunnel::{self, Handshake};
use crate::upstream::{BadTarget, Broken, Head, Kept, Lease, Pool, Slots, Target};

/// How many targets are tried for one request.
const MAX_TARGETS_TRIED: u32 = 3;

/// A request on its way to an upstream.
pub(crate) struct Passage<'a> {
    pub(crate) route: &'a Route,
    pub(crate) record: &'a Record,
    pub(crate) caller: Option<&'a Caller<'a>>,
    pub(crate) host: &'a str,
    /// The normal path, without what the route strips.
    pub(crate) path: &'a str,
    /// The longest pause between two pieces of a body.
    pub(crate) body_timeout: Duration,
    /// What the request is, if it is to open a WebSocket.
    pub(crate) handshake: Option<&'a Handshake>,
    pub(crate) verifier: &'a Arc<Verifier>,
    pub(crate) events: &'a Events,
}

/// Why one attempt failed.
enum Failed {
    /// Nothing was sent; here is the body again.
    Unsent(RequestBody, Broken),
    /// The upstream broke off.
    Broken(Broken),
    /// Trying again is of no use.
    For(ProxyError),
}

impl Passage<'_> {
    /// Sends the request to a target of `pool` and begins to answer with what it says. Others are tried when one cannot
    /// be connected to. A request that was sent is sent once more only when it is idempotent and has no body. All of this
    /// within a budget, so that an upstream in trouble does not get many times its load.
    pub(crate) async fn forward(&self, pool: &Rc<Pool>, payload: Payload) -> Result<Answer, ProxyError> {
        let slots = pool.enter().await?;
        let outcome = self.try_targets(pool, &slots, payload).await;
        pool.upstream.note(outcome.as_ref().err());
        outcome
    }

    async fn try_targets(&self, pool: &Rc<Pool>, slots: &Slots, mut payload: Payload) -> Result<Answer, ProxyError> {
        let request = &self.record.request;
        let progress = Progress::of(request.has_body().then(|| payload.take()));
        let mut body = if request.has_body() {
            RequestBody::streamed(request.body_length(), self.route.body_limit, Rc::clone(&progress))
        } else {
            RequestBody::Empty
        };
        let mut may_repeat = body.is_empty() && request.method.is_idempotent();
        let mut kept = if self.handshake.is_some() {
            // A connection that becomes a tunnel begins with the request that asks for it.
            Kept::New
        } else {
            Kept::Quiet
        };
        let (mut tried, mut repeats) = (0_u64, false);
        let mut last = None;
        while tried.count_ones() < MAX_TARGETS_TRIED
            && let Some(index) = pool.pick(slots, tried)
            && (!repeats || pool.may_repeat())
        {
            let slot = &slots[index];
            self.record.goes_to(&pool.upstream, &slot.target, &progress);
            let mut lease = match pool.lease(slot, kept, progress.moved_at()).await {
                Ok(lease) => lease,
                Err(error) => {
                    repeats = !matches!(error, ProxyError::Full);
                    last = Some(error);
                    tried |= 1 << index;
                    continue;
                }
            };
            // Connecting takes its time.
            if !lease.reused && progress.quiet() >= self.limit(&progress) {
                return Err(ProxyError::Timeout);
            }
            self.write(&slot.target, &mut lease)?;
            lease.send(&request.method, body);
            let error = match self.exchange(&mut lease, &progress).await {
                Ok(head) => {
                    let now = clock::instant();
                    self.record.upstream_answers(now);
                    if head.status == StatusCode::SWITCHING_PROTOCOLS {
                        return self.switch(&head, lease, payload);
                    }
                    lease.answered();
                    return Ok(self.answer(&head, lease, progress, now));
                }
                Err(Failed::Unsent(unsent, error)) => {
                    (body, repeats) = (unsent, !lease.reused);
                    ProxyError::Upstream(error)
                }
                Err(Failed::Broken(error)) if may_repeat => {
                    // It may be this very request that breaks them: once only, but for a connection that was being closed.
                    (may_repeat, body, repeats) = (lease.reused, RequestBody::Empty, true);
                    ProxyError::Upstream(error)
                }
                Err(Failed::Broken(error)) => {
                    let error = ProxyError::Upstream(error);
                    if !lease.reused {
                        lease.failed(&error);
                    }
                    return Err(error);
                }
                Err(Failed::For(error)) => {
                    if error.is_upstreams() {
                        lease.failed(&error);
                    }
                    return Err(error);
                }
            };
            // A connection that was kept may have been closed by its other end; a new one tells about the target.
            if !lease.reused {
                lease.failed(&error);
                tried |= 1 << index;
            }
            last = Some(error);
            kept = Kept::New;
        }
        Err(last.unwrap_or_else(|| pool.nobody(slots)))
    }

    /// Writes the head of the request to `target`, except what frames its body.
    fn write(&self, target: &Target, lease: &mut Lease) -> Result<(), BadTarget> {
        let mut head = lease.head();
        let request = &self.record.request;
        let query = request.query();
        let (mark, query) = query.map_or(("", ""), |query| ("?", query));
        head.begin(&request.method, &[&target.base, self.path, mark, query])?;
        head.field("host", &target.host);
        headers::toward_upstream(
            &mut head,
            self.host,
            self.route,
            self.caller,
            self.record,
            self.handshake,
        );
        Ok(())
    }

    /// Waits for the head of the answer for as long as the route allows, counted from when the last of the request moved.
    async fn exchange(&self, lease: &mut Lease, progress: &Progress) -> Result<Head, Failed> {
        // The body may come to its end meanwhile, and then it is the answer that has a limit.
        let mut deadline = progress.moved_at() + self.limit(progress).min(self.route.timeout);
        loop {
            if let Some(outcome) = lease.head_of_answer(deadline).await {
                return outcome.map_err(|error| self.failed(lease, error, progress));
            }
            let left = self.limit(progress).saturating_sub(progress.quiet());
            if left.is_zero() {
                return Err(Failed::For(match progress.state() {
                    Sending::Underway if progress.awaits_client() => ProxyError::ClientPaused,
                    _ => ProxyError::Timeout,
                }));
            }
            deadline = clock::instant() + left.min(self.route.timeout);
        }
    }

    /// How long nothing may move.
    fn limit(&self, progress: &Progress) -> Duration {
        match progress.state() {
            Sending::Underway => self.body_timeout,
            _ => self.route.timeout,
        }
    }

    fn failed(&self, lease: &mut Lease, error: Broken, progress: &Progress) -> Failed {
        match (progress.state(), lease.unsent()) {
            (Sending::TooLarge, _) => Failed::For(ProxyError::TooLarge(self.route.body_limit)),
            (Sending::Broken, _) => Failed::For(ProxyError::ClientBroke),
            (_, Some(body)) => Failed::Unsent(body, error),
            (_, None) if matches!(error, Broken::Io(_) | Broken::Closed) => Failed::Broken(error),
            // Whoever says that will say it again.
            (_, None) if matches!(error, Broken::Framing) => Failed::For(ProxyError::BadAnswer),
            (_, None) => Failed::For(ProxyError::Upstream(error)),
        }
    }

    /// Begins to answer with what began `now`.
    fn answer(&self, head: &Head, mut lease: Lease, progress: Rc<Progress>, now: Instant) -> Answer {
        lease.send_rest();
        let (status, length) = (head.status, head.length());
        let size = match (status, length) {
            (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED, _) => BodySize::None,
            (StatusCode::RESET_CONTENT, _) => BodySize::Sized(0),
            (_, Some(length)) => BodySize::Sized(length),
            (_, None) => BodySize::Stream,
        };
        let mut body = ResponseBody::new(size, lease, progress, self.body_timeout, now);
        if size == BodySize::Stream && headers::is_event_stream(head) {
            let mut watcher = self.watcher();
            body = body.until(async move {
                watcher.ended().await;
            });
        }
        let mut fields = Fields::new();
        headers::toward_client(head, self.route, &mut fields);
        if let (StatusCode::NOT_MODIFIED, Some(length)) = (status, length) {
            fields.push_number("content-length", length);
        }
        Answer {
            status,
            fields,
            body: Content::Upstream(Box::new(body)),
        }
    }

    /// Opens the tunnel that was asked for, once the service has agreed to it.
    fn switch(&self, head: &Head, lease: Lease, payload: Payload) -> Result<Answer, ProxyError> {
        let opens = |handshake: &&Handshake| handshake.is_answered_by(head);
        let Some(handshake) = self.handshake.filter(opens) else {
            lease.failed(&ProxyError::BadAnswer);
            return Err(ProxyError::BadAnswer);
        };
        lease.answered();
        let mut fields = Fields::new();
        headers::toward_client(head, self.route, &mut fields);
        handshake.settle(&mut fields);
        fields.set("upgrade", b"websocket");
        let (reading, writing, counted) = lease.keep().ok_or(ProxyError::BadAnswer)?;
        let ends = tunnel::Ends {
            payload,
            service: (reading, writing),
            watcher: self.watcher(),
            pause: self.body_timeout,
        };
        Ok(Answer {
            status: StatusCode::SWITCHING_PROTOCOLS,
            fields,
            body: Content::Other(BoxBody::new(tunnel::open(ends, counted))),
        })
    }

    fn watcher(&self) -> Watcher {
        Watcher::new(self.events.closing(), self.verifier, self.caller)
    }
}
