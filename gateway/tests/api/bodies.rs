//! Bodies and the heads around them, as they stand on the wire: their edges, and what happens when an end goes away.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::helpers::{PATIENCE, TestApp, listener, odd, parse, read_head, spawn, spawn_with};

/// How soon an end hears that the other one is gone.
const SOON: Duration = Duration::from_secs(1);

async fn spawn_odd() -> (TestApp, TcpListener) {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    (app, service)
}

async fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Everything until the end, and whether the end was in order.
async fn rest(stream: &mut TcpStream) -> (String, bool) {
    let mut text = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await;
    let in_order = reading.expect("it ends in time").is_ok();
    (String::from_utf8(text).unwrap(), in_order)
}

/// Until `text` ends with `end`.
async fn read_until(stream: &mut TcpStream, text: &mut String, end: &str) {
    let reading = async {
        while !text.ends_with(end) {
            let mut piece = Vec::new();
            assert_ne!(stream.read_buf(&mut piece).await.unwrap(), 0, "{text}");
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it comes in time");
}

/// Sends `request` and has the service answer `answer` and close its connection: what each of them got.
async fn exchange(app: &TestApp, service: &TcpListener, request: &str, answer: &str) -> (String, String) {
    let serving = async {
        let (mut stream, _) = service.accept().await.unwrap();
        let seen = read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        seen
    };
    let asking = async {
        let mut stream = connect(app.address, request).await;
        rest(&mut stream).await.0
    };
    tokio::join!(asking, serving)
}

const GET: &str = "GET /odd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[actix_web::test]
async fn what_goes_before_an_answer_is_not_the_answer() {
    let (app, service) = spawn_odd().await;
    for before in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let answer = format!("{before}HTTP/1.1 418 I'm a teapot\r\nContent-Length: 2\r\n\r\nok");
        let (text, _) = exchange(&app, &service, GET, &answer).await;
        assert_eq!(parse(&text), (418, json!("ok")), "{text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
    }
}

#[actix_web::test]
async fn trailers_end_where_they_are_in_both_directions() {
    let (app, service) = spawn_odd().await;
    let request = "POST /odd HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTE: trailers\r\nTrailer: X-User-Id\r\n\
                   Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-User-Id: 1\r\n\r\n";
    let serving = async {
        let (mut stream, _) = service.accept().await.unwrap();
        let mut seen = String::new();
        read_until(&mut stream, &mut seen, "0\r\n\r\n").await;
        let answer =
            "HTTP/1.1 200 OK\r\nTrailer: X-Late\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        seen.to_ascii_lowercase()
    };
    let asking = async {
        let mut stream = connect(app.address, request).await;
        rest(&mut stream).await
    };
    let ((answer, in_order), seen) = tokio::join!(asking, serving);
    assert!(in_order && answer.ends_with("\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("trailer"), "{answer}");
    assert!(seen.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{seen}");
    assert!(
        !seen.contains("x-user-id") && !seen.contains("\r\nte:") && !seen.contains("\r\ntrailer:"),
        "{seen}"
    );
}

#[actix_web::test]
async fn an_answer_without_a_body_has_none_whatever_its_head_says() {
    let (app, service) = spawn_odd().await;
    for (method, answer, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", Some("1000")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n", Some("9")),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", None),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n",
            Some("1000"),
        ),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", None),
        (
            "GET",
            "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
            Some("0"),
        ),
        (
            "GET",
            "HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Some("0"),
        ),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
    ] {
        let (text, _) = exchange(&app, &service, &GET.replace("GET", method), answer).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(head[..12], answer[..12], "{method} {answer}");
        assert_eq!(body, "", "{method} {answer}");
        let head = head.to_ascii_lowercase();
        let found = head
            .split("\r\ncontent-length: ")
            .nth(1)
            .map(|rest| rest.split("\r\n").next().unwrap());
        assert_eq!(found, length, "{method} {answer} {head}");
    }
}

#[actix_web::test]
async fn every_way_to_find_the_end_of_an_answer_is_understood() {
    let (app, service) = spawn_odd().await;
    for (answer, body) in [
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
        (
            "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        ("Connection: close\r\n\r\nhello", "5\r\nhello\r\n0\r\n\r\n"),
        ("Connection: close\r\n\r\n", "0\r\n\r\n"),
        ("Content-Length: 5\r\n\r\nhello and more", "hello"),
    ] {
        let (text, _) = exchange(&app, &service, GET, &format!("HTTP/1.1 200 OK\r\n{answer}")).await;
        let (head, seen) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?} {text}");
        assert_eq!(seen, body, "{answer:?} {head}");
    }
}

#[actix_web::test]
async fn an_answer_that_is_cut_off_is_seen_to_be_cut_off() {
    let (app, service) = spawn_odd().await;
    for (answer, body) in [
        ("Content-Length: 10\r\n\r\nabc", "abc"),
        ("Content-Length: 18446744073709551615\r\n\r\nabc", ""),
        ("Content-Length: 9223372036854775807\r\n\r\nabc", "abc"),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "3\r\nabc\r\n"),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "3\r\nabc\r\n"),
        ("Transfer-Encoding: chunked\r\n\r\nA\r\nabc", "3\r\nabc\r\n"),
    ] {
        let (text, _) = exchange(&app, &service, GET, &format!("HTTP/1.1 200 OK\r\n{answer}")).await;
        if text.starts_with("HTTP/1.1 502 ") {
            assert_eq!(body, "", "{answer:?} {text}");
            continue;
        }
        let (head, seen) = text.split_once("\r\n\r\n").unwrap();
        assert!(body.starts_with(seen), "{answer:?} {text}");
        assert!(
            !seen.contains("\r\n0\r\n") && !seen.starts_with("0\r\n"),
            "{answer:?} {text}"
        );
        let lower = head.to_ascii_lowercase();
        let announced = lower
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        assert!(
            announced.is_none_or(|length: u64| length > seen.len() as u64),
            "{answer:?} {text}"
        );
    }
}

/// The gateway has closed `stream` soon.
async fn is_closed_soon(stream: &mut TcpStream) {
    let mut space = vec![0; 64 * 1024];
    let reading = async { while stream.read(&mut space).await.is_ok_and(|size| size > 0) {} };
    tokio::time::timeout(SOON, reading)
        .await
        .expect("its connection is closed soon");
}

#[actix_web::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let (app, service) = spawn_odd().await;
    let upload = "POST /odd HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc";
    for request in [GET, upload] {
        // Before there is an answer.
        let client = connect(app.address, request).await;
        let (mut stream, _) = service.accept().await.unwrap();
        read_head(&mut stream).await;
        drop(client);
        is_closed_soon(&mut stream).await;
        // In the middle of one, which nobody goes on with.
        let mut client = connect(app.address, request).await;
        let (mut stream, _) = service.accept().await.unwrap();
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            .await
            .unwrap();
        let mut text = String::new();
        read_until(&mut client, &mut text, "abc").await;
        drop(client);
        is_closed_soon(&mut stream).await;
    }
}

