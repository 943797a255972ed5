//! The head of an answer, and where its body ends.

use std::mem::MaybeUninit;

use actix_web::http::{Method, StatusCode};
use bytes::{Buf, BytesMut};

use super::broken::Broken;
use crate::http1::{self, Chunks, Fields, Left, MAX_FIELDS, MAX_HEAD, may_end};

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// Whether its version is 1.1; else it is 1.0.
    is_current: bool,
    pub(crate) fields: Fields,
}

impl Head {
    /// Takes a head out of `bytes`, of which `looked_at` were there the last time; `None` when it is not all there yet.
    /// Obsolete folding, white space before a colon, and a line that is no field make it none (RFC 9112 section 5).
    pub(super) fn take(bytes: &mut BytesMut, looked_at: usize) -> Result<Option<Self>, Broken> {
        if !may_end(bytes, looked_at) {
            return at_most(bytes.len());
        }
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut answer = httparse::Response::new(&mut []);
        let parsed =
            httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut answer, bytes, &mut fields);
        let length = match parsed.map_err(Broken::Head)? {
            httparse::Status::Complete(length) if length <= MAX_HEAD => length,
            httparse::Status::Complete(_) => return Err(Broken::HeadTooLarge),
            httparse::Status::Partial => return at_most(bytes.len()),
        };
        let code = answer.code.unwrap_or_default();
        let status = StatusCode::from_u16(code).map_err(|_| Broken::Status)?;
        let is_current = answer.version == Some(1);
        // What is passed on is written anew: how its lines ended makes no difference then.
        let (fields, _) = Fields::parsed(&bytes[..length], answer.headers);
        bytes.advance(length);
        Ok(Some(Self {
            status,
            is_current,
            fields,
        }))
    }

    /// A 200 with these lines.
    #[cfg(test)]
    pub(crate) fn of(lines: &str) -> Self {
        let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        Self::take(&mut BytesMut::from(&*text), 0).unwrap().unwrap()
    }

    /// The values of the fields of this name.
    pub(crate) fn values(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        self.fields.all(name)
    }

    /// The length that it announces.
    pub(crate) fn length(&self) -> Option<u64> {
        number(self.values("content-length").next()?)
    }

    /// What there is to read of the body after it, as the answer to a request of `method` (RFC 9112 section 6.3).
    /// A coding that is not undone here is no body, and one with both chunks and a length may be an attempt to have the
    /// rest of it read as another answer.
    ///
    /// # Errors
    /// When not every reader would find the same end.
    pub(super) fn body(&self, method: &Method) -> Result<Left, Broken> {
        let mut codings = self.values("transfer-encoding");
        let mut lengths = self.values("content-length");
        let left = match (codings.next(), lengths.next()) {
            (None, None) => Left::All,
            (None, Some(length)) => {
                if lengths.any(|other| other != length) {
                    return Err(Broken::Framing);
                }
                match number(length).ok_or(Broken::Framing)? {
                    0 => Left::Nothing,
                    length => Left::Length(length),
                }
            }
            (Some(coding), None)
                if self.is_current && coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none() =>
            {
                Left::Chunks(Chunks::new())
            }
            (Some(_), _) => return Err(Broken::Framing),
        };
        let has_none = *method == Method::HEAD
            || self.status.is_informational()
            || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Ok(if has_none { Left::Nothing } else { left })
    }

    /// Whether the connection may be used again (RFC 9112 section 9.3).
    pub(super) fn persists(&self) -> bool {
        let says = |option: &str| {
            self.values("connection").any(|value| {
                let mut options = value.split(|byte| *byte == b',');
                options.any(|one| one.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
            })
        };
        if self.is_current {
            !says("close")
        } else {
            says("keep-alive") && !says("close")
        }
    }
}

/// A number that readers with signed numbers understand too.
fn number(digits: &[u8]) -> Option<u64> {
    http1::number(digits).filter(|number| *number <= i64::MAX.unsigned_abs())
}

