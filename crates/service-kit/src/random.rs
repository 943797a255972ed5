//! The one place randomness comes from: the operating system, through aws-lc.

use uuid::Uuid;

/// `N` bytes fit for keys and secrets.
///
/// # Panics
/// When the operating system has no randomness to give, which nothing can go on from.
#[must_use]
#[expect(clippy::expect_used, reason = "there is no safe way to go on without randomness")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// An identifier that nobody can guess: a version 4 UUID (RFC 9562 section 5.4).
#[must_use]
pub fn uuid() -> Uuid {
    uuid::Builder::from_random_bytes(bytes()).into_uuid()
}

/// An identifier that sorts by the time it was made, `millis` since the epoch: a version 7 UUID (RFC 9562 section 5.7).
#[must_use]
pub fn ordered_uuid(millis: i64) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(millis).unwrap_or(0), &bytes()).into_uuid()
}

/// `bytes` in lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
