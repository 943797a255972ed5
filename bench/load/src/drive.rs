//! The loop that sends requests, on time, and takes the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use serde::Serialize;

use crate::connection::{BUFFER, Connection, Sending};
use crate::origin::Origin;

const EVENTS: usize = 256;
/// How long requests that are on their way at the end may still take, and how late a fixed rate may be.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a window is, in nanoseconds, of those that each have a p99 of their own; and the fewest answers in one that counts.
const WINDOW: u64 = 100_000_000;
const FEWEST: u64 = 100;
/// So many connections may break before we give up.
const MAX_BROKEN: u64 = 1000;

/// What to send, where and how fast.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    /// Requests a second; 0: as fast as answers come.
    pub(crate) rate: f64,
    /// At most this many requests; 0: no limit.
    pub(crate) requests: u64,
    /// Heads of requests, sent in turn.
    pub(crate) heads: Vec<Vec<u8>>,
    pub(crate) body: Vec<u8>,
}

/// What was measured. Times are in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    requests: u64,
    seconds: f64,
    per_second: f64,
    statuses: BTreeMap<u16, u64>,
    broken: u64,
    /// Whether a fixed rate could not be kept: latencies then say nothing but that.
    overloaded: bool,
    p50: f64,
    p90: f64,
    p99: f64,
    /// The median of the p99 of each tenth of a second: what is usual, whatever happened once or twice. 0: too few answers.
    usual_p99: f64,
    p999: f64,
    max: f64,
    received: u64,
}

/// Carries out `plan`, and does meanwhile what the upstream is asked for, if there is one in this loop.
pub(crate) fn drive(plan: &Plan, poll: &OwnedFd, origin: Option<&mut Origin>) -> anyhow::Result<Measured> {
    let mut drive = Drive::new(plan, poll)?;
    drive.run(origin)?;
    Ok(drive.measured())
}

/// The p99 of one window after the other.
struct Windows {
    number: u64,
    latencies: Histogram<u64>,
    p99: Vec<u64>,
}

impl Windows {
    fn record(&mut self, now: u64, latency: u64) {
        if now / WINDOW != self.number {
            self.end();
            self.number = now / WINDOW;
        }
        self.latencies.saturating_record(latency);
    }

    fn end(&mut self) {
        if self.latencies.len() >= FEWEST {
            self.p99.push(self.latencies.value_at_quantile(0.99));
        }
        self.latencies.reset();
    }

    fn median(&self) -> u64 {
        let mut sorted = self.p99.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(0)
    }
}

