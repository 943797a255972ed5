//! The access log of the real binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use service_kit::clock;

use crate::helpers::{Client, PASSWORD};
use crate::process::command;

const PATIENCE: Duration = Duration::from_mins(1);
/// What every line of JSON has, in this order.
const KEYS: [&str; 18] = [
    "time",
    "method",
    "path",
    "status",
    "route",
    "upstream",
    "target",
    "fault",
    "code",
    "ms",
    "upstream_ms",
    "bytes_in",
    "bytes_out",
    "client",
    "user_id",
    "session_id",
    "request_id",
    "trace_id",
];

/// A running `up`, killed when it is dropped, and the lines it writes.
struct Logged {
    child: Child,
    out: Receiver<String>,
    errors: Receiver<String>,
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

/// The first line that has `text` in it.
fn find(lines: &Receiver<String>, text: &str) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect("it is written in time");
        if line.contains(text) {
            return line;
        }
    }
}

impl Logged {
    fn start(form: &str, directory: &tempfile::TempDir) -> Self {
        let mut child = command(directory.path())
            .env("PORTCULLIS_GATEWAY__ACCESS_LOG", form)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            out: lines(child.stdout.take().unwrap()),
            errors: lines(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Stops it in order; everything that it wrote and nobody has read yet.
    fn stop(mut self) -> (Vec<String>, Vec<String>) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success() && self.child.wait().unwrap().success());
        (self.out.iter().collect(), self.errors.iter().collect())
    }
}

/// The URL in a line that greets.
fn url(greeting: &str) -> String {
    let (_, rest) = greeting.split_once("Portcullis is ready: ").unwrap();
    rest.split_ascii_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_line_for_every_request_and_no_secret_in_any() {
    let directory = tempfile::tempdir().unwrap();
    let up = Logged::start("json", &directory);
    let client = Client::new(&url(&find(&up.errors, "Portcullis is ready: ")));
    let ada = client.register("ada").await;
    client.get("/home?secret=in-the-query", &ada.access).await;
    client.try_login("nobody").await;
    client.refresh("pcr_made-up-token").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = client.request("HEAD", "/home").bearer_auth(&ada.access);
    let request = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    client.send(request.header("x-request-id", "my-own")).await;
    client.get("/home/..%2f", "made.up.token").await;
    client.get("/nowhere-at-all", "").await;

    let (out, _) = up.stop();
    let all = out.join("\n");
    for secret in [
        &ada.access,
        &ada.refresh,
        PASSWORD,
        "in-the-query",
        "ada@",
        "pcr_",
        "made.up",
    ] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
    let objects: Vec<Value> = out.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for object in &objects {
        assert!(object.as_object().unwrap().keys().eq(KEYS), "{object}");
    }
    let seen: Vec<String> = objects
        .iter()
        .map(|object| {
            ["method", "path", "status", "route", "upstream", "fault", "code"]
                .map(|key| object[key].to_string().replace('"', ""))
                .join(" ")
        })
        .collect();
    assert_eq!(
        seen,
        [
            "POST /api/auth/register 201 /api/auth/register identity null null",
            "GET /home 200 /home home null null",
            "POST /api/auth/login 401 /api/auth/login identity client null",
            "POST /api/auth/refresh 401 /api/auth/refresh token client null",
            "HEAD /home 200 /home home null null",
            "GET /home/..%2f 400 null null client bad_path",
            "GET /nowhere-at-all 404 null null client not_found",
        ]
    );
    let (registered, home, head) = (&objects[0], &objects[1], &objects[4]);
    assert!(registered["bytes_in"].as_u64() > Some(50) && registered["bytes_out"].as_u64() > Some(500));
    assert_eq!(
        (&home["user_id"], &home["client"]),
        (&json!(ada.id), &json!("127.0.0.1"))
    );
    assert!(home["session_id"].is_string() && home["bytes_out"].as_u64() > Some(50));
    assert!(home["ms"].as_f64() >= home["upstream_ms"].as_f64() && home["upstream_ms"].as_f64() > Some(0.0));
    assert_eq!(
        (&head["trace_id"], &head["request_id"], &head["bytes_out"]),
        (&json!(trace), &json!("my-own"), &json!(0))
    );
}

#[tokio::test]
async fn what_is_no_request_is_logged_with_whom_it_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let up = Logged::start("json", &directory);
    let url = url(&find(&up.errors, "Portcullis is ready: "));
    let mut ids = Vec::new();
    for head in [
        "POST /home HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "this is nothing\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let (_, id) = answer.split_once("x-request-id: ").unwrap();
        ids.push(id.split("\r\n").next().unwrap().to_owned());
    }
    let (out, _) = up.stop();
    let objects: Vec<Value> = out.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), ids.len(), "{out:?}");
    for (object, id) in objects.iter().zip(ids) {
        assert!(object.as_object().unwrap().keys().eq(KEYS), "{object}");
        let expected =
            json!({"status": 400, "fault": "client", "client": "127.0.0.1", "request_id": id, "method": null});
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&object[key], value, "{object}");
        }
    }
}

#[tokio::test]
async fn in_text_lines_stand_beside_the_log_and_soon_after_their_request() {
    let directory = tempfile::tempdir().unwrap();
    let up = Logged::start("text", &directory);
    let client = Client::new(&url(&find(&up.out, "Portcullis is ready: ")));
    client.get("/nowhere", "").await;
    let answered = clock::instant();
    let line = find(&up.errors, "path=/nowhere");
    println!("a line is there {:?} after its answer", answered.elapsed());
    assert!(
        line.contains("Z INFO  request method=GET path=/nowhere status=404 fault=client code=not_found ms="),
        "{line}"
    );
    client.get("/last", "").await;
    let (out, errors) = up.stop();
    assert!(
        errors.iter().any(|line| line.contains("path=/last")),
        "the last lines are written"
    );
    assert!(!out.iter().any(|line| line.contains("path=")));
}

#[tokio::test]
async fn no_line_is_written_where_nobody_wants_any() {
    let directory = tempfile::tempdir().unwrap();
    let up = Logged::start("off", &directory);
    let client = Client::new(&url(&find(&up.out, "Portcullis is ready: ")));
    client.get("/nowhere", "").await;
    let (out, errors) = up.stop();
    assert!(!out.iter().chain(&errors).any(|line| line.contains("/nowhere")));
}
