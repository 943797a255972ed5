//! Connections of clients that speak HTTP/1.1, each served by one task: requests one after the other, and nothing is handed
//! over on the way to the answer.
//!
//! While a request is worked on its client's end is listened for, so that nobody works for who has left. The body of a
//! request is read by whoever wants it, no faster than it goes on, and is not asked for before (`Expect`).

mod answer;
mod payload;
mod request;
mod stream;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, to_bytes};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use service_kit::{Problem, RequestId};
use tokio::io::AsyncWrite;

pub(crate) use answer::{Answer, Content};
use answer::{End, write_head};
pub(crate) use payload::{BrokenOff, Payload};
pub(crate) use request::{BadRequest, Framing, Request};
pub(crate) use stream::Stream;

use crate::LINGER;
use crate::connection::Connection;
use crate::cors;
use crate::http1::{Body, Chunks, Incoming, Left, Nothing, Outgoing, Stop};
use crate::record::Watched;
use crate::serve::{Worker, serve};

/// How much of further requests is read while one is worked on.
const AHEAD: usize = 16 * 1024;
/// How much of what a client goes on to send is thrown away once it has its last answer.
const LINGERED: usize = 4 * 1024 * 1024;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

thread_local! {
    /// Memory to write answers in.
    static FRONT: Cell<Vec<u8>> = Cell::default();
}

/// A client's connection, and what was read from it.
pub(crate) struct Client {
    stream: RefCell<Stream>,
    incoming: RefCell<Incoming>,
    /// Whether the client waits for a word before it sends the body of its request.
    expects: Cell<bool>,
    peer: Option<SocketAddr>,
    is_secure: bool,
}

/// What a connection brings next.
enum Next {
    Request(Request),
    Bad(BadRequest),
    End,
}

/// How an answer came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// All of it, and another request may follow.
    Persists,
    /// All of it.
    Whole,
    /// All of it, and all that was said after it in another protocol.
    Switched,
    /// Not all of it, as can be seen from what there is.
    Broken,
    /// Not all of it, as can be seen only from how the connection ends.
    Torn,
    /// The client has left.
    Gone,
}

/// Serves the client at the other end of `stream` until either has enough.
pub(crate) async fn attend(worker: Rc<Worker>, stream: Stream, peer: Option<SocketAddr>, connection: Rc<Connection>) {
    let client = Rc::new(Client {
        is_secure: matches!(stream, Stream::Secure(_)),
        stream: RefCell::new(stream),
        incoming: RefCell::new(Incoming::new()),
        expects: Cell::new(false),
        peer,
    });
    loop {
        let request = match client.next(&connection).await {
            Next::Request(request) => request,
            Next::Bad(bad) => {
                client.refuse(&worker, bad).await;
                break client.linger(LINGERED).await;
            }
            Next::End => break,
        };
        connection.is_busy();
        let sent = client.serve(&worker, request).await;
        match sent {
            Sent::Persists => connection.waits(),
            Sent::Whole => break client.linger(LINGERED).await,
            // Whoever spoke that protocol has heard the client out.
            Sent::Switched => break client.linger(0).await,
            Sent::Torn => break client.tear(),
            Sent::Broken | Sent::Gone => break,
        }
    }
    connection.closes();
    *client.stream.borrow_mut() = Stream::Gone;
}

