//! The head of a request, being written (RFC 9112 sections 3 and 5).

use actix_web::http::Method;
use actix_web::http::header::HeaderValue;

/// A target that no request line can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its target has a character that URLs do not have")]
pub(crate) struct BadTarget;

/// The head of a request, being written.
pub(crate) struct HeadWriter<'a>(&'a mut Vec<u8>);

impl<'a> HeadWriter<'a> {
    /// What is written goes behind `bytes`.
    pub(crate) fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Begins anew, with the request line; `target` is written without anything between its parts.
    pub(crate) fn begin(&mut self, method: &Method, target: &[&str]) -> Result<(), BadTarget> {
        // A space would end the target, and a line end the line, for a reader.
        let is_sound = |byte| byte > b' ' && byte != 0x7f;
        if !target.iter().all(|part| are_all(part.as_bytes(), is_sound)) {
            return Err(BadTarget);
        }
        self.0.clear();
        self.put(&[method.as_str(), " "]);
        self.put(target);
        self.put(&[" HTTP/1.1\r\n"]);
        Ok(())
    }

    /// A field with a value that is known to be one. `name` is one of a header, in lower case.
    pub(crate) fn field(&mut self, name: &str, value: &HeaderValue) {
        self.line(name, value.as_bytes());
    }

    /// A field with `text` as its value, if all of that is visible ASCII or spaces.
    pub(crate) fn say(&mut self, name: &str, text: &str) {
        self.compose(name, |value| value.extend_from_slice(text.as_bytes()));
    }

    /// A field with what `write` appends as its value, if all of that is visible ASCII or spaces.
    pub(crate) fn compose(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.0.len();
        self.put(&[name, ": "]);
        let value = self.0.len();
        write(self.0);
        if are_all(&self.0[value..], |byte| (b' '..=b'~').contains(&byte)) {
            self.put(&["\r\n"]);
        } else {
            self.0.truncate(start);
        }
    }

    /// A field with a number as its value.
    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.line(name, itoa::Buffer::new().format(value).as_bytes());
    }

    /// A field with a value without line ends in it.
    pub(crate) fn line(&mut self, name: &str, value: &[u8]) {
        self.copy(name.as_bytes(), value);
    }

    /// A field with `parts` as its value, which are visible ASCII and spaces.
    pub(crate) fn parts(&mut self, name: &str, parts: &[&str]) {
        self.put(&[name, ": "]);
        self.put(parts);
        self.put(&["\r\n"]);
    }

    /// A field as it stood in another head, the whole line if there is one.
    pub(crate) fn copy_line(&mut self, name: &[u8], value: &[u8], line: &[u8]) {
        if line.is_empty() {
            self.copy(name, value);
        } else {
            self.0.extend_from_slice(line);
        }
    }

    /// A field as it stood in another head.
    pub(crate) fn copy(&mut self, name: &[u8], value: &[u8]) {
        debug_assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        self.0.reserve(name.len() + value.len() + 4);
        self.0.extend_from_slice(name);
        self.put(&[": "]);
        self.0.extend_from_slice(value);
        self.put(&["\r\n"]);
    }

    /// Whole lines, as another one of these wrote them.
    pub(crate) fn lines(&mut self, lines: &str) {
        self.put(&[lines]);
    }

    /// Ends the head with how a body of this `length` is framed; one of which no length is known goes in chunks.
    pub(crate) fn end(&mut self, method: &Method, length: Option<u64>) {
        match length {
            None => self.line("transfer-encoding", b"chunked"),
            // RFC 9110 section 8.6: a method that gives its content a meaning says that there is none.
            Some(0) if !matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {}
            Some(length) => self.number("content-length", length),
        }
        self.put(&["\r\n"]);
    }

    fn put(&mut self, parts: &[&str]) {
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
    }
}

/// Whether all of `bytes` are `such`. Without a way out in the middle many are looked at at once.
fn are_all(bytes: &[u8], such: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, byte| all & such(*byte))
}
