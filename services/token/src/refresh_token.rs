//! Refresh tokens: opaque to clients, and known to be ours before any I/O.
//!
//! `pcr_` and, in base62, version (1 byte), id of the root secret (4), session id (24), generation (4), reissues (1), and a
//! tag (24) over all of that. Nothing about them is stored; the same token is computed again when it must be given again.

use aws_lc_rs::constant_time;

use crate::rotation::Serial;
use crate::secret::{KEY_ID_LENGTH, RootSecrets, TAG_LENGTH};
use crate::session::{ID_LENGTH, SessionId};

const PREFIX: &str = "pcr_";
const VERSION: u8 = 1;
const BODY: usize = 1 + KEY_ID_LENGTH + ID_LENGTH + 4 + 1;
const LONGEST: usize = 100;
const BASE62: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Which token of which session an authentic refresh token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// The session it belongs to.
    pub session: SessionId,
    /// Which of its tokens it is.
    pub serial: Serial,
}

impl RefreshToken {
    /// The token as clients hold it.
    #[must_use]
    pub fn encode(&self, secrets: &RootSecrets) -> String {
        let mut bytes = Vec::with_capacity(BODY + TAG_LENGTH);
        bytes.push(VERSION);
        bytes.extend_from_slice(&secrets.current_id());
        bytes.extend_from_slice(self.session.as_bytes());
        bytes.extend_from_slice(&self.serial.generation.to_be_bytes());
        bytes.push(self.serial.reissues);
        let tag = secrets.tag(&secrets.current_id(), &bytes).unwrap_or_default();
        bytes.extend_from_slice(&tag);
        format!("{PREFIX}{}", base_x::encode(BASE62, &bytes))
    }

    /// Reads a token that we made; `None` for anything else. Costs one hash, whatever is shown.
    #[must_use]
    pub fn decode(text: &str, secrets: &RootSecrets) -> Option<Self> {
        let text = text.strip_prefix(PREFIX).filter(|text| text.len() <= LONGEST)?;
        let bytes = base_x::decode(BASE62, text).ok()?;
        let (body, tag) = bytes.split_at_checked(BODY)?;
        let (version, body_rest) = body.split_first()?;
        let (key_id, rest) = body_rest.split_at_checked(KEY_ID_LENGTH)?;
        let expected = secrets.tag(key_id, body).filter(|_| *version == VERSION)?;
        constant_time::verify_slices_are_equal(&expected, tag).ok()?;
        let (session, serial) = rest.split_first_chunk::<ID_LENGTH>()?;
        let (generation, reissues) = serial.split_first_chunk::<4>()?;
        Some(Self {
            session: SessionId::from_bytes(*session),
            serial: Serial {
                generation: u32::from_be_bytes(*generation),
                reissues: *reissues.first()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::SecretString;

    use super::*;

    fn secrets(text: &str) -> RootSecrets {
        RootSecrets::new(&SecretString::from(text), &[])
    }

    fn token(generation: u32, reissues: u8) -> RefreshToken {
        RefreshToken {
            session: SessionId::new("user"),
            serial: Serial { generation, reissues },
        }
    }

    #[test]
    fn a_token_of_an_older_root_secret_is_still_read() {
        let token = token(3, 1);
        let text = token.encode(&secrets("old"));
        let rotated = RootSecrets::new(&SecretString::from("new"), &[SecretString::from("old")]);
        assert_eq!(RefreshToken::decode(&text, &rotated), Some(token));
        assert_eq!(RefreshToken::decode(&text, &secrets("new")), None);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_and_any_change_is_noticed(generation: u32, reissues: u8, place in 0_usize..82, with in "[0-9A-Za-z]") {
            let (secrets, token) = (secrets("root"), token(generation, reissues));
            let text = token.encode(&secrets);
            prop_assert_eq!(RefreshToken::decode(&text, &secrets), Some(token));
            let mut forged = text.clone();
            let place = place.min(text.len() - 1);
            forged.replace_range(place..=place, &with);
            prop_assert_eq!(RefreshToken::decode(&forged, &secrets).is_some(), forged == text);
        }

        #[test]
        fn garbage_is_no_token(text in ".{0,200}") {
            prop_assert_eq!(RefreshToken::decode(&text, &secrets("root")), None);
        }
    }
}
