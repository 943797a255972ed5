//! What is no token by its form: too few parts or too many, too long, or encoded in another way (RFC 7515 section 2).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use serde_json::json;

use crate::example::{Example, Row, encode, parts, row};

#[tokio::test]
async fn anything_but_three_segments_is_refused() {
    let example = Example::new();
    let good = example.good("ES256");
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("a token has three segments")
    };
    let mut rows: Vec<Row> = [
        "",
        ".",
        "..",
        "...",
        "....",
        " ",
        "\0",
        "garbage",
        "null",
        "{}",
        "🙂.🙂.🙂",
        "a.b.c",
    ]
    .map(|text| row(format!("{text:?}"), text))
    .into();
    for (what, token) in [
        ("one segment", header.to_owned()),
        ("two segments", format!("{header}.{payload}")),
        ("no header", format!("{payload}.{signature}")),
        ("a dot before", format!(".{good}")),
        ("a dot after", format!("{good}.")),
        ("an empty segment before", format!(".{header}.{payload}")),
        ("an empty payload", format!("{header}..{signature}")),
        ("an empty signature", format!("{header}.{payload}.")),
        ("a fourth segment", format!("{good}.{signature}")),
        (
            "five segments, as encrypted tokens have",
            format!("{good}.{signature}.{signature}"),
        ),
        ("two dots in the middle", format!("{header}..{payload}.{signature}")),
        ("other dots", good.replace('.', "\u{ff0e}")),
        ("commas", good.replace('.', ",")),
        ("the segments backwards", format!("{signature}.{payload}.{header}")),
        ("itself twice", format!("{good}{good}")),
        ("itself twice, with a space", format!("{good} {good}")),
        ("the scheme", format!("Bearer {good}")),
        ("in quotes", format!("\"{good}\"")),
        (
            "in the JSON form of RFC 7515",
            json!({"protected": header, "payload": payload, "signature": signature}).to_string(),
        ),
    ] {
        rows.push(row(what, token));
    }
    example.takes([("a control", good.clone())]).await;
    example.refuses(rows).await;
}

/// A token of which each segment is good for what is tried: with letters of both alphabets, and bits that are left over.
fn telling(example: &Example) -> String {
    let header = Example::header("ES256").to_string();
    for attempt in 0.. {
        // Two question marks at this place are a hyphen or an underscore; the length of the rest decides what is left over.
        let claims = example.claims_with(&json!({"jti": "?".repeat(6 + attempt % 3), "scope": "~".repeat(6)}));
        let token = example.sign("ES256", header.clone() + &" ".repeat(attempt % 5), claims.to_string());
        let segments: Vec<&str> = token.split('.').collect();
        if segments.iter().all(|segment| segment.len() % 4 != 0)
            && segments[1].contains(['-', '_'])
            && segments[2].contains(['-', '_'])
        {
            return token;
        }
    }
    unreachable!()
}

#[tokio::test]
async fn segments_that_are_encoded_in_another_way_are_refused() {
    let example = Example::new();
    let good = telling(&example);
    example.takes([("a control", good.clone())]).await;
    let segments: Vec<&str> = good.split('.').collect();
    let mut rows = Vec::new();
    for (place, name) in ["header", "payload", "signature"].into_iter().enumerate() {
        let with = |segment: String| {
            let mut segments = segments.clone();
            segments[place] = &segment;
            segments.join(".")
        };
        let segment = segments[place];
        let (middle, last) = (segment.len() / 2, segment.len() - 1);
        // The letter before the last one has bits that count for nothing: another one with the same bits that do.
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let value = alphabet.find(&segment[last..]).unwrap();
        let beyond = &alphabet[value + 1..value + 2];
        for (what, token) in [
            (
                "padded",
                with(format!("{segment}{}", "=".repeat(4 - segment.len() % 4))),
            ),
            ("padded too much", with(format!("{segment}===="))),
            ("padded before", with(format!("={segment}"))),
            ("a letter less", with(segment[..last].to_owned())),
            ("a letter more", with(format!("{segment}A"))),
            ("bits beyond the end", with(format!("{}{beyond}", &segment[..last]))),
            ("a space before", with(format!(" {segment}"))),
            ("a space after", with(format!("{segment} "))),
            (
                "a space within",
                with(format!("{} {}", &segment[..middle], &segment[middle..])),
            ),
            (
                "a line break within",
                with(format!("{}\n{}", &segment[..middle], &segment[middle..])),
            ),
            ("a carriage return after", with(format!("{segment}\r\n"))),
            (
                "a NUL within",
                with(format!("{}\0{}", &segment[..middle], &segment[middle..])),
            ),
            (
                "an escape of URLs",
                with(format!("%{:02x}{}", segment.as_bytes()[0], &segment[1..])),
            ),
            (
                "a letter that is none",
                with(format!("{}!{}", &segment[..middle], &segment[middle + 1..])),
            ),
            (
                "a letter of another script",
                with(format!("{}\u{430}{}", &segment[..middle], &segment[middle + 1..])),
            ),
        ] {
            rows.push(row(format!("{name}: {what}"), token));
        }
    }
    // The same bytes in the other alphabet, and with its padding.
    let (signed, signature) = parts(&good);
    let payload = example_payload(signed);
    for (what, payload) in [
        ("the other alphabet", STANDARD_NO_PAD.encode(&payload)),
        ("the other alphabet, padded", STANDARD.encode(&payload)),
        ("this alphabet, padded", URL_SAFE.encode(&payload)),
    ] {
        let signed = format!("{}.{payload}", segments[0]);
        let anew = encode(example.keys.sign("ES256", signed.as_bytes()));
        rows.push(row(format!("{what}, and signed so"), format!("{signed}.{anew}")));
    }
    rows.push(row(
        "a signature in the other alphabet",
        format!("{signed}.{}", STANDARD_NO_PAD.encode(&signature)),
    ));
    rows.push(row("a signature in hexadecimal", {
        let text = service_kit::random::hex(&signature);
        format!("{signed}.{text}")
    }));
    example.refuses(rows).await;
}

fn example_payload(signed: &str) -> Vec<u8> {
    let payload = signed.split('.').nth(1).unwrap();
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap()
}

#[tokio::test]
async fn a_token_may_have_eight_kilobytes_and_no_more() {
    let example = Example::new();
    let of_length = |length: usize| {
        let mut padding = 5800_usize;
        loop {
            let claims = example.claims().to_string() + &" ".repeat(padding);
            let token = example.with_payload(claims);
            if token.len() >= length {
                return token;
            }
            padding += ((length - token.len()) / 2).max(1);
        }
    };
    let largest = of_length(8191);
    assert!(largest.len() <= 8192);
    example.takes([("as long as may be", largest)]).await;
    example
        .refuses([
            row("a byte or two too long", of_length(8193)),
            row("ten times as long", of_length(80_000)),
            row("a megabyte of one letter", "a".repeat(1 << 20)),
            row("a megabyte of dots", ".".repeat(1 << 20)),
        ])
        .await;
}
