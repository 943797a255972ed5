//! How a line of the access log reads.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;

use crate::client_address::spell;
use crate::config::AccessLog;

/// How much of a path is logged, in bytes.
const LONGEST_PATH: usize = 512;

/// What is logged of a request. What is empty was not found out, or does not apply.
pub(crate) struct Line<'a> {
    pub(crate) method: &'a str,
    /// Without the query, which may hold secrets.
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) route: &'a str,
    pub(crate) upstream: &'a str,
    /// The address of the upstream's target.
    pub(crate) target: Option<SocketAddr>,
    /// Whose fault a failure is: `client`, `upstream` or `gateway`.
    pub(crate) fault: &'a str,
    /// What the failure is called.
    pub(crate) code: &'a str,
    pub(crate) took: Duration,
    /// Until the upstream began to answer.
    pub(crate) upstream_took: Option<Duration>,
    /// Bytes of the request's body that went to the upstream.
    pub(crate) received: u64,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
    pub(crate) user_id: &'a str,
    pub(crate) session_id: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) client: Option<IpAddr>,
    pub(crate) trace_id: &'a str,
}

/// The memory that a worker writes its lines in, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    line: String,
    /// The second that `date` is the text of.
    second: i64,
    /// As in `2026-11-21T19:42:17`.
    date: String,
}

impl Scratch {
    /// `line` in this form, with its end.
    pub(crate) fn write(&mut self, line: &Line<'_>, form: AccessLog, now: Timestamp) -> &[u8] {
        self.tell_time(now);
        let text = &mut self.line;
        text.clear();
        let json = form == AccessLog::Json;
        if json {
            text.push_str("{\"time\":\"");
        }
        text.push_str(&self.date);
        text.push('.');
        digits(text, u64::try_from(now.subsec_millisecond()).unwrap_or(0), 3);
        text.push_str(if json { "Z\"" } else { "Z INFO  request" });

        let mut end = LONGEST_PATH.min(line.path.len());
        while !line.path.is_char_boundary(end) {
            end -= 1;
        }
        let mut fields = Fields { text, json };
        fields.string("method", line.method);
        fields.string("path", &line.path[..end]);
        fields.number("status", line.status.into());
        fields.string("route", line.route);
        fields.string("upstream", line.upstream);
        fields.address("target", line.target.map(|target| (target.ip(), Some(target.port()))));
        fields.string("fault", line.fault);
        fields.string("code", line.code);
        fields.milliseconds("ms", Some(line.took));
        fields.milliseconds("upstream_ms", line.upstream_took);
        fields.number("bytes_in", line.received);
        fields.number("bytes_out", line.sent);
        fields.address("client", line.client.map(|client| (client, None)));
        fields.string("user_id", line.user_id);
        fields.string("session_id", line.session_id);
        fields.string("request_id", line.request_id);
        fields.string("trace_id", line.trace_id);
        text.push_str(if json { "}\n" } else { "\n" });
        text.as_bytes()
    }

    fn tell_time(&mut self, now: Timestamp) {
        let second = now.as_second();
        if second == self.second && !self.date.is_empty() {
            return;
        }
        self.second = second;
        self.date.clear();
        if let Ok(whole) = Timestamp::from_second(second) {
            let _ = write!(self.date, "{whole}");
            self.date.truncate("2026-11-21T19:42:17".len());
        }
    }
}

/// Appends `number` with at least `width` digits.
fn digits(text: &mut String, number: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number);
    for _ in digits.len()..width {
        text.push('0');
    }
    text.push_str(digits);
}

/// Appends fields: in JSON all of them, absent ones as null; in text those that are there.
struct Fields<'a> {
    text: &'a mut String,
    json: bool,
}