impl Client {
    /// Waits for a whole head.
    async fn next(&self, connection: &Connection) -> Next {
        let mut looked_at = 0;
        poll_fn(|cx| {
            loop {
                let mut incoming = self.incoming.borrow_mut();
                if !incoming.bytes.is_empty() {
                    match Request::take(&mut incoming.bytes, looked_at, self.peer, self.is_secure) {
                        Ok(Some(request)) => {
                            incoming.left = match request.framing {
                                Framing::Nothing => Left::Nothing,
                                Framing::Length(length) => Left::Length(length),
                                Framing::Open => Left::Chunks(Chunks::new()),
                            };
                            incoming.release();
                            self.expects.set(request.expects && request.has_body());
                            return Poll::Ready(Next::Request(request));
                        }
                        Ok(None) => connection.has_begun(),
                        Err(bad) => return Poll::Ready(Next::Bad(bad)),
                    }
                    looked_at = incoming.bytes.len();
                }
                let read = incoming.poll_read(cx, &mut *self.stream.borrow_mut(), u64::MAX);
                match ready!(read) {
                    Ok(1..) => {}
                    // Whoever looks after connections has ended it.
                    Ok(0) if looked_at > 0 && connection.is_late() => return Poll::Ready(Next::Bad(BadRequest::Late)),
                    Ok(0) | Err(_) => return Poll::Ready(Next::End),
                }
            }
        })
        .await
    }

