//! Opening a WebSocket through the gateway: who may, what passes, and what ends it.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use portcullis_client::wire::Reason;
use serde_json::{Value, json};
use service_kit::{clock, random};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Opening, Response as Opened};
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use crate::helpers::{PATIENCE, TestApp, listener, odd, parse, read_head, route, spawn, spawn_with, until, url};

/// The key of RFC 6455 section 1.3, and what answers it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// The answer of a service that agrees.
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

type Socket = WebSocketStream<TcpStream>;

/// A service that says everything again, and what it was asked with. It chooses the first protocol offered to it.
struct EchoSocket {
    address: SocketAddr,
    openings: mpsc::UnboundedReceiver<Value>,
    /// How each conversation ended for it: what was said at last, if anything.
    ends: mpsc::UnboundedReceiver<Option<CloseFrame>>,
}

impl EchoSocket {
    async fn start() -> Self {
        let listener = listener().await;
        let address = listener.local_addr().unwrap();
        let (opening, openings) = mpsc::unbounded_channel();
        let (end, ends) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (opening, end) = (opening.clone(), end.clone());
                tokio::spawn(async move {
                    #[expect(clippy::result_large_err, reason = "the library wants it so")]
                    let socket = accept_hdr_async(stream, |request: &Opening, response: Opened| {
                        Ok(Self::choose(&opening, request, response))
                    });
                    let _ = end.send(Self::echo(socket.await.unwrap()).await);
                });
            }
        });
        Self {
            address,
            openings,
            ends,
        }
    }

    fn choose(opening: &mpsc::UnboundedSender<Value>, request: &Opening, mut response: Opened) -> Opened {
        let headers: serde_json::Map<String, Value> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())))
            .collect();
        let _ = opening.send(json!({"target": request.uri().to_string(), "headers": headers}));
        if let Some(offered) = request.headers().get("sec-websocket-protocol") {
            let first = offered.to_str().unwrap().split(',').next().unwrap();
            response
                .headers_mut()
                .insert("sec-websocket-protocol", first.trim().parse().unwrap());
        }
        response
    }

    async fn echo(mut socket: Socket) -> Option<CloseFrame> {
        let mut said = None;
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Close(frame) => said = frame,
                Message::Text(_) | Message::Binary(_) => socket.send(message).await.ok()?,
                _ => {}
            }
        }
        said
    }

    async fn opening(&mut self) -> Value {
        tokio::time::timeout(PATIENCE, self.openings.recv())
            .await
            .expect("it is asked")
            .unwrap()
    }

    async fn end(&mut self) -> Option<CloseFrame> {
        tokio::time::timeout(PATIENCE, self.ends.recv())
            .await
            .expect("a conversation ends")
            .unwrap()
    }
}

