//! Connections of clients that speak HTTP/2. A library reads and writes the frames; each request has a task of its own, and
//! what HTTP/2 says in another way than HTTP/1.1 is said in that one's, which everything behind this speaks.
//!
//! A connection that is to end is told to go away (RFC 9113 section 6.8): first without a last stream, and with one when the
//! client has heard of it. What was opened until then is answered, and of what comes after it the client knows that nobody
//! looked at it.

mod answer;
mod watched;

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::http::StatusCode;
use actix_web::rt::{self, net::TcpStream};
use bytes::Bytes;
use futures_util::future::poll_fn;
use h2::server::{Builder, Connection as Library, SendResponse};
use h2::{Reason, RecvStream};
use service_kit::{Problem, RequestId, clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};

use crate::LINGER;
use crate::client::{Payload, Request};
use crate::connection::Connection;
use crate::serve::{Worker, refuse, serve};
use watched::Watched;

/// How many requests of one connection are worked on at once; clients are told so, and the library refuses what they open
/// beyond it. The next are refused here: those that were reset a moment ago still count.
const MOST: u32 = 256;
/// How many may count, refused ones among them, before the connection is cut.
const FLOOD: usize = 1024;
/// For how long a request counts that was reset before it was answered, so that no connection asks for more by resetting what
/// it has asked for.
const RESET: Duration = LINGER;
/// The largest fields of a request that are taken, in bytes.
const HEADERS: usize = 64 * 1024;
/// The same, as the library counts: larger ones get the bare answer that it has for them.
const FAR_TOO_LARGE: u32 = 128 * 1024;
/// How much of a request's body may come that nobody has read.
const WINDOW: u32 = 256 * 1024;
/// And of all those of a connection: some that nobody reads do not hold up the others.
const WINDOWS: u32 = 8 * WINDOW;
/// How much of an answer is handed over and not sent.
const AHEAD: usize = 64 * 1024;
/// How much is read and thrown away of what a client says when all is said.
const IGNORED: u64 = 256 * 1024;

type Tls = TlsStream<TcpStream>;

/// What the requests of a connection share. They may outlive it.
struct Streams {
    worker: Rc<Worker>,
    connection: Weak<Connection>,
    peer: Option<SocketAddr>,
    /// How many of them there are.
    open: Cell<usize>,
    /// How many of them wait for the client to take some of their answer.
    waiting: Cell<usize>,
    /// When it took some for the last time.
    moved_at: Cell<Instant>,
    /// For how long the client may take nothing.
    patience: Duration,
}

/// A request's place among those of its connection.
struct Place(Rc<Streams>);

impl Drop for Place {
    fn drop(&mut self) {
        let open = self.0.open.get() - 1;
        self.0.open.set(open);
        // The library does not always tell whoever serves the connection.
        if open == 0
            && let Some(connection) = self.0.connection.upgrade()
        {
            connection.wake();
        }
    }
}

/// Serves the client at the other end of `stream`, who may take nothing of what it is sent for as long as `patience`, until
/// either has enough.
pub(crate) async fn attend(
    worker: Rc<Worker>,
    mut stream: Tls,
    peer: Option<SocketAddr>,
    connection: Rc<Connection>,
    patience: Duration,
) {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MOST)
        .max_header_list_size(FAR_TOO_LARGE)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOWS)
        .max_send_buffer_size(AHEAD);
    let is_blocked = Cell::new(false);
    // Whoever never shakes hands is cut off by those who look after connections.
    if let Ok(mut library) = builder.handshake(Watched::new(&mut stream, &is_blocked)).await {
        let streams = Rc::new(Streams {
            worker,
            connection: Rc::downgrade(&connection),
            peer,
            open: Cell::new(0),
            waiting: Cell::new(0),
            moved_at: Cell::new(clock::instant()),
            patience,
        });
        poll_fn(|cx| streams.poll(cx, &mut library, &connection, &is_blocked)).await;
    }
    // What the client goes on to say would otherwise have the system take back what it was told last.
    let ending = async {
        stream.shutdown().await?;
        copy(&mut (&mut stream).take(IGNORED), &mut sink()).await
    };
    let _ = tokio::time::timeout(LINGER, ending).await;
}

