//! Reading a request that an upstream got, and forgiving nothing: what more than one reader could understand differently is
//! a fault, even where RFC 9112 lets a recipient be lenient.

/// A request as it stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The bytes it took.
    pub(crate) length: usize,
}

/// What the bytes that came so far are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// A request, perhaps with something behind it.
    Whole(Request),
    /// The beginning of one, without a fault so far.
    Beginning,
    /// No request, or one that could be read in two ways.
    Fault(&'static str),
}

impl Request {
    /// The values of `name`, which is in lower case.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// Reads the request that `bytes` begin with.
pub(crate) fn read(bytes: &[u8]) -> Read {
    match try_read(bytes) {
        Ok(Some(request)) => Read::Whole(request),
        Ok(None) => Read::Beginning,
        Err(fault) => Read::Fault(fault),
    }
}

fn try_read(bytes: &[u8]) -> Result<Option<Request>, &'static str> {
    let mut rest = bytes;
    let Some(line) = take_line(&mut rest)? else {
        return Ok(None);
    };
    let (method, target) = request_line(line)?;
    let mut fields = Vec::new();
    loop {
        let Some(line) = take_line(&mut rest)? else {
            return Ok(None);
        };
        if line.is_empty() {
            break;
        }
        fields.push(field(line)?);
    }
    let values = |name: &str| -> Vec<&str> {
        let named = fields.iter().filter(|(known, _): &&(String, String)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    };
    match values("host").as_slice() {
        [host] if !host.is_empty() => {}
        _ => return Err("not exactly one Host"),
    }
    for hop in [
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "proxy-connection",
        "expect",
        "http2-settings",
    ] {
        if !values(hop).is_empty() {
            return Err("a header of the client's connection");
        }
    }
    let body = match (
        values("content-length").as_slice(),
        values("transfer-encoding").as_slice(),
    ) {
        ([], []) => Some(Vec::new()),
        ([length], []) => sized(length, &mut rest)?,
        ([], ["chunked"]) => chunks(&mut rest)?,
        _ => return Err("not exactly one framing"),
    };
    Ok(body.map(|body| Request {
        method,
        target,
        fields,
        body,
        length: bytes.len() - rest.len(),
    }))
}

/// Takes a line off `rest`: it ends in CR LF, and has neither of both inside.
fn take_line<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        let inside = rest.strip_suffix(b"\r").unwrap_or(rest);
        return if inside.contains(&b'\r') {
            Err("a bare CR")
        } else {
            Ok(None)
        };
    };
    let line = rest[..end].strip_suffix(b"\r").ok_or("a bare LF")?;
    if line.contains(&b'\r') {
        return Err("a bare CR");
    }
    *rest = &rest[end + 1..];
    Ok(Some(line))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn request_line(line: &[u8]) -> Result<(String, String), &'static str> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words.as_slice() else {
        return Err("not three words in the request line");
    };
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err("a method that is no token");
    }
    if *version != b"HTTP/1.1" {
        return Err("not HTTP/1.1");
    }
    if target.first() != Some(&b'/') || target.starts_with(b"//") {
        return Err("a target that is no path");
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if path.contains(&b'\\')
        || target
            .iter()
            .any(|byte| !byte.is_ascii_graphic() || b"#<>\"".contains(byte))
    {
        return Err("a target with what URLs do not have");
    }
    Ok((text(method), text(target)))
}

fn field(line: &[u8]) -> Result<(String, String), &'static str> {
    let colon = line
        .iter()
        .position(|byte| *byte == b':')
        .ok_or("a field without colon")?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err("a field name that is no token");
    }
    let value = value.trim_ascii();
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err("a control character in a value");
    }
    Ok((text(name).to_ascii_lowercase(), text(value)))
}

fn sized(length: &str, rest: &mut &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    if !length.bytes().all(|byte| byte.is_ascii_digit()) || (length.len() > 1 && length.starts_with('0')) {
        return Err("a length that is no plain number");
    }
    let length: usize = length.parse().map_err(|_| "a length that is no number")?;
    Ok(take(length, rest).map(<[u8]>::to_vec))
}

fn take<'a>(length: usize, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// Chunks without extensions, and without trailers.
fn chunks(rest: &mut &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let mut body = Vec::new();
    loop {
        let Some(size) = take_line(rest)? else {
            return Ok(None);
        };
        if size.is_empty() || !size.iter().all(u8::is_ascii_hexdigit) {
            return Err("a chunk's size that is no plain number");
        }
        let size = usize::from_str_radix(&text(size), 16).map_err(|_| "a chunk's size that is no number")?;
        if size > 0 {
            let Some(piece) = take(size, rest) else {
                return Ok(None);
            };
            body.extend_from_slice(piece);
        }
        let Some(end) = take(2, rest) else {
            return if b"\r\n".starts_with(rest) {
                Ok(None)
            } else {
                Err("a chunk without its end")
            };
        };
        if end != b"\r\n" {
            return Err("a chunk without its end, or trailers");
        }
        if size == 0 {
            return Ok(Some(body));
        }
    }
}

#[test]
fn the_judge_condemns_what_could_be_read_in_two_ways() {
    for bad in [
        "GET /  HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
        "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET //x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a\\b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /#x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\rY: z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n Y: z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\n: x\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nY: \0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 00\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0;x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\n\r\n",
    ] {
        assert!(
            matches!(read(bad.as_bytes()), Read::Fault(_)),
            "{bad:?}: {:?}",
            read(bad.as_bytes())
        );
    }
}

#[test]
fn the_judge_reads_a_plain_request_and_no_byte_too_many() {
    for (good, body) in [
        ("GET /a?b=%20 HTTP/1.1\r\nHost: x\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nA\r\n0123456789\r\n0\r\n\r\n",
            "ab0123456789",
        ),
    ] {
        for cut in 0..good.len() {
            assert_eq!(read(&good.as_bytes()[..cut]), Read::Beginning, "{:?}", &good[..cut]);
        }
        let Read::Whole(request) = read(format!("{good}GET").as_bytes()) else {
            panic!("{good:?} was not read");
        };
        assert_eq!((request.body.as_slice(), request.length), (body.as_bytes(), good.len()));
    }
}
