//! Whatever is sent: a 4xx in the error shape, never a 5xx, never a hang.

use serde_json::json;

use crate::helpers::spawn;

const POSTS: [&str; 7] = [
    "/api/auth/register",
    "/api/auth/login",
    "/token",
    "/api/auth/refresh",
    "/token/refresh",
    "/api/auth/logout",
    "/oauth/token",
];

#[tokio::test]
async fn bodies_that_make_no_sense_are_refused_with_a_reason() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let deep_object = format!("{}1{}", "{\"a\":".repeat(2000), "}".repeat(2000));
    let bodies: [&[u8]; 16] = [
        b"{",
        b"{nope}",
        b"not json",
        b"{\"username\": \"a\", }",
        b"[]",
        b"null",
        b"\"text\"",
        b"1e400",
        b"true",
        b"{\"username\": \"\\ud800\", \"email\": \"\\ud800\", \"refresh\": \"\\ud800\", \"password\": \"\\ud800xxxxxxxx\"}",
        b"{\"username\": \"a\\u0000\", \"email\": \"a\\u0000\", \"refresh\": \"a\\u0000\", \"refresh_token\": \"\\u0000\", \"grant_type\": \"\\u0000\", \"password\": \"a\\u0000\"}",
        b"{\"username\": [], \"email\": {}, \"password\": 1.5e3, \"refresh\": true, \"refresh_token\": {}, \"grant_type\": []}",
        b"\xff\xfe\x00",
        b"\x00\x00\x00\x00",
        deep.as_bytes(),
        deep_object.as_bytes(),
    ];
    for path in POSTS {
        for body in bodies {
            for media in [
                "application/json",
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=b",
                "multipart/form-data",
            ] {
                let request = client
                    .request("POST", path)
                    .header("Content-Type", media)
                    .body(body.to_vec());
                let answer = client.send(request).await;
                let status = answer.status.as_u16();
                assert!(
                    (400..500).contains(&status),
                    "{path} {media} {:?}: {answer:?}",
                    String::from_utf8_lossy(body)
                );
                answer.expect(status, json!({}));
            }
        }
        let odd = client
            .request("POST", path)
            .header("Content-Type", "application/xml")
            .body("<a/>");
        client
            .send(odd)
            .await
            .expect(415, json!({"code": "unsupported_media_type"}));
    }
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_too_large_and_the_client_hears_it() {
    let portcullis = spawn().await;
    for path in POSTS {
        let body = format!("{{\"username\": \"{}\"}}", "a".repeat(10 * 1024 * 1024));
        let request = portcullis
            .client
            .request("POST", path)
            .header("Content-Type", "application/json")
            .body(body);
        portcullis
            .client
            .send(request)
            .await
            .expect(413, json!({"code": "too_large"}));
    }
}

#[tokio::test]
async fn a_chunked_body_of_ten_megabytes_is_too_large_too() {
    let portcullis = spawn().await;
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    let head = "POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let request = format!("{head}{}0\r\n\r\n", chunk.repeat(160));
    let answer = portcullis.client.raw(request.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 "),
        "{}",
        &answer[..answer.len().min(500)]
    );
}

#[tokio::test]
async fn requests_that_are_not_http_are_refused() {
    let portcullis = spawn().await;
    for request in [
        "GET /home HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\nConnection: close\r\n\r\n",
        "GET /ho me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: -1\r\n\r\n",
        "POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "\0\0\0\0\r\n\r\n",
    ] {
        let answer = portcullis.client.raw(request.as_bytes()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4"),
            "{request:?}: {answer}"
        );
    }
}
