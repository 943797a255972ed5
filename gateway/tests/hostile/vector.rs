//! A vector: bytes that a client sends, and what must become of them. Behind each stands a proper request with somebody's
//! token, on the same connection, and after each comes a proper request on another one.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::helpers::{PATIENCE, TestApp, config, read, spawn_with};
use crate::recorder::{Kept, Recorder};

/// The path of the proper request that stands behind a vector.
const PROBE: &str = "/home/probe";
/// How long the gateway waits for what is missing.
const MISSING: Duration = Duration::from_millis(700);

/// What must become of the bytes.
#[derive(Clone, Debug)]
pub(crate) enum Must {
    /// This answer, and the end of the connection; nothing reaches the upstream.
    Refuse(u16),
    /// This answer, and what stands behind is answered on its own; nothing else reaches the upstream.
    RefuseAndGoOn(u16),
    /// This answer, and the end of the connection; what reached the upstream was never whole.
    BreakOff(u16),
    /// Exactly one clean request, with this target and this body; what stands behind is answered on its own.
    Forward(&'static str, &'static str),
    /// The same, and then the connection ends: what stands behind is not even read.
    ForwardAndEnd(&'static str, &'static str),
    /// Exactly one clean request with this target, and then this answer and the end of the connection.
    ForwardThenRefuse(&'static str, u16),
    /// The same, of a second one of which the upstream may have seen a part.
    ForwardThenBreakOff(&'static str, u16),
    /// Several clean requests, one after the other, with these targets.
    ForwardAll(&'static [&'static str]),
}

/// A row of a table.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    name: String,
    bytes: Vec<u8>,
    /// What is sent once the first answer is there.
    later: Option<Vec<u8>>,
    /// Whether a proper request stands behind.
    probed: bool,
    must: Must,
    with: Vec<(&'static str, &'static str)>,
    without: Vec<&'static str>,
}

/// These bytes as they are.
pub(crate) fn raw(name: impl Into<String>, bytes: impl Into<Vec<u8>>, must: Must) -> Vector {
    Vector {
        name: name.into(),
        bytes: bytes.into(),
        later: None,
        probed: true,
        must,
        with: Vec::new(),
        without: Vec::new(),
    }
}

/// `GET /open` with these header lines.
pub(crate) fn get(name: &str, lines: &str, must: Must) -> Vector {
    raw(
        name,
        format!("GET /open HTTP/1.1\r\nHost: gateway.test\r\n{lines}\r\n"),
        must,
    )
}

/// `POST /open` with these header lines and what stands behind them.
pub(crate) fn post(name: &str, lines: &str, body: &str, must: Must) -> Vector {
    raw(
        name,
        format!("POST /open HTTP/1.1\r\nHost: gateway.test\r\n{lines}\r\n{body}"),
        must,
    )
}

/// `POST /open` with these bytes in the place of chunks.
pub(crate) fn chunked(name: &str, chunks: &str, must: Must) -> Vector {
    post(name, "Transfer-Encoding: chunked\r\n", chunks, must)
}

impl Vector {
    /// What the client sends when it has got its first answer.
    pub(crate) fn later(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.later = Some(bytes.into());
        self
    }

    /// Nothing stands behind: the vector itself ends the connection.
    pub(crate) fn alone(mut self) -> Self {
        self.probed = false;
        self
    }

    /// The upstream must see the header `name` (in lower case) with this one value.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.with.push((name, value));
        self
    }

    /// The upstream must not see the header `name` (in lower case).
    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.without.push(name);
        self
    }
}

/// An answer as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Vec<u8>,
}

/// Sends every vector to a gateway, and fails with a list of those that came to something else than they must.
pub(crate) async fn prove(vectors: Vec<Vector>) {
    let recorder = Recorder::start().await;
    let upstream = recorder.address;
    let app = spawn_with(|configuration| {
        configuration.upstreams = config(upstream).upstreams;
        configuration.header_timeout = MISSING;
        configuration.body_timeout = MISSING;
    })
    .await;
    recorder.take();
    let mut failures = String::new();
    for (number, vector) in vectors.iter().enumerate() {
        let outcome = prove_one(&app, &recorder, vector, number).await;
        if let Err(fault) = outcome {
            writeln!(failures, "{}: {fault}", vector.name).unwrap();
        }
    }
    app.running.kill().await;
    recorder.until_open(0).await;
    let late = recorder.take();
    assert!(failures.is_empty(), "\n{failures}");
    assert!(late.requests.is_empty() && late.faults.is_empty(), "{late:?}");
}

async fn prove_one(app: &TestApp, recorder: &Recorder, vector: &Vector, number: usize) -> Result<(), String> {
    let answers = exchange(app, vector).await?;
    let seen = recorder.take();
    let innocent = format!("/open/innocent/{number}");
    let (status, body) = read(app.get(&innocent).await).await;
    if (status, &body["target"]) != (200, &json!(innocent)) {
        return Err(format!("another client asked for {innocent} and got {status} {body}"));
    }
    let after = recorder.take();
    if after.requests.len() != 1 || !after.faults.is_empty() {
        return Err(format!("something came late: {after:?}"));
    }
    judge(vector, &answers, &seen)
}

