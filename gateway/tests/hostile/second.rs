//! Requests of HTTP/2 that would say something else in HTTP/1.1 (RFC 9113 sections 8.2 and 8.3): each is made from a good one,
//! frame by frame, and must end there or reach the upstream as a request that can be read in one way only.

use std::fmt::Write as _;

use crate::front::{DATA, END_HEADERS, END_STREAM, Front, HEADERS, NAME, Outcome, block, frame};
use crate::identity::{AT_ONCE, CLAIM, OURS, spellings};
use crate::recorder::Kept;
use crate::strict;

/// What must become of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Must {
    /// Its stream or its connection ends without an answer; nothing reaches the upstream.
    Reset,
    /// The same, of one that the upstream may have seen a part of.
    BreakOff,
    /// The same, of one that the upstream may have seen without any body.
    BreakOffEmpty,
    /// This answer; nothing reaches the upstream.
    Refuse(u16),
    /// One clean request with this target and this body, without the header of this name.
    Forward(&'static str, &'static str, &'static str),
}

use Must::{BreakOff, BreakOffEmpty, Forward, Refuse, Reset};

/// A request as its frames say it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    fields: Vec<(&'static str, &'static str)>,
    data: Option<&'static str>,
    trailer: Option<(&'static str, &'static str)>,
}

pub(crate) type Row = (String, Asked, Must);

/// A good request without a body.
fn get() -> Asked {
    Asked {
        fields: vec![
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/open"),
            (":authority", NAME),
        ],
        data: None,
        trailer: None,
    }
}

/// A good request with the body `abcde`, which does not say its length.
fn post() -> Asked {
    let mut asked = get().with(":method", "POST");
    asked.data = Some("abcde");
    asked
}

impl Asked {
    /// With another field behind the others.
    fn plus(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    /// With this value in the place of the one that it has.
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        let field = self.fields.iter_mut().find(|(known, _)| *known == name);
        field.unwrap().1 = value;
        self
    }

    fn without(mut self, name: &'static str) -> Self {
        self.fields.retain(|(known, _)| *known != name);
        self
    }

    fn ending(mut self, name: &'static str, value: &'static str) -> Self {
        self.trailer = Some((name, value));
        self
    }

    fn frames(&self) -> Vec<u8> {
        let end = |is_last: bool| if is_last { END_STREAM } else { 0 };
        let flags = END_HEADERS | end(self.data.is_none());
        let mut frames = frame(HEADERS, flags, 1, &block(&self.fields));
        if let Some(data) = self.data {
            frames.extend(frame(DATA, end(self.trailer.is_none()), 1, data.as_bytes()));
        }
        if let Some(trailer) = self.trailer {
            frames.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[trailer])));
        }
        frames
    }
}

/// Asks every row, each followed by an innocent request of another client, and fails with a list of those that came to
/// something else than they must.
async fn prove(rows: Vec<Row>) {
    let front = Front::start().await;
    let may_break = rows.iter().any(|row| matches!(row.2, BreakOff | BreakOffEmpty));
    let mut failures = String::new();
    for (number, (name, asked, must)) in rows.iter().enumerate() {
        let outcome = front.ask(&asked.frames()).await;
        let innocent = format!("/open/innocent/{number}");
        let mut fields: Vec<(&str, &str)> = get().without(":path").fields;
        fields.push((":path", innocent.as_str()));
        let good = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields));
        let after = front.ask(&good).await;
        assert_eq!(after, Outcome::Answer(200), "another client, after {name}");
        let seen = front.recorder.take();
        let is_whole = seen.faults.is_empty() && (may_break || seen.fragments.is_empty());
        if !is_whole || !is_right(*must, outcome, &asked.fields, &seen, &innocent) {
            writeln!(failures, "{name}: must {must:?}, but came to {outcome:?}, and {seen:?}").unwrap();
        }
    }
    let Front { app, recorder, .. } = front;
    app.running.kill().await;
    recorder.until_open(0).await;
    let late = recorder.take();
    assert!(failures.is_empty(), "\n{failures}");
    assert!(late.requests.is_empty() && late.faults.is_empty(), "{late:?}");
    assert!(may_break || late.fragments.is_empty(), "{late:?}");
}

fn is_right(must: Must, outcome: Outcome, asked: &[(&str, &str)], seen: &Kept, innocent: &str) -> bool {
    let Some((last, before)) = seen.requests.split_last() else {
        return false;
    };
    let is_as_it_must = match must {
        Reset | BreakOff => outcome == Outcome::Ended && before.is_empty(),
        BreakOffEmpty => before.len() < 2 && before.iter().all(|request| request.body.is_empty()),
        Refuse(status) => outcome == Outcome::Answer(status) && before.is_empty(),
        Forward(target, body, without) => {
            let [request] = before else {
                return false;
            };
            outcome == Outcome::Answer(200)
                && asked.contains(&(":method", request.method.as_str()))
                && (request.target.as_str(), request.body.as_slice()) == (target, body.as_bytes())
                && request.values(without).is_empty()
                && request.values("x-user-id").is_empty()
                && request.values("x-forwarded-host") == [NAME]
                && request.values("x-forwarded-proto") == ["https"]
        }
    };
    is_as_it_must && last.target == innocent
}

