//! What a session goes by here.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The length of a session id in bytes; as text it has 32 characters.
const ID_LENGTH: usize = 24;
const TEXT_LENGTH: usize = ID_LENGTH / 3 * 4;

/// A session id as the bytes that its text stands for. Of the characters and the length that are taken no two texts stand
/// for the same bytes, so comparing these is comparing ids. Whatever else is called a session goes by its SHA-256, of which so
/// many bytes are plenty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub(super) [u8; ID_LENGTH]);

impl Id {
    pub(crate) fn of(text: &str) -> Self {
        Self::read(text).unwrap_or_else(|| {
            let mut id = [0; ID_LENGTH];
            let digest = digest::digest(&digest::SHA256, text.as_bytes());
            id.copy_from_slice(&digest.as_ref()[..ID_LENGTH]);
            Self(id)
        })
    }

    /// `None`: it is not such an id as the token service makes.
    fn read(text: &str) -> Option<Self> {
        let mut id = [0; ID_LENGTH];
        let whole = text.len() == TEXT_LENGTH && URL_SAFE_NO_PAD.decode_slice(text, &mut id) == Ok(ID_LENGTH);
        whole.then_some(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_token_service_makes_is_such_an_id_and_every_character_counts() {
        let text = "0123456789abcdefABCDEF-_xyzXYZ00";
        let id = Id::read(text).unwrap();
        for at in 0..text.len() {
            let mut other = text.to_owned();
            other.replace_range(at..=at, "q");
            assert_ne!(Id::read(&other), Some(id), "{other}");
        }
        for text in [
            "",
            "s1",
            "0123456789abcdefABCDEF-_xyzXYZ0",
            "0123456789abcdefABCDEF-_xyzXYZ000",
        ] {
            assert_eq!(Id::read(text), None, "{text}");
        }
        for text in [
            "0123456789abcdefABCDEF+/xyzXYZ00",
            "0123456789abcdefABCDEF-_xyzXYZ0=",
            "0123456789abcdefABCDEF-_xyzXYZé",
        ] {
            assert_eq!((text.len(), Id::read(text)), (TEXT_LENGTH, None), "{text}");
        }
    }
}
