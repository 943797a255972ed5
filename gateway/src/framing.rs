//! Where an answer's body ends: said once, and in a way that every reader understands alike (RFC 9112 section 6).

use hyper::Version;
use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::http::response::Parts;

/// Whether the head of an answer leaves no doubt about it. An answer with both chunks and a length may be an attempt to have
/// the rest of it read as another answer; and a coding that is not undone is no body.
pub(crate) fn is_sound(head: &Parts) -> bool {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => true,
        (None, Some(length)) => {
            let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
            is_number && lengths.all(|other| other == length)
        }
        (Some(coding), None) => {
            head.version == Version::HTTP_11
                && coding.as_bytes().eq_ignore_ascii_case(b"chunked")
                && codings.next().is_none()
        }
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use hyper::Response;

    use super::*;

    fn sound(version: Version, headers: &[(&str, &str)]) -> bool {
        let mut response = Response::builder().version(version);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        is_sound(&response.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn one_length_or_chunks_and_nothing_else() {
        let new = |headers: &[(&str, &str)]| sound(Version::HTTP_11, headers);
        assert!(new(&[]) && new(&[("content-length", "0")]) && new(&[("transfer-encoding", "Chunked")]));
        assert!(new(&[("content-length", "5"), ("content-length", "5")]));
        for length in ["", "+5", "-5", "5, 5", "0x5", "5 6", "five"] {
            assert!(!new(&[("content-length", length)]), "{length:?}");
        }
        assert!(!new(&[("content-length", "5"), ("content-length", "05")]));
        for coding in ["", "gzip", "gzip, chunked", "chunked, chunked", "identity", "xchunked"] {
            assert!(!new(&[("transfer-encoding", coding)]), "{coding:?}");
        }
        assert!(!new(&[
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "chunked")
        ]));
        assert!(!new(&[("transfer-encoding", "chunked"), ("content-length", "5")]));
        assert!(!sound(Version::HTTP_10, &[("transfer-encoding", "chunked")]));
    }
}
