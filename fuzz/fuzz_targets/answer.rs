//! Answers of upstreams: where one ends does not depend on the pieces in which it comes, and nothing is made up.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// The gateway's own files: what is in them is of no use outside the gateway, and so is nowhere else.
#[allow(dead_code, unused_imports)]
#[path = "../../gateway/src/http1/mod.rs"]
mod http1;

#[allow(dead_code)]
#[path = "../../gateway/src/upstream/http1"]
mod upstream {
    mod answer;
    mod broken;

    use actix_web::http::Method;
    use answer::Head;

    use crate::http1::{Incoming, Left};

    /// What is read of the answer to a request of `method` that comes in these pieces: its status, its body, and what is
    /// left behind its end; `None` when it does not end, or is refused.
    pub fn read<'a>(method: &Method, pieces: impl Iterator<Item = &'a [u8]>) -> Option<(u16, Vec<u8>, Vec<u8>)> {
        let (mut incoming, mut looked_at, mut status, mut body) = (Incoming::new(), 0, None, Vec::new());
        for piece in pieces {
            incoming.bytes.extend_from_slice(piece);
            if status.is_none() && !incoming.bytes.is_empty() {
                match Head::take(&mut incoming.bytes, looked_at).ok()? {
                    Some(head) => {
                        assert!(head.fields.iter().count() <= 100);
                        incoming.left = head.body(method).ok()?;
                        status = Some(head.status.as_u16());
                    }
                    None => looked_at = incoming.bytes.len(),
                }
            }
            while let Some(piece) = incoming.take_piece().ok()? {
                assert!(!piece.is_empty());
                body.extend_from_slice(&piece);
            }
        }
        let is_over = matches!(incoming.left, Left::Nothing | Left::All);
        status
            .filter(|_| is_over)
            .map(|status| (status, body, incoming.bytes.to_vec()))
    }
}

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (step, is_head, bytes) = input;
    let method = if is_head {
        actix_web::http::Method::HEAD
    } else {
        actix_web::http::Method::GET
    };
    let whole = upstream::read(&method, std::iter::once(bytes));
    let pieces = upstream::read(&method, bytes.chunks(usize::from(step) + 1));
    assert_eq!(whole, pieces, "it reads the same in whatever pieces it comes");
    if let Some((status, body, behind)) = whole {
        assert!((100..1000).contains(&status));
        assert!(body.len() + behind.len() < bytes.len());
        assert!(bytes.ends_with(&behind), "what stands behind it is left alone");
        assert!(!is_head || body.is_empty());
    }
});
