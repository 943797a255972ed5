//! Headers and payloads that are no JSON, or JSON that two readers understand differently.

use serde_json::json;

use crate::example::{Example, encode, row};

/// A JSON object with one member more at its beginning.
fn before(object: &str, member: &str) -> String {
    format!("{{{member},{}", &object[1..])
}

/// A JSON object with one member more at its end.
fn after(object: &str, member: &str) -> String {
    format!("{},{member}}}", &object[..object.len() - 1])
}

#[tokio::test]
async fn names_that_stand_twice_are_refused() {
    let example = Example::new();
    let (header, claims) = (Example::header("ES256").to_string(), example.claims().to_string());
    let mut rows = Vec::new();
    for member in [
        r#""alg":"none""#,
        r#""alg":"HS256""#,
        r#""alg":"ES256""#,
        r#""kid":"RS256""#,
        r#""kid":"ES256""#,
        r#""typ":"JWT""#,
        r#""\u0061lg":"none""#,
    ] {
        for header in [before(&header, member), after(&header, member)] {
            rows.push(row(format!("header {header}"), example.sign("ES256", header, &claims)));
        }
    }
    let unknown = after(&after(&header, r#""x":1"#), r#""x":2"#);
    rows.push(row(
        "an unknown parameter twice",
        example.sign("ES256", unknown, &claims),
    ));
    let nested = after(&header, r#""x":{"y":1,"y":2}"#);
    rows.push(row("twice within a parameter", example.sign("ES256", nested, &claims)));
    for member in [
        r#""sub":"root""#,
        r#""sub":"7""#,
        r#""user_id":"root""#,
        r#""roles":["superuser"]"#,
        r#""scope":"everything""#,
        r#""exp":9999999999"#,
        r#""iat":1"#,
        r#""iss":"https://evil.test""#,
        r#""aud":"another""#,
        r#""sid":"another""#,
        r#""jti":"another""#,
        r#""token_type":"service""#,
        r#""client_id":"another""#,
        r#""s\u0075b":"root""#,
    ] {
        for claims in [before(&claims, member), after(&claims, member)] {
            rows.push(row(format!("claims {claims}"), example.with_payload(claims)));
        }
    }
    for member in [r#""x":{"y":1,"y":2}"#, r#""x":[{"y":1,"y":2}]"#] {
        rows.push(row(member, example.with_payload(after(&claims, member))));
    }
    example
        .takes([(
            "a claim that nobody knows",
            example.with_payload(after(&claims, r#""x":{"y":[1]}"#)),
        )])
        .await;
    example
        .takes([(
            "a parameter that nobody knows",
            example.sign("ES256", after(&header, r#""x":[1]"#), &claims),
        )])
        .await;
    example.refuses(rows).await;
}

#[tokio::test]
async fn what_is_no_json_object_is_refused() {
    let example = Example::new();
    let header = Example::header("ES256").to_string();
    let claims = example.claims().to_string();
    let mut broken: Vec<(String, Vec<u8>)> = Vec::new();
    for (part, text) in [("header", &header), ("payload", &claims)] {
        let utf16 = |big: bool| -> Vec<u8> {
            let units = text.encode_utf16();
            units
                .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
                .collect()
        };
        let cut = &text[..text.len() - 1];
        for (what, bytes) in [
            ("nothing", Vec::new()),
            ("a space", b" ".to_vec()),
            ("{}", b"{}".to_vec()),
            ("null", b"null".to_vec()),
            ("true", b"true".to_vec()),
            ("a number", b"1".to_vec()),
            ("a string", format!("\"{}\"", text.replace('"', "\\\"")).into_bytes()),
            ("an array", format!("[{text}]").into_bytes()),
            ("two objects", format!("{text}{text}").into_bytes()),
            ("something after it", format!("{text}x").into_bytes()),
            ("a NUL after it", format!("{text}\0").into_bytes()),
            ("not closed", cut.as_bytes().to_vec()),
            ("a comma too many", format!("{cut},}}").into_bytes()),
            ("a comment", format!("{cut}/* */}}").into_bytes()),
            ("single quotes", text.replace('"', "'").into_bytes()),
            ("a name without quotes", format!("{cut},x:1}}").into_bytes()),
            ("NaN", format!("{cut},\"x\":NaN}}").into_bytes()),
            ("Infinity", format!("{cut},\"x\":Infinity}}").into_bytes()),
            (
                "a number too large for any reader",
                format!("{cut},\"x\":1e999}}").into_bytes(),
            ),
            (
                "a number with a zero before it",
                format!("{cut},\"x\":01}}").into_bytes(),
            ),
            ("a line break in a string", format!("{cut},\"x\":\"\n\"}}").into_bytes()),
            (
                "half a surrogate pair",
                format!("{cut},\"x\":\"\\ud800\"}}").into_bytes(),
            ),
            ("a byte order mark", format!("\u{feff}{text}").into_bytes()),
            ("UTF-16, little end first", utf16(false)),
            ("UTF-16, big end first", utf16(true)),
            (
                "bytes that are no UTF-8",
                [cut.as_bytes(), b",\"x\":\"\xff\xfe\"}"].concat(),
            ),
            ("an overlong form", [cut.as_bytes(), b",\"x\":\"\xc0\xaf\"}"].concat()),
            (
                "a surrogate in UTF-8",
                [cut.as_bytes(), b",\"x\":\"\xed\xa0\x80\"}"].concat(),
            ),
            (
                "nested a thousand deep",
                format!("{cut},\"x\":{}{}}}", "[".repeat(1000), "]".repeat(1000)).into_bytes(),
            ),
        ] {
            let token = match part {
                "header" => example.sign("ES256", &bytes, &claims),
                // Without its claims it is missed which token this would be.
                _ if what == "{}" => continue,
                _ => example.with_payload(&bytes),
            };
            broken.push((format!("{part}: {what}"), token.into_bytes()));
        }
    }
    let rows = broken
        .into_iter()
        .map(|(what, token)| row(what, String::from_utf8(token).unwrap()));
    example.refuses(rows).await;
    example
        .takes([(
            "white space, as JSON may have it",
            example.with_payload(format!(" {claims}\n")),
        )])
        .await;
}

#[tokio::test]
async fn tokens_in_tokens_and_payloads_of_another_form_are_refused() {
    let example = Example::new();
    let inner = example.good("ES256");
    let mut rows = vec![
        row("a token as the payload", example.with_payload(&inner)),
        row("a token as a string", example.with_payload(json!(inner).to_string())),
        row("a token and no claims", {
            let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": "ES256", "cty": "JWT"});
            example.sign("ES256", header.to_string(), &inner)
        }),
    ];
    for changes in [
        json!({"cty": "JWT"}),
        json!({"cty": "jwt"}),
        json!({"cty": ""}),
        json!({"cty": null}),
        json!({"crit": ["exp"]}),
        json!({"crit": ["b64"]}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"crit": ["b64"], "b64": true}),
        json!({"crit": []}),
        json!({"crit": null}),
        json!({"crit": "exp"}),
        json!({"crit": ["urn:example"], "urn:example": 1}),
        json!({"b64": false}),
        json!({"b64": true}),
        json!({"zip": "DEF"}),
        json!({"enc": "A128GCM"}),
        json!({"alg": "dir", "enc": "A128GCM"}),
    ] {
        rows.push(row(changes.to_string(), example.with_header(&changes)));
    }
    // RFC 7797, done as it says: the payload is signed as it is.
    let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": "ES256", "b64": false, "crit": ["b64"]}).to_string();
    let signed = format!("{}.{}", encode(header), example.claims());
    let signature = encode(example.keys.sign("ES256", signed.as_bytes()));
    rows.push(row("a payload that is not encoded", format!("{signed}.{signature}")));
    let detached = inner.split('.').collect::<Vec<_>>();
    rows.push(row(
        "a payload that is elsewhere",
        format!("{}..{}", detached[0], detached[2]),
    ));
    example.refuses(rows).await;
}
