//! Normalising the path of a request, once, so that what is matched is what is forwarded (RFC 3986 section 6.2.2).

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPath {
    #[error("The path does not begin with a slash.")]
    NotAbsolute,
    #[error("The path has a percent sign without two hexadecimal digits after it.")]
    Encoding,
    #[error(
        "The path has a slash, a backslash or a control character in encoded form, or a character that URLs do not have."
    )]
    Character,
    #[error("The path climbs above the root, or has a dot segment with parameters.")]
    Climbs,
}

/// The normal form of `raw`: unreserved characters decoded, other escapes in upper case, slashes collapsed, dot segments
/// resolved. A final slash stays. Whatever two readers might understand differently is refused.
pub(crate) fn normalise(raw: &str) -> Result<Cow<'_, str>, BadPath> {
    if !raw.starts_with('/') {
        return Err(BadPath::NotAbsolute);
    }
    if is_normal(raw.as_bytes()) {
        return Ok(Cow::Borrowed(raw));
    }
    resolve(&decode(raw.as_bytes())?).map(Cow::Owned)
}

/// The segments of a normal path; a final slash adds none.
pub(crate) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Whether a normal path leads to what is never routed.
pub(crate) fn is_internal(path: &str) -> bool {
    let rest = path.trim_start_matches('/').strip_prefix("internal");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether there is certainly nothing to do. A dot after a slash is left to the slow way.
fn is_normal(path: &[u8]) -> bool {
    let mut before = b' ';
    path.iter().all(|byte| {
        let suspect = before == b'/' && (*byte == b'/' || *byte == b'.');
        before = *byte;
        !suspect && is_plain(*byte)
    })
}

/// What may stand in a path as it is: `pchar` of RFC 3986 section 3.3 without escapes, and the slash.
fn is_plain(byte: u8) -> bool {
    is_unreserved(byte) || b"/!$&'()*+,;=:@".contains(&byte)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn decode(path: &[u8]) -> Result<String, BadPath> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        let (byte, escaped) = if *byte == b'%' {
            let [high, low, after @ ..] = rest else {
                return Err(BadPath::Encoding);
            };
            rest = after;
            (hex(*high)? << 4 | hex(*low)?, true)
        } else {
            (*byte, false)
        };
        match byte {
            b'\\' | 0..=0x1f | 0x7f => return Err(BadPath::Character),
            b'/' if escaped => return Err(BadPath::Character),
            _ if is_unreserved(byte) || (!escaped && is_plain(byte)) => decoded.push(char::from(byte)),
            0x80.. if !escaped => return Err(BadPath::Character),
            _ => decoded.extend(['%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
    Ok(decoded)
}

fn hex(digit: u8) -> Result<u8, BadPath> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(BadPath::Encoding),
    }
}

fn digit(value: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(value & 15)])
}

/// Removes empty and dot segments (RFC 3986 section 5.2.4), except that climbing above the root is refused.
fn resolve(path: &str) -> Result<String, BadPath> {
    let mut kept = Vec::new();
    let mut ends_with_slash = false;
    for segment in path.split('/').skip(1) {
        ends_with_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop().ok_or(BadPath::Climbs)?;
            }
            // Some servers cut parameters off before they resolve dots.
            _ if matches!(without_parameters(segment), "." | "..") => return Err(BadPath::Climbs),
            _ => kept.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if kept.is_empty() || ends_with_slash {
        normal.push('/');
    }
    Ok(normal)
}

fn without_parameters(segment: &str) -> &str {
    let end = segment.find(';').into_iter().chain(segment.find("%3B")).min();
    end.map_or(segment, |end| &segment[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn different_spellings_of_a_path_have_one_normal_form() {
        for (raw, normal) in [
            ("/home", "/home"),
            ("/home/", "/home/"),
            ("//home", "/home"),
            ("/api//auth/login/", "/api/auth/login/"),
            ("/%68ome", "/home"),
            ("/api/../home", "/home"),
            ("/api/%2e%2E/home", "/home"),
            ("/./home/.", "/home/"),
            ("/a/b/..", "/a/"),
            ("/", "/"),
            ("//", "/"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/.well-known/jwks.json", "/.well-known/jwks.json"),
            ("/a%252fb", "/a%252fb"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/{x}|\"", "/%7Bx%7D%7C%22"),
            ("/...", "/..."),
        ] {
            assert_eq!(normalise(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn what_readers_might_understand_differently_is_refused() {
        for (raw, why) in [
            ("", BadPath::NotAbsolute),
            ("*", BadPath::NotAbsolute),
            ("/home%2f..", BadPath::Character),
            ("/home%2F", BadPath::Character),
            ("/a%5cb", BadPath::Character),
            ("/a\\b", BadPath::Character),
            ("/a%00", BadPath::Character),
            ("/a%0d%0aX: y", BadPath::Character),
            ("/a%7f", BadPath::Character),
            ("/caf\u{e9}", BadPath::Character),
            ("/a%", BadPath::Encoding),
            ("/a%4", BadPath::Encoding),
            ("/a%zz", BadPath::Encoding),
            ("/..", BadPath::Climbs),
            ("/a/../../b", BadPath::Climbs),
            ("/api/..;/home", BadPath::Climbs),
            ("/api/..;x=1/home", BadPath::Climbs),
            ("/api/%2e%2e%3b/home", BadPath::Climbs),
        ] {
            assert_eq!(normalise(raw), Err(why), "{raw}");
        }
    }

    fn paths() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("/".to_owned()),
            Just("//".to_owned()),
            Just(".".to_owned()),
            Just("..".to_owned()),
            Just(";".to_owned()),
            Just("%2e".to_owned()),
            Just("%2F".to_owned()),
            Just("%25".to_owned()),
            Just("2f".to_owned()),
            any::<u8>().prop_map(|byte| format!("%{byte:02x}")),
            "[a-z0-9]{1,3}",
            "[ -~]",
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn a_normal_path_is_its_own_normal_form(raw in paths()) {
            if let Ok(path) = normalise(&raw) {
                let again = normalise(&path);
                prop_assert_eq!(again.as_deref(), Ok(path.as_ref()));
            }
        }

        #[test]
        fn a_normal_path_has_nothing_left_to_interpret(raw in paths()) {
            if let Ok(path) = normalise(&raw) {
                prop_assert!(path.starts_with('/') && !path.contains("//"));
                prop_assert!(!path.split('/').any(|segment| matches!(without_parameters(segment), "." | "..")));
                let lower = path.to_ascii_lowercase();
                prop_assert!(!lower.contains("%2f") && !lower.contains("%5c") && !lower.contains("%00"));
                prop_assert!(path.bytes().all(|byte| byte == b'%' || is_plain(byte)));
            }
        }
    }
}
