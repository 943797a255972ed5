//! Forwarding a request that was let through, and its answer.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody};
use actix_web::dev::Payload;
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, Response, Uri};
use portcullis_client::Verifier;

use crate::admission::Caller;
use crate::body::{Progress, RequestBody, ResponseBody, Sending};
use crate::connection::Connection;
use crate::ending::Watcher;
use crate::error::ProxyError;
use crate::events::Events;
use crate::record::Record;
use crate::routes::Route;
use crate::tunnel::{self, Handshake};
use crate::upstream::{Kept, Lease, Pool, Slots, Target};
use crate::{framing, headers};

/// How many targets are tried for one request.
const MAX_TARGETS_TRIED: u32 = 3;

/// A request on its way to an upstream.
pub(crate) struct Passage<'a> {
    pub(crate) request: &'a HttpRequest,
    pub(crate) route: &'a Route,
    pub(crate) record: &'a Record,
    pub(crate) caller: Option<&'a Caller>,
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
    Unsent(RequestBody, hyper::Error),
    /// The upstream broke off.
    Broken(hyper::Error),
    /// Trying again is of no use.
    For(ProxyError),
}

impl Passage<'_> {
    /// Sends the request to a target of `pool` and begins to answer with what it says. Others are tried when one cannot
    /// be connected to. A request that was sent is sent once more only when it is idempotent and has no body. All of this
    /// within a budget, so that an upstream in trouble does not get many times its load.
    pub(crate) async fn forward(&self, pool: &Rc<Pool>, payload: Payload) -> Result<HttpResponse, ProxyError> {
        let slots = pool.enter().await?;
        let outcome = self.try_targets(pool, &slots, payload).await;
        pool.upstream.note(outcome.as_ref().err());
        outcome
    }

    async fn try_targets(
        &self,
        pool: &Rc<Pool>,
        slots: &Slots,
        mut payload: Payload,
    ) -> Result<HttpResponse, ProxyError> {
        let received = self.request.headers();
        let progress = Progress::new(headers::has_body(received));
        let mut body = match progress.state() {
            Sending::Underway => {
                let length = headers::content_length(received);
                RequestBody::streamed(payload.take(), length, self.route.body_limit, Rc::clone(&progress))
            }
            _ => RequestBody::Empty,
        };
        let mut may_repeat = body.is_empty() && self.request.method().is_idempotent();
        let mut kept = if self.handshake.is_some() {
            // A connection that becomes a tunnel begins with the request that asks for it.
            Kept::New
        } else if may_repeat {
            Kept::Any
        } else {
            Kept::Checked
        };
        let (mut tried, mut repeats) = (0_u64, false);
        let mut last = None;
        while tried.count_ones() < MAX_TARGETS_TRIED
            && let Some(index) = pool.pick(slots, tried)
            && (!repeats || pool.may_repeat())
        {
            let slot = &slots[index];
            self.record.goes_to(&pool.upstream, &slot.target, &progress);
            let mut lease = match pool.lease(slot, kept, &progress).await {
                Ok(lease) => lease,
                Err(error) => {
                    repeats = !matches!(error, ProxyError::Full);
                    last = Some(error);
                    tried |= 1 << index;
                    continue;
                }
            };
            let request = self.write(&slot.target, body)?;
            let error = match self.exchange(&mut lease, request, &progress).await {
                Ok(response) if response.status() == hyper::StatusCode::SWITCHING_PROTOCOLS => {
                    self.record.upstream_answers();
                    return self.switch(response, lease, payload).await;
                }
                Ok(response) => {
                    lease.answered();
                    self.record.upstream_answers();
                    return self.answer(response, lease);
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

    fn write(&self, target: &Target, body: RequestBody) -> Result<Request<RequestBody>, ProxyError> {
        let mut headers = headers::toward_upstream(self.request, self.host, self.route, self.caller, self.record);
        headers.insert(HOST, target.host.clone());
        if let Some(handshake) = self.handshake {
            handshake.ask(&mut headers);
        }
        let method = self.request.method();
        match body.length() {
            None => {
                headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            // RFC 9110 section 8.6: a method that gives its content a meaning says that there is none.
            Some(0) if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            }
            Some(0) => {}
            Some(length) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
        let query = self.request.uri().query();
        let mut uri = String::with_capacity(target.base.len() + self.path.len() + 1 + query.map_or(0, str::len));
        uri.push_str(&target.base);
        uri.push_str(self.path);
        if let Some(query) = query {
            uri.push('?');
            uri.push_str(query);
        }
        let mut request = Request::new(body);
        *request.method_mut() =
            hyper::Method::from_bytes(method.as_str().as_bytes()).map_err(hyper::http::Error::from)?;
        *request.uri_mut() = Uri::try_from(uri).map_err(hyper::http::Error::from)?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Waits for the head of the answer for as long as the route allows, counted from when the last of the request moved.
    async fn exchange(
        &self,
        lease: &mut Lease,
        request: Request<RequestBody>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, Failed> {
        let mut sent = pin!(lease.sender().try_send_request(request));
        let alarm = lease.alarm();
        loop {
            let limit = match progress.state() {
                Sending::Underway => self.body_timeout,
                _ => self.route.timeout,
            };
            let left = limit.saturating_sub(progress.quiet());
            if left.is_zero() {
                return Err(Failed::For(match progress.state() {
                    Sending::Underway if progress.awaits_client() => ProxyError::ClientPaused,
                    _ => ProxyError::Timeout,
                }));
            }
            // The body may come to its end meanwhile, and then it is the answer that has a limit.
            alarm.set(left.min(self.route.timeout));
            tokio::select! {
                biased;
                outcome = sent.as_mut() => return outcome.map_err(|error| self.failed(error, progress)),
                () = alarm.rings() => {}
            }
        }
    }

    fn failed(&self, mut error: TrySendError<Request<RequestBody>>, progress: &Progress) -> Failed {
        let unsent = error.take_message();
        match (progress.state(), unsent) {
            (Sending::TooLarge, _) => Failed::For(ProxyError::TooLarge(self.route.body_limit)),
            (Sending::Broken, _) => Failed::For(ProxyError::ClientBroke),
            (_, Some(request)) => Failed::Unsent(request.into_body(), error.into_error()),
            (_, None) => Failed::Broken(error.into_error()),
        }
    }

    fn answer(&self, response: Response<Incoming>, lease: Lease) -> Result<HttpResponse, ProxyError> {
        let (head, incoming) = response.into_parts();
        let status = StatusCode::from_u16(head.status.as_u16()).map_err(|_| ProxyError::BadAnswer)?;
        // Another protocol was not asked for, and what goes before an answer does not get here.
        if status.is_informational() || !framing::is_sound(&head) {
            lease.failed(&ProxyError::BadAnswer);
            return Err(ProxyError::BadAnswer);
        }
        let length = head.headers.get(CONTENT_LENGTH);
        let size = match (status, length.and_then(|length| length.to_str().ok()?.parse().ok())) {
            (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED, _) => BodySize::None,
            (StatusCode::RESET_CONTENT, _) => BodySize::Sized(0),
            (_, Some(length)) => BodySize::Sized(length),
            (_, None) => BodySize::Stream,
        };
        let mut body = ResponseBody::new(incoming, size, lease, self.body_timeout).on(Connection::answer(self.request));
        if size == BodySize::Stream && headers::is_event_stream(&head.headers) {
            let mut watcher = self.watcher();
            body = body.until(async move {
                watcher.ended().await;
            });
        }
        let mut answer = HttpResponse::with_body(status, BoxBody::new(body));
        headers::toward_client(&head.headers, self.route, answer.headers_mut());
        if let (StatusCode::NOT_MODIFIED, Some(length)) = (status, length)
            && let Ok(length) = actix_web::http::header::HeaderValue::from_bytes(length.as_bytes())
        {
            answer
                .headers_mut()
                .insert(actix_web::http::header::CONTENT_LENGTH, length);
        }
        if size == BodySize::Stream && !headers::takes_chunks(self.request) {
            answer.head_mut().no_chunking(true);
            answer.head_mut().set_connection_type(ConnectionType::Close);
        }
        Ok(answer)
    }

    /// Opens the tunnel that was asked for, once the service has agreed to it.
    async fn switch(
        &self,
        response: Response<Incoming>,
        lease: Lease,
        payload: Payload,
    ) -> Result<HttpResponse, ProxyError> {
        let opens = |handshake: &&Handshake| handshake.is_answered_by(response.headers());
        let Some(handshake) = self.handshake.filter(opens) else {
            lease.failed(&ProxyError::BadAnswer);
            return Err(ProxyError::BadAnswer);
        };
        lease.answered();
        let mut answer = HttpResponse::new(StatusCode::SWITCHING_PROTOCOLS);
        headers::toward_client(response.headers(), self.route, answer.headers_mut());
        handshake.settle(answer.headers_mut());
        answer.headers_mut().insert(
            actix_web::http::header::UPGRADE,
            actix_web::http::header::HeaderValue::from_static("websocket"),
        );
        answer.head_mut().set_connection_type(ConnectionType::Upgrade);
        let ends = tunnel::Ends {
            payload,
            client: self.request.conn_data::<tunnel::Socket>().copied(),
            service: hyper::upgrade::on(response).await.map_err(ProxyError::Upstream)?,
            watcher: self.watcher(),
            pause: self.body_timeout,
        };
        Ok(answer.set_body(BoxBody::new(tunnel::open(ends, lease.keep()))))
    }

    fn watcher(&self) -> Watcher {
        Watcher::new(self.events.closing(), self.verifier, self.caller)
    }
}
