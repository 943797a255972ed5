//! Header fields that are none, or that say what only the gateway may say (RFC 9110 section 5).

use crate::vector::Must::{Forward, ForwardAndEnd, Refuse, RefuseAndGoOn};
use crate::vector::{Vector, get, prove, raw};

#[actix_web::test]
async fn fields_are_read_in_one_way_or_not_at_all() {
    prove(vectors()).await;
}

pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors = names();
    vectors.extend(values());
    vectors.extend(claims());
    vectors
}

fn names() -> Vec<Vector> {
    let refused = [
        ("a space before the colon", "X : y"),
        ("a tab before the colon", "X\t: y"),
        ("spaces before the colon of an identity", "X-User-Id  : 1"),
        ("a space inside", "X Y: z"),
        ("none", ": y"),
        ("a space alone", " : y"),
        ("in brackets", "(X): y"),
        ("with a slash", "X/Y: z"),
        ("with @", "X@Y: z"),
        ("in quotes", "\"X\": y"),
        ("with a semicolon", "X;Y: z"),
        ("with =", "X=Y: z"),
        ("with a comma", "X,Y: z"),
        ("with NUL", "X\0Y: z"),
        ("with a control character", "X\x01Y: z"),
        ("with DEL", "X\x7fY: z"),
        ("with a letter outside ASCII", "X\u{e9}: y"),
        ("with a backslash", "X\\Y: z"),
        ("with [", "X[Y: z"),
    ];
    refused
        .iter()
        .map(|(name, line)| get(&format!("a name: {name}"), &format!("{line}\r\n"), Refuse(400)))
        .collect()
}

fn values() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = (0..=0x1f_u8)
        .chain([0x7f])
        .filter(|byte| !b"\t\n\r".contains(byte))
        .map(|byte| {
            let mut bytes = b"GET /open HTTP/1.1\r\nHost: gateway.test\r\nX: a".to_vec();
            bytes.push(byte);
            bytes.extend_from_slice(b"b\r\n\r\n");
            raw(format!("a value with {byte:#04x}"), bytes, Refuse(400))
        })
        .collect();
    let high = b"GET /open HTTP/1.1\r\nHost: gateway.test\r\nX: a\x80\xff\xc3b\r\n\r\n".to_vec();
    vectors.extend([
        get("a value with a tab", "X: a\tb\r\n", Forward("/open", "")).with("x", "a\tb"),
        raw("a value of high bytes", high, Forward("/open", "")).with("x", "a\u{80}\u{ff}\u{c3}b"),
        get("an empty value", "X:\r\n", Forward("/open", "")).with("x", ""),
        get(
            "a value that looks like a line",
            "X: y\\r\\nX-User-Id: 1\r\n",
            Forward("/open", ""),
        ),
        get(
            "a head of 120 KiB",
            &format!("X: {}\r\n", "y".repeat(120 * 1024)),
            Refuse(431),
        ),
        get(
            "a head of 300 KiB",
            &format!("X: {}\r\n", "y".repeat(300 * 1024)),
            Refuse(431),
        ),
        get("95 headers", &"X: y\r\n".repeat(95), Forward("/open", "")),
        get("200 headers", &"X: y\r\n".repeat(200), Refuse(431)),
        get(
            "a name of 70,000 bytes",
            &format!("{}: y\r\n", "x".repeat(70_000)),
            Refuse(431),
        ),
    ]);
    vectors
}

/// What a client says of itself, without a token.
fn claims() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = [
        ("X-User-Id: 1\r\nX-User-Id: 2\r\n", "x-user-id"),
        ("x_user_id: 1\r\nX.User.Id: 1\r\n", "x_user_id"),
        ("X-User-Roles: superuser\r\n", "x-user-roles"),
        ("X-Session-Id: s\r\n", "x-session-id"),
        ("X-Scope: all\r\n", "x-scope"),
        ("Connection: X-User-Id\r\nX-User-Id: 1\r\n", "x-user-id"),
        (
            "Connection: close, X-Scope\r\nX-Scope: all\r\nConnection: keep-alive\r\n",
            "x-scope",
        ),
        ("X-Real-Ip: 1.2.3.4\r\n", "x-real-ip"),
        ("Proxy: http://evil.test\r\n", "proxy"),
        ("Proxy-Authorization: Basic eDp5\r\n", "proxy-authorization"),
        ("X-Http-Method-Override: DELETE\r\n", "x-http-method-override"),
        ("X-HTTP-Method: DELETE\r\n", "x-http-method"),
        ("X-Method-Override: DELETE\r\n", "x-method-override"),
        ("X_Http_Method_Override: DELETE\r\n", "x_http_method_override"),
        ("X-Original-Url: /home\r\n", "x-original-url"),
        ("X-Rewrite-Url: /home\r\n", "x-rewrite-url"),
        ("X-Forwarded-Prefix: /evil\r\n", "x-forwarded-prefix"),
        ("X-Forwarded: for=1.2.3.4\r\n", "x-forwarded"),
    ]
    .iter()
    .map(|(lines, name)| {
        let must = if lines.contains("close") {
            ForwardAndEnd("/open", "")
        } else {
            Forward("/open", "")
        };
        get(&format!("a claim: {lines:?}"), lines, must).without(name)
    })
    .collect();
    let home = |name: &str, lines: &str, status| {
        raw(
            name,
            format!("GET /home HTTP/1.1\r\nHost: x\r\n{lines}\r\n"),
            RefuseAndGoOn(status),
        )
    };
    vectors.extend([
        get(
            "a claim: an address",
            "X-Forwarded-For: 1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\n",
            Forward("/open", ""),
        )
        .with("x-forwarded-for", "127.0.0.1"),
        get(
            "a claim: a host",
            "X-Forwarded-Host: evil.test\r\nX-Forwarded-Host: evil.test\r\n",
            Forward("/open", ""),
        )
        .with("x-forwarded-host", "gateway.test"),
        get(
            "a claim: two request ids",
            "X-Request-Id: a\r\nX_Request_Id: b\r\n",
            Forward("/open", ""),
        )
        .with("x-request-id", "a"),
        home(
            "two tokens",
            "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
            401,
        ),
        home(
            "a token twice",
            "Authorization: Bearer a\r\nAuthorization: Bearer a\r\n",
            401,
        ),
        home("two tokens in one header", "Authorization: Bearer a, Bearer b\r\n", 401),
        home(
            "a token that Connection names",
            "Connection: Authorization\r\nAuthorization: Bearer a\r\n",
            401,
        ),
        home(
            "a token of another name",
            "Authorization_: Bearer a\r\nX-Authorization: Bearer a\r\n",
            401,
        ),
        home(
            "an identity and no token",
            "X-User-Id: 7\r\nX-User-Roles: superuser\r\n",
            401,
        ),
        home("a token with high bytes", "Authorization: Bearer \u{e9}\r\n", 401),
    ]);
    vectors
}
