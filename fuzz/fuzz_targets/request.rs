//! Requests: what is read does not depend on the pieces in which it comes, and a reader who takes only what is beyond doubt
//! finds the same.

#![no_main]

use libfuzzer_sys::fuzz_target;

use client::{End, Found, Framing};

/// The gateway's own files: what is in them is of no use outside the gateway, and so is nowhere else.
#[allow(dead_code, unused_imports)]
#[path = "../../gateway/src/http1/mod.rs"]
mod http1;

#[allow(dead_code)]
#[path = "../../gateway/src/client"]
mod client {
    mod request;

    use std::ops::Range;
    use std::task::{Context, Poll, Waker};

    pub(crate) use request::{BadRequest, Framing, Request, Wants};

    use crate::http1::{BadChunk, Chunks, Incoming, Left};

    /// A request, and what was read of its body.
    pub(crate) struct Found {
        pub request: Request,
        /// Where its head stands.
        pub head: Range<usize>,
        pub body: Vec<u8>,
        /// Where all of it ends, if it does.
        pub end: Option<usize>,
    }

    /// Why nothing more is read.
    #[derive(Debug, PartialEq)]
    pub(crate) enum End {
        /// More has to come first.
        Waits,
        /// The last request was the last.
        Closes,
        Bad(BadRequest),
        Broken(BadChunk),
    }

    struct Reader<'a> {
        all: &'a [u8],
        /// How much of it has come.
        come: usize,
        incoming: Incoming,
        looked_at: usize,
        found: Vec<Found>,
    }

    /// The requests that come one after the other on a connection, in one piece.
    pub(crate) fn read(all: &[u8]) -> (Vec<Found>, End) {
        let mut reader = Reader::new(all);
        reader.incoming.bytes.extend_from_slice(all);
        reader.come = all.len();
        let end = reader.advance().err().unwrap_or(End::Waits);
        (reader.found, end)
    }

    /// The same, in pieces of these lengths in turn, and read as from a socket.
    pub(crate) fn read_pieces(all: &[u8], mut lengths: impl Iterator<Item = usize>) -> (Vec<Found>, End) {
        let mut reader = Reader::new(all);
        while reader.come < all.len() {
            let length = lengths.next().unwrap_or(1).min(all.len() - reader.come);
            if let Err(end) = reader.receive(length) {
                return (reader.found, end);
            }
        }
        (reader.found, End::Waits)
    }

    impl<'a> Reader<'a> {
        fn new(all: &'a [u8]) -> Self {
            Self {
                all,
                come: 0,
                incoming: Incoming::new(),
                looked_at: 0,
                found: Vec::new(),
            }
        }

        fn receive(&mut self, length: usize) -> Result<(), End> {
            let mut piece = &self.all[self.come..self.come + length];
            while !piece.is_empty() {
                let most = match self.incoming.wanted() {
                    0 => u64::MAX,
                    wanted => wanted,
                };
                let mut cx = Context::from_waker(Waker::noop());
                let read = self.incoming.poll_read(&mut cx, &mut piece, most);
                let Poll::Ready(Ok(read @ 1..)) = read else {
                    panic!("there is something to be read: {read:?}");
                };
                self.come += read;
                self.advance()?;
            }
            Ok(())
        }

        /// Reads what there is.
        fn advance(&mut self) -> Result<(), End> {
            loop {
                if let Some(last) = self.found.last_mut().filter(|last| last.end.is_none()) {
                    while let Some(piece) = self.incoming.take_piece().map_err(End::Broken)? {
                        assert!(!piece.is_empty());
                        last.body.extend_from_slice(&piece);
                    }
                    if self.incoming.left != Left::Nothing {
                        return Ok(());
                    }
                    last.end = Some(self.come - self.incoming.bytes.len());
                    if last.request.wants == Wants::End {
                        return Err(End::Closes);
                    }
                }
                let is_left_alone = self.all[..self.come].ends_with(&self.incoming.bytes);
                assert!(is_left_alone, "what stands behind a request is left alone");
                if self.incoming.bytes.is_empty() {
                    return Ok(());
                }
                let from = self.come - self.incoming.bytes.len();
                let taken = Request::take(&mut self.incoming.bytes, self.looked_at, None, false);
                let Some(request) = taken.map_err(End::Bad)? else {
                    self.looked_at = self.incoming.bytes.len();
                    return Ok(());
                };
                self.looked_at = 0;
                self.incoming.left = match request.framing {
                    Framing::Nothing => Left::Nothing,
                    Framing::Length(length) => Left::Length(length),
                    Framing::Open => Left::Chunks(Chunks::new()),
                };
                self.incoming.release();
                self.found.push(Found {
                    request,
                    head: from..self.come - self.incoming.bytes.len(),
                    body: Vec::new(),
                    end: None,
                });
            }
        }
    }
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (first, second, bytes) = input;
    let (whole, end) = client::read(bytes);
    let lengths = [first, second].map(|length| usize::from(length) + 1);
    let (pieces, pieces_end) = client::read_pieces(bytes, lengths.into_iter().cycle());
    // A head that comes in pieces is not looked at again before its end.
    assert!(
        end == pieces_end || (matches!(end, End::Bad(_)) && pieces_end == End::Waits),
        "{end:?} and {pieces_end:?}"
    );
    assert_eq!(
        whole.len(),
        pieces.len(),
        "it reads the same in whatever pieces it comes"
    );
    for (one, other) in whole.iter().zip(&pieces) {
        assert_eq!(format!("{:?}", one.request), format!("{:?}", other.request));
        assert_eq!((&one.head, one.end), (&other.head, other.end));
        // What stands before what breaks it may have gone on already.
        let is_broken = one.end.is_none() && matches!(end, End::Broken(_));
        assert!(one.body == other.body || (is_broken && other.body.starts_with(&one.body)));
    }
    for found in &whole {
        is_beyond_doubt(bytes, found);
    }
});

