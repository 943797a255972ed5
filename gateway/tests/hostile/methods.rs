//! Methods that mean something else to somebody, upgrades, and expectations.

use crate::vector::Must::{Forward, ForwardAndEnd, Refuse, RefuseAndGoOn};
use crate::vector::{Vector, get, post, prove, raw};

#[actix_web::test]
async fn a_method_an_upgrade_and_an_expectation_open_no_second_way() {
    prove(vectors()).await;
}

fn open(method: &str) -> String {
    format!("{method} /open HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
}

pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors = vec![
        raw("TRACE", open("TRACE"), RefuseAndGoOn(405)),
        raw(
            "TRACE with Max-Forwards",
            "TRACE /open HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n",
            RefuseAndGoOn(405),
        ),
        raw("CONNECT to a path", open("CONNECT"), Refuse(405)),
        raw(
            "CONNECT",
            "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n",
            Refuse(405),
        ),
        raw(
            "CONNECT to the gateway",
            "CONNECT gateway.test:80 HTTP/1.1\r\nHost: gateway.test:80\r\n\r\n",
            Refuse(405),
        ),
        raw(
            "CONNECT with a body",
            "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\nContent-Length: 5\r\n\r\nabcde",
            Refuse(405),
        ),
    ];
    for method in ["PURGE", "get", "Get", "PROPFIND", "M-SEARCH", "GETGET", "!", "QUERY"] {
        vectors.push(raw(format!("the method {method}"), open(method), Forward("/open", "")));
    }
    vectors.push(raw(
        "a method of 300 letters",
        open(&"X".repeat(300)),
        Forward("/open", ""),
    ));
    let settings = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    vectors.extend([
        get("an upgrade to h2c", settings, Forward("/open", ""))
            .without("upgrade")
            .without("http2-settings"),
        get(
            "an upgrade to h2c that Connection does not name",
            "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            Forward("/open", ""),
        )
        .without("upgrade")
        .without("http2-settings"),
        post(
            "an upgrade to h2c with a body",
            &format!("{settings}Content-Length: 3\r\n"),
            "abc",
            Forward("/open", "abc"),
        ),
        get(
            "an upgrade to TLS",
            "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
            Forward("/open", ""),
        )
        .without("upgrade"),
        get("an expectation", "Expect: 200-ok\r\n", Forward("/open", "")).without("expect"),
        get("an expectation of nothing", "Expect:\r\n", Forward("/open", "")).without("expect"),
        get(
            "an expectation in a GET",
            "Expect: 100-continue\r\n",
            Forward("/open", ""),
        )
        .without("expect"),
        post(
            "an expectation and a body",
            "Expect: 100-continue\r\nContent-Length: 3\r\n",
            "abc",
            Forward("/open", "abc"),
        ),
        post(
            "two expectations",
            "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 3\r\n",
            "abc",
            Forward("/open", "abc"),
        ),
        post(
            "an expectation of smuggling",
            "Expect: y 100-continue\r\nContent-Length: 3\r\n",
            "abc",
            Forward("/open", "abc"),
        ),
        raw(
            "an expectation in HTTP/1.0",
            "GET /open HTTP/1.0\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
            ForwardAndEnd("/open", ""),
        ),
        get("Max-Forwards", "Max-Forwards: 0\r\n", Forward("/open", "")),
        get(
            "ranges without end",
            &format!("Range: bytes={}\r\n", "0-,".repeat(1000)),
            Forward("/open", ""),
        ),
    ]);
    vectors
}
