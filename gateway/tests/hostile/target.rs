//! Request lines that are none, and targets that lead elsewhere than they seem to (RFC 9112 section 3).

use crate::vector::Must::{Forward, ForwardAndEnd, Refuse, RefuseAndGoOn};
use crate::vector::{Must, Vector, prove, raw};

#[actix_web::test]
async fn a_request_line_is_read_in_one_way_or_not_at_all() {
    prove(vectors()).await;
}

fn line(line: &str, must: Must) -> Vector {
    raw(
        format!("{line:?}"),
        format!("{line}\r\nHost: gateway.test\r\n\r\n"),
        must,
    )
}

pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors = lines();
    vectors.extend(forms());
    vectors.extend(paths());
    vectors
}

fn lines() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = [
        "GET  /open HTTP/1.1",
        "GET /open  HTTP/1.1",
        "GET\t/open HTTP/1.1",
        "GET /open\tHTTP/1.1",
        "GET /open HTTP/1.1 ",
        "GET /open HTTP/1.1\t",
        "GET /open HTTP/1.1 HTTP/1.1",
        "GET /open evil HTTP/1.1",
        "GET\x0b/open HTTP/1.1",
        "GET /open\x0cHTTP/1.1",
        "GET\u{a0}/open HTTP/1.1",
        "GET /open HTTP/1.2",
        "GET /open HTTP/1.10",
        "GET /open HTTP/01.1",
        "GET /open HTTP/1.01",
        "GET /open HTTP/2.0",
        "GET /open HTTP/2",
        "GET /open HTTP/3.0",
        "GET /open HTTP/0.9",
        "GET /open HTTP/1",
        "GET /open HTTP/11",
        "GET /open HTTP/1,1",
        "GET /open http/1.1",
        "GET /open Http/1.1",
        "GET /open HTTPS/1.1",
        "GET /open ICAP/1.0",
        "GET /open HTTP /1.1",
        "GET /open HTTP/ 1.1",
        "GET /open HTTP/1.1\0",
        "GET /open",
        "GET /open ",
        "GET",
        "GET HTTP/1.1",
        "/open HTTP/1.1",
        "G\0T /open HTTP/1.1",
        "GET: /open HTTP/1.1",
        "G(T /open HTTP/1.1",
        "G\u{cb}T /open HTTP/1.1",
    ]
    .iter()
    .map(|text| line(text, Refuse(400)))
    .collect();
    vectors.extend([
        raw("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refuse(400)),
        line("GET /open HTTP/1.0", ForwardAndEnd("/open", "")),
    ]);
    vectors
}

fn forms() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = [
        "GET http://evil.test/open HTTP/1.1",
        "GET http://evil.test/home HTTP/1.1",
        "GET http://gateway.test:81/open HTTP/1.1",
        "GET http://gateway.test.evil.test/open HTTP/1.1",
        "GET http://user@gateway.test/open HTTP/1.1",
        "GET http://gateway.test@evil.test/open HTTP/1.1",
        "GET http://evil.test HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET * HTTP/1.1",
        "GET gateway.test HTTP/1.1",
        "GET gateway.test:80 HTTP/1.1",
        "GET open HTTP/1.1",
        "GET javascript:alert(1) HTTP/1.1",
    ]
    .iter()
    .map(|text| line(text, RefuseAndGoOn(400)))
    .collect();
    vectors.extend(
        [
            "GET gateway.test/open HTTP/1.1",
            "GET ?x HTTP/1.1",
            "GET # HTTP/1.1",
            "GET http:///open HTTP/1.1",
            "GET http://[::1/open HTTP/1.1",
            "GET http:/open HTTP/1.1",
        ]
        .iter()
        .map(|text| line(text, Refuse(400))),
    );
    vectors.extend([
        line("GET http://gateway.test/open HTTP/1.1", Forward("/open", "")).with("x-forwarded-host", "gateway.test"),
        line("GET HTTP://GATEWAY.test/open?x HTTP/1.1", Forward("/open?x", "")),
        line("GET ftp://gateway.test/open HTTP/1.1", RefuseAndGoOn(400)),
        line("GET https://gateway.test/open HTTP/1.1", Forward("/open", "")).with("x-forwarded-proto", "http"),
    ]);
    vectors
}

fn paths() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = [
        "/open%0d%0aX-User-Id:%201",
        "/open%0aX",
        "/open%00",
        "/open%2f..%2fhome",
        "/open%5c..%5chome",
        "/open\\..\\home",
        "/..",
        "/open/../../home",
        "/open/..;/home",
        "/open/%2e%2e%2fhome",
        "/open%",
        "/open%u002e",
    ]
    .iter()
    .map(|path| line(&format!("GET {path} HTTP/1.1"), RefuseAndGoOn(400)))
    .collect();
    vectors.extend(
        [
            "/open\u{e9}",
            "/open/\u{ff0e}\u{ff0e}/home",
            "/open?\u{e9}",
            "/open?a=\"b",
            "/open?<script>",
        ]
        .iter()
        .map(|path| line(&format!("GET {path} HTTP/1.1"), Refuse(400))),
    );
    vectors.extend([
        // Browsers leave these in a query as they are.
        line("GET /open?a\\b HTTP/1.1", Forward("/open?a\\b", "")),
        line("GET /open?{a|b}^` HTTP/1.1", Forward("/open?{a|b}^`", "")),
        line("GET //evil.test/open HTTP/1.1", RefuseAndGoOn(404)),
        line("GET ///open HTTP/1.1", Forward("/open", "")),
        line("GET /open/../home HTTP/1.1", RefuseAndGoOn(401)),
        line("GET /%68ome HTTP/1.1", RefuseAndGoOn(401)),
        line("GET /internal/feed HTTP/1.1", RefuseAndGoOn(404)),
        line("GET /open/../%69nternal/feed HTTP/1.1", RefuseAndGoOn(404)),
        line("GET /open#/../home HTTP/1.1", Forward("/open", "")),
        line("GET /open?x#y HTTP/1.1", Forward("/open?x", "")),
        line(
            "GET /open?%0d%0aX-User-Id:%201 HTTP/1.1",
            Forward("/open?%0d%0aX-User-Id:%201", ""),
        ),
        line(
            "GET /open?http://evil.test/?a=b&c HTTP/1.1",
            Forward("/open?http://evil.test/?a=b&c", ""),
        ),
        line("GET /open? HTTP/1.1", Forward("/open?", "")),
        raw(
            "a line feed in the target",
            "GET /open\nX: y HTTP/1.1\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "a carriage return in the target",
            "GET /open\rX: y HTTP/1.1\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "NUL in the target",
            "GET /open\0 HTTP/1.1\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        raw(
            "DEL in the target",
            "GET /open\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
            Refuse(400),
        ),
        line(&format!("GET /open/{} HTTP/1.1", "x".repeat(64 * 1024)), Refuse(414)),
        line(&format!("GET /open/{} HTTP/1.1", "x".repeat(200 * 1024)), Refuse(414)),
    ]);
    vectors
}
