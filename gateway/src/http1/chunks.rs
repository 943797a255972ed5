//! Where a body in chunks ends (RFC 9112 section 7.1). Stricter than it has to be: what two readers might understand
//! differently breaks the answer.

use bytes::{Buf, Bytes, BytesMut};

/// The longest line between two chunks, with its extensions, and the longest of the trailer.
const MAX_LINE: usize = 4 * 1024;
/// The most lines of a trailer.
const MAX_TRAILERS: u32 = 100;
/// The most digits of a chunk's size: what 64 bits hold.
const MAX_DIGITS: usize = 16;

/// What is wrong with a body in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadChunk {
    #[error("a chunk's size is no hexadecimal number")]
    Size,
    #[error("a line between chunks does not end with CR LF")]
    LineEnd,
    #[error("a line between chunks has a control character")]
    Control,
    #[error("a line between chunks is longer than {MAX_LINE} bytes")]
    LineTooLong,
    #[error("a chunk is longer than announced")]
    TooLong,
    #[error("its trailer has a line that is no header")]
    Trailer,
}

/// Reads a body in chunks. Trailers are read and go no further.
#[derive(Debug, PartialEq)]
pub(crate) struct Chunks(State);

#[derive(Debug, PartialEq)]
enum State {
    /// Before the line with a chunk's size.
    Size,
    /// In a chunk, with so much of it still to come.
    Data(u64),
    /// Before the line end behind a chunk.
    DataEnd,
    /// Behind the last chunk, after so many trailers.
    Trailers(u32),
    End,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self(State::Size)
    }

    /// Whether the body has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.0 == State::End
    }

    /// Takes the next piece out of `bytes`, and what stands around it. `None`: the end, or more has to be read first.
    pub(crate) fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<Bytes>, BadChunk> {
        self.skip(bytes)?;
        let State::Data(left) = &mut self.0 else {
            return Ok(None);
        };
        let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        if length == 0 {
            return Ok(None);
        }
        let piece = bytes.split_to(length).freeze();
        *left -= length as u64;
        if *left == 0 {
            self.0 = State::DataEnd;
            // It may be the last one, which shall be known at once.
            self.skip(bytes)?;
        }
        Ok(Some(piece))
    }

    /// Takes out what is no data, as far as it is there.
    fn skip(&mut self, bytes: &mut BytesMut) -> Result<(), BadChunk> {
        loop {
            self.0 = match self.0 {
                State::Data(_) | State::End => return Ok(()),
                State::DataEnd => match bytes.first_chunk::<2>() {
                    Some(b"\r\n") => {
                        bytes.advance(2);
                        State::Size
                    }
                    Some(_) => return Err(BadChunk::TooLong),
                    None => return Ok(()),
                },
                State::Size => {
                    let Some(end) = line_end(bytes)? else { return Ok(()) };
                    let size = size(&bytes[..end])?;
                    bytes.advance(end + 2);
                    if size == 0 {
                        State::Trailers(0)
                    } else {
                        State::Data(size)
                    }
                }
                State::Trailers(count) => {
                    let Some(end) = line_end(bytes)? else { return Ok(()) };
                    let is_sound = end == 0 || (count < MAX_TRAILERS && is_header(&bytes[..end + 2]));
                    if !is_sound {
                        return Err(BadChunk::Trailer);
                    }
                    bytes.advance(end + 2);
                    if end == 0 {
                        State::End
                    } else {
                        State::Trailers(count + 1)
                    }
                }
            };
        }
    }
}

/// Where the first line ends, if all of it is there.
fn line_end(bytes: &[u8]) -> Result<Option<usize>, BadChunk> {
    let within = &bytes[..bytes.len().min(MAX_LINE + 2)];
    let Some(feed) = within.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() > MAX_LINE {
            Err(BadChunk::LineTooLong)
        } else {
            Ok(None)
        };
    };
    let end = feed.checked_sub(1).ok_or(BadChunk::LineEnd)?;
    // A CR by itself ends a line for some.
    if bytes[end] != b'\r' || bytes[..end].contains(&b'\r') {
        return Err(BadChunk::LineEnd);
    }
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    if bytes[..end].iter().any(is_control) {
        return Err(BadChunk::Control);
    }
    Ok(Some(end))
}

/// The size of a chunk, in front of white space or extensions, which mean nothing here.
fn size(line: &[u8]) -> Result<u64, BadChunk> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let rest = line[digits..].trim_ascii_start();
    if !(1..=MAX_DIGITS).contains(&digits) || !(rest.is_empty() || rest[0] == b';') {
        return Err(BadChunk::Size);
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| BadChunk::Size)?;
    u64::from_str_radix(text, 16).map_err(|_| BadChunk::Size)
}