#[actix_web::test]
async fn a_download_that_nobody_reads_any_more_ends_at_the_service_too() {
    let (app, service) = spawn_odd().await;
    let client = connect(app.address, GET).await;
    let (mut stream, _) = service.accept().await.unwrap();
    read_head(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let piece = vec![b'x'; 1024 * 1024];
    while tokio::time::timeout(Duration::from_millis(300), stream.write(&piece))
        .await
        .is_ok()
    {}
    drop(client);
    let writing = async { while stream.write(&piece).await.is_ok() {} };
    tokio::time::timeout(SOON, writing)
        .await
        .expect("its connection is closed soon");
}

#[actix_web::test]
async fn an_answer_that_comes_before_the_end_of_the_request_arrives() {
    let (app, service) = spawn_odd().await;
    for (framing, piece) in [
        ("Content-Length: 5000000", "x".repeat(50_000)),
        (
            "Transfer-Encoding: chunked",
            format!("c350\r\n{}\r\n", "x".repeat(50_000)),
        ),
    ] {
        let head = format!("POST /odd HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n");
        let mut client = connect(app.address, &head).await;
        client.write_all(piece.as_bytes()).await.unwrap();
        let (mut stream, _) = service.accept().await.unwrap();
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
            .await
            .unwrap();
        drop(stream);
        let mut answer = String::new();
        read_until(&mut client, &mut answer, "big").await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        if framing.starts_with("Transfer") {
            // Either the rest is read and thrown away and the connection serves on, or it is closed (RFC 9112 section 9.3):
            // never is a part of the body taken for a request.
            let next = b"0\r\n\r\nGET /open/418 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let open =
                client.write_all(piece.repeat(20).as_bytes()).await.is_ok() && client.write_all(next).await.is_ok();
            let (answer, _) = rest(&mut client).await;
            assert!(answer.is_empty() || (open && parse(&answer).0 == 418), "{answer}");
        } else {
            // Whoever goes on sending is cut off, and not served as if this were another request.
            let sending = async { while client.write_all(piece.as_bytes()).await.is_ok() {} };
            tokio::time::timeout(PATIENCE, sending).await.expect("it is cut off");
        }
    }
}

#[actix_web::test]
async fn requests_that_come_at_once_are_answered_in_order() {
    let app = spawn().await;
    let both = |status| {
        format!(
            "POST /open/{status} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{status}\
             GET /open/{status} HTTP/1.1\r\nHost: x\r\n\r\n"
        )
    };
    let mut requests: String = [201, 404, 200, 418].map(both).concat();
    requests += "GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = app.raw(requests.as_bytes()).await;
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(
        statuses,
        ["201", "201", "404", "404", "200", "200", "418", "418", "200"]
    );
    let bodies: Vec<&str> = answer
        .split(r#""body":""#)
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert_eq!(bodies, ["201", "", "404", "", "200", "", "418", "", ""]);
}

#[actix_web::test]
async fn an_upload_in_empty_and_tiny_chunks_arrives_whole() {
    let app = spawn().await;
    let request = |body: &str| {
        format!("POST /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    for (chunks, length) in [
        ("0\r\n\r\n".to_owned(), 0),
        ("1\r\nx\r\n".repeat(3000) + "0\r\n\r\n", 3000),
    ] {
        let (status, seen) = parse(&app.raw(request(&chunks).as_bytes()).await);
        assert_eq!((status, &seen["length"]), (200, &json!(length)));
    }
    let huge = "POST /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 18446744073709551615\r\n\r\n";
    assert_eq!(parse(&app.raw(huge.as_bytes()).await).0, 413);
    assert_eq!(app.echo.seen(), 2);
}

#[actix_web::test]
async fn a_refused_request_that_expects_to_go_on_hears_so_without_sending_its_body() {
    let app = spawn().await;
    for (path, length, status) in [("/home", 5, 401), ("/small", 1001, 413), ("/nowhere", 5, 404)] {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n");
        let started = service_kit::clock::instant();
        let mut client = connect(app.address, &head).await;
        let mut text = String::new();
        read_until(&mut client, &mut text, "}").await;
        assert_eq!(parse(&text).0, status, "and nothing else before it: {text}");
        assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
        assert!(started.elapsed() < Duration::from_secs(4), "it is not waited for");
    }
    assert_eq!(app.echo.seen(), 0);
}

#[actix_web::test]
async fn a_request_that_expects_to_go_on_may_and_its_service_is_not_asked() {
    let app = spawn().await;
    let head =
        "POST /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut client = connect(app.address, head).await;
    let mut text = String::new();
    read_until(&mut client, &mut text, "HTTP/1.1 100 Continue\r\n\r\n").await;
    client.write_all(b"hello").await.unwrap();
    let (answer, in_order) = rest(&mut client).await;
    let (status, seen) = parse(&answer);
    assert!(in_order);
    assert_eq!((status, &seen["body"]), (200, &json!("hello")));
    assert!(seen["headers"].get("expect").is_none());
}
