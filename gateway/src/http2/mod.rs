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

use actix_http::{Request as Message, Response};
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, Payload as Frames};
use actix_web::http::header::{CONTENT_LENGTH, COOKIE, HeaderName, HeaderValue};
use actix_web::{HttpMessage, rt};
use futures_util::future::poll_fn;
use futures_util::stream::{Stream, StreamExt, once};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use service_kit::{Problem, clock};
use tokio::io::Interest;
use tokio::sync::Mutex;

use crate::client::{Answer, Payload, Request};
use crate::connection::Connection;
use crate::record::Watched;
use crate::serve::{Worker, serve};
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
    fn keep(&self, place: Place, response: Response<BoxBody>) -> Response<BoxBody> {
        response.map_body(|_, body| match body.size() {
            BodySize::None | BodySize::Sized(0) => body,
            _ => BoxBody::new(Taken::new(body, place, self.patience)),
        })
    }
}

/// Answers a request as those over HTTP/1.1 are answered, and has no connection ask for too much at once.
pub(crate) async fn handle(worker: Rc<Worker>, message: Message) -> Response<BoxBody> {
    let Some(streams) = message.conn_data::<Rc<Streams>>().map(Rc::clone) else {
        return answer(&worker, message).await;
    };
    let (place, is_refused) = streams.place();
    let response = if is_refused {
        metrics::counter!("http2_refused_total").increment(1);
        refusal().response(None, None).into()
    } else {
        answer(&worker, message).await
    };
    streams.wait_for_room().await;
    streams.keep(place, response)
}

async fn answer(worker: &Worker, mut message: Message) -> Response<BoxBody> {
    join_cookies(&mut message);
    let (has_body, payload) = frames(&mut message).await;
    let request = Request::of_http2(message.head(), has_body);
    response(serve(worker, worker.begin(request, clock::instant()), payload).await)
}

fn response(answer: Answer<Watched>) -> Response<BoxBody> {
    let mut response = Response::with_body(answer.status, BoxBody::new(answer.body));
    for (name, value) in answer.fields.iter() {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn refusal() -> Problem {
    let detail = format!("More than {MOST} requests are open on this connection. Wait for some of them.");
    Problem::unavailable("too_many_streams", detail)
}

/// RFC 9113 section 8.2.3: a cookie header in pieces is one.
fn join_cookies(message: &mut Message) {
    let pieces: Vec<&[u8]> = message.headers().get_all(COOKIE).map(HeaderValue::as_bytes).collect();
    if pieces.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&pieces.join(&b"; "[..]))
    {
        message.headers_mut().insert(COOKIE, joined);
    }
}

/// Whether there is a body is said by its frames, where no length is: there is none when the head was the end.
async fn frames(message: &mut Message) -> (bool, Payload) {
    let mut frames = message.take_payload();
    if message.headers().contains_key(CONTENT_LENGTH) {
        return (true, Payload::Second(frames));
    }
    match poll_fn(|context| Poll::Ready(Pin::new(&mut frames).poll_next(context))).await {
        Poll::Ready(None) => (false, Payload::Nothing),
        Poll::Pending => (true, Payload::Second(frames)),
        Poll::Ready(Some(piece)) => {
            let all = once(std::future::ready(piece)).chain(frames);
            let all = Box::pin(all) as Pin<Box<dyn Stream<Item = _>>>;
            (true, Payload::Second(Frames::from(all)))
        }
    }
}
