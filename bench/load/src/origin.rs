//! What every contestant proxies to: an HTTP/1.1 upstream in the loop of the load client. As a process of its own it would
//! take turns with the client on their core, and the two would be busier than whoever is measured.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context, ensure};
use memchr::memmem;
use rustix::event::epoll;

/// The largest head of a request that is taken.
const MAX_HEAD: usize = 64 * 1024;
const BIG: usize = 1 << 20;
const ITEM: &str = concat!(
    r#"{"id":"7f1c2b6e-0d3a-4a55-9a0e-1f5b7c9d2e11","name":"sample resource","status":"active","#,
    r#""tags":["alpha","beta","gamma"],"owner":"user-42","created_at":"2026-01-01T00:00:00Z","size":12345,"ok":true}"#,
    "\n"
);

/// Events of the upstream have this bit, and the number of the connection below it.
const OURS: u64 = 1 << 63;
const LISTENER: u64 = OURS | (OURS - 1);

/// The upstream.
#[derive(Debug)]
pub(crate) struct Origin {
    listener: TcpListener,
    peers: Vec<Option<Peer>>,
    unused: Vec<usize>,
    item: Vec<u8>,
    big: Vec<u8>,
    yes: Vec<u8>,
    buffer: Vec<u8>,
}

/// A connection from whoever is measured.
#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    /// A head whose end has not come yet.
    begun: Vec<u8>,
    answering: Option<Answering>,
    watched_for_writing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Item,
    Big,
    Yes,
}

#[derive(Clone, Copy, Debug)]
struct Answering {
    what: What,
    sent: usize,
}

fn answer(media_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: {media_type}\r\n\
         Content-Length: {}\r\nConnection: keep-alive\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

impl Origin {
    /// Listens; what comes is told to `poll`.
    pub(crate) fn open(address: SocketAddr, poll: &OwnedFd) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("while listening on {address}"))?;
        listener.set_nonblocking(true)?;
        epoll::add(
            poll,
            &listener,
            epoll::EventData::new_u64(LISTENER),
            epoll::EventFlags::IN,
        )?;
        // No two pieces of it are the same, should somebody compress.
        let noise = (0..BIG as u64).map(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]);
        Ok(Self {
            listener,
            peers: Vec::new(),
            unused: Vec::new(),
            item: answer("application/json", ITEM.as_bytes()),
            big: answer("application/octet-stream", &noise.collect::<Vec<u8>>()),
            yes: answer("text/plain", b""),
            buffer: vec![0; MAX_HEAD],
        })
    }

    /// Whether an event is about the upstream.
    pub(crate) fn is_meant(event: u64) -> bool {
        event & OURS != 0
    }

    /// Does what an event asks for. A connection that breaks is closed, and that is all: whoever is measured answers for it.
    pub(crate) fn turn(&mut self, event: u64, poll: &OwnedFd) -> anyhow::Result<()> {
        if event == LISTENER {
            return self.accept(poll);
        }
        let number = usize::try_from(event & !OURS)?;
        let Some(mut peer) = self.peers.get_mut(number).and_then(Option::take) else {
            return Ok(());
        };
        match self.converse(&mut peer, number, poll) {
            Ok(true) => self.peers[number] = Some(peer),
            Ok(false) => self.unused.push(number),
            Err(error) => {
                eprintln!("upstream: {error:#}");
                self.unused.push(number);
            }
        }
        Ok(())
    }

    fn accept(&mut self, poll: &OwnedFd) -> anyhow::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("while accepting a connection"),
            };
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let number = self.unused.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() - 1
            });
            epoll::add(poll, &stream, data(number), epoll::EventFlags::IN)?;
            self.peers[number] = Some(Peer {
                stream,
                begun: Vec::new(),
                answering: None,
                watched_for_writing: false,
            });
        }
    }

    /// Reads and answers what has come; whether the connection goes on.
    fn converse(&mut self, peer: &mut Peer, number: usize, poll: &OwnedFd) -> anyhow::Result<bool> {
        let mut drained = false;
        while self.write(peer)? {
            if let Some(what) = peer.next_begun()? {
                peer.answering = Some(Answering { what, sent: 0 });
                continue;
            }
            if drained {
                break;
            }
            match peer.stream.read(&mut self.buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    peer.begun.extend_from_slice(&self.buffer[..count]);
                    drained = count < self.buffer.len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        let blocked = peer.answering.is_some();
        if blocked != peer.watched_for_writing {
            peer.watched_for_writing = blocked;
            let flag = if blocked {
                epoll::EventFlags::OUT
            } else {
                epoll::EventFlags::IN
            };
            epoll::modify(poll, &peer.stream, data(number), flag)?;
        }
        Ok(true)
    }

    /// Sends what there is to send; whether all of it was.
    fn write(&self, peer: &mut Peer) -> anyhow::Result<bool> {
        let Some(answering) = &mut peer.answering else {
            return Ok(true);
        };
        let bytes = match answering.what {
            What::Item => &self.item,
            What::Big => &self.big,
            What::Yes => &self.yes,
        };
        while answering.sent < bytes.len() {
            match peer.stream.write(&bytes[answering.sent..]) {
                Ok(count) => answering.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("while answering"),
            }
        }
        peer.answering = None;
        Ok(true)
    }
}

impl Peer {
    /// What the next whole head asks for, if there is one.
    fn next_begun(&mut self) -> anyhow::Result<Option<What>> {
        let Some(end) = memmem::find(&self.begun, b"\r\n\r\n") else {
            ensure!(self.begun.len() <= MAX_HEAD, "the head of a request is too long");
            return Ok(None);
        };
        let what = asked_for(&self.begun[..end])?;
        if end + 4 == self.begun.len() {
            self.begun.clear();
        } else {
            self.begun.drain(..end + 4);
        }
        Ok(Some(what))
    }
}

fn asked_for(head: &[u8]) -> anyhow::Result<What> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let path = line
        .strip_prefix(b"GET ")
        .context("a request has a method other than GET")?;
    Ok(if path.starts_with(b"/bench/big") {
        What::Big
    } else if path.starts_with(b"/always-yes") {
        What::Yes
    } else {
        What::Item
    })
}

