//! Paths of requests: whatever comes, a normal path is its own normal form, and leaves nothing to interpret.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// The gateway's own file: what is in it is of no use outside the gateway, and so is nowhere else.
#[path = "../../gateway/src/path.rs"]
mod path;

fuzz_target!(|raw: &str| {
    let Ok(normal) = path::normalise(raw) else { return };
    assert_eq!(
        path::normalise(&normal).as_deref(),
        Ok(&*normal),
        "normal once is normal for good"
    );
    assert!(normal.starts_with('/') && !normal.contains("//"));
    assert!(normal.len() <= raw.len() * 3);
    for segment in path::segments(&normal) {
        let name = segment.split(';').next().unwrap_or_default();
        assert!(!matches!(name, "." | ".."), "{normal}");
        assert!(!matches!(segment.split("%3B").next(), Some("." | "..")), "{normal}");
    }
    // Neither what servers decode once more nor what ends a line or a name for them.
    assert!(
        normal
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\\?#\"<>^`{|}".contains(&byte)),
        "{normal}"
    );
    let bytes = normal.as_bytes();
    for (place, _) in normal.match_indices('%') {
        let [high, low] = [bytes.get(place + 1), bytes.get(place + 2)].map(|digit| digit.copied().unwrap_or_default());
        assert!(high.is_ascii_digit() || (b'A'..=b'F').contains(&high), "{normal}");
        assert!(low.is_ascii_digit() || (b'A'..=b'F').contains(&low), "{normal}");
        assert!(
            !["2F", "5C", "00", "0A", "0D", "2E"].contains(&&normal[place + 1..place + 3]),
            "{normal}"
        );
    }
    // What is never routed is found however it is written: a reader who resolves the raw path in a simple way agrees.
    let simple: Vec<&str> = raw.split('/').filter(|segment| !segment.is_empty()).collect();
    if simple.first() == Some(&"internal") && !raw.contains(['%', '.']) {
        assert!(path::is_internal(&normal), "{raw}");
    }
});