/// A gateway in front of an echo, at `/ws` for those with a token and `/public` for everybody.
async fn spawn_echo() -> (TestApp, EchoSocket) {
    let echo = EchoSocket::start().await;
    let address = echo.address;
    let app = spawn_with(|config| {
        odd(config, address, "");
        config.routes.push(route(r#"{"path": "/ws", "upstream": "odd"}"#));
        config
            .routes
            .push(route(r#"{"path": "/ws/staff", "upstream": "odd", "roles": ["boss"]}"#));
    })
    .await;
    (app, echo)
}

/// A request to open a WebSocket, as programs and browsers write it.
fn asking(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get(format!("ws://{}{path}", app.address))
        .header("host", "gateway.test")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

async fn open(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Result<(Socket, Option<String>), Error> {
    let stream = TcpStream::connect(app.address).await.unwrap();
    let (socket, answer) = client_async(asking(app, path, headers), stream).await?;
    let chosen = answer.headers().get("sec-websocket-protocol");
    Ok((socket, chosen.map(|name| name.to_str().unwrap().to_owned())))
}

/// A WebSocket of `session`.
async fn open_as(app: &TestApp, session: &str) -> Socket {
    let authorization = format!("Bearer {}", app.issuer.token("7", session));
    open(app, "/ws", &[("authorization", &authorization)]).await.unwrap().0
}

/// The status that a request to open a WebSocket is refused with, and the body.
async fn refused(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    match open(app, path, headers).await {
        Err(Error::Http(answer)) => {
            let body = answer.body().as_deref().unwrap_or_default();
            (
                answer.status().as_u16(),
                serde_json::from_slice(body).unwrap_or(Value::Null),
            )
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

async fn next(socket: &mut Socket) -> Option<Result<Message, Error>> {
    tokio::time::timeout(PATIENCE, socket.next())
        .await
        .expect("something in time")
}

async fn echoes(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    assert_eq!(next(socket).await.unwrap().unwrap(), message);
}

fn closed(code: u16, reason: &'static str) -> Message {
    Message::Close(Some(CloseFrame {
        code: CloseCode::from(code),
        reason: reason.into(),
    }))
}

#[actix_web::test]
async fn text_and_binary_pings_and_a_message_of_a_megabyte_pass_both_ways() {
    let (app, mut echo) = spawn_echo().await;
    let token = app.token();
    let (mut socket, chosen) = open(
        &app,
        "/ws/rooms/1?a=%20b",
        &[("authorization", &format!("Bearer {token}"))],
    )
    .await
    .unwrap();
    assert_eq!(chosen, None);
    let opening = echo.opening().await;
    assert_eq!(opening["target"], "/ws/rooms/1?a=%20b");
    assert_eq!(opening["headers"]["authorization"], format!("Bearer {token}"));
    assert_eq!(opening["headers"]["x-user-id"], "7");
    echoes(&mut socket, Message::text("hello, wörld")).await;
    echoes(&mut socket, Message::binary(vec![0, 1, 255])).await;
    echoes(&mut socket, Message::text("")).await;
    echoes(&mut socket, Message::binary(vec![7; 1024 * 1024])).await;
    socket.send(Message::Ping(Bytes::from_static(b"still?"))).await.unwrap();
    assert_eq!(
        next(&mut socket).await.unwrap().unwrap(),
        Message::Pong(Bytes::from_static(b"still?"))
    );
    for (last, opcode) in [
        (false, OpCode::Data(Data::Text)),
        (false, OpCode::Data(Data::Continue)),
        (true, OpCode::Data(Data::Continue)),
    ] {
        let header = FrameHeader {
            is_final: last,
            opcode,
            ..FrameHeader::default()
        };
        let frame = Frame::from_payload(header, Bytes::from_static(b"piece "));
        socket.send(Message::Frame(frame)).await.unwrap();
    }
    assert_eq!(
        next(&mut socket).await.unwrap().unwrap(),
        Message::text("piece piece piece ")
    );
}

#[actix_web::test]
async fn the_code_and_the_reason_of_a_close_pass_and_the_connection_is_closed_at_once() {
    let (app, mut echo) = spawn_echo().await;
    let mut socket = open_as(&app, "mine").await;
    echoes(&mut socket, Message::text("hello")).await;
    let started = clock::instant();
    let frame = CloseFrame {
        code: CloseCode::Library(4000),
        reason: "enough".into(),
    };
    socket.close(Some(frame.clone())).await.unwrap();
    assert_eq!(
        next(&mut socket).await.unwrap().unwrap(),
        Message::Close(Some(frame.clone()))
    );
    assert!(next(&mut socket).await.is_none(), "in order");
    assert_eq!(echo.end().await, Some(frame));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[actix_web::test]
async fn without_a_good_token_no_service_hears_of_it() {
    let (app, mut echo) = spawn_echo().await;
    let expired = app.issuer.token_with(|claims| claims["exp"] = json!(1));
    for (path, headers, status, code) in [
        ("/ws", vec![], 401, "not_authenticated"),
        (
            "/ws",
            vec![("authorization", "Bearer x".to_owned())],
            401,
            "token_not_valid",
        ),
        (
            "/ws",
            vec![("sec-websocket-protocol", "bearer.x, portcullis".to_owned())],
            401,
            "token_not_valid",
        ),
        (
            "/ws",
            vec![("sec-websocket-protocol", format!("bearer.{expired}"))],
            401,
            "token_not_valid",
        ),
        (
            "/ws/staff",
            vec![("sec-websocket-protocol", format!("bearer.{}", app.token()))],
            403,
            "permission_denied",
        ),
        (
            "/ws",
            vec![
                ("sec-websocket-protocol", format!("bearer.{}", app.token())),
                ("authorization", format!("Bearer {}", app.issuer.token("8", "other"))),
            ],
            400,
            "two_tokens",
        ),
        (
            "/ws",
            vec![("sec-websocket-protocol", format!("bearer.{0}, bearer.{0}", app.token()))],
            400,
            "two_tokens",
        ),
        // A query is no place for a token.
        ("/ws?token=bearer.x", vec![], 401, "not_authenticated"),
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (refusal, body) = refused(&app, path, &headers).await;
        assert_eq!((refusal, &body["code"]), (status, &json!(code)), "{path} {headers:?}");
    }
    assert!(echo.openings.try_recv().is_err());
}

#[actix_web::test]
async fn a_browsers_token_comes_among_the_protocols_and_goes_no_further() {
    let (app, mut echo) = spawn_echo().await;
    let token = app.token();
    for (offered, left, chosen) in [
        (format!("bearer.{token}, portcullis"), Value::Null, Some("portcullis")),
        (format!("bearer.{token}, chat, portcullis"), json!("chat"), Some("chat")),
        (
            format!("chat, superchat, bearer.{token}"),
            json!("chat, superchat"),
            Some("chat"),
        ),
    ] {
        let (mut socket, answer) = open(&app, "/ws", &[("sec-websocket-protocol", &offered)])
            .await
            .unwrap();
        assert_eq!(answer.as_deref(), chosen);
        let opening = echo.opening().await;
        assert_eq!(
            opening["headers"].get("sec-websocket-protocol").unwrap_or(&Value::Null),
            &left
        );
        assert_eq!(opening["headers"]["authorization"], format!("Bearer {token}"));
        assert_eq!(opening["headers"]["x-session-id"], "session-7");
        echoes(&mut socket, Message::text("hello")).await;
    }
    // The same token in both places is one.
    let both = [
        ("sec-websocket-protocol", format!("bearer.{token}, portcullis")),
        ("authorization", format!("Bearer {token}")),
    ];
    let both = both.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(open(&app, "/ws", &both).await.unwrap().1.as_deref(), Some("portcullis"));
    // Where nobody asks for a token, the protocols are the service's own.
    let (_, chosen) = open(&app, "/odd", &[("sec-websocket-protocol", "bearer.x, chat")])
        .await
        .unwrap();
    assert_eq!(chosen.as_deref(), Some("bearer.x"));
}

/// Sends `head` and its end as they are, and reads the head of the answer.
async fn ask_raw(app: &TestApp, head: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, read_head(&mut stream)).await.unwrap();
    (stream, answer)
}

fn head(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

/// A service that answers one handshake with `answer`, and then is the test's.
async fn accept_raw(listener: &TcpListener, answer: &str) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let head = read_head(&mut stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    (stream, head)
}

/// A tunnel between two raw ends, on a route without a token.
async fn tunnel(app: &TestApp, service: &TcpListener) -> (TcpStream, TcpStream) {
    let request = head("/odd", "");
    let ((client, answer), (service, _)) = tokio::join!(ask_raw(app, &request), accept_raw(service, AGREED));
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    (client, service)
}

#[actix_web::test]
async fn what_is_said_passes_unmodified_whether_it_makes_sense_or_not() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    for said in [
        // Reserved bits and opcodes, an unmasked frame of a client, a fragmented control frame.
        &b"\xf3\x82\x01\x02\x03\x04ab"[..],
        b"\x81\x02ab",
        b"\x09\x00",
        // A length in more bytes than it needs, a length that none may have, half a header.
        b"\x82\x7e\x00\x01x",
        b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xffx",
        b"\x81",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let (mut client, mut service) = tunnel(&app, &service).await;
        let mut heard = vec![0; said.len()];
        client.write_all(said).await.unwrap();
        service.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, said);
        service.write_all(said).await.unwrap();
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, said);
    }
}

#[actix_web::test]
async fn an_answer_is_a_handshake_and_what_follows_at_once_is_not_lost() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    // Neither end waits for the other before it speaks.
    let request = head("/odd", "") + "\u{1}early";
    let answer = AGREED.to_owned() + "\u{2}early too";
    let ((mut client, answer), (mut service, asked)) =
        tokio::join!(ask_raw(&app, &request), accept_raw(&service, &answer));
    let asked = asked.to_ascii_lowercase();
    assert!(
        asked.contains("\r\nconnection: upgrade\r\n") && asked.contains("\r\nupgrade: websocket\r\n"),
        "{asked}"
    );
    let lower = answer.to_ascii_lowercase();
    for header in [
        "\r\nconnection: upgrade\r\n",
        "\r\nupgrade: websocket\r\n",
        &format!("\r\nsec-websocket-accept: {}\r\n", ACCEPT.to_ascii_lowercase()),
    ] {
        assert_eq!(lower.matches(header).count(), 1, "{header} {answer}");
    }
    assert!(
        !lower.contains("content-length") && !lower.contains("transfer-encoding"),
        "{answer}"
    );
    let mut heard = answer.split_once("\r\n\r\n").unwrap().1.as_bytes().to_vec();
    while heard.len() < 10 {
        assert_ne!(client.read_buf(&mut heard).await.unwrap(), 0);
    }
    assert_eq!(heard, b"\x02early too");
    let mut heard = [0; 6];
    service.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"\x01early");
}

#[actix_web::test]
async fn an_answer_that_opens_nothing_is_passed_through_and_a_false_one_is_502() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    for (answer, status, body) in [
        (
            "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 3\r\n\r\nold".to_owned(),
            426,
            "old",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n".to_owned(),
            403,
            "no",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end".to_owned(), 200, "until the end"),
        (AGREED.replace("s3p", "S3P"), 502, ""),
        (AGREED.replace("Upgrade: websocket", "Upgrade: h2c"), 502, ""),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_owned(),
            502,
            "",
        ),
    ] {
        let asking = async {
            let (mut stream, mut text) = ask_raw(&app, &head("/odd", "")).await;
            // The connection is as good as any other.
            let ends = |text: &str| text.ends_with(body) && (!body.is_empty() || text.ends_with('}'));
            while !ends(&text) && !text.ends_with("\r\n0\r\n\r\n") {
                let mut piece = [0; 1024];
                let length = stream.read(&mut piece).await.unwrap();
                assert_ne!(length, 0, "{text}");
                text += std::str::from_utf8(&piece[..length]).unwrap();
            }
            text
        };
        let serving = async {
            drop(accept_raw(&service, &answer).await);
        };
        let (text, ()) = tokio::join!(asking, serving);
        let (seen, content) = parse(&text);
        assert_eq!(seen, status, "{text}");
        if body.is_empty() {
            assert_eq!(content["code"], "bad_gateway");
        } else if text.contains("transfer-encoding: chunked\r\n") {
            assert_eq!(content, json!(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())));
        } else {
            assert_eq!(content, json!(body));
        }
    }
}

#[actix_web::test]
async fn what_is_no_proper_handshake_is_refused() {
    let app = spawn().await;
    for (change, status, code) in [
        (head("/open", "").replace(": 13", ": 8"), 426, "websocket_version"),
        (head("/open", "Sec-WebSocket-Version: 8\r\n"), 426, "websocket_version"),
        (
            head("/open", "").replace(KEY, "c2hvcnQ="),
            400,
            "bad_websocket_handshake",
        ),
        (head("/open", "").replace(KEY, "?"), 400, "bad_websocket_handshake"),
        (
            head("/open", &format!("Sec-WebSocket-Key: {KEY}\r\n")),
            400,
            "bad_websocket_handshake",
        ),
        (
            head("/open", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n",
            400,
            "bad_websocket_handshake",
        ),
    ] {
        let (mut stream, mut text) = ask_raw(&app, &change).await;
        stream.shutdown().await.unwrap();
        stream.read_to_string(&mut text).await.unwrap();
        let (seen, body) = parse(&text);
        assert_eq!((seen, &body["code"]), (status, &json!(code)), "{change}");
        assert_eq!(
            status == 426,
            text.to_ascii_lowercase().contains("\r\nsec-websocket-version: 13\r\n")
        );
    }
    assert_eq!(app.echo.seen(), 0);
}

#[actix_web::test]
async fn no_other_protocol_and_no_half_of_a_handshake_is_passed_on() {
    let app = spawn().await;
    let whole = head("/open", "");
    for request in [
        whole.replace(
            "Upgrade: websocket",
            "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        ),
        whole.replace("Upgrade: websocket", "Upgrade: h2c, websocket"),
        whole.replace("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: h2c"),
        whole.replace("Connection: Upgrade", "Connection: close"),
        whole.replace("GET", "POST"),
        whole.replace("HTTP/1.1", "HTTP/1.0"),
    ] {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_head(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.") && answer.contains(" 200 OK\r\n"),
            "{answer}"
        );
        let mut body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        while serde_json::from_str::<Value>(&body).is_err() {
            let mut piece = Vec::new();
            assert_ne!(stream.read_buf(&mut piece).await.unwrap(), 0);
            body.push_str(&String::from_utf8(piece).unwrap());
        }
        let headers = &serde_json::from_str::<Value>(&body).unwrap()["headers"];
        assert_eq!(
            (&headers["upgrade"], &headers["connection"]),
            (&Value::Null, &Value::Null)
        );
    }
}

#[actix_web::test]
async fn a_revocation_closes_the_web_sockets_of_its_session_within_250_ms_with_4401_and_no_others() {
    let (app, mut echo) = spawn_echo().await;
    let mut other = open_as(&app, "other").await;
    let mut fastest = Duration::MAX;
    for round in 0..5 {
        let session = format!("mine-{round}");
        let mut tabs = [open_as(&app, &session).await, open_as(&app, &session).await];
        for socket in &mut tabs {
            echoes(socket, Message::text("hello")).await;
        }
        let revoked_at = clock::instant();
        app.issuer.revoke_session(&session, Reason::LoggedOut);
        for socket in &mut tabs {
            assert_eq!(next(socket).await.unwrap().unwrap(), closed(4401, "session ended"));
            assert!(next(socket).await.is_none(), "in order");
            assert_eq!(u16::from(echo.end().await.unwrap().code), 1001);
        }
        fastest = fastest.min(revoked_at.elapsed());
    }
    println!("revoked to closed on both sides, best of 5: {fastest:?}");
    // A busy machine may be slow now and then, but not each time.
    assert!(fastest < Duration::from_millis(250), "{fastest:?}");
    echoes(&mut other, Message::text("still here")).await;
}

#[actix_web::test]
async fn a_web_socket_ends_within_250_ms_of_when_its_token_expires() {
    let (app, _echo) = spawn_echo().await;
    let now = service_kit::Clock::system().now().as_second();
    let mut sockets = Vec::new();
    for seconds in 2..5 {
        let token = app.issuer.token_with(|claims| claims["exp"] = json!(now + seconds));
        let authorization = format!("Bearer {token}");
        let (mut socket, _) = open(&app, "/ws", &[("authorization", &authorization)]).await.unwrap();
        echoes(&mut socket, Message::text("hello")).await;
        sockets.push((socket, now + seconds));
    }
    let mut late = Vec::new();
    for (socket, expires) in &mut sockets {
        assert_eq!(next(socket).await.unwrap().unwrap(), closed(4401, "token expired"));
        late.push(service_kit::Clock::system().now().as_millisecond() - *expires * 1000);
        assert!(next(socket).await.is_none());
    }
    println!("expired to closed: {late:?} ms");
    assert!(late.iter().all(|late| *late >= 0), "{late:?}");
    // A busy machine may be slow now and then, but not each time.
    assert!(late.iter().any(|late| *late < 250), "{late:?}");
}

#[actix_web::test]
async fn a_close_waits_for_the_end_of_a_frame_and_a_frame_that_does_not_end_is_cut() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let app = spawn_with(|config| {
        odd(config, address, "");
        config.routes.push(route(r#"{"path": "/ws", "upstream": "odd"}"#));
    })
    .await;
    for (rest, expected) in [
        // The frame ends, and another one begins, which nobody is to see.
        (
            &b"defgh\x82\x01x"[..],
            &b"\x82\x08abcdefgh\x88\x0f\x11\x31session ended"[..],
        ),
        (b"d", b"\x82\x08abcd"),
    ] {
        let session = random::hex(&random::bytes::<8>());
        let token = app.issuer.token("7", &session);
        let request = head("/ws", &format!("Authorization: Bearer {token}\r\n"));
        let ((mut client, _), (mut service, _)) = tokio::join!(ask_raw(&app, &request), accept_raw(&service, AGREED));
        service.write_all(b"\x82\x08abc").await.unwrap();
        let mut heard = vec![0; 5];
        client.read_exact(&mut heard).await.unwrap();
        app.issuer.revoke_session(&session, Reason::LoggedOut);
        // The service hears of it first: between two frames of the client there is room for a word.
        let mut told = [0; 8];
        service.read_exact(&mut told).await.unwrap();
        assert_eq!(told[..2], [0x88, 0x82]);
        assert_eq!([told[6] ^ told[2], told[7] ^ told[3]], 1001_u16.to_be_bytes());
        service.write_all(rest).await.unwrap();
        tokio::time::timeout(PATIENCE, client.read_to_end(&mut heard))
            .await
            .expect("it ends")
            .unwrap();
        assert_eq!(heard, expected);
    }
}

#[actix_web::test]
async fn stopping_says_going_away_and_does_not_wait_for_web_sockets() {
    let (app, mut echo) = spawn_echo().await;
    let mut socket = open_as(&app, "mine").await;
    let mut silent = open_as(&app, "silent").await.into_inner();
    let stopping = tokio::spawn(app.running.stop());
    assert_eq!(next(&mut socket).await.unwrap().unwrap(), closed(1001, "going away"));
    assert!(next(&mut socket).await.is_none());
    let mut heard = Vec::new();
    // This one never says Close itself.
    silent.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"\x88\x0c\x03\xe9going away");
    for _ in 0..2 {
        assert_eq!(u16::from(echo.end().await.unwrap().code), 1001);
    }
    tokio::time::timeout(Duration::from_secs(5), stopping)
        .await
        .expect("it stops")
        .unwrap();
}

#[actix_web::test]
async fn whichever_end_goes_away_the_other_one_hears_it() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    let (client, mut upstream) = tunnel(&app, &service).await;
    drop(client);
    let mut heard = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(1), upstream.read_to_end(&mut heard)).await;
    ended.expect("within a second").unwrap();

    let (mut client, upstream) = tunnel(&app, &service).await;
    drop(upstream);
    let ended = tokio::time::timeout(Duration::from_secs(1), client.read_to_end(&mut heard)).await;
    ended.expect("within a second").unwrap();
    assert_eq!(heard, b"");
}

#[actix_web::test]
async fn a_web_socket_waits_for_its_reader_in_each_direction_without_holding_the_other_up() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let app = spawn_with(|config| odd(config, address, "")).await;
    for from_client in [true, false] {
        let (client, upstream) = tunnel(&app, &service).await;
        let (mut writer, mut reader) = if from_client {
            (client, upstream)
        } else {
            (upstream, client)
        };
        let piece = vec![0x82; 1024 * 1024];
        let mut sent = 0;
        while let Ok(size) = tokio::time::timeout(Duration::from_millis(500), writer.write(&piece)).await {
            sent += size.unwrap();
            assert!(sent < 48 * 1024 * 1024, "{sent} bytes were taken");
        }
        // The other direction is free.
        reader.write_all(b"\x81\x02ab").await.unwrap();
        let mut heard = [0; 4];
        writer.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"\x81\x02ab");
        let mut received = 0;
        let mut space = vec![0; 64 * 1024];
        while received < sent {
            received += reader.read(&mut space).await.unwrap();
        }
        assert_eq!(received, sent);
    }
}

#[actix_web::test]
async fn who_takes_nothing_for_too_long_is_given_up() {
    let service = listener().await;
    let address = service.local_addr().unwrap();
    let app = spawn_with(|config| {
        odd(config, address, "");
        config.body_timeout = Duration::from_secs(1);
    })
    .await;
    for from_client in [true, false] {
        let (client, upstream) = tunnel(&app, &service).await;
        // Silence is no reason, for either end.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let (mut writer, reader) = if from_client {
            (client, upstream)
        } else {
            (upstream, client)
        };
        let piece = vec![0x82; 1024 * 1024];
        let writing = async { while writer.write(&piece).await.is_ok_and(|size| size > 0) {} };
        tokio::time::timeout(PATIENCE, writing).await.expect("it is cut off");
        drop(reader);
    }
}

