//! Tokens made without the root secret.

use std::sync::LazyLock;

use secrecy::SecretString;

use crate::refresh_token::RefreshToken;
use crate::rotation::Serial;
use crate::secret::RootSecrets;
use crate::session::{ID_LENGTH, SessionId};

static OURS: LazyLock<RootSecrets> = LazyLock::new(|| RootSecrets::new(&SecretString::from("ours"), &[]));
static ANOTHERS: LazyLock<RootSecrets> = LazyLock::new(|| RootSecrets::new(&SecretString::from("another's"), &[]));

/// Whether the service would ask its store about this token at all.
pub(super) fn admit(text: &str) -> bool {
    RefreshToken::decode(text, &OURS).is_some()
}

/// A token of the session that looks like `current`, or like its neighbours, made by somebody without our secret.
pub(super) fn forged(current: Serial, how: u8, place: usize) -> String {
    let token = |generation, reissues| RefreshToken {
        session: SessionId::from_bytes([7; ID_LENGTH]),
        serial: Serial { generation, reissues },
    };
    let genuine = token(current.generation, current.reissues);
    match how % 4 {
        0 => genuine.encode(&ANOTHERS),
        1 => token(current.generation.saturating_sub(1), 0).encode(&ANOTHERS),
        2 => token(current.generation.saturating_add(1), 0).encode(&ANOTHERS),
        _ => {
            let mut text = genuine.encode(&OURS);
            let place = "pcr_".len() + place % (text.len() - "pcr_".len());
            let other = if text.as_bytes()[place] == b'x' { "y" } else { "x" };
            text.replace_range(place..=place, other);
            text
        }
    }
}
