//! Good signatures over claims that are missing, of the wrong type, or out of their time. Nobody but us could make these:
//! they show what a mistake elsewhere would not do.

use portcullis_client::TokenError;
use serde_json::{Value, json};

use crate::example::{Example, INVALID, NOT_YET, Row, because, row, without};

#[tokio::test]
async fn claims_that_are_missing_or_of_another_type_are_refused() {
    let example = Example::new();
    let mut rows = Vec::new();
    for claim in [
        "iss",
        "sub",
        "aud",
        "client_id",
        "iat",
        "exp",
        "jti",
        "token_type",
        "sid",
    ] {
        let missing = match claim {
            "exp" => TokenError::Invalid("Token has no 'exp' claim"),
            "jti" => TokenError::Invalid("Token has no id"),
            "token_type" => TokenError::Invalid("Token has no type"),
            _ => INVALID,
        };
        let token = example.with_payload(without(example.claims(), claim).to_string());
        rows.push(because(missing, format!("no {claim}"), token));
        let is_number = ["iat", "exp"].contains(&claim);
        for value in [
            json!(null),
            json!(true),
            json!([]),
            json!({}),
            json!([example.claims()[claim]]),
            json!(""),
        ] {
            rows.push(row(
                format!("{claim} is {value}"),
                example.with_claims(&json!({ claim: value })),
            ));
        }
        let other = if is_number {
            json!(example.claims()[claim].to_string())
        } else {
            json!(7)
        };
        rows.push(row(
            format!("{claim} is {other}"),
            example.with_claims(&json!({ claim: other })),
        ));
    }
    for (claim, value) in [
        ("roles", json!("staff")),
        ("roles", json!(null)),
        ("roles", json!({"staff": true})),
        ("roles", json!([1])),
        ("roles", json!([["staff"]])),
        ("scope", json!(["orders:read"])),
        ("scope", json!(null)),
        ("scope", json!(1)),
        ("user_id", json!(7)),
        ("user_id", json!("8")),
        ("user_id", json!("")),
        ("user_id", json!(["7"])),
    ] {
        rows.push(row(
            format!("{claim} is {value}"),
            example.with_claims(&json!({ claim: value })),
        ));
    }
    example.refuses(rows).await;
}

#[tokio::test]
async fn tokens_of_others_for_others_and_of_another_kind_are_refused() {
    let example = Example::new();
    let mut rows: Vec<Row> = Vec::new();
    for iss in [
        "https://evil.test",
        "https://issuer.test/",
        "https://issuer.tes",
        "https://issuer.test.evil.test",
        "HTTPS://ISSUER.TEST",
        " https://issuer.test",
        "https://issuer.test\0",
        "https://issuer.test\u{200b}",
    ] {
        rows.push(row(format!("iss {iss:?}"), example.with_claims(&json!({"iss": iss}))));
    }
    for aud in [
        json!("another"),
        json!("Audience"),
        json!("audience "),
        json!("audience,another"),
        json!("audience another"),
        json!("aud"),
        json!("*"),
        json!(["audience"]),
        json!(["another", "audience"]),
        json!(["audience", "audience"]),
        json!([["audience"]]),
        json!({"audience": true}),
    ] {
        rows.push(row(format!("aud {aud}"), example.with_claims(&json!({"aud": aud}))));
    }
    for kind in ["refresh", "id", "Access", "ACCESS", "access ", "access\0", "bearer"] {
        rows.push(row(
            format!("token_type {kind:?}"),
            example.with_claims(&json!({"token_type": kind})),
        ));
    }
    rows.push(row(
        "a service token with a session",
        example.with_claims(&json!({"token_type": "service"})),
    ));
    let service = without(example.claims_with(&json!({"token_type": "service"})), "sid");
    rows.push(because(
        TokenError::WrongType,
        "a service token",
        example.with_payload(service.to_string()),
    ));
    example.refuses(rows).await;
}

/// A token whose payload has this text as the number of `claim`.
fn number(example: &Example, claim: &str, text: &str) -> String {
    let claims = without(example.claims(), claim).to_string();
    example.with_payload(format!("{{\"{claim}\":{text},{}", &claims[1..]))
}

#[tokio::test]
async fn numbers_that_are_no_seconds_are_refused() {
    let example = Example::new();
    let mut rows = Vec::new();
    let expired = |text: &str| {
        because(
            TokenError::Expired,
            format!("exp {text}"),
            number(&example, "exp", text),
        )
    };
    for text in ["0", "-1", "1", "-9223372036854775808"] {
        rows.push(expired(text));
    }
    let now = example.now;
    for text in [
        "1e3",
        "1.5",
        "-0.0",
        "1e400",
        "-1e400",
        "1e-400",
        "9999999999.0",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999999999999999",
        "4294967296e10",
        "0x7fffffff",
        "+1",
        "1_000",
        "\"9999999999\"",
        "[9999999999]",
        "{\"seconds\":9999999999}",
    ] {
        rows.push(row(format!("exp {text}"), number(&example, "exp", text)));
        // The same as the time of issue, where it is told apart from one that is merely long ago.
        rows.push(match text {
            "9223372036854775807" => because(NOT_YET, format!("iat {text}"), number(&example, "iat", text)),
            _ => row(format!("iat {text}"), number(&example, "iat", text)),
        });
        rows.push(match text {
            "9223372036854775807" => because(NOT_YET, format!("nbf {text}"), before(&example, text)),
            _ => row(format!("nbf {text}"), before(&example, text)),
        });
    }
    for fraction in [".0", ".5", "e0"] {
        let text = format!("{}{fraction}", now + 300);
        rows.push(row(format!("exp {text}"), number(&example, "exp", &text)));
    }
    for text in ["0", "-1", "-9223372036854775808"] {
        rows.push(row(
            format!("iat {text}: it would have lived for years"),
            number(&example, "iat", text),
        ));
    }
    example.refuses(rows).await;
}

/// A token with this text as the number of `nbf`.
fn before(example: &Example, text: &str) -> String {
    example.with_payload(format!("{{\"nbf\":{text},{}", &example.claims().to_string()[1..]))
}

#[tokio::test]
async fn time_is_kept_to_the_second_with_five_of_leeway() {
    let example = Example::new();
    let now = example.now;
    let claims = |changes: Value| example.with_claims(&changes);
    example
        .takes([
            (
                "expired, within the leeway",
                claims(json!({"iat": now - 300, "exp": now - 4})),
            ),
            ("before its time, within the leeway", claims(json!({"nbf": now + 5}))),
            (
                "issued by a clock that is ahead, within the leeway",
                claims(json!({"iat": now + 5})),
            ),
            ("as long as any token lives", claims(json!({"exp": now + 3600}))),
        ])
        .await;
    example
        .refuses([
            because(
                TokenError::Expired,
                "expired at the end of the leeway",
                claims(json!({"exp": now - 5})),
            ),
            because(TokenError::Expired, "expired after it", claims(json!({"exp": now - 6}))),
            because(
                TokenError::Expired,
                "expired before it was issued",
                claims(json!({"exp": now - 100})),
            ),
            because(
                NOT_YET,
                "before its time, past the leeway",
                claims(json!({"nbf": now + 6})),
            ),
            because(NOT_YET, "issued in the future", claims(json!({"iat": now + 6}))),
            because(
                NOT_YET,
                "issued later than it counts",
                claims(json!({"iat": now + 6, "nbf": now})),
            ),
            row("longer than any token lives", claims(json!({"exp": now + 3601}))),
            row("for a hundred years", claims(json!({"exp": now + 3_155_760_000_i64}))),
        ])
        .await;
}