fn field(asked: Asked, name: &'static str, value: &'static str, must: Must) -> Row {
    (format!("{name:?}: {value:?}"), asked.plus(name, value), must)
}

fn row(name: &str, asked: Asked, must: Must) -> Row {
    (name.to_owned(), asked, must)
}

/// Every row after which the upstream has seen nothing, or a whole request.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("nothing odd", get(), Forward("/open", "", "")),
        row("nothing odd, with a body", post(), Forward("/open", "abcde", "")),
    ];
    rows.extend(connections());
    rows.extend(lengths());
    rows.extend(bytes());
    rows.extend(pseudo());
    rows.extend(hosts());
    rows
}

fn connections() -> Vec<Row> {
    let refused = [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("connection", "x-user-id"),
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, chunked"),
    ];
    let withheld = [
        ("te", "trailers"),
        ("trailer", "x-user-id"),
        ("expect", "100-continue"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("transfer_encoding", "chunked"),
        ("content_length", "1"),
        ("content.length", "1"),
    ];
    let refused = refused.map(|(name, value)| field(post(), name, value, Reset));
    let withheld = withheld.map(|(name, value)| field(post(), name, value, Forward("/open", "abcde", name)));
    let mut rows = [refused.to_vec(), withheld.to_vec()].concat();
    let trailer = post().ending("x-user-id", "1");
    rows.push(row(
        "an identity in a trailer",
        trailer,
        Forward("/open", "abcde", "x-user-id"),
    ));
    rows
}

fn lengths() -> Vec<Row> {
    let whole = Forward("/open", "abcde", "transfer-encoding");
    let sized = |length| post().plus("content-length", length);
    let odd = ["+5", "-5", "0x5", "5, 5", "5;", "99999999999999999999"];
    let mut rows = odd
        .map(|length| field(post(), "content-length", length, Reset))
        .to_vec();
    rows.extend([
        row("a length", sized("5"), whole),
        row("a length with a zero in front", sized("05"), whole),
        row("the same length twice", sized("5").plus("content-length", "5"), whole),
        row("two lengths", sized("5").plus("content-length", "6"), Reset),
        row("a length of nothing", get().plus("content-length", "5"), Reset),
    ]);
    rows
}

fn bytes() -> Vec<Row> {
    let values = [
        "a\r\nx-user-id: 1",
        "a\rb",
        "a\nb",
        "a\0b",
        "a\x7fb",
        "\r\n\r\nGET /home HTTP/1.1",
    ];
    let names = [
        "x-a\r\nx-user-id",
        "x-a\rb",
        "x-a\nb",
        "x-a\0",
        "X-Good",
        "",
        "x:a",
        "x a",
        " x-a",
        "x-a ",
    ];
    let values = values.map(|value| field(get(), "x-good", value, Reset));
    [
        values.to_vec(),
        names.map(|name| field(get(), name, "1", Reset)).to_vec(),
    ]
    .concat()
}

fn pseudo() -> Vec<Row> {
    let late = get().without(":path").plus("x-good", "1").plus(":path", "/open");
    let tunnel = get().with(":method", "CONNECT");
    let mut rows = vec![
        row("a path behind a field", late, Reset),
        row("CONNECT to a path", tunnel.clone(), Reset),
        row("CONNECT", tunnel.without(":scheme").without(":path"), Refuse(405)),
    ];
    for name in [":method", ":scheme", ":path"] {
        rows.push(row(&format!("no {name}"), get().without(name), Reset));
    }
    for (name, value) in [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/home"),
        (":authority", NAME),
        (":user", "7"),
        (":status", "200"),
        (":protocol", "websocket"),
    ] {
        rows.push(field(get(), name, value, Reset));
    }
    for (name, value, must) in [
        (":method", "", Reset),
        (":method", "GE T", Reset),
        (":method", "GET /home HTTP/1.1\r\n", Reset),
        (":method", "TRACE", Refuse(405)),
        (":scheme", "ht tp", Reset),
        (":scheme", "https\r\n", Reset),
        (":scheme", "ftp", Refuse(400)),
        (":scheme", "http", Forward("/open", "", "")),
        (":path", "", Reset),
        (":path", "open", Reset),
        (":path", "https://evil.test/open", Reset),
        (":path", "/open HTTP/1.1", Reset),
        (":path", "/open HTTP/1.1\r\nx-user-id: 1\r\n\r\n", Reset),
        (":path", "/open\n", Reset),
        (":path", "/open\0", Reset),
        (":path", "*", Refuse(400)),
        (":path", "/open%0d%0ax-user-id:%201", Refuse(400)),
        (":path", "/open/../../home", Refuse(400)),
        (":path", "/open/../home", Refuse(401)),
        (":path", "//evil.test/open", Refuse(404)),
        (":path", "/open?x#/home", Forward("/open?x", "", "")),
    ] {
        rows.push((format!("{name} is {value:?}"), get().with(name, value), must));
    }
    rows
}

fn hosts() -> Vec<Row> {
    let plain = Forward("/open", "", "");
    let unnamed = get().without(":authority");
    let two = unnamed.clone().plus("host", NAME).plus("host", "evil.test");
    let mut rows = vec![
        row("a host beside the authority", get().plus("host", NAME), plain),
        row(
            "another host than the authority",
            get().plus("host", "evil.test"),
            Refuse(400),
        ),
        row("a host alone", unnamed.clone().plus("host", NAME), plain),
        row("two hosts", two, Reset),
        row(
            "the same host twice",
            get().plus("host", NAME).plus("host", NAME),
            Reset,
        ),
        row("no host", unnamed, Reset),
    ];
    for (authority, must) in [
        ("", Reset),
        ("user@gateway.test", Refuse(400)),
        ("gateway.test@evil.test", Refuse(400)),
        ("gateway.test/home", Reset),
        ("gateway.test evil.test", Reset),
        ("gateway.test\r\nx-user-id: 1", Reset),
    ] {
        let asked = get().with(":authority", authority);
        rows.push((format!("the authority {authority:?}"), asked, must));
    }
    rows
}

#[actix_web::test]
async fn a_request_of_http_2_that_http_1_reads_otherwise_is_not_passed_on() {
    prove(rows()).await;
}

#[actix_web::test]
async fn a_body_of_http_2_that_is_not_what_its_head_says_never_arrives_whole() {
    let mut rows = ["4", "6", "500", ""]
        .map(|length| field(post(), "content-length", length, BreakOff))
        .to_vec();
    let trailer = post().ending("transfer-encoding", "chunked");
    rows.push(row("a coding in a trailer", trailer, BreakOff));
    rows.push(field(post(), "content-length", "0", BreakOffEmpty));
    prove(rows).await;
}

/// How services see `name` that turn names into variables.
fn folded(name: &str) -> String {
    let dashed = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    dashed.collect::<String>().to_ascii_lowercase()
}

/// Fails when the upstream hears of something that is ours in another spelling, or with another value than we say.
fn check(request: &strict::Request, names: &[String]) {
    for (name, value) in [
        ("x-user-id", "7"),
        ("x-user-roles", "staff,support"),
        ("x-session-id", "session-7"),
        ("x-scope", "profile orders"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", NAME),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=127.0.0.1;host=\"gateway.test\";proto=https"),
    ] {
        assert_eq!(request.values(name), [value], "{name} of {names:?}");
    }
    for name in ["authorization", "traceparent", "x-request-id"] {
        assert_eq!(request.values(name).len(), 1, "{name} of {names:?}");
    }
    for (name, value) in &request.fields {
        let plain = folded(name);
        // A client may name its request, in the one spelling.
        let is_adopted = name == "x-request-id" && names.contains(name);
        if OURS.iter().any(|ours| folded(ours) == plain) {
            assert_eq!(*name, plain, "after {names:?}");
            assert!(
                is_adopted || !value.contains(CLAIM),
                "{name} is {value} after {names:?}"
            );
        }
    }
}

#[actix_web::test]
async fn no_spelling_of_an_identity_header_comes_through_from_http_2() {
    let front = Front::start().await;
    let bearer = format!("Bearer {}", front.app.token());
    let mut all: Vec<String> = spellings().iter().map(|name| name.to_ascii_lowercase()).collect();
    all.sort();
    all.dedup();
    assert!(all.len() > 500, "{}", all.len());
    let mut sets: Vec<Vec<String>> = all.chunks(AT_ONCE).map(<[String]>::to_vec).collect();
    for name in OURS.iter().filter(|name| **name != "Authorization") {
        let plain = name.to_ascii_lowercase();
        // The same name again and again, in one spelling and in several.
        sets.push(vec![
            plain.clone(),
            plain.clone(),
            plain.replace('-', "_"),
            plain.replace('-', "."),
        ]);
    }
    for names in sets {
        let mut fields: Vec<(&str, &str)> = get().with(":path", "/home/second").fields;
        fields.push(("authorization", bearer.as_str()));
        fields.extend(names.iter().map(|name| (name.as_str(), CLAIM)));
        let asked = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields));
        assert_eq!(front.ask(&asked).await, Outcome::Answer(200), "{names:?}");
        let seen = front.recorder.take();
        assert!(seen.faults.is_empty() && seen.fragments.is_empty(), "{seen:?}");
        let [request] = seen.requests.as_slice() else {
            panic!("not one request: {seen:?}");
        };
        check(request, &names);
    }
}
