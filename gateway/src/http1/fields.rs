//! Header fields (RFC 9110 section 5) as the lines that they are on the wire, and where in them what stands.
//!
//! A map would cost more than all else that is done to a request: most fields are only ever copied from one head to the
//! next, and of a dozen short names the one that is looked for is found faster by reading them.

use std::ops::Range;

use super::MAX_FIELDS;

/// The fields of a head, in their order. Names are in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    /// Lines with CR LF behind each, of which those that came from elsewhere may have white space around their values.
    lines: Vec<u8>,
    index: Vec<Field>,
}

/// Where in the lines a field's name and its value stand. No head is so large that 32 bits would not do.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: (u32, u32),
    value: (u32, u32),
}

fn range((from, to): (u32, u32)) -> Range<usize> {
    from as usize..to as usize
}

#[expect(clippy::cast_possible_truncation, reason = "heads are smaller than that by far")]
fn place(from: usize, to: usize) -> (u32, u32) {
    (from as u32, to as u32)
}

impl Fields {
    /// None, with room for a few.
    pub(crate) fn new() -> Self {
        Self {
            lines: Vec::with_capacity(1024),
            index: Vec::with_capacity(32),
        }
    }

    /// The fields that `parsed` found in a whole `head`, and whether every line of that ends in CR LF: not every reader takes
    /// less for the end of a line (RFC 9112 section 2.2).
    pub(crate) fn parsed(head: &[u8], parsed: &[httparse::Header<'_>]) -> (Self, bool) {
        debug_assert!(parsed.len() <= MAX_FIELDS);
        let base = head.as_ptr().addr();
        let end = head.len() - if head.ends_with(b"\r\n") { 2 } else { 1 };
        let start = parsed.first().map_or(end, |first| first.name.as_ptr().addr() - base);
        let mut fields = Self {
            lines: head[start..end].to_vec(),
            index: Vec::with_capacity(parsed.len()),
        };
        // There may be empty lines in front of the first.
        let first = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        let mut is_strict =
            head.ends_with(b"\r\n\r\n") && head[..first.unwrap_or_default()].chunks(2).all(|end| end == b"\r\n");
        for field in parsed {
            let name = field.name.as_ptr().addr() - base;
            is_strict &= head[..name].ends_with(b"\r\n");
            let (name, value) = (name - start, field.value.as_ptr().addr() - base - start);
            let name = (name, name + field.name.len());
            fields.lines[name.0..name.1].make_ascii_lowercase();
            fields.index.push(Field {
                name: place(name.0, name.1),
                value: place(value, value + field.value.len()),
            });
        }
        (fields, is_strict)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// How many bytes their lines have.
    pub(crate) fn size(&self) -> usize {
        self.lines.len()
    }

    /// Their lines.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.index
            .iter()
            .map(|field| (&self.lines[range(field.name)], &self.lines[range(field.value)]))
    }

    /// The same, and the whole line if it is written as those are that are written here; else nothing, in its place. Most are:
    /// one copy instead of four.
    pub(crate) fn iter_lines(&self) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
        self.index.iter().map(|field| {
            let (name, value) = (range(field.name), range(field.value));
            let is_plain = self.lines[name.end..value.start] == *b": " && self.lines[value.end..].starts_with(b"\r\n");
            let end = if is_plain { value.end + 2 } else { name.start };
            (
                &self.lines[name.clone()],
                &self.lines[value],
                &self.lines[name.start..end],
            )
        })
    }

    /// The values of the fields of this `name`, which is in lower case.
    pub(crate) fn all(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        self.index
            .iter()
            .filter(move |field| self.is_called(field, name.as_bytes()))
            .map(|field| &self.lines[range(field.value)])
    }

    /// Most names are told from another by their lengths, which the index knows.
    fn is_called(&self, field: &Field, name: &[u8]) -> bool {
        let (from, to) = field.name;
        (to - from) as usize == name.len() && self.lines[range(field.name)] == *name
    }

    /// The first of them.
    pub(crate) fn get(&self, name: &'static str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The first of them, if it is nothing but visible ASCII, spaces and tabs.
    pub(crate) fn text(&self, name: &'static str) -> Option<&str> {
        text(self.get(name)?)
    }

    /// The value of a field that stands there once, as such text.
    pub(crate) fn only(&self, name: &'static str) -> Option<&str> {
        let mut values = self.all(name);
        (values.next().is_some() && values.next().is_none())
            .then(|| self.text(name))
            .flatten()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.has(name.as_bytes())
    }

    fn has(&self, name: &[u8]) -> bool {
        self.index.iter().any(|field| self.is_called(field, name))
    }

    /// Adds a field with a value that has neither line ends nor NUL in it; `name` is one, in lower case.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        debug_assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        let start = self.lines.len();
        self.lines.extend_from_slice(name);
        self.lines.extend_from_slice(b": ");
        let from = self.lines.len();
        self.lines.extend_from_slice(value);
        self.index.push(Field {
            name: place(start, start + name.len()),
            value: place(from, self.lines.len()),
        });
        self.lines.extend_from_slice(b"\r\n");
    }

    /// Adds a field that [`Fields::iter_lines`] of another head gave.
    pub(crate) fn push_line(&mut self, name: &[u8], value: &[u8], line: &[u8]) {
        if line.is_empty() {
            return self.push(name, value);
        }
        let start = self.lines.len();
        self.lines.extend_from_slice(line);
        self.index.push(Field {
            name: place(start, start + name.len()),
            value: place(start + name.len() + 2, start + line.len() - 2),
        });
    }