fn is_header(line: &[u8]) -> bool {
    // With the empty line that ends a block of them.
    let block = [line, b"\r\n"].concat();
    let mut headers = [httparse::EMPTY_HEADER; 1];
    matches!(httparse::parse_headers(&block, &mut headers), Ok(httparse::Status::Complete((read, _))) if read == block.len())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    /// What is read when it comes in these pieces, and what is left behind the end; or why not.
    fn read(pieces: &[&[u8]]) -> Result<Option<(String, usize)>, BadChunk> {
        let (mut chunks, mut bytes, mut data) = (Chunks::new(), BytesMut::new(), Vec::new());
        for piece in pieces {
            bytes.extend_from_slice(piece);
            while let Some(piece) = chunks.next(&mut bytes)? {
                assert!(!piece.is_empty());
                data.extend_from_slice(&piece);
            }
        }
        Ok(chunks
            .is_over()
            .then(|| (String::from_utf8_lossy(&data).into_owned(), bytes.len())))
    }

    fn all(text: &str) -> Result<Option<(String, usize)>, BadChunk> {
        let whole = read(&[text.as_bytes()]);
        for middle in 0..=text.len() {
            let (first, second) = text.as_bytes().split_at(middle);
            assert_eq!(read(&[first, second]), whole, "{text:?} in two, at {middle}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes), whole, "{text:?} by bytes");
        whole
    }

    #[test]
    fn data_is_what_stands_in_chunks_and_its_end_is_known() {
        assert_eq!(all("0\r\n\r\n"), Ok(Some((String::new(), 0))));
        assert_eq!(
            all("2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"),
            Ok(Some(("abcde".to_owned(), 0)))
        );
        assert_eq!(
            all("A\r\n0123456789\r\n00\r\n\r\nmore"),
            Ok(Some(("0123456789".to_owned(), 4)))
        );
        assert_eq!(
            all("2;a=b;c=\"d\"\r\nab\r\n0 \t;x\r\n\r\n"),
            Ok(Some(("ab".to_owned(), 0)))
        );
        assert_eq!(
            all("2\r\n\r\n\r\n0\r\nX-A: b\r\nx-c:\r\n\r\n"),
            Ok(Some(("\r\n".to_owned(), 0)))
        );
        for unfinished in [
            "",
            "2",
            "2\r",
            "2\r\n",
            "2\r\na",
            "2\r\nab",
            "2\r\nab\r\n0\r\n",
            "0\r\na: b\r\n",
        ] {
            assert_eq!(all(unfinished), Ok(None), "{unfinished:?}");
        }
    }

    #[test]
    fn what_might_be_read_in_two_ways_is_refused() {
        for (text, why) in [
            ("\r\n", BadChunk::Size),
            ("x\r\n", BadChunk::Size),
            ("-1\r\n", BadChunk::Size),
            ("+1\r\n", BadChunk::Size),
            ("0x1\r\n", BadChunk::Size),
            (" 1\r\na\r\n", BadChunk::Size),
            ("1 1\r\n", BadChunk::Size),
            ("1,1\r\n", BadChunk::Size),
            ("10000000000000000\r\n", BadChunk::Size),
            ("00000000000000001\r\na\r\n", BadChunk::Size),
            ("1\na\r\n", BadChunk::LineEnd),
            ("\n", BadChunk::LineEnd),
            ("1;\ra\r\n", BadChunk::LineEnd),
            ("1\r\r\n", BadChunk::LineEnd),
            ("1\r\nab\r\n", BadChunk::TooLong),
            ("1\r\na\n0\r\n\r\n", BadChunk::TooLong),
            ("0\r\nno header\r\n\r\n", BadChunk::Trailer),
            ("0\r\n folded: x\r\n\r\n", BadChunk::Trailer),
            ("0\r\na : b\r\n\r\n", BadChunk::Trailer),
            ("0\r\na: \0\r\n\r\n", BadChunk::Control),
            ("1;a=\0\r\na\r\n", BadChunk::Control),
            ("1;a=\x7f\r\na\r\n", BadChunk::Control),
            ("0\r\na: b\n\r\n", BadChunk::LineEnd),
        ] {
            assert_eq!(all(text), Err(why), "{text:?}");
        }
        let long = "1;".to_owned() + &"x".repeat(MAX_LINE);
        assert_eq!(read(&[long.as_bytes()]), Err(BadChunk::LineTooLong));
        assert_eq!(read(&[long.as_bytes(), b"\r\n"]), Err(BadChunk::LineTooLong));
        let many = "0\r\n".to_owned() + &"a: b\r\n".repeat(MAX_TRAILERS as usize + 1);
        assert_eq!(read(&[many.as_bytes()]), Err(BadChunk::Trailer));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_reads_the_same(
            chunks in proptest::collection::vec("[ -~]{1,40}", 0..6),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
            behind in "[ -~]{0,5}",
        ) {
            let mut text = String::new();
            for chunk in &chunks {
                write!(text, "{:x}\r\n{chunk}\r\n", chunk.len()).unwrap();
            }
            text += "0\r\n\r\n";
            text += &behind;
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            places.sort_unstable();
            let (mut pieces, mut from) = (Vec::new(), 0);
            for place in places {
                pieces.push(&text.as_bytes()[from..place]);
                from = place;
            }
            pieces.push(&text.as_bytes()[from..]);
            prop_assert_eq!(read(&pieces), Ok(Some((chunks.concat(), behind.len()))));
        }

        #[test]
        fn whatever_comes_it_neither_panics_nor_makes_up_data(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut chunks, mut buffer, mut data) = (Chunks::new(), BytesMut::from(&bytes[..]), 0);
            while let Ok(Some(piece)) = chunks.next(&mut buffer) {
                data += piece.len();
            }
            prop_assert!(data + buffer.len() <= bytes.len());
        }
    }
}
