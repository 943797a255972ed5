//! Where an answer ends (RFC 9112 section 6), read piece by piece as it comes.

use std::borrow::Cow;

use anyhow::{Context, bail, ensure};
use memchr::memmem;

/// The largest head of an answer that is taken.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;

#[derive(Debug, Default)]
enum Expect {
    #[default]
    Head,
    Bytes(usize),
    ChunkSize,
    /// So many bytes of a chunk, the line end behind it included.
    Chunk(usize),
    Trailers,
}

/// What comes back for one request at a time.
#[derive(Debug, Default)]
pub(crate) struct Response {
    expect: Expect,
    status: u16,
    /// The beginning of a head or of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl Response {
    /// Takes the next bytes; gives the status once the whole answer is there.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> anyhow::Result<Option<u16>> {
        loop {
            match self.expect {
                Expect::Head => {
                    let Some(head) = self.until(&mut bytes, b"\r\n\r\n")? else {
                        return Ok(None);
                    };
                    self.read_head(&head)?;
                }
                Expect::Bytes(left) => {
                    let taken = left.min(bytes.len());
                    bytes = &bytes[taken..];
                    self.expect = Expect::Bytes(left - taken);
                    if left > taken {
                        return Ok(None);
                    }
                    return self.complete(bytes);
                }
                Expect::ChunkSize => {
                    let Some(line) = self.until(&mut bytes, b"\r\n")? else {
                        return Ok(None);
                    };
                    let size = line.split(|byte| *byte == b';').next().unwrap_or(&[]);
                    let size = std::str::from_utf8(size).context("a chunk's size is no text")?;
                    let size = usize::from_str_radix(size.trim(), 16)
                        .with_context(|| format!("a chunk's size is {size:?}"))?;
                    self.expect = if size == 0 {
                        Expect::Trailers
                    } else {
                        Expect::Chunk(size + 2)
                    };
                }
                Expect::Chunk(left) => {
                    let taken = left.min(bytes.len());
                    bytes = &bytes[taken..];
                    if left > taken {
                        self.expect = Expect::Chunk(left - taken);
                        return Ok(None);
                    }
                    self.expect = Expect::ChunkSize;
                }
                Expect::Trailers => match self.until(&mut bytes, b"\r\n")? {
                    None => return Ok(None),
                    Some(line) if line[..] == *b"\r\n" => return self.complete(bytes),
                    Some(_) => {}
                },
            }
        }
    }

    /// What ends with `end`, that included, once it has come.
    fn until<'a>(&mut self, bytes: &mut &'a [u8], end: &[u8]) -> anyhow::Result<Option<Cow<'a, [u8]>>> {
        if self.begun.is_empty()
            && let Some(found) = memmem::find(bytes, end)
        {
            let (whole, rest) = bytes.split_at(found + end.len());
            *bytes = rest;
            return Ok(Some(Cow::Borrowed(whole)));
        }
        // The end itself may come in two pieces.
        let from = self.begun.len().saturating_sub(end.len() - 1);
        let before = self.begun.len();
        self.begun.extend_from_slice(bytes);
        let Some(found) = memmem::find(&self.begun[from..], end) else {
            ensure!(self.begun.len() <= MAX_HEAD, "a head or line is too long");
            *bytes = &[];
            return Ok(None);
        };
        let past = from + found + end.len();
        *bytes = &bytes[past - before..];
        let mut taken = std::mem::take(&mut self.begun);
        taken.truncate(past);
        Ok(Some(Cow::Owned(taken)))
    }

    fn read_head(&mut self, head: &[u8]) -> anyhow::Result<()> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        parsed.parse(head).context("the answer is not HTTP/1.1")?;
        self.status = parsed.code.context("the answer has no status")?;
        let value = |name: &str| {
            let header = parsed
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name));
            header.and_then(|header| std::str::from_utf8(header.value).ok())
        };
        self.expect = if value("transfer-encoding").is_some() {
            Expect::ChunkSize
        } else if let Some(length) = value("content-length") {
            Expect::Bytes(length.parse().context("the length is no number")?)
        } else if matches!(self.status, 100..=199) {
            Expect::Head
        } else if matches!(self.status, 204 | 304) {
            Expect::Bytes(0)
        } else {
            bail!("the answer ends with its connection");
        };
        Ok(())
    }

    fn complete(&mut self, rest: &[u8]) -> anyhow::Result<Option<u16>> {
        ensure!(rest.is_empty(), "{} bytes came behind the answer", rest.len());
        self.expect = Expect::Head;
        Ok(Some(self.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statuses that come out when `text` arrives in pieces of `size`.
    fn read(text: &str, size: usize) -> anyhow::Result<Vec<u16>> {
        let mut response = Response::default();
        let mut statuses = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            statuses.extend(response.take(piece)?);
        }
        Ok(statuses)
    }

    #[test]
    fn an_answer_ends_where_its_framing_says_however_it_arrives() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
        ] {
            for size in 1..=answer.len() {
                let statuses = read(answer, size).unwrap();
                assert_eq!(statuses.len(), 1, "{answer:?} in pieces of {size}");
                assert!(matches!(statuses[0], 200 | 204));
            }
        }
    }

    #[test]
    fn an_answer_that_is_cut_short_is_not_complete() {
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", 7).unwrap(),
            [0; 0]
        );
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", 7).unwrap(),
            [0; 0]
        );
    }

    #[test]
    fn what_comes_behind_an_answer_is_an_error() {
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy", 100).is_err());
        assert!(read("HTTP/1.1 200 OK\r\n\r\n", 100).is_err());
        assert!(read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 100).is_err());
    }
}