/// What the gateway answers to the vector with a proper request behind it, until it ends the connection.
async fn exchange(app: &TestApp, vector: &Vector) -> Result<Vec<Answer>, String> {
    let probe = format!(
        "GET {PROBE} HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        app.token()
    );
    let mut parts = vec![vector.bytes.clone()];
    parts.extend(vector.later.clone());
    if let (Some(last), true) = (parts.last_mut(), vector.probed) {
        last.extend_from_slice(probe.as_bytes());
    }
    let is_to_head = vector.bytes.starts_with(b"HEAD ");
    let (mut reader, mut writer) = TcpStream::connect(app.address).await.unwrap().into_split();
    let mut received = Vec::new();
    let exchanging = async {
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            writer.write_all(&part).await.unwrap();
            while parse(&received, is_to_head).is_none_or(|answers| answers.is_empty()) {
                if reader.read_buf(&mut received).await? == 0 {
                    break;
                }
            }
        }
        // What is refused halfway may not be taken to its end.
        let (_, read) = tokio::join!(writer.write_all(&last), reader.read_to_end(&mut received));
        read
    };
    let shown = |received: &[u8]| String::from_utf8_lossy(received).into_owned();
    match tokio::time::timeout(PATIENCE, exchanging).await {
        Err(_) => return Err(format!("no end of the connection after {:?}", shown(&received))),
        // What was not read may be answered by a reset, once the answer is there.
        Ok(Err(error)) if received.is_empty() => {
            return Err(format!("no answer: {error}"));
        }
        Ok(_) => {}
    }
    parse(&received, is_to_head).ok_or_else(|| format!("no answers: {:?}", shown(&received)))
}

/// Reads final answers one after the other; the first has no body if it `is_to_head`. `None` when they are not whole.
fn parse(mut bytes: &[u8], mut is_to_head: bool) -> Option<Vec<Answer>> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?.to_ascii_lowercase();
        bytes = &bytes[end + 4..];
        let status: u16 = head.strip_prefix("http/1.")?.split(' ').nth(1)?.parse().ok()?;
        if status < 200 {
            continue;
        }
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length = match (is_to_head, field("content-length:")) {
            (false, Some(length)) => length.parse().ok()?,
            (true, _) | (false, None) => 0,
        };
        is_to_head = false;
        let (body, rest) = bytes.split_at_checked(length)?;
        answers.push(Answer {
            status,
            body: body.to_vec(),
        });
        bytes = rest;
    }
    Some(answers)
}

fn judge(vector: &Vector, answers: &[Answer], seen: &Kept) -> Result<(), String> {
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let targets: Vec<&str> = seen.requests.iter().map(|request| request.target.as_str()).collect();
    let found = || {
        let refusals = answers.iter().filter(|answer| answer.status != 200);
        let codes: Vec<Value> = refusals
            .map(|answer| serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()["code"].take())
            .collect();
        let mut found = format!(
            "must {:?}, but was answered {statuses:?} {codes:?}, and the upstream saw",
            vector.must
        );
        for request in &seen.requests {
            let (fields, body) = (&request.fields, String::from_utf8_lossy(&request.body));
            write!(found, "\n    {} {} {fields:?} {body:?}", request.method, request.target).unwrap();
        }
        for fault in &seen.faults {
            write!(found, "\n    {}: {:?}", fault.0, String::from_utf8_lossy(&fault.1)).unwrap();
        }
        for fragment in &seen.fragments {
            write!(found, "\n    a fragment: {:?}", String::from_utf8_lossy(fragment)).unwrap();
        }
        found
    };
    let so = |right: bool| if right { Ok(()) } else { Err(found()) };
    so(seen.faults.is_empty())?;
    so(seen.fragments.is_empty() || matches!(vector.must, Must::BreakOff(_) | Must::ForwardThenBreakOff(..)))?;
    // Whoever is answered by the upstream is answered what it asked for.
    let forwarded: Vec<Value> = answers
        .iter()
        .filter(|answer| answer.status == 200 && !answer.body.is_empty())
        .map(|answer| serde_json::from_slice(&answer.body).unwrap_or_default())
        .collect();
    let own = |targets: &[&str]| {
        let told: Vec<&str> = forwarded.iter().filter_map(|body| body["target"].as_str()).collect();
        let head = vector.bytes.starts_with(b"HEAD ");
        told == targets[usize::from(head)..]
    };
    match &vector.must {
        Must::Refuse(status) | Must::BreakOff(status) => so(statuses == [*status] && targets.is_empty())?,
        Must::RefuseAndGoOn(status) => so(statuses == [*status, 200] && targets == [PROBE] && own(&targets))?,
        Must::Forward(target, body) => {
            so(statuses == [200, 200] && targets == [*target, PROBE] && own(&targets))?;
            so(seen.requests[0].body == body.as_bytes())?;
        }
        Must::ForwardAndEnd(target, body) => {
            so(statuses == [200] && targets == [*target] && own(&targets))?;
            so(seen.requests[0].body == body.as_bytes())?;
        }
        Must::ForwardThenRefuse(target, status) | Must::ForwardThenBreakOff(target, status) => {
            so(statuses == [200, *status] && targets == [*target] && own(&targets))?;
        }
        Must::ForwardAll(all) => {
            let expected: Vec<&str> = all.iter().copied().chain([PROBE]).collect();
            so(statuses.iter().all(|status| *status == 200) && targets == expected && own(&targets))?;
        }
    }
    for request in &seen.requests {
        // Only the proper request had a token.
        let user = if request.target == PROBE { vec!["7"] } else { vec![] };
        so(request.values("x-user-id") == user)?;
    }
    for (name, value) in &vector.with {
        so(seen.requests[0].values(name) == [*value])?;
    }
    for name in &vector.without {
        so(seen.requests[0].values(name).is_empty())?;
    }
    Ok(())
}