fn data(number: usize) -> epoll::EventData {
    epoll::EventData::new_u64(OURS | number as u64)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rustix::buffer::spare_capacity;
    use rustix::event::Timespec;

    use super::*;

    /// An upstream, and somebody who is connected to it.
    struct Both {
        poll: OwnedFd,
        origin: Origin,
        client: TcpStream,
    }

    impl Both {
        fn new() -> Self {
            let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            let mut origin = Origin::open((Ipv4Addr::LOCALHOST, 0).into(), &poll).unwrap();
            let client = TcpStream::connect(origin.listener.local_addr().unwrap()).unwrap();
            origin.turn(LISTENER, &poll).unwrap();
            Self { poll, origin, client }
        }

        /// Has the upstream do what there is to do; if there is nothing, within so many seconds.
        fn turn(&mut self, seconds: i64) {
            let mut events = Vec::with_capacity(8);
            let wait = Timespec {
                tv_sec: seconds,
                tv_nsec: 0,
            };
            epoll::wait(&self.poll, spare_capacity(&mut events), Some(&wait)).unwrap();
            for event in events {
                self.origin.turn(event.data.u64(), &self.poll).unwrap();
            }
        }

        fn send(&mut self, text: &str) {
            self.client.write_all(text.as_bytes()).unwrap();
            self.turn(10);
        }

        fn read(&mut self, length: usize) -> Vec<u8> {
            let mut read = vec![0; length];
            self.client.read_exact(&mut read).unwrap();
            read
        }
    }

    #[test]
    fn each_request_has_its_answer_however_it_arrives() {
        let mut both = Both::new();
        for pieces in [
            &["GET /route-1/item HTTP/1.1\r\n\r\n"][..],
            &["GET / HTTP/1.1\r\nA: b\r", "\n\r", "\n"],
        ] {
            for piece in pieces {
                both.send(piece);
            }
            let item = both.read(both.origin.item.len());
            assert_eq!(item, both.origin.item);
        }
        both.send("GET /always-yes HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n");
        let answers = both.read(both.origin.yes.len() + both.origin.item.len());
        assert_eq!(answers, [both.origin.yes.clone(), both.origin.item.clone()].concat());
    }

    #[test]
    fn a_long_answer_waits_for_whoever_reads_it_slowly() {
        let mut both = Both::new();
        // More than the system keeps for a connection.
        let asked = 16;
        both.send(&"GET /bench/big HTTP/1.1\r\n\r\n".repeat(asked));
        assert!(
            both.origin.peers[0]
                .as_ref()
                .is_some_and(|peer| peer.watched_for_writing)
        );
        for _ in 0..asked {
            let mut read = Vec::new();
            while read.len() < both.origin.big.len() {
                read.extend(both.read((64 * 1024).min(both.origin.big.len() - read.len())));
                both.turn(0);
            }
            assert!(read == both.origin.big);
        }
    }

    #[test]
    fn what_is_no_request_ends_its_connection_only() {
        let mut both = Both::new();
        both.send("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n");
        assert_eq!(both.client.read(&mut [0]).unwrap(), 0);
        both.client = TcpStream::connect(both.origin.listener.local_addr().unwrap()).unwrap();
        both.turn(10);
        both.send("GET / HTTP/1.1\r\n\r\n");
        let item = both.read(both.origin.item.len());
        assert_eq!(item, both.origin.item);
    }
}