impl Fields<'_> {
    fn name(&mut self, name: &str) {
        if self.json {
            self.text.push_str(",\"");
            self.text.push_str(name);
            self.text.push_str("\":");
        } else {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push('=');
        }
    }

    fn absent(&mut self, name: &str) {
        if self.json {
            self.name(name);
            self.text.push_str("null");
        }
    }

    fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        digits(self.text, number, 1);
    }

    /// With two places: ten microseconds are told apart.
    fn milliseconds(&mut self, name: &str, time: Option<Duration>) {
        let Some(time) = time else {
            return self.absent(name);
        };
        let hundredths = u64::try_from(time.as_micros() / 10).unwrap_or(u64::MAX);
        self.name(name);
        digits(self.text, hundredths / 100, 1);
        self.text.push('.');
        digits(self.text, hundredths % 100, 2);
    }

    /// An address, and perhaps its port.
    fn address(&mut self, name: &str, address: Option<(IpAddr, Option<u16>)>) {
        let Some((address, port)) = address else {
            return self.absent(name);
        };
        self.name(name);
        let quote = if self.json { "\"" } else { "" };
        self.text.push_str(quote);
        match (address, port) {
            (IpAddr::V4(v4), _) => spell(v4, |letter| self.text.push(char::from(letter))),
            (IpAddr::V6(v6), None) => {
                let _ = write!(self.text, "{v6}");
            }
            (IpAddr::V6(v6), Some(_)) => {
                let _ = write!(self.text, "[{v6}]");
            }
        }
        if let Some(port) = port {
            self.text.push(':');
            digits(self.text, port.into(), 1);
        }
        self.text.push_str(quote);
    }

    /// Quoted so that nothing a client sends can break the line it is logged on.
    fn string(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return self.absent(name);
        }
        self.name(name);
        let plain = value.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        match (plain, self.json) {
            (true, true) => {
                self.text.push('"');
                self.text.push_str(value);
                self.text.push('"');
            }
            (true, false) => self.text.push_str(value),
            (false, true) => {
                let _ = write!(self.text, "{}", serde_json::Value::from(value));
            }
            (false, false) => {
                let _ = write!(self.text, "{value:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn line() -> Line<'static> {
        Line {
            method: "GET",
            path: "/home",
            status: 200,
            route: "/home",
            upstream: "home",
            target: Some(([127, 0, 0, 1], 8003).into()),
            fault: "",
            code: "",
            took: Duration::from_micros(10_049),
            upstream_took: Some(Duration::from_micros(990)),
            received: 0,
            sent: 79,
            user_id: "7",
            session_id: "s",
            request_id: "r",
            client: Some([192, 0, 2, 1].into()),
            trace_id: "t",
        }
    }

    fn written(line: &Line<'_>, form: AccessLog) -> String {
        let now = "2026-11-21T19:42:17.042123Z".parse().unwrap();
        let mut scratch = Scratch::default();
        scratch.write(line, form, now);
        String::from_utf8(scratch.write(line, form, now).to_vec()).unwrap()
    }

    #[test]
    fn in_text_a_line_has_what_is_known() {
        assert_eq!(
            written(&line(), AccessLog::Text),
            "2026-11-21T19:42:17.042Z INFO  request method=GET path=/home status=200 route=/home upstream=home \
             target=127.0.0.1:8003 ms=10.04 upstream_ms=0.99 bytes_in=0 bytes_out=79 client=192.0.2.1 user_id=7 \
             session_id=s request_id=r trace_id=t\n"
        );
    }

    #[test]
    fn in_json_a_line_is_an_object_that_has_every_field() {
        let refused = Line {
            status: 429,
            upstream: "",
            target: Some("[::1]:80".parse().unwrap()),
            fault: "client",
            code: "rate_limited",
            upstream_took: None,
            user_id: "",
            session_id: "",
            trace_id: "",
            client: Some("2001:db8::1".parse().unwrap()),
            ..line()
        };
        let text = written(&refused, AccessLog::Json);
        assert!(text.ends_with("}\n") && text.matches('\n').count() == 1);
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({"time": "2026-11-21T19:42:17.042Z", "method": "GET", "path": "/home", "status": 429, "route": "/home",
                   "upstream": null, "target": "[::1]:80", "fault": "client", "code": "rate_limited", "ms": 10.04,
                   "upstream_ms": null, "bytes_in": 0, "bytes_out": 79, "client": "2001:db8::1", "user_id": null,
                   "session_id": null, "request_id": "r", "trace_id": null})
        );
    }

    #[test]
    fn nothing_that_a_client_sends_breaks_its_line() {
        let path = format!("/\"\\\n{{}}\u{e9}{}", "\u{e9}".repeat(600));
        let odd = Line { path: &path, ..line() };
        let text = written(&odd, AccessLog::Text);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.contains(r#"path="/\"\\\n{}é"#), "{text}");
        let object: Value = serde_json::from_str(&written(&odd, AccessLog::Json)).unwrap();
        let logged = object["path"].as_str().unwrap();
        assert!(
            path.starts_with(logged) && (500..=512).contains(&logged.len()),
            "{logged}"
        );
    }

    #[test]
    fn the_time_goes_on() {
        let mut scratch = Scratch::default();
        for time in [
            "2026-11-21T19:42:17.999Z",
            "2026-11-21T19:42:18.000Z",
            "1970-01-01T00:00:00.000Z",
        ] {
            let text = scratch.write(&line(), AccessLog::Text, time.parse().unwrap());
            assert!(text.starts_with(time.as_bytes()), "{time}");
        }
    }
}
