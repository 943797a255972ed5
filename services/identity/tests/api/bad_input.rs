//! What makes no sense is the sender's mistake and is said so, never a 500.

use serde_json::json;

use crate::helpers::spawn;

const POSTS: [&str; 4] = ["/api/auth/register", "/api/auth/login", "/token", "/token/"];

#[tokio::test]
async fn bodies_that_are_not_a_json_object() {
    let service = spawn().await;
    for path in POSTS {
        for (body, message) in [
            ("[]", "Invalid data. Expected a dictionary, but got list."),
            ("\"x\"", "Invalid data. Expected a dictionary, but got str."),
            ("7", "Invalid data. Expected a dictionary, but got int."),
            ("true", "Invalid data. Expected a dictionary, but got bool."),
            ("null", "No data provided"),
        ] {
            let answer = service.post_raw(path, "application/json", body).await;
            answer.is_invalid(&json!({"non_field_errors": [message]}));
        }
        for body in [
            "{nope",
            "{",
            "\u{0}",
            r#"{"username":"\ud800","email":"\udfff@example.com","password":"\ud800\ud800\ud800\ud800"}"#,
            &"[".repeat(5000),
            &format!("{{\"email\":{}1{}}}", "[".repeat(2000), "]".repeat(2000)),
        ] {
            let answer = service.post_raw(path, "application/json", body.to_owned()).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.body["code"]),
                (400, &json!("parse_error")),
                "{}",
                answer.text
            );
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.starts_with("JSON parse error - "), "{detail}");
        }
        let not_utf8 = service
            .post_raw(path, "application/json", b"{\"email\":\"\xff\"}".to_vec())
            .await;
        assert_eq!(not_utf8.status, 400, "{}", not_utf8.text);
    }
    assert!(service.issuer.opened().is_empty());
}

#[tokio::test]
async fn bodies_of_another_media_type() {
    let service = spawn().await;
    for path in POSTS {
        for (content_type, named) in [
            ("text/plain", "text/plain"),
            ("", "text/plain"),
            ("application/xml", "application/xml"),
        ] {
            let answer = service.post_raw(path, content_type, "{}").await;
            let detail = format!("Unsupported media type \"{named}\" in request.");
            answer.is_problem(415, "unsupported_media_type", &detail);
        }
    }
}

#[tokio::test]
async fn broken_forms() {
    let service = spawn().await;
    for path in POSTS {
        for (content_type, body) in [
            ("multipart/form-data", "--x\r\n"),
            ("multipart/form-data; boundary=x", "no boundary here"),
            (
                "multipart/form-data; boundary=x",
                "--x\r\ncontent-disposition: form-data; name=\"email\"\r\n\r\nbroken off",
            ),
            ("application/x-www-form-urlencoded", "%00%ff=&&&=%"),
            ("application/x-www-form-urlencoded", "password=%00%00%00%00%00%00%00%00"),
        ] {
            let answer = service.post_raw(path, content_type, body).await;
            assert_eq!(answer.status, 400, "{path} {content_type} {body:?}: {}", answer.text);
            assert!(answer.body["detail"].is_string(), "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let service = spawn().await;
    let huge = format!("{{\"email\":\"{}\"}}", "x".repeat(10 * 1024 * 1024));
    for path in POSTS {
        let answer = service.post_raw(path, "application/json", huge.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["code"]),
            (413, &json!("too_large")),
            "{}",
            answer.text
        );
    }
    let many_fields = format!("{{{}\"a\":1}}", "\"b\":[],".repeat(5000));
    assert_eq!(
        service.post_raw("/token", "application/json", many_fields).await.status,
        400
    );
}
