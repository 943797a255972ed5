//! What a client says of itself, in every spelling that a service could take for what the gateway says: checked with
//! services that turn headers into variables and so cannot tell some spellings apart.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use portcullis_gateway::Auth;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::helpers::{TestApp, odd, spawn_with};

/// What only the gateway may say, or nobody.
pub(crate) const OURS: [&str; 20] = [
    "X-User-Id",
    "X-User-Roles",
    "X-Session-Id",
    "X-Scope",
    "X-Request-Id",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Server",
    "X-Forwarded-Prefix",
    "X-Forwarded",
    "X-Real-Ip",
    "Forwarded",
    "Traceparent",
    "X-Http-Method-Override",
    "X-Original-Url",
    "X-Rewrite-Url",
    "Proxy",
    "Authorization",
];
/// What may stand in a name beside letters and digits (RFC 9110 section 5.6.2).
const SIGNS: &[u8] = b"!#$%&'*+-.^_`|~";
/// The value of each claim; long enough to be found wherever it arrives.
pub(crate) const CLAIM: &str = "claimed-by-the-client";
/// How many claims go into a request; the gateway takes 96 headers.
pub(crate) const AT_ONCE: usize = 80;

/// A service in Python, which ends with the test.
struct Service {
    process: Child,
    address: SocketAddr,
}

impl Service {
    fn start(kind: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/folding.py");
        let mut command = Command::new("python3");
        let mut process = command
            .args([script, kind])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be run");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], line.trim().parse().unwrap()));
        Self { process, address }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn before(kind: &str) -> (Service, TestApp) {
    let service = Service::start(kind);
    let address = service.address;
    let app = spawn_with(|config| {
        odd(config, address, "");
        config.routes.last_mut().unwrap().auth = Auth::Required;
    })
    .await;
    (service, app)
}

/// Every name of ours with each sign in the place of its dashes, in three cases, and with signs doubled, before and behind.
pub(crate) fn spellings() -> Vec<String> {
    let mut spellings = Vec::new();
    for name in OURS {
        for sign in SIGNS.iter().copied().map(char::from) {
            let spelling = name.replace('-', &sign.to_string());
            spellings.extend([spelling.to_ascii_lowercase(), spelling.to_ascii_uppercase(), spelling]);
            spellings.push(name.replacen('-', &sign.to_string(), 1));
            spellings.push(name.replace('-', &format!("{sign}{sign}")));
            spellings.push(format!("{sign}{name}"));
            spellings.push(format!("{name}{sign}"));
        }
    }
    spellings.sort();
    spellings.dedup();
    spellings.retain(|spelling| !spelling.eq_ignore_ascii_case("authorization"));
    spellings
}

/// The variables that the service sees of a request with `names`, each with a claim.
async fn variables(app: &TestApp, names: &[String]) -> Value {
    let claims = names
        .iter()
        .fold(String::new(), |lines, name| lines + name + ": " + CLAIM + "\r\n");
    let (status, seen) = app
        .raw_get("/odd", &format!("Authorization: Bearer {}\r\n{claims}", app.token()))
        .await;
    assert_eq!(status, 200, "{seen}");
    seen
}

/// Fails when a variable of ours has another value than the one that the gateway says, or one that it does not say is there.
fn check(seen: &Value, names: &[String]) {
    let said = |name: &str| seen[format!("HTTP_{name}")].clone();
    for (name, value) in [
        ("X_USER_ID", "7"),
        ("X_USER_ROLES", "staff,support"),
        ("X_SESSION_ID", "session-7"),
        ("X_SCOPE", "profile orders"),
        ("X_FORWARDED_FOR", "127.0.0.1"),
        ("X_FORWARDED_HOST", "gateway.test"),
        ("X_FORWARDED_PROTO", "http"),
        ("FORWARDED", "for=127.0.0.1;host=\"gateway.test\";proto=http"),
    ] {
        assert_eq!(said(name), json!(value), "{name} of {names:?}");
    }
    let text = |name: &str| said(name).as_str().unwrap_or_default().to_owned();
    // A client may name its request, in the one spelling.
    let chosen = names.iter().any(|name| name.eq_ignore_ascii_case("x-request-id"));
    let id = text("X_REQUEST_ID");
    assert!(if chosen { id == CLAIM } else { id.len() == 24 }, "{id} of {names:?}");
    assert_eq!(text("TRACEPARENT").len(), 55, "{names:?}");
    assert!(text("AUTHORIZATION").starts_with("Bearer ey"), "{names:?}");
    for (variable, value) in seen.as_object().unwrap() {
        let is_ours = OURS
            .iter()
            .any(|name| variable == &format!("HTTP_{}", name.replace('-', "_").to_ascii_uppercase()));
        let claimed = value.as_str().is_some_and(|value| value.contains(CLAIM));
        let adopted = variable == "HTTP_X_REQUEST_ID" && chosen;
        assert!(
            !(is_ours && claimed) || adopted,
            "{variable} is {value} after {names:?}"
        );
    }
}

#[actix_web::test]
async fn no_spelling_of_an_identity_header_reaches_a_service_that_folds_as_wsgi_does() {
    prove("wsgi").await;
}

#[actix_web::test]
async fn no_spelling_of_an_identity_header_reaches_a_service_that_folds_as_cgi_does() {
    prove("cgi").await;
}

async fn prove(kind: &str) {
    let (_service, app) = before(kind).await;
    let all = spellings();
    println!("{} spellings of {} names", all.len(), OURS.len());
    for names in all.chunks(AT_ONCE) {
        check(&variables(&app, names).await, names);
    }
    // The same name again and again, in one spelling and in several.
    for name in OURS.iter().filter(|name| **name != "Authorization") {
        let names = vec![
            (*name).to_owned(),
            (*name).to_owned(),
            name.replace('-', "_"),
            name.to_ascii_lowercase(),
        ];
        check(&variables(&app, &names).await, &names);
    }
    for names in random(40) {
        check(&variables(&app, &names).await, &names);
    }
}

/// Sets of names of ours, each letter in any case, each dash any sign.
fn random(sets: usize) -> Vec<Vec<String>> {
    let sign = prop::sample::select(SIGNS).prop_map(char::from);
    let letters = prop::collection::vec((any::<bool>(), sign), 40);
    let name = (prop::sample::select(&OURS[..19]), letters).prop_map(|(name, choices)| {
        let spelled = name.chars().zip(choices).map(|(letter, (upper, sign))| match letter {
            '-' => sign,
            letter if upper => letter.to_ascii_uppercase(),
            letter => letter.to_ascii_lowercase(),
        });
        spelled.collect::<String>()
    });
    let names = prop::collection::vec(name, 1..AT_ONCE);
    let mut runner = TestRunner::new(Config::default());
    (0..sets)
        .map(|_| names.new_tree(&mut runner).unwrap().current())
        .collect()
}

#[test]
fn the_spellings_that_are_tried_fold_to_what_they_imitate() {
    let all = spellings();
    assert!(all.len() > 1000, "{}", all.len());
    let fold = |name: &str| -> String {
        let folded = name.chars().map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        });
        folded.collect()
    };
    for name in OURS {
        let imitations = all.iter().filter(|spelling| fold(spelling) == fold(name)).count();
        let least = if name.contains('-') { 3 * SIGNS.len() } else { 1 };
        assert!(imitations >= least || name == "Authorization", "{name}: {imitations}");
    }
}
