//! Answers of upstreams: where one ends does not depend on the pieces in which it comes, and nothing is made up.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// The gateway's own files: what is in them is of no use outside the gateway, and so is nowhere else.
#[allow(dead_code)]
#[path = "../../gateway/src/upstream/http1"]
mod http1 {
    mod answer;
    mod broken;
    mod chunks;

    use actix_web::http::Method;
    use answer::{Head, Left};
    use bytes::BytesMut;

    /// What is read of the answer to a request of `method` that comes in these pieces: its status, its body, and what is
    /// left behind its end; `None` when it does not end, or is refused.
    pub fn read<'a>(method: &Method, pieces: impl Iterator<Item = &'a [u8]>) -> Option<(u16, Vec<u8>, Vec<u8>)> {
        let (mut bytes, mut looked_at, mut head, mut body) = (BytesMut::new(), 0, None, Vec::new());
        for piece in pieces {
            bytes.extend_from_slice(piece);
            if head.is_none() && !bytes.is_empty() {
                match Head::take(&mut bytes, looked_at).ok()? {
                    Some(found) => {
                        assert!(found.fields().count() <= 100);
                        let left = found.body(method).ok()?;
                        head = Some((found.status.as_u16(), left));
                    }
                    None => looked_at = bytes.len(),
                }
            }
            match &mut head {
                Some((_, Left::Chunks(chunks))) => {
                    while let Some(piece) = chunks.next(&mut bytes).ok()? {
                        assert!(!piece.is_empty());
                        body.extend_from_slice(&piece);
                    }
                }
                Some((_, Left::Length(left))) => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    body.extend_from_slice(&bytes.split_to(take));
                    *left -= take as u64;
                }
                Some((_, Left::All)) => body.extend_from_slice(&bytes.split()),
                Some((_, Left::Nothing)) | None => {}
            }
        }
        let (status, left) = head?;
        let is_over = match left {
            Left::Nothing | Left::Length(0) | Left::All => true,
            Left::Length(_) => false,
            Left::Chunks(chunks) => chunks.is_over(),
        };
        is_over.then(|| (status, body, bytes.to_vec()))
    }
}

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (step, is_head, bytes) = input;
    let method = if is_head {
        actix_web::http::Method::HEAD
    } else {
        actix_web::http::Method::GET
    };
    let whole = http1::read(&method, std::iter::once(bytes));
    let pieces = http1::read(&method, bytes.chunks(usize::from(step) + 1));
    assert_eq!(whole, pieces, "it reads the same in whatever pieces it comes");
    if let Some((status, body, behind)) = whole {
        assert!((100..1000).contains(&status));
        assert!(body.len() + behind.len() < bytes.len());
        assert!(bytes.ends_with(&behind), "what stands behind it is left alone");
        assert!(!is_head || body.is_empty());
    }
});
