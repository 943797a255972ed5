//! The trace that a request belongs to (W3C Trace Context): passed on, or begun.

use service_kit::random;

use crate::http1::Fields;

const TRACEPARENT: &str = "traceparent";
/// The length of a `traceparent` of the version that we write, 00.
const LENGTH: usize = 55;

/// A `traceparent`, as it is passed on: visible ASCII.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace([u8; LENGTH]);

impl Trace {
    /// The trace that a client or a proxy has begun: of exactly one header, in a form that everybody can read (section 3.2).
    /// One of a later version is read as far as its first fields go, and written as ours (section 3.2.4, "Versioning").
    pub(crate) fn received(fields: &Fields) -> Option<Self> {
        let mut values = fields.all(TRACEPARENT);
        let (bytes, None) = (values.next()?, values.next()) else {
            return None;
        };
        let lower_hex = |text: &[u8]| text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let known = |text: &[u8]| lower_hex(text) && text.iter().any(|b| *b != b'0');
        let readable = bytes.len() >= LENGTH
            && [2, 35, 52].iter().all(|dash| bytes[*dash] == b'-')
            && lower_hex(&bytes[..2])
            && known(&bytes[3..35])
            && known(&bytes[36..52])
            && lower_hex(&bytes[53..LENGTH]);
        if !readable {
            return None;
        }
        let mut known = *bytes.first_chunk()?;
        match (&bytes[..2], bytes.get(LENGTH)) {
            (b"00", None) => {}
            (b"00", Some(_)) | (b"ff", _) => return None,
            // Of the flags only the lowest, "sampled", is known to mean the same.
            (_, None | Some(b'-')) => {
                let sampled = matches!(bytes[54], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f');
                known[..2].copy_from_slice(b"00");
                known[53..].copy_from_slice(if sampled { b"01" } else { b"00" });
            }
            _ => return None,
        }
        Some(Self(known))
    }

    /// A trace that nobody has decided to record yet.
    pub(crate) fn begin() -> Self {
        let mut text = [b'0'; LENGTH];
        random::label(&mut text[3..52]);
        for dash in [2, 35, 52] {
            text[dash] = b'-';
        }
        Self(text)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What all of a trace's requests have in common.
    pub(crate) fn id(&self) -> &str {
        std::str::from_utf8(&self.0[3..35]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

    fn fields(values: &[&[u8]]) -> Fields {
        let mut fields = Fields::new();
        for value in values {
            fields.push(TRACEPARENT.as_bytes(), value);
        }
        fields
    }

    fn received(values: &[&str]) -> Option<String> {
        let fields = fields(&values.iter().map(|value| value.as_bytes()).collect::<Vec<_>>());
        Trace::received(&fields).map(|trace| String::from_utf8(trace.0.to_vec()).unwrap())
    }

    #[test]
    fn a_trace_is_passed_on_only_when_everybody_can_read_it() {
        let good = format!("00-{IDS}-01");
        assert_eq!(received(&[&good]), Some(good.clone()));
        let begun = Trace::begin();
        assert_eq!(Trace::received(&fields(&[begun.as_bytes()])), Some(begun));
        assert_eq!(
            Trace(*good.as_bytes().first_chunk().unwrap()).id(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        for bad in [
            "",
            &format!("00-{IDS}-01-x"),
            &format!("00-{}-01", IDS.to_uppercase()),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            &format!("ff-{IDS}-01"),
            &format!("0x-{IDS}-01"),
        ] {
            assert_eq!(received(&[bad]), None, "{bad}");
        }
        assert_eq!(received(&[&good, &good]), None);
    }

    #[test]
    fn a_trace_of_a_later_version_is_passed_on_as_one_of_ours() {
        for (value, passed) in [
            (format!("01-{IDS}-01"), Some("01")),
            (format!("cc-{IDS}-03-more-to-come"), Some("01")),
            (format!("01-{IDS}-f0"), Some("00")),
            (format!("01-{IDS}-01more"), None),
            (format!("01-{IDS}-0"), None),
        ] {
            let passed = passed.map(|flags| format!("00-{IDS}-{flags}"));
            assert_eq!(received(&[&value]), passed, "{value}");
        }
    }
}