fn at_most(length: usize) -> Result<Option<Head>, Broken> {
    if length > MAX_HEAD {
        return Err(Broken::HeadTooLarge);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<Head>, Broken> {
        Head::take(&mut BytesMut::from(text), 0)
    }

    /// What is to be read after an answer with these lines.
    fn left(version: &str, lines: &str) -> Result<Left, Broken> {
        let head = head(&format!("HTTP/{version} 200 OK\r\n{lines}\r\n"));
        head.unwrap().unwrap().body(&Method::GET)
    }

    #[test]
    fn one_length_or_chunks_and_nothing_else() {
        let new = |lines: &str| left("1.1", lines);
        let refused = |left: Result<Left, Broken>| matches!(left, Err(Broken::Framing));
        assert_eq!(new("").unwrap(), Left::All);
        assert_eq!(new("Content-Length: 0\r\n").unwrap(), Left::Nothing);
        assert_eq!(
            new("content-length: 5\r\nContent-Length: 5\r\n").unwrap(),
            Left::Length(5)
        );
        assert_eq!(
            new("Transfer-Encoding: Chunked\r\n").unwrap(),
            Left::Chunks(Chunks::new())
        );
        for length in ["", "+5", "-5", "5, 5", "0x5", "5 6", "five", "9223372036854775808"] {
            assert!(refused(new(&format!("Content-Length: {length}\r\n"))), "{length:?}");
        }
        assert!(refused(new("Content-Length: 5\r\nContent-Length: 05\r\n")));
        for coding in ["", "gzip", "gzip, chunked", "chunked, chunked", "identity", "xchunked"] {
            assert!(refused(new(&format!("Transfer-Encoding: {coding}\r\n"))), "{coding:?}");
        }
        assert!(refused(new(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
        )));
        assert!(refused(new("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")));
        assert!(refused(left("1.0", "Transfer-Encoding: chunked\r\n")));
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        let lines = "Content-Length: 5\r\n\r\n";
        for (status, method, wanted) in [
            ("200 OK", Method::GET, Left::Length(5)),
            ("200 OK", Method::HEAD, Left::Nothing),
            ("204 No Content", Method::GET, Left::Nothing),
            ("304 Not Modified", Method::GET, Left::Nothing),
            ("101 Switching Protocols", Method::GET, Left::Nothing),
            ("404 Not Found", Method::POST, Left::Length(5)),
        ] {
            let head = head(&format!("HTTP/1.1 {status}\r\n{lines}")).unwrap().unwrap();
            assert_eq!(head.body(&method).unwrap(), wanted, "{method} {status}");
            assert_eq!(head.length(), Some(5));
        }
        let unsound = head("HTTP/1.1 304 x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n");
        assert!(unsound.unwrap().unwrap().body(&Method::GET).is_err());
    }

    #[test]
    fn a_connection_persists_unless_it_is_to_be_closed() {
        for (version, lines, persists) in [
            ("1.1", "", true),
            ("1.1", "Connection: Close\r\n", false),
            ("1.1", "Connection: x, close\r\n", false),
            ("1.1", "Connection: x\r\nConnection: close\r\n", false),
            ("1.1", "Connection: closed\r\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: keep-alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let head = head(&format!("HTTP/{version} 200 OK\r\n{lines}\r\n")).unwrap().unwrap();
            assert_eq!(head.persists(), persists, "{version} {lines:?}");
        }
    }

    #[test]
    fn a_head_is_the_same_in_whatever_pieces_it_comes() {
        let text = "HTTP/1.1 200 All's well\r\nA: 1\r\nb:\r\na: \t2 \r\n\r\nrest";
        for step in 1..text.len() {
            let (mut bytes, mut looked_at) = (BytesMut::new(), 0);
            let mut pieces = text.as_bytes().chunks(step);
            let head = loop {
                bytes.extend_from_slice(pieces.next().unwrap());
                match Head::take(&mut bytes, looked_at).unwrap() {
                    Some(head) => break head,
                    None => looked_at = bytes.len(),
                }
            };
            pieces.for_each(|piece| bytes.extend_from_slice(piece));
            assert_eq!(bytes, "rest");
            assert_eq!(head.status, StatusCode::OK);
            assert_eq!(head.values("a").collect::<Vec<_>>(), [&b"1"[..], b"2"]);
            assert_eq!(head.fields.iter().nth(1), Some((&b"b"[..], &b""[..])));
        }
    }

    #[test]
    fn a_head_without_end_is_given_up() {
        let endless = "HTTP/1.1 200 OK\r\n".to_owned() + &"a: b\r\n".repeat(MAX_HEAD);
        let mut bytes = BytesMut::from(&endless[..=MAX_HEAD]);
        assert!(Head::take(&mut bytes.clone(), 0).is_err(), "too many fields");
        assert!(matches!(Head::take(&mut bytes, 10), Err(Broken::HeadTooLarge)));
        let one = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(MAX_HEAD));
        assert!(matches!(head(&one), Err(Broken::HeadTooLarge)));
        assert!(matches!(head(&format!("{one}\r\n\r\n")), Err(Broken::HeadTooLarge)));
    }
}
