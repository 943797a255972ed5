//! The one place randomness comes from: the operating system, through aws-lc.

use std::cell::RefCell;

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

const DIGITS: &[u8; 16] = b"0123456789abcdef";

thread_local! {
    /// Seeded by the operating system; a request needs several ids, and those need not be paid for as keys are.
    static LABELS: RefCell<fastrand::Rng> = RefCell::new(fastrand::Rng::with_seed(u64::from_le_bytes(bytes())));
}

/// Fills `text` with lower-case hexadecimal digits that no other call has given, to tell things apart by: the ids of requests
/// and of traces. Never a secret: whoever sees some may work out the next.
pub fn label(text: &mut [u8]) {
    LABELS.with_borrow_mut(|labels| labels.fill(text));
    for byte in text {
        *byte = DIGITS[usize::from(*byte & 15)];
    }
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
    let mut text = vec![0; bytes.len() * 2];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn hexadecimal_has_two_digits_a_byte() {
        assert_eq!(hex(&[0, 0x0f, 0xa5, 0xff]), "000fa5ff");
    }

    #[test]
    fn labels_differ_within_a_thread_and_between_threads() {
        let one = || {
            let mut text = [0; 16];
            label(&mut text);
            text
        };
        let some = move || (0..1000).map(|_| one()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(some)).collect();
        let all: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.len(), 4000);
        assert!(all.iter().flatten().all(|digit| DIGITS.contains(digit)));
    }
}
