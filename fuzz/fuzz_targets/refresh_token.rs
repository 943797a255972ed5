//! Refresh tokens: what is taken was made by us, and is written in one way only.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis_token::refresh_token::RefreshToken;
use portcullis_token::rotation::Serial;
use portcullis_token::secret::RootSecrets;
use portcullis_token::session::SessionId;

static SECRETS: LazyLock<RootSecrets> = LazyLock::new(|| RootSecrets::new(&"fuzzing".into(), &["older".into()]));
static OLDER: LazyLock<RootSecrets> = LazyLock::new(|| RootSecrets::new(&"older".into(), &[]));

/// Any token that we could have made, out of 29 bytes.
fn token(bytes: &[u8; 29]) -> RefreshToken {
    let [session @ .., a, b, c, d, reissues] = bytes;
    RefreshToken {
        session: SessionId::from_bytes(*session),
        serial: Serial {
            generation: u32::from_be_bytes([*a, *b, *c, *d]),
            reissues: *reissues,
        },
    }
}

fuzz_target!(|data: &[u8]| {
    // As it comes: nobody finds a tag by trying.
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(RefreshToken::decode(text, &SECRETS), None, "{text}");
    }
    // A token of ours, and changes of it: places, and letters to stand there.
    let Some((first, changes)) = data.split_first_chunk::<29>() else {
        return;
    };
    let token = token(first);
    let text = token.encode(&SECRETS);
    assert_eq!(RefreshToken::decode(&text, &SECRETS), Some(token));
    assert_eq!(RefreshToken::decode(&token.encode(&OLDER), &SECRETS), Some(token));
    assert_eq!(
        RefreshToken::decode(&text, &OLDER),
        None,
        "a newer secret is not known to the older one"
    );
    let mut changed = text.clone().into_bytes();
    for change in changes.chunks(2) {
        match change {
            [place, letter] if usize::from(*place) < changed.len() => changed[usize::from(*place)] = *letter,
            [200.., letter] => changed.push(*letter),
            [150.., _] => drop(changed.pop()),
            [100.., letter] => changed.insert(changed.len().min(4), *letter),
            _ => {}
        }
    }
    let Ok(changed) = String::from_utf8(changed) else {
        return;
    };
    let read = RefreshToken::decode(&changed, &SECRETS);
    assert_eq!(read.is_some(), changed == text, "{changed} is not {text}");
    if let Some(read) = read {
        assert_eq!(read.encode(&SECRETS), changed, "it prints to the same text");
    }
});
