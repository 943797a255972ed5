//! An upstream for uploads: takes whole bodies and answers how long they were. A thread a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, bail};

const BUFFER: usize = 128 * 1024;

/// Serves until the process is ended.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("while listening on {address}"))?;
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            if let Err(error) = converse(&stream) {
                eprintln!("sink: {error}");
            }
        });
    }
    Ok(())
}

/// Answers one request after the other until the peer closes.
fn converse(stream: &TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::with_capacity(BUFFER, stream);
    let mut output = stream;
    while let Some(body) = read_head(&mut input)? {
        let length = match body {
            Body::Length(length) => discard(&mut input, length)?,
            Body::Chunked => discard_chunks(&mut input)?,
        };
        let body = format!("{{\"received\":{length}}}");
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        output.write_all((head + &body).as_bytes())?;
    }
    Ok(())
}

enum Body {
    Length(u64),
    Chunked,
}

/// What follows the next head; nothing when the peer has closed.
fn read_head(input: &mut impl BufRead) -> anyhow::Result<Option<Body>> {
    let mut body = Body::Length(0);
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    loop {
        line.clear();
        input.read_line(&mut line)?;
        let header = line.trim_end();
        if header.is_empty() {
            return Ok(Some(body));
        }
        let (name, value) = header.split_once(':').context("a header has no colon")?;
        if name.eq_ignore_ascii_case("transfer-encoding") {
            body = Body::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") {
            body = Body::Length(value.trim().parse().context("the length is no number")?);
        }
    }
}

fn discard(input: &mut impl BufRead, length: u64) -> anyhow::Result<u64> {
    let read = std::io::copy(&mut input.take(length), &mut std::io::sink())?;
    if read < length {
        bail!("a body ended after {read} of {length} bytes");
    }
    Ok(read)
}

fn discard_chunks(input: &mut impl BufRead) -> anyhow::Result<u64> {
    let mut total = 0;
    let mut line = String::new();
    loop {
        line.clear();
        input.read_line(&mut line)?;
        let size = line.trim_end().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).with_context(|| format!("a chunk's size is {size:?}"))?;
        // The line end behind a chunk; behind the last one, that of the trailers, of which there are none.
        total += discard(input, size)?;
        discard(input, 2)?;
        if size == 0 {
            return Ok(total);
        }
    }
}