    /// Answers one request.
    async fn serve(self: &Rc<Self>, worker: &Rc<Worker>, request: Request) -> Sent {
        let (is_head, is_current) = (request.method == Method::HEAD, request.is_current);
        let persists = request.persists;
        let payload = if request.has_body() || request.wants_upgrade {
            Payload::First(Rc::clone(self))
        } else {
            Payload::Nothing
        };
        let answer = {
            let mut serving = pin!(serve(worker, request, payload));
            poll_fn(|cx| match serving.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => self.poll_gone(cx).map(|()| None),
            })
            .await
        };
        let Some(Answer { status, fields, body }) = answer else {
            return Sent::Gone;
        };
        let is_switched = status == StatusCode::SWITCHING_PROTOCOLS;
        let is_read = is_switched || self.is_read(&body);
        let has_none = is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let end = match body.size() {
            _ if is_switched => End::Connection,
            BodySize::None => End::Nothing,
            BodySize::Sized(_) if status == StatusCode::NO_CONTENT => End::Nothing,
            BodySize::Sized(length) => End::Length(length),
            BodySize::Stream if has_none => End::Nothing,
            BodySize::Stream if is_current => End::Chunks,
            BodySize::Stream => End::Connection,
        };
        let persists = persists && is_read && end != End::Connection && !worker.is_stopping();
        let connection = match (persists, is_current) {
            _ if is_switched => "upgrade",
            (false, _) => "close",
            (true, true) => "",
            (true, false) => "keep-alive",
        };
        let mut outgoing = Outgoing::joined(FRONT.take());
        write_head(outgoing.front(), status, &fields, end, connection);
        drop(fields);
        outgoing.begin(body, end == End::Chunks);
        let sent = poll_fn(|cx| self.poll_send(cx, &mut outgoing)).await;
        FRONT.set(outgoing.into_front());
        match sent {
            Some(Ok(())) if persists => Sent::Persists,
            Some(Ok(())) if is_switched => Sent::Switched,
            Some(Ok(())) => Sent::Whole,
            Some(Err(Stop::Body)) if end == End::Connection => Sent::Torn,
            Some(Err(Stop::Body)) => Sent::Broken,
            Some(Err(Stop::Io(_))) | None => Sent::Gone,
        }
    }

    /// Sends what is ready to be sent; `None`: the client has left.
    fn poll_send<B: Body>(&self, cx: &mut Context<'_>, outgoing: &mut Outgoing<B>) -> Poll<Option<Result<(), Stop>>> {
        let sent = outgoing.poll(cx, &mut *self.stream.borrow_mut());
        match sent {
            Poll::Ready(sent) => Poll::Ready(Some(sent)),
            Poll::Pending => self.poll_gone(cx).map(|()| None),
        }
    }

    /// Whether all of the request was read; what is there already and nobody reads is skipped.
    fn is_read(&self, body: &Watched) -> bool {
        let mut incoming = self.incoming.borrow_mut();
        if !body.is_upstreams() {
            while let Ok(Some(_)) = incoming.take_piece() {}
        }
        // Nobody is told any more that its body is wanted.
        self.expects.set(false);
        incoming.left == Left::Nothing
    }

    /// Comes when the client has left. Further requests that it has sent are kept, up to a size past which nothing is known.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut incoming = self.incoming.borrow_mut();
        // The body's reader finds out by itself.
        while incoming.left == Left::Nothing && incoming.bytes.len() < AHEAD {
            let read = incoming.poll_read(cx, &mut *self.stream.borrow_mut(), u64::MAX);
            if !matches!(ready!(read), Ok(1..)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Waits for the next piece of a request's body; `None` is its end.
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let mut incoming = self.incoming.borrow_mut();
        let mut stream = self.stream.borrow_mut();
        if self.expects.get() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, CONTINUE));
            let flushed = Pin::new(&mut *stream).poll_flush(cx);
            self.expects.set(false);
            // There is room for it when all answers before it were taken.
            if written.is_ok_and(|length| length < CONTINUE.len()) || matches!(flushed, Poll::Ready(Err(_))) {
                return Poll::Ready(Some(Err(BrokenOff)));
            }
        }
        loop {
            if let Some(piece) = incoming.take_piece().map_err(|_| BrokenOff)? {
                return Poll::Ready(Some(Ok(piece)));
            }
            let most = incoming.wanted();
            if most == 0 {
                return Poll::Ready(None);
            }
            match ready!(incoming.poll_read(cx, &mut *stream, most)) {
                Ok(1..) => {}
                Ok(0) if incoming.left == Left::All => incoming.left = Left::Nothing,
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(BrokenOff))),
            }
        }
    }

    /// Everything that comes from now on is of another protocol.
    pub(crate) fn switches(&self) {
        self.incoming.borrow_mut().left = Left::All;
    }

    /// Answers what is no request.
    async fn refuse(&self, worker: &Worker, bad: BadRequest) {
        let problem = Problem::from(bad);
        worker.refuses(&problem);
        let id = RequestId::new();
        let mut answer = Answer::from(problem.response(Some(id.as_str()), None));
        answer.fields.push(b"x-request-id", id.as_str().as_bytes());
        cors::secure(&mut answer.fields);
        let Content::Other(body) = answer.body else { return };
        let body = to_bytes(body).await.unwrap_or_default();
        let mut outgoing = Outgoing::joined(Vec::new());
        let front = outgoing.front();
        let length = End::Length(body.len() as u64);
        write_head(front, answer.status, &answer.fields, length, "close");
        front.extend_from_slice(&body);
        outgoing.begin(Nothing, false);
        let sending = poll_fn(|cx| outgoing.poll(cx, &mut *self.stream.borrow_mut()));
        let _ = tokio::time::timeout(LINGER, sending).await;
    }

    /// Says that nothing more comes, and lets the client hear it: what it goes on to send, of which `most` bytes are read and
    /// thrown away, would otherwise have the system take back the end of the answer (RFC 9112 section 9.6).
    async fn linger(&self, most: usize) {
        let ending = async {
            poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)).await?;
            let read = |cx: &mut Context<'_>| {
                let mut incoming = self.incoming.borrow_mut();
                incoming.bytes.clear();
                incoming.poll_read(cx, &mut *self.stream.borrow_mut(), u64::MAX)
            };
            let mut lingered = 0;
            while lingered < most {
                match poll_fn(read).await? {
                    0 => break,
                    length => lingered += length,
                }
            }
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(LINGER, ending).await;
    }

    /// Has the connection end as broken ones do: there is no other way to say that an answer that ends with it is not whole.
    fn tear(&self) {
        if let Some(socket) = self.stream.borrow().socket() {
            let _ = socket.set_linger(Some(std::time::Duration::ZERO));
        }
    }

    /// Ends the connection in both directions, written or not.
    pub(crate) fn cut(&self) {
        if let Some(socket) = self.stream.borrow().socket() {
            // Who has gone already needs no cutting off.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