#[actix_web::test]
async fn web_sockets_are_counted_and_take_their_share_of_the_connections_to_a_target() {
    let echo = EchoSocket::start().await;
    let address = echo.address;
    let app = spawn_with(|config| {
        odd(config, address, "");
        config.upstreams.get_mut("odd").unwrap().max_connections = 1;
    })
    .await;
    let (socket, _) = open(&app, "/odd", &[]).await.unwrap();
    let metrics = async || {
        let url = format!("http://{}/metrics", app.running.admin_address);
        app.http.get(url).send().await.unwrap().text().await.unwrap()
    };
    assert!(metrics().await.lines().any(|line| {
        line.strip_prefix("web_sockets ")
            .is_some_and(|value| value.parse::<f64>().unwrap() >= 1.0)
    }));
    let (status, body) = refused(&app, "/odd", &[]).await;
    assert_eq!((status, &body["code"]), (503, &json!("upstream_busy")));
    drop(socket);
    until(|| async { open(&app, "/odd", &[]).await.is_ok() }).await;
    let text = metrics().await;
    assert!(text.contains("web_sockets_closed_total{reason=\"client\"}"), "{text}");
}

#[actix_web::test]
async fn what_stands_behind_the_body_of_a_request_that_speaks_of_an_upgrade_is_a_request_of_its_own() {
    let app = spawn().await;
    let request = "POST /open HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello\
                   GET /open/418 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = app.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(r#""body":"hello""#), "{answer}");
    assert!(answer.contains("HTTP/1.1 418 "), "{answer}");
    assert_eq!(app.echo.seen(), 2);
}

#[actix_web::test]
async fn several_targets_of_a_service_share_its_web_sockets() {
    let (mut one, mut two) = (EchoSocket::start().await, EchoSocket::start().await);
    let targets = vec![url(one.address), url(two.address)];
    let app = spawn_with(|config| {
        odd(config, one.address, "");
        config.upstreams.get_mut("odd").unwrap().targets = targets;
    })
    .await;
    let _sockets = [
        open(&app, "/odd", &[]).await.unwrap(),
        open(&app, "/odd", &[]).await.unwrap(),
    ];
    one.opening().await;
    two.opening().await;
}
