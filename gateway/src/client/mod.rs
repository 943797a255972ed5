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
use std::task::{Context, Poll, Waker, ready};

use actix_web::body::{BodySize, to_bytes};
use actix_web::http::{Method, StatusCode};
use bytes::{Buf, Bytes};
use service_kit::{Problem, RequestId, clock};
use tokio::io::AsyncWrite;

pub(crate) use answer::{Answer, Content, with_date};
use answer::{End, write_head};
pub(crate) use payload::{BrokenOff, Payload};
pub(crate) use request::{BadRequest, Framing, Request, Wants};
pub(crate) use stream::Stream;

use crate::LINGER;
use crate::connection::Connection;
use crate::cors;
use crate::http1::{Body, Chunks, Incoming, Left, Nothing, Outgoing, Stop};
use crate::record::{Record, Watched};
use crate::serve::{Worker, serve};

/// How much of further requests is read while one is worked on.
const AHEAD: usize = 16 * 1024;
/// How much of what is no request is read and thrown away, so that whoever sends it hears the answer.
const REFUSED: usize = 256 * 1024;
/// How many empty lines may stand before a request; old clients send one behind a body.
const EMPTY_LINES: u32 = 16;
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
    word: Cell<Word>,
    /// Which request it is at: a body that outlived its own must not read another's.
    turn: Cell<u64>,
    /// Whoever listens for the client's end once a body that somebody else reads is over.
    listener: Cell<Option<Waker>>,
    peer: Option<SocketAddr>,
    is_secure: bool,
}

/// The word that a client waits for (RFC 9110 section 10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// It waits for none, or has it.
    Said,
    /// So much of it was written.
    Due(usize),
    /// It was written, and may be on the way still.
    Written,
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
        word: Cell::new(Word::Said),
        turn: Cell::new(0),
        listener: Cell::new(None),
        peer,
    });
    loop {
        let request = match client.next(&connection).await {
            Next::Request(request) => request,
            Next::Bad(bad) => {
                connection.is_busy();
                client.refuse(&worker, bad).await;
                break client.linger(REFUSED).await;
            }
            Next::End => break client.say_goodbye().await,
        };
        connection.is_busy();
        let began = clock::instant();
        give_way().await;
        let sent = client.serve(&worker, worker.begin(request, began)).await;
        match sent {
            // What was promised is kept, whatever has been decided meanwhile: a request may be on its way.
            Sent::Persists => connection.waits(),
            Sent::Whole => break client.linger(usize::MAX).await,
            // Whoever spoke that protocol has heard the client out.
            Sent::Switched => break client.linger(0).await,
            Sent::Torn => break client.tear(),
            Sent::Broken | Sent::Gone => break,
        }
    }
    connection.closes();
    *client.stream.borrow_mut() = Stream::Gone;
}

