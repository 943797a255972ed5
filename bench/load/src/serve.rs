//! The loop of an upstream that carries out plans.

use std::io::{BufRead, Write, stdin, stdout};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use clap::Parser;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;

use crate::drive::{Measured, drive};
use crate::origin::Origin;
use crate::{RunArguments, plan};

/// Events of standard input; no connection has such a number.
const PLANS: u64 = u64::MAX >> 1;

/// A line of standard input.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    arguments: RunArguments,
}

/// Answers whoever asks `address`, and carries out what standard input says, until that ends. A line of JSON for each plan
/// says what was measured, or `failed` and why.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut origin = Origin::open(address, &poll)?;
    // While a plan is carried out, nobody looks for the next.
    let next = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
    let plans = epoll::EventData::new_u64(PLANS);
    epoll::add(&poll, stdin(), plans, next)?;
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let data = event.data.u64();
            if data != PLANS {
                // The others are connections of a plan that is over.
                if Origin::is_meant(data) {
                    origin.turn(data, &poll)?;
                }
                continue;
            }
            let mut line = String::new();
            if stdin().lock().read_line(&mut line)? == 0 {
                return Ok(());
            }
            let said = match carry_out(&line, &poll, &mut origin) {
                Ok(measured) => serde_json::to_value(measured)?,
                Err(error) => serde_json::json!({ "failed": format!("{error:#}") }),
            };
            writeln!(stdout(), "{said}")?;
            epoll::modify(&poll, stdin(), plans, next)?;
        }
    }
}

fn carry_out(line: &str, poll: &OwnedFd, origin: &mut Origin) -> anyhow::Result<Measured> {
    let words: Vec<String> = serde_json::from_str(line)?;
    drive(&plan(&Line::try_parse_from(words)?.arguments)?, poll, Some(origin))
}