fn is_beyond_doubt(bytes: &[u8], found: &Found) {
    let (head, request) = (&bytes[found.head.clone()], &found.request);
    let breaks = |two: &[u8]| (two[0] == b'\r') != (two[1] == b'\n');
    assert!(head[0] != b'\n' && !head.windows(2).any(breaks), "CR LF only");
    let mut lines = split(head, b"\r\n").skip_while(|line| line.is_empty());
    is_line(lines.next().expect("a request line"), request);

    let mut fields = request.fields.iter();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':').expect("a field");
        let (name, value) = (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
        assert_eq!(fields.next(), Some((&*name, value)));
    }
    assert!(fields.next().is_none() && lines.all(<[u8]>::is_empty));
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    for (name, value) in request.fields.iter() {
        assert!(!name.is_empty() && name.iter().all(|byte| is_token(byte) && !byte.is_ascii_uppercase()));
        assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)));
    }
    let count = request.fields.iter().count();
    assert_eq!(split(request.fields.lines(), b"\r\n").count(), count + 1);
    assert_eq!(request.message().head().headers.len(), count, "none is lost on the way");
    let hosts = request.fields.all("host").count();
    assert!(hosts == 1 || (hosts == 0 && !request.is_current()));

    let lengths: Vec<&[u8]> = request.fields.all("content-length").collect();
    let codings: Vec<&[u8]> = request.fields.all("transfer-encoding").collect();
    let body = &bytes[found.head.end..found.end.unwrap_or(bytes.len())];
    match (request.framing, &*lengths, &*codings) {
        (Framing::Nothing, [], []) => assert!(body.is_empty()),
        (Framing::Nothing, [length], []) => assert!(body.is_empty() && number(length) == 0),
        (Framing::Length(announced), [length], []) => {
            assert!(announced > 0 && number(length) == announced);
            assert_eq!(body, found.body);
            assert_eq!(body.len() as u64 == announced, found.end.is_some());
        }
        (Framing::Open, [], [coding]) => {
            assert!(request.is_current() && coding.eq_ignore_ascii_case(b"chunked"));
            if found.end.is_some() {
                assert_eq!(unchunked(body), found.body);
            }
        }
        other => panic!("its end is not clear: {other:?}"),
    }
}

/// The request line, and all that was made of it.
fn is_line(line: &[u8], request: &client::Request) {
    let line = std::str::from_utf8(line).expect("text");
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line:?}");
    };
    assert_eq!(method, request.method.as_str());
    assert_eq!(version, if request.is_current() { "HTTP/1.1" } else { "HTTP/1.0" });
    let (path, query) = (request.path(), request.query());
    assert!(!path.contains(['?', '#']) && !query.is_some_and(|query| query.contains('#')));
    let text = [path, query.map_or("", |_| "?"), query.unwrap_or_default()].concat();
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    let target = target.split('#').next().unwrap_or_default();
    match request.origin() {
        None => assert_eq!(target, text),
        Some((None, authority)) => assert_eq!((target, &*text), (authority, "")),
        Some((Some(scheme), authority)) => {
            let (origin, rest) = target.split_at(scheme.len() + "://".len() + authority.len());
            assert!(origin.eq_ignore_ascii_case(&format!("{scheme}://{authority}")));
            assert!(rest == text || ["/", rest].concat() == text, "{target}: {text}");
        }
    }
}

fn number(digits: &[u8]) -> u64 {
    assert!(digits.iter().all(u8::is_ascii_digit));
    let text = std::str::from_utf8(digits).expect("digits");
    text.parse().expect("a number")
}

/// The body in these chunks, which are nothing but chunks, and all of them.
fn unchunked(bytes: &[u8]) -> Vec<u8> {
    let (mut body, mut left) = (Vec::new(), bytes);
    let line = |left: &mut &[u8]| {
        let line = split(left, b"\r\n").next().unwrap_or_default().to_vec();
        *left = left.get(line.len() + 2..).expect("a line end");
        line
    };
    loop {
        let size = line(&mut left);
        let size = std::str::from_utf8(size.split(|byte| *byte == b';').next().unwrap_or_default());
        match usize::from_str_radix(size.expect("text").trim_end(), 16).expect("a size") {
            0 => break,
            size => body.extend_from_slice(left.split_off(..size).expect("a chunk")),
        }
        assert!(line(&mut left).is_empty());
    }
    loop {
        let trailer = line(&mut left);
        if trailer.is_empty() {
            break;
        }
        assert!(trailer.contains(&b':'));
    }
    assert!(left.is_empty());
    body
}

/// What stands before, between and behind what `mark` is.
fn split<'a>(bytes: &'a [u8], mark: &'static [u8; 2]) -> impl Iterator<Item = &'a [u8]> {
    let mut left = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = left?;
        let place = bytes.windows(2).position(|two| two == mark);
        left = place.map(|place| &bytes[place + 2..]);
        Some(&bytes[..place.unwrap_or(bytes.len())])
    })
}