/// Lets everybody on this worker go first who is ready to: an answer that has come is that to a request that has waited longer
/// than the one which is to begin.
async fn give_way() {
    let mut gave = false;
    poll_fn(|cx| {
        if gave {
            return Poll::Ready(());
        }
        gave = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Client {
    /// Waits for a whole head.
    async fn next(&self, connection: &Connection) -> Next {
        let (mut looked_at, mut empty_lines) = (0, 0);
        self.turn.set(self.turn.get() + 1);
        poll_fn(|cx| {
            loop {
                let mut incoming = self.incoming.borrow_mut();
                while incoming.bytes.starts_with(b"\r\n") && empty_lines < EMPTY_LINES {
                    incoming.bytes.advance(2);
                    empty_lines += 1;
                }
                if !incoming.bytes.is_empty() {
                    match Request::take(&mut incoming.bytes, looked_at, self.peer, self.is_secure) {
                        // What has come since is for a connection that was over, and nothing was done about it.
                        Ok(Some(_)) if connection.is_late() => return Poll::Ready(Next::Bad(BadRequest::Late)),
                        Ok(Some(_)) if connection.is_leaving() => return Poll::Ready(Next::End),
                        Ok(Some(request)) => {
                            incoming.left = match request.framing {
                                Framing::Nothing => Left::Nothing,
                                Framing::Length(length) => Left::Length(length),
                                Framing::Open => Left::Chunks(Chunks::new()),
                            };
                            incoming.release();
                            let waits = request.expects && request.has_body() && incoming.bytes.is_empty();
                            self.word.set(if waits { Word::Due(0) } else { Word::Said });
                            return Poll::Ready(Next::Request(request));
                        }
                        // It may be half of an empty line.
                        Ok(None) if incoming.bytes == b"\r"[..] => {}
                        Ok(None) => connection.has_begun(),
                        Err(bad) => return Poll::Ready(Next::Bad(bad)),
                    }
                    looked_at = incoming.bytes.len();
                }
                let read = incoming.poll_read(cx, &mut *self.stream.borrow_mut(), u64::MAX);
                match ready!(read) {
                    Ok(1..) => {}
                    // Whoever looks after connections has ended it.
                    Ok(0) | Err(_) if looked_at > 0 && connection.is_late() => {
                        return Poll::Ready(Next::Bad(BadRequest::Late));
                    }
                    Ok(0) | Err(_) => return Poll::Ready(Next::End),
                }
            }
        })
        .await
    }

    /// Answers one request.
    async fn serve(self: &Rc<Self>, worker: &Rc<Worker>, record: Rc<Record>) -> Sent {
        let request = &record.request;
        let (is_current, wants) = (request.is_current(), request.wants);
        let has_none = request.method == Method::HEAD;
        let payload = if request.has_body() || wants == Wants::Upgrade {
            Payload::First(Rc::clone(self), self.turn.get())
        } else {
            Payload::Nothing
        };
        let answer = {
            let mut serving = pin!(serve(worker, record, payload));
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
        if matches!(self.word.replace(Word::Said), Word::Due(1..)) {
            // An answer that begins in the middle of that word is none.
            return Sent::Gone;
        }
        let has_none = has_none || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let end = match body.size() {
            _ if is_switched => End::Connection,
            BodySize::None => End::Nothing,
            // RFC 9110 section 8.6: a length there is that of another answer, and stands among the fields.
            BodySize::Sized(_) if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => End::Nothing,
            BodySize::Sized(length) => End::Length(length),
            BodySize::Stream if has_none => End::Nothing,
            BodySize::Stream if is_current => End::Chunks,
            BodySize::Stream => End::Connection,
        };
        let persists = wants != Wants::End && is_read && end != End::Connection && !worker.is_stopping();
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
        if matches!(sent, Some(Err(Stop::Io(_))) | None)
            && let Some((body, length)) = outgoing.unwritten()
        {
            body.keeps(length);
        }
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
        incoming.shrink();
        incoming.left == Left::Nothing
    }

    /// Comes when the client has left. Further requests that it has sent are kept, up to a size past which nothing is known.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.left != Left::Nothing {
            // The body's reader finds out by itself.
            self.listener.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        while incoming.bytes.len() < AHEAD {
            let read = incoming.poll_read(cx, &mut *self.stream.borrow_mut(), u64::MAX);
            if !matches!(ready!(read), Ok(1..)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Waits for the next piece of a request's body; `None` is its end.
    fn poll_body(&self, cx: &mut Context<'_>, turn: u64) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        if self.turn.get() != turn {
            return Poll::Ready(Some(Err(BrokenOff)));
        }
        let mut stream = self.stream.borrow_mut();
        if ready!(self.poll_word(cx, &mut stream)).is_err() {
            return Poll::Ready(Some(Err(BrokenOff)));
        }
        let mut incoming = self.incoming.borrow_mut();
        loop {
            let piece = incoming.take_piece().map_err(|_| BrokenOff)?;
            if incoming.left == Left::Nothing
                && let Some(listener) = self.listener.take()
            {
                listener.wake();
            }
            if let Some(piece) = piece {
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

    /// Says the word that the client waits for, if it does.
    fn poll_word(&self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        loop {
            match self.word.get() {
                Word::Said => return Poll::Ready(Ok(())),
                Word::Due(written) => {
                    let length = ready!(Pin::new(&mut *stream).poll_write(cx, &CONTINUE[written..]))?;
                    self.word.set(match written + length {
                        _ if length == 0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        written if written < CONTINUE.len() => Word::Due(written),
                        _ => Word::Written,
                    });
                }
                Word::Written => {
                    ready!(Pin::new(&mut *stream).poll_flush(cx))?;
                    self.word.set(Word::Said);
                }
            }
        }
    }

    /// Everything that comes from now on is of another protocol.
    pub(crate) fn switches(&self) {
        let mut incoming = self.incoming.borrow_mut();
        incoming.shrink();
        incoming.left = Left::All;
    }

    /// Answers what is no request.
    async fn refuse(&self, worker: &Worker, bad: BadRequest) {
        let began = clock::instant();
        let problem = Problem::from(bad);
        let id = RequestId::new();
        let mut answer = Answer::from(problem.response(Some(id.as_str()), None));
        answer.fields.push(b"x-request-id", id.as_bytes());
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
        worker.refuses(&problem, self.peer, &id, began.elapsed());
    }

    /// Says that nothing more comes, where that has to be said inside of TLS, too.
    async fn say_goodbye(&self) {
        if self.is_secure {
            poll_fn(|cx| {
                let _ = Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx);
                Poll::Ready(())
            })
            .await;
        }
    }

    /// Says that nothing more comes, and lets the client hear it: what it goes on to send, of which `most` bytes are read and
    /// thrown away, would otherwise have the system take back the end of the answer (RFC 9112 section 9.6). Not if it pauses
    /// for as long as [`LINGER`], or goes on for ever.
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
                match tokio::time::timeout(LINGER, poll_fn(read)).await?? {
                    0 => break,
                    length => lingered += length,
                }
            }
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(3 * LINGER, ending).await;
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

#[cfg(test)]
mod tests {
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[tokio::test]
    async fn who_gives_way_lets_those_go_first_who_are_ready_and_goes_on() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let (first, second) = (Rc::clone(&order), Rc::clone(&order));
        let tasks = LocalSet::new();
        tasks.spawn_local(async move {
            let ready = spawn_local(async move { second.borrow_mut().push("an answer that has come") });
            give_way().await;
            first.borrow_mut().push("a request that begins");
            ready.await
        });
        tasks.await;
        assert_eq!(*order.borrow(), ["an answer that has come", "a request that begins"]);
    }
}