struct Drive<'a> {
    plan: &'a Plan,
    poll: &'a OwnedFd,
    connections: Vec<Connection>,
    unused: Vec<usize>,
    buffer: Vec<u8>,
    began: Instant,
    issued: u64,
    last_answer: u64,
    latencies: Histogram<u64>,
    windows: Windows,
    statuses: BTreeMap<u16, u64>,
    broken: u64,
    last_break: Option<anyhow::Error>,
    overloaded: bool,
    received: u64,
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl<'a> Drive<'a> {
    fn new(plan: &'a Plan, poll: &'a OwnedFd) -> anyhow::Result<Self> {
        let connections: Vec<_> = (0..plan.connections)
            .map(|_| Connection::open(plan.address))
            .collect::<anyhow::Result<_>>()?;
        for (index, connection) in connections.iter().enumerate() {
            epoll::add(poll, connection, data(index), epoll::EventFlags::IN)?;
        }
        Ok(Self {
            plan,
            poll,
            connections,
            unused: (0..plan.connections).rev().collect(),
            buffer: vec![0; BUFFER],
            began: Instant::now(),
            issued: 0,
            last_answer: 0,
            latencies: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            windows: Windows {
                number: 0,
                latencies: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
                p99: Vec::new(),
            },
            statuses: BTreeMap::new(),
            broken: 0,
            last_break: None,
            overloaded: false,
            received: 0,
        })
    }

    /// Nanoseconds since the beginning.
    fn now(&self) -> u64 {
        nanoseconds(self.began.elapsed())
    }

    /// When the next request is to be sent, if the rate is fixed.
    fn due(&self) -> Option<u64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "counts and times of a run of seconds are far below where this matters"
        )]
        (self.plan.rate > 0.0).then(|| (self.issued as f64 * 1e9 / self.plan.rate) as u64)
    }

    fn run(&mut self, mut origin: Option<&mut Origin>) -> anyhow::Result<()> {
        let end = nanoseconds(Duration::from_secs_f64(self.plan.seconds));
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let now = self.now();
            let issuing = now < end && (self.plan.requests == 0 || self.issued < self.plan.requests);
            if issuing {
                self.issue(now)?;
            } else if self.unused.len() == self.connections.len() || now > end + nanoseconds(PATIENCE) {
                break;
            }
            if self.overloaded {
                break;
            }
            let wait = self.wait(issuing);
            events.clear();
            match epoll::wait(self.poll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                let data = event.data.u64();
                match &mut origin {
                    Some(origin) if Origin::is_meant(data) => origin.turn(data, self.poll)?,
                    _ => self.turn(usize::try_from(data)?, event.flags)?,
                }
            }
        }
        Ok(())
    }

    /// Sends what is due, as far as there are unused connections.
    fn issue(&mut self, now: u64) -> anyhow::Result<()> {
        while self.plan.requests == 0 || self.issued < self.plan.requests {
            let due = self.due();
            if due.is_some_and(|due| due > now) {
                break;
            }
            let Some(index) = self.unused.pop() else {
                self.overloaded = due.is_some_and(|due| now.saturating_sub(due) > nanoseconds(PATIENCE));
                break;
            };
            let head = usize::try_from(self.issued)? % self.plan.heads.len();
            self.issued += 1;
            let from = due.unwrap_or_else(|| self.now());
            self.connections[index].begin(head, from);
            self.send(index)?;
        }
        Ok(())
    }

    /// How long to wait for an event.
    fn wait(&self, issuing: bool) -> Timespec {
        let longest = Duration::from_millis(50);
        let wait = match self.due().filter(|_| issuing && !self.unused.is_empty()) {
            Some(due) => Duration::from_nanos(due.saturating_sub(self.now())).min(longest),
            None => longest,
        };
        Timespec {
            tv_sec: 0,
            tv_nsec: wait.subsec_nanos().into(),
        }
    }

    /// What an event on a connection asks for.
    fn turn(&mut self, index: usize, flags: epoll::EventFlags) -> anyhow::Result<()> {
        if flags.contains(epoll::EventFlags::OUT) {
            self.send(index)?;
        }
        if !flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return Ok(());
        }
        match self.connections[index].receive(&mut self.buffer, &mut self.received) {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let now = self.now();
                if let Some((_, from)) = self.connections[index].underway.take() {
                    let latency = now.saturating_sub(from);
                    self.latencies.saturating_record(latency);
                    self.windows.record(now, latency);
                }
                *self.statuses.entry(status).or_default() += 1;
                self.last_answer = now;
                self.unused.push(index);
                Ok(())
            }
            Err(error) => self.replace(index, error),
        }
    }

    fn send(&mut self, index: usize) -> anyhow::Result<()> {
        let connection = &mut self.connections[index];
        let Some((head, _)) = connection.underway else {
            return Ok(());
        };
        match connection.send(&self.plan.heads[head], &self.plan.body) {
            Ok(sending) => {
                let blocked = sending == Sending::Blocked;
                if blocked != connection.watched_for_writing {
                    connection.watched_for_writing = blocked;
                    let writing = if blocked {
                        epoll::EventFlags::OUT
                    } else {
                        epoll::EventFlags::empty()
                    };
                    epoll::modify(self.poll, connection, data(index), epoll::EventFlags::IN | writing)?;
                }
                Ok(())
            }
            Err(error) => self.replace(index, error),
        }
    }

    /// Puts a new connection in the place of one that broke. Its request is counted as broken, if it had one: servers may
    /// close connections that they do not need.
    fn replace(&mut self, index: usize, error: anyhow::Error) -> anyhow::Result<()> {
        let fresh = Connection::open(self.plan.address)?;
        epoll::add(self.poll, &fresh, data(index), epoll::EventFlags::IN)?;
        let old = std::mem::replace(&mut self.connections[index], fresh);
        if old.underway.is_some() {
            self.broken += 1;
            self.unused.push(index);
            ensure!(
                self.broken <= MAX_BROKEN,
                "more than {MAX_BROKEN} requests broke: {error}"
            );
            self.last_break = Some(error);
        }
        Ok(())
    }

    fn measured(&self) -> Measured {
        if let Some(error) = &self.last_break {
            eprintln!("{} requests broke, the last one because {error}", self.broken);
        }
        let seconds = Duration::from_nanos(if self.plan.rate > 0.0 {
            self.last_answer
                .max(nanoseconds(Duration::from_secs_f64(self.plan.seconds)))
        } else {
            self.last_answer.max(1)
        });
        let requests = self.latencies.len();
        #[expect(clippy::cast_precision_loss, reason = "counts and times of a run of seconds")]
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        let quantile = |quantile| microseconds(self.latencies.value_at_quantile(quantile));
        #[expect(clippy::cast_precision_loss, reason = "counts of a run of seconds")]
        let per_second = requests as f64 / seconds.as_secs_f64();
        Measured {
            requests,
            seconds: seconds.as_secs_f64(),
            per_second,
            statuses: self.statuses.clone(),
            broken: self.broken,
            overloaded: self.overloaded,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            usual_p99: microseconds(self.windows.median()),
            p999: quantile(0.999),
            max: microseconds(self.latencies.max()),
            received: self.received,
        }
    }
}

fn data(index: usize) -> epoll::EventData {
    epoll::EventData::new_u64(index as u64)
}
