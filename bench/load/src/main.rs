//! The load client of `scripts/bench`: one thread that keeps many HTTP/1.1 connections busy, and is the upstream as well; and
//! a sink for uploads.
//!
//! It measures either as fast as answers come (a closed loop) or at a fixed rate. At a fixed rate each latency counts from
//! the moment the request was due, not from when it could be sent: a server that stalls pays for everything that
//! waited.

mod connection;
mod drive;
mod origin;
mod response;
mod serve;
mod sink;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, Parser, Subcommand};
use rustix::event::epoll;

/// A load client and an upload sink for benchmarks of gateways.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send requests and print what was measured, as JSON
    Run(RunArguments),
    /// Be an upstream, and carry out the plans that come on standard input: each line a JSON array of the arguments of `run`
    Serve {
        /// Where to listen
        address: SocketAddr,
    },
    /// Take every request's body and answer 200
    Sink {
        /// Where to listen
        address: SocketAddr,
    },
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Whom to ask
    #[arg(long)]
    address: SocketAddr,
    /// What for; several are asked for in turn
    #[arg(long = "path", default_value = "/")]
    paths: Vec<String>,
    /// Keep-alive connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Stop after this long
    #[arg(long)]
    seconds: f64,
    /// Requests a second; 0: as fast as answers come
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Stop after this many requests; 0: when the time is over
    #[arg(long, default_value_t = 0)]
    requests: u64,
    /// A file with a bearer token a line; they are sent in turn
    #[arg(long)]
    tokens: Option<PathBuf>,
    /// How many of its lines to leave out at the beginning
    #[arg(long, default_value_t = 0)]
    skip: usize,
    /// How many of its lines to take
    #[arg(long, default_value_t = usize::MAX)]
    take: usize,
    /// Send POST requests with bodies of this many bytes
    #[arg(long)]
    upload: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run(arguments) => {
            let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            let measured = drive::drive(&plan(&arguments)?, &poll, None)?;
            Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&measured)?)?)
        }
        Command::Serve { address } => serve::serve(address),
        Command::Sink { address } => sink::serve(address),
    }
}

fn plan(arguments: &RunArguments) -> anyhow::Result<drive::Plan> {
    ensure!(arguments.connections > 0, "--connections must be at least 1");
    let tokens = match &arguments.tokens {
        Some(file) => read_tokens(file, arguments.skip, arguments.take)?,
        None => vec![None],
    };
    Ok(drive::Plan {
        address: arguments.address,
        connections: arguments.connections,
        seconds: arguments.seconds,
        rate: arguments.rate,
        requests: arguments.requests,
        heads: heads(arguments, &tokens),
        body: vec![b'x'; arguments.upload.unwrap_or(0)],
    })
}

fn read_tokens(file: &Path, skip: usize, take: usize) -> anyhow::Result<Vec<Option<String>>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("while reading {}", file.display()))?;
    let tokens = text.lines().skip(skip).take(take);
    let tokens: Vec<_> = tokens.map(|token| Some(token.to_owned())).collect();
    ensure!(
        !tokens.is_empty(),
        "{} has no tokens after the first {skip}",
        file.display()
    );
    Ok(tokens)
}

/// Every token and every path in turn, together.
fn heads(arguments: &RunArguments, tokens: &[Option<String>]) -> Vec<Vec<u8>> {
    let count = tokens.len().max(arguments.paths.len());
    let paths = arguments.paths.iter().cycle();
    let pairs = tokens.iter().cycle().zip(paths).take(count);
    pairs
        .map(|(token, path)| head(arguments, path, token.as_deref()))
        .collect()
}

/// The head of a request as it goes over the wire, about what programs send.
fn head(arguments: &RunArguments, path: &str, token: Option<&str>) -> Vec<u8> {
    let address = arguments.address;
    let method = if arguments.upload.is_some() { "POST" } else { "GET" };
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let body = arguments.upload.map_or_else(String::new, |length| {
        format!("Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n")
    });
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\nAccept: */*\r\n{token}{body}\r\n");
    head.into_bytes()
}
