//! HTTP/2: what it says in another way than HTTP/1.1 is said in that one's, which everything behind this speaks; and how
//! many requests of a connection are worked on at once.

use std::any::Any;
use std::cell::Cell;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_LENGTH, COOKIE, HeaderValue, TRANSFER_ENCODING};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, rt};
use bytes::Bytes;
use futures_util::future::poll_fn;
use futures_util::stream::{Stream, StreamExt, once};
use service_kit::Problem;

/// How many requests of one connection are worked on at once; the next are refused. Clients keep to a hundred by themselves,
/// unless told another number, and the server tells none.
const MOST: usize = 256;
/// How many may be open, refused ones among them whose refusal nobody reads, before the connection is cut: requests that
/// are reset at once stay open here until they are answered.
const FLOOD: usize = 1024;

/// The requests of one connection that are being worked on or answered.
struct Streams {
    open: Rc<Cell<usize>>,
    /// A second handle of the connection, to cut it by.
    socket: TcpStream,
}

/// Begins to count the requests of a new connection, if it is one of HTTP/2.
pub(crate) fn count(io: &dyn Any, connection: &mut Extensions) {
    let Some(io) = io.downcast_ref::<TlsStream<rt::net::TcpStream>>() else {
        return;
    };
    let (socket, session) = io.get_ref();
    if session.alpn_protocol() != Some(b"h2") {
        return;
    }
    match socket.as_fd().try_clone_to_owned() {
        Ok(socket) => {
            connection.insert(Streams {
                open: Rc::default(),
                socket: socket.into(),
            });
        }
        Err(error) => log::warn!(cause = error.to_string().as_str(); "a connection is served uncounted"),
    }
}

/// A request's place among those of its connection, for as long as it is kept.
struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Place {
    /// One for `request`, and whether that is one too many; none where nobody counts.
    fn of(request: &ServiceRequest) -> Option<(Self, bool)> {
        let streams = request.conn_data::<Streams>()?;
        let open = streams.open.get() + 1;
        streams.open.set(open);
        if open > FLOOD {
            metrics::counter!("http2_floods_total").increment(1);
            // Whoever has gone already needs no cutting off.
            let _ = streams.socket.shutdown(Shutdown::Both);
        }
        Some((Self(Rc::clone(&streams.open)), open > MOST))
    }

    /// Keeps the place until `response` has been sent.
    fn keep(self, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        response.map_body(|_, body| BoxBody::new(Held { body, _place: self }))
    }
}

/// Middleware, outermost: has requests over HTTP/2 read like others, and no connection ask for too much at once.
pub(crate) async fn handle(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some((place, is_refused)) = Place::of(&request) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    if is_refused {
        metrics::counter!("http2_refused_total").increment(1);
        return Ok(place.keep(request.into_response(refusal().response(None, None))));
    }
    join_cookies(&mut request);
    if !request.headers().contains_key(CONTENT_LENGTH) {
        frame(&mut request).await;
    }
    let response = next.call(request).await?.map_into_boxed_body();
    Ok(place.keep(response))
}

fn refusal() -> Problem {
    let detail = format!("More than {MOST} requests are open on this connection. Wait for some of them.");
    Problem::unavailable("too_many_streams", detail)
}

struct Held {
    body: BoxBody,
    _place: Place,
}

impl MessageBody for Held {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
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