    /// Adds a field in the place of all of this name.
    pub(crate) fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.push(name.as_bytes(), value);
    }

    /// Adds those of `others` whose names are not there yet: mostly all of them, and then at once.
    pub(crate) fn append_missing(&mut self, others: &Self) {
        if others.iter().any(|(name, _)| self.has(name)) {
            for (name, value) in others.iter() {
                if !self.has(name) {
                    self.push(name, value);
                }
            }
            return;
        }
        let start = self.lines.len();
        let moved = |(from, to)| place(start + from as usize, start + to as usize);
        self.lines.extend_from_slice(&others.lines);
        self.index.extend(others.index.iter().map(|field| Field {
            name: moved(field.name),
            value: moved(field.value),
        }));
    }

    /// Adds a field with a number as its value.
    pub(crate) fn push_number(&mut self, name: &str, value: u64) {
        self.push(name.as_bytes(), itoa::Buffer::new().format(value).as_bytes());
    }

    /// Takes out all of this name.
    pub(crate) fn remove(&mut self, name: &str) {
        if self.contains(name) {
            let before = std::mem::take(self);
            for (known, value) in before.iter().filter(|(known, _)| *known != name.as_bytes()) {
                self.push(known, value);
            }
        }
    }
}

/// `value`, if it is nothing but visible ASCII, spaces and tabs.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    let is_plain = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    let text = std::str::from_utf8(value).ok()?;
    // Without a way out in the middle many letters are looked at at once.
    text.bytes()
        .fold(true, |all, byte| all & is_plain(byte))
        .then_some(text)
}

/// A number of digits and nothing else.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> (Fields, bool) {
        let mut parsed = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut parsed);
        assert!(request.parse(head.as_bytes()).unwrap().is_complete());
        Fields::parsed(head.as_bytes(), request.headers)
    }

    #[test]
    fn fields_are_found_by_their_names_however_those_were_written() {
        let (fields, is_strict) = parse("GET / HTTP/1.1\r\nHost: a\r\nX-A:  1 \t\r\nx-a:2\r\nX-Empty:\r\n\r\n");
        assert!(is_strict);
        assert_eq!(fields.get("host"), Some(&b"a"[..]));
        assert_eq!(fields.all("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(fields.get("x-empty"), Some(&b""[..]));
        assert_eq!(fields.only("host"), Some("a"));
        assert_eq!(fields.only("x-a"), None);
        assert!(!fields.contains("x"));
        let (none, is_strict) = parse("GET / HTTP/1.1\r\n\r\n");
        assert!(is_strict && none.iter().next().is_none() && none.size() == 0);
    }

    #[test]
    fn a_line_that_ends_in_less_than_cr_lf_is_noticed() {
        for head in [
            "\nGET / HTTP/1.1\r\n\r\n",
            "\r\n\nGET / HTTP/1.1\r\na: b\r\n\r\n",
            "GET / HTTP/1.1\n\r\n",
            "GET / HTTP/1.1\r\n\n",
            "GET / HTTP/1.1\na: b\r\n\r\n",
            "GET / HTTP/1.1\r\na: b\n\r\n",
            "GET / HTTP/1.1\r\na: b\r\n\n",
            "GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n",
            "GET / HTTP/1.1\r\na: \nc: d\r\n\r\n",
        ] {
            assert!(!parse(head).1, "{head:?}");
        }
    }

    #[test]
    fn what_is_set_stands_there_once() {
        let mut fields = Fields::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")] {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields.set("a", b"5");
        fields.remove("c");
        fields.push_number("d", 6);
        assert_eq!(fields.lines(), b"b: 2\r\na: 5\r\nd: 6\r\n");
        assert_eq!(fields.get("a"), Some(&b"5"[..]));
    }

    #[test]
    fn what_is_missing_is_added_and_nothing_else() {
        let mut others = Fields::new();
        others.push(b"b", b"2");
        others.push(b"c", b"");
        for (head, lines) in [
            ("A: 1\r\n", "a: 1\r\nb: 2\r\nc: \r\nd: 4\r\n"),
            ("A: 1\r\nB: 1\r\n", "a: 1\r\nb: 1\r\nc: \r\nd: 4\r\n"),
            ("C: 1\r\nB: 1\r\n", "c: 1\r\nb: 1\r\nd: 4\r\n"),
        ] {
            let (mut fields, _) = parse(&format!("GET / HTTP/1.1\r\n{head}\r\n"));
            fields.append_missing(&others);
            fields.push(b"d", b"4");
            assert_eq!(std::str::from_utf8(fields.lines()), Ok(lines));
            let all = fields
                .iter()
                .map(|(name, value)| [name, b": ", value, b"\r\n"].concat());
            assert_eq!(all.collect::<Vec<_>>().concat(), lines.as_bytes());
        }
    }

    #[test]
    fn fields_are_the_same_in_another_head() {
        let (fields, _) = parse("GET / HTTP/1.1\r\nA: 1\r\nb:2\r\nC:  3\r\nd: 4 \r\nE:\r\nf: \r\ng: 5\r\n\r\n");
        let mut other = Fields::new();
        for (name, value, line) in fields.iter_lines() {
            other.push_line(name, value, line);
        }
        assert_eq!(other.lines(), b"a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\ne: \r\nf: \r\ng: 5\r\n");
        assert!(other.iter().eq(fields.iter()));
        assert_eq!(fields.iter_lines().filter(|(_, _, line)| !line.is_empty()).count(), 3);
    }

    #[test]
    fn a_number_is_digits_and_nothing_else() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"05"), Some(5));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for none in [
            "",
            "+1",
            "-1",
            "1 ",
            " 1",
            "0x1",
            "18446744073709551616",
            "1,1",
            "\u{0665}",
        ] {
            assert_eq!(number(none.as_bytes()), None, "{none:?}");
        }
    }
}
