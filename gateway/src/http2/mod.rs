//! HTTP/2: what it says in another way than HTTP/1.1 is said in that one's, which everything behind this speaks; and how
//! much a connection may ask for at once without taking the answers.

mod answer;
mod load;

use std::cell::{Cell, OnceCell};
use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_LENGTH, COOKIE, HeaderValue, TRANSFER_ENCODING};
use actix_web::{HttpMessage, rt};
use futures_util::future::poll_fn;
use futures_util::stream::{Stream, StreamExt, once};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use service_kit::Problem;
use tokio::io::Interest;
use tokio::sync::Mutex;

use crate::connection::Connection;
use answer::Taken;
use load::Place;
pub(crate) use load::{Load, is_late};

/// How many requests of one connection are worked on at once; the next are refused. Clients keep to a hundred by themselves,
/// unless told another number, and the server tells none.
const MOST: usize = 256;
/// How many may be open, refused ones among them whose refusal nobody reads, before the connection is cut: requests that
/// are reset at once stay open here until they are answered.
const FLOOD: usize = 1024;

/// How many answers may be given before it is looked whether anything is taken of them. Those without a body are of no size
/// that the client would have to allow, and the library keeps any number of them.
const UNSEEN: usize = 16;
/// How long to wait before it is looked again whether something is left to be read.
const PAUSE: Duration = Duration::from_millis(2);

/// What there is of a connection besides its requests.
struct Streams {
    connection: Rc<Connection>,
    load: Arc<Load>,
    socket: Rc<TcpStream>,
    /// How many answers were given since the client was last seen to take some.
    unseen: Cell<usize>,
    /// Of those that have an answer for it, one after the other.
    turn: Mutex<()>,
    /// Says when it takes some again.
    room: OnceCell<Option<rt::net::TcpStream>>,
    /// For how long it may take nothing.
    patience: Duration,
}

/// Begins to count the requests of a new connection, if it is one of HTTP/2, whose client may take nothing of what it is
/// sent for as long as `patience`.
pub(crate) fn count(connection: Rc<Connection>, data: &mut Extensions, patience: Duration) {
    if let Some((socket, load)) = connection.http2() {
        let streams = Streams {
            load: Arc::clone(load),
            socket: Rc::clone(socket),
            connection,
            unseen: Cell::new(0),
            turn: Mutex::default(),
            room: OnceCell::new(),
            patience,
        };
        data.insert(Rc::new(streams));
    }
}

impl Streams {
    /// A place for one more request, and whether that is one too many.
    fn place(&self) -> (Place, bool) {
        let (place, open) = Place::take(&self.load);
        if open > FLOOD {
            metrics::counter!("http2_floods_total").increment(1);
            self.connection.cut();
        }
        (place, open > MOST)
    }

    /// Whether the system takes more for the client now.
    fn is_writable(&self) -> bool {
        let mut asked = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        // A connection that is broken takes everything: whoever writes finds out.
        poll(&mut asked, PollTimeout::ZERO) != Ok(0)
    }

    /// Waits until the client has taken so much that there is room for another answer. One for which that takes too long, or
    /// that never stops sending, is cut off.
    async fn wait_for_room(&self) {
        // One looks for all of them.
        let _turn = self.turn.lock().await;
        let unseen = self.unseen.get() + 1;
        self.unseen.set(unseen);
        if unseen < UNSEEN {
            return;
        }
        if tokio::time::timeout(self.patience, self.look_for_room()).await.is_err() {
            self.connection.cut();
        }
        self.unseen.set(0);
    }

    /// For as long as the library has something to read, it may write nothing of what it was given, however much the system
    /// would take.
    async fn look_for_room(&self) {
        loop {
            if !self.is_writable() {
                let another = || rt::net::TcpStream::from_std(self.socket.try_clone()?);
                let Some(room) = self.room.get_or_init(|| another().ok()) else {
                    return;
                };
                if room.writable().await.is_err() {
                    return;
                }
                // It may be so no longer, and is waited for anew.
                let _ = room.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            } else if self.connection.has_more() {
                rt::time::sleep(PAUSE).await;
            } else {
                return;
            }
        }
    }

    /// Has the answer handed over as it is taken; it keeps its place until all of it was.
    fn keep(&self, place: Place, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        response.map_body(|_, body| match body.size() {
            BodySize::None | BodySize::Sized(0) => body,
            _ => BoxBody::new(Taken::new(body, place, self.patience)),
        })
    }
}

/// Answers `request` as `serve` does: has those over HTTP/2 read like others, and no connection ask for too much at once.
pub(crate) async fn handle<F: Future<Output = ServiceResponse<BoxBody>>>(
    mut request: ServiceRequest,
    serve: impl FnOnce(ServiceRequest) -> F,
) -> ServiceResponse<BoxBody> {
    let Some(streams) = request.conn_data::<Rc<Streams>>().map(Rc::clone) else {
        return serve(request).await;
    };
    let (place, is_refused) = streams.place();
    if is_refused {
        metrics::counter!("http2_refused_total").increment(1);
        let response = request.into_response(refusal().response(None, None));
        streams.wait_for_room().await;
        return streams.keep(place, response);
    }
    join_cookies(&mut request);
    if !request.headers().contains_key(CONTENT_LENGTH) {
        frame(&mut request).await;
    }
    let response = serve(request).await;
    streams.wait_for_room().await;
    streams.keep(place, response)
}

fn refusal() -> Problem {
    let detail = format!("More than {MOST} requests are open on this connection. Wait for some of them.");
    Problem::unavailable("too_many_streams", detail)
}

/// RFC 9113 section 8.2.3: a cookie header in pieces is one.
fn join_cookies(request: &mut ServiceRequest) {
    let pieces: Vec<&[u8]> = request.headers().get_all(COOKIE).map(HeaderValue::as_bytes).collect();
    if pieces.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&pieces.join(&b"; "[..]))
    {
        request.headers_mut().insert(COOKIE, joined);
    }
}

/// Whether there is a body is said by its frames: none when the head was the end. One without a length goes on in chunks.
async fn frame(request: &mut ServiceRequest) {
    let mut payload = request.take_payload();
    let looked = poll_fn(|context| Poll::Ready(Pin::new(&mut payload).poll_next(context))).await;
    let payload = match looked {
        Poll::Ready(None) => return,
        Poll::Pending => payload,
        Poll::Ready(Some(piece)) => {
            let all = once(std::future::ready(piece)).chain(payload);
            Payload::from(Box::pin(all) as Pin<Box<dyn Stream<Item = _>>>)
        }
    };
    request.set_payload(payload);
    request
        .headers_mut()
        .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
}