impl Streams {
    /// Reads, writes, and begins with requests, until the connection is over.
    fn poll(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        library: &mut Library<Watched<'_>, Bytes>,
        connection: &Connection,
        is_blocked: &Cell<bool>,
    ) -> Poll<()> {
        if connection.poll_leaves(cx) {
            library.graceful_shutdown();
        }
        loop {
            match library.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    connection.is_busy();
                    self.begin(request, respond);
                }
                // What goes wrong is the client's doing, or shows in the answers.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => {
                    if !library.has_streams() && !is_blocked.get() {
                        connection.is_unused();
                    } else if self.open.get() == 0 {
                        connection.is_answered();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Begins with a request, behind everybody who is ready to go on: an answer that has come is that to a request that has
    /// waited longer.
    fn begin(self: &Rc<Self>, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        let open = self.open.get() + 1;
        self.open.set(open);
        let place = Place(Rc::clone(self));
        if open > FLOOD {
            metrics::counter!("http2_floods_total").increment(1);
            self.cut();
            return;
        }
        let began = clock::instant();
        let is_refused = open > MOST as usize;
        rt::spawn(async move { place.0.answer(request, respond, began, is_refused).await });
    }

    /// Ends the connection at once.
    fn cut(&self) {
        if let Some(connection) = self.connection.upgrade() {
            connection.cut();
        }
    }

    async fn answer(
        &self,
        request: http::Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        began: Instant,
        is_refused: bool,
    ) {
        let (head, body) = request.into_parts();
        let Some(request) = Request::of_http2(&head, self.peer, !body.is_end_stream()) else {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "bad_request", "The request is not HTTP.");
            respond.send_reset(Reason::PROTOCOL_ERROR);
            return self
                .worker
                .refuses(&problem, self.peer, &RequestId::new(), began.elapsed());
        };
        drop(head);
        let problem = if is_refused {
            metrics::counter!("http2_refused_total").increment(1);
            let detail = format!("More than {MOST} requests are open on this connection. Wait for some of them.");
            Some(Problem::unavailable("too_many_streams", detail))
        } else if request.fields.size() > HEADERS {
            let detail = format!("The request headers are larger than the {HEADERS} bytes allowed here.");
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            Some(Problem::new(status, "headers_too_large", detail))
        } else {
            None
        };
        let is_wanted = Rc::new(Cell::new(false));
        let mut expects = request.expects && request.has_body();
        let payload = if request.has_body() {
            Payload::Second(body, Rc::clone(&is_wanted))
        } else {
            Payload::Nothing
        };
        let record = self.worker.begin(request, began);
        let answer = match problem {
            None => {
                let mut answer = pin!(serve(&self.worker, record, payload));
                let answered = poll_fn(|cx| match answer.as_mut().poll(cx) {
                    Poll::Ready(answer) => Poll::Ready(Ok(answer)),
                    Poll::Pending => {
                        if is_wanted.get() && std::mem::take(&mut expects) {
                            let mut go_on = http::Response::new(());
                            *go_on.status_mut() = http::StatusCode::CONTINUE;
                            // Whoever has left need not hear it.
                            let _ = respond.send_informational(go_on);
                        }
                        respond.poll_reset(cx).map(Err)
                    }
                });
                answered.await
            }
            Some(problem) => Ok(refuse(record, problem)),
        };
        match answer {
            Ok(answer) => self.send(respond, answer).await,
            // The client has left, and nothing is worked on any more.
            Err(Ok(_)) => rt::time::sleep(RESET).await,
            Err(Err(_)) => {}
        }
    }
}
