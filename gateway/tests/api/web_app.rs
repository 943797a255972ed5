//! The built web app as browsers get it, and everything that somebody might get besides.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_client::{FollowerConfig, VerifierConfig};
use reqwest::{Method, Response};
use serde_json::json;
use service_kit::{Clock, random};
use tempfile::TempDir;

use crate::helpers::{TestApp, config, parse, read, route, spawn, spawn_with, url};

const PAGE: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const INDEX: &str = "<!doctype html><title>App</title>";
const SCRIPT: &str = "console.log('a script that is long enough to be worth compressing');";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                      connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// What a build leaves behind, with something beside it that nobody may see.
fn built() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let dist = directory.path().join("dist");
    fs::create_dir_all(dist.join("assets")).unwrap();
    for (name, content) in [
        ("index.html", INDEX),
        ("favicon.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
        ("site.webmanifest", "{}"),
        ("a b%2f.txt", "odd"),
        (".env", "hidden"),
        ("../secret.txt", "hidden"),
        ("assets/app-1a2b.js", SCRIPT),
        ("assets/app-1a2b.js.br", "brotli"),
        ("assets/app-1a2b.js.gz", "gzip"),
        ("assets/app-1a2b.css", "a{}"),
        ("assets/app-1a2b.css.br", "longer than what it stands for"),
        ("assets/pack.gz", "a file of its own"),
    ] {
        fs::write(dist.join(name), content).unwrap();
    }
    directory
}

async fn spawn_built() -> (TempDir, TestApp) {
    let directory = built();
    let app = spawn_with(|config| config.web_root = directory.path().join("dist")).await;
    (directory, app)
}

async fn get(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = app.request(Method::GET, path);
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[actix_web::test]
async fn files_have_their_media_types_and_hashed_ones_are_kept_for_a_year() {
    let (_directory, app) = spawn_built().await;
    for (path, media, cache) in [
        ("/index.html", "text/html; charset=utf-8", "no-cache"),
        ("/favicon.svg", "image/svg+xml", "no-cache"),
        ("/site.webmanifest", "application/manifest+json", "no-cache"),
        (
            "/assets/app-1a2b.js",
            "text/javascript; charset=utf-8",
            "public, max-age=31536000, immutable",
        ),
        (
            "/assets/app-1a2b.css",
            "text/css; charset=utf-8",
            "public, max-age=31536000, immutable",
        ),
    ] {
        let response = get(&app, path, &[]).await;
        assert_eq!(
            (
                response.status().as_u16(),
                header(&response, "content-type"),
                header(&response, "cache-control")
            ),
            (200, media, cache),
            "{path}"
        );
        assert!(header(&response, "vary").contains("Accept-Encoding"), "{path}");
        for (name, value) in [
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            (
                "permissions-policy",
                "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
            ),
        ] {
            assert_eq!(header(&response, name), value, "{name} at {path}");
        }
    }
    assert_eq!(app.echo.seen(), 0);
}

#[actix_web::test]
async fn addresses_of_the_app_are_its_page_for_browsers_and_404_for_programs() {
    let (_directory, app) = spawn_built().await;
    for path in [
        "/",
        "/login",
        "/profile/",
        "/users?search=a",
        "/homework",
        "/login/%2561",
    ] {
        let response = get(&app, path, &[("accept", PAGE)]).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(header(&response, "cache-control"), "no-cache", "{path}");
        assert_eq!(header(&response, "content-security-policy"), POLICY, "{path}");
        assert!(
            header(&response, "vary").starts_with("Accept, Accept-Encoding"),
            "{path}"
        );
        assert_eq!(response.text().await.unwrap(), INDEX, "{path}");
    }
    for accept in [
        "*/*",
        "application/json",
        "text/html;q=0",
        "text/html;q=0.1, application/json",
    ] {
        let (status, body) = read(get(&app, "/login", &[("accept", accept)]).await).await;
        assert_eq!((status, &body["code"]), (404, &json!("not_found")), "{accept}");
        let (status, body) = read(get(&app, "/", &[("accept", accept)]).await).await;
        assert_eq!((status, &body["name"]), (200, &json!("portcullis")), "{accept}");
    }
}

#[actix_web::test]
async fn paths_of_the_api_and_of_assets_are_never_the_page() {
    let (_directory, app) = spawn_built().await;
    for path in [
        "/api",
        "/api/nothing",
        "/api/auth/nothing",
        "/internal",
        "/internal/feed",
        "/assets",
        "/assets/app-0000.js",
        "/assets/../api/nothing",
        "//api/nothing",
        "/%61pi/nothing",
    ] {
        let (status, body) = app.raw_get(path, &format!("Accept: {PAGE}\r\n")).await;
        assert_eq!((status, &body["code"]), (404, &json!("not_found")), "{path}");
    }
    for (path, status) in [
        ("/home", 401),
        ("/logout", 401),
        ("/token", 200),
        ("/oauth/x", 200),
        ("/.well-known/x", 200),
    ] {
        let response = get(&app, path, &[("accept", PAGE)]).await;
        assert_eq!(response.status(), status, "{path} is the services'");
    }
}

#[actix_web::test]
async fn the_form_is_chosen_by_what_the_client_accepts() {
    let (_directory, app) = spawn_built().await;
    for (accepted, encoding, content) in [
        ("gzip, deflate, br", "br", "brotli"),
        ("gzip", "gzip", "gzip"),
        ("br;q=0.5, gzip;q=0.8", "gzip", "gzip"),
        ("br;q=0, gzip;q=0.1", "gzip", "gzip"),
        ("identity, br;q=0.5", "", SCRIPT),
        ("br;q=0, gzip;q=0", "", SCRIPT),
        ("deflate", "", SCRIPT),
        ("", "", SCRIPT),
        ("br;q=1;q=", "", SCRIPT),
        ("*;q=0", "", SCRIPT),
    ] {
        let response = get(&app, "/assets/app-1a2b.js", &[("accept-encoding", accepted)]).await;
        assert_eq!(header(&response, "content-encoding"), encoding, "{accepted}");
        assert_eq!(
            header(&response, "content-type"),
            "text/javascript; charset=utf-8",
            "{accepted}"
        );
        assert_eq!(response.text().await.unwrap(), content, "{accepted}");
    }
    // Compression that makes something larger is none, and what stands alone is a file like any other.
    let response = get(&app, "/assets/app-1a2b.css", &[("accept-encoding", "br")]).await;
    assert_eq!(
        (header(&response, "content-encoding"), response.content_length()),
        ("", Some(3))
    );
    assert_eq!(get(&app, "/assets/pack.gz", &[]).await.status(), 200);
    assert_eq!(get(&app, "/assets/app-1a2b.js.br", &[]).await.status(), 404);
}

#[actix_web::test]
async fn what_a_browser_has_already_is_304() {
    let (_directory, app) = spawn_built().await;
    let path = "/assets/app-1a2b.js";
    let plain = get(&app, path, &[]).await;
    let compressed = get(&app, path, &[("accept-encoding", "br")]).await;
    let tag = header(&plain, "etag");
    let digest = random::hex(digest::digest(&digest::SHA256, SCRIPT.as_bytes()).as_ref());
    assert_eq!(tag, format!("\"{digest}\""));
    let other = header(&compressed, "etag");
    assert_ne!(tag, other, "each form has a validator of its own");
    for known in [
        tag.to_owned(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        "*".to_owned(),
    ] {
        let response = get(&app, path, &[("if-none-match", &known)]).await;
        assert_eq!(response.status(), 304, "{known}");
        // A length would be that of the file.
        assert!(response.headers().get("content-length").is_none());
        assert_eq!(header(&response, "etag"), tag);
        assert_eq!(
            header(&response, "cache-control"),
            "public, max-age=31536000, immutable"
        );
        assert!(header(&response, "vary").contains("Accept-Encoding"));
        assert_eq!(response.text().await.unwrap(), "");
    }
    for unknown in [other, "\"x\"", "garbage", ""] {
        assert_eq!(
            get(&app, path, &[("if-none-match", unknown)]).await.status(),
            200,
            "{unknown}"
        );
    }
    // Which form is meant is for `Accept-Encoding` to say, and not for the validator.
    for (known, status) in [(other, 304), (tag, 200)] {
        let response = get(&app, path, &[("accept-encoding", "br"), ("if-none-match", known)]).await;
        assert_eq!(response.status(), status, "{known}");
    }
    let page = get(&app, "/login", &[("accept", PAGE)]).await;
    let again = [("accept", PAGE), ("if-none-match", header(&page, "etag"))];
    assert_eq!(get(&app, "/profile", &again).await.status(), 304);
}

#[actix_web::test]
async fn head_says_what_get_would_and_other_methods_are_405() {
    let (_directory, app) = spawn_built().await;
    let answer = app
        .raw(b"HEAD /assets/app-1a2b.js HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(parse(&answer), (200, json!("")));
    assert!(
        answer.contains(&format!("content-length: {}\r\n", SCRIPT.len())),
        "{answer}"
    );
    for method in [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
    ] {
        for path in ["/", "/index.html", "/assets/app-1a2b.js"] {
            let response = app.request(method.clone(), path).send().await.unwrap();
            assert_eq!(
                (response.status().as_u16(), header(&response, "allow")),
                (405, "GET, HEAD"),
                "{method} {path}"
            );
        }
        let response = app
            .request(method.clone(), "/login")
            .header("accept", PAGE)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 404, "{method} /login");
    }
}

#[actix_web::test]
async fn nothing_but_the_files_that_were_there_at_the_start_is_served() {
    let (directory, app) = spawn_built().await;
    for target in [
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/assets/../../secret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/assets/..%5c..%5csecret.txt",
        "/assets/..;/secret.txt",
        "/favicon.svg%00.html",
        "/%00",
    ] {
        let (status, body) = app.raw_get(target, "").await;
        assert_eq!((status, &body["code"]), (400, &json!("bad_path")), "{target}");
    }
    let long = format!("/{}", "a".repeat(20_000));
    for target in [
        "/assets/../secret.txt",
        "/secret.txt",
        "/.env",
        "/%2eenv",
        "/assets/.env",
        "/INDEX.HTML",
        "/index.html/",
        "/index.html/index.html",
        "/index.htm",
        "/assets",
        "/assets/",
        "/assets/APP-1a2b.js",
        "/assets/%252e%252e/secret.txt",
        "/a%20b%2525.txt",
        long.as_str(),
    ] {
        assert_eq!(app.raw_get(target, "").await.0, 404, "{target}");
    }
    for (target, content) in [
        ("//favicon.svg", "<svg"),
        ("/assets//app-1a2b.js", "console"),
        ("/x/../favicon.svg", "<svg"),
        ("/%66avicon.svg", "<svg"),
        ("/a%20b%252f.txt", "odd"),
    ] {
        let (status, body) = app.raw_get(target, "").await;
        assert_eq!(status, 200, "{target}");
        assert!(body.as_str().unwrap().starts_with(content), "{target}: {body}");
    }
    fs::write(directory.path().join("dist/late.txt"), "late").unwrap();
    fs::remove_file(directory.path().join("dist/index.html")).unwrap();
    assert_eq!(get(&app, "/late.txt", &[]).await.status(), 404);
    assert_eq!(get(&app, "/index.html", &[]).await.status(), 200);
}

#[actix_web::test]
async fn a_route_of_the_operator_wins_over_the_app() {
    let directory = built();
    let app = spawn_with(|config| {
        config.web_root = directory.path().join("dist");
        config
            .routes
            .push(route(r#"{"path": "/", "upstream": "echo", "auth": "none"}"#));
    })
    .await;
    for path in ["/", "/login", "/index.html", "/assets/app-1a2b.js"] {
        let (status, seen) = read(get(&app, path, &[("accept", PAGE)]).await).await;
        assert_eq!((status, &seen["target"]), (200, &json!(path)));
    }
    assert_eq!(app.get("/home").await.status(), 401, "built-in routes stay");
}

#[actix_web::test]
async fn without_a_built_app_a_page_says_how_to_build_it_and_the_api_works() {
    let directory = tempfile::tempdir().unwrap();
    let app = spawn_with(|config| config.web_root = directory.path().join("dist")).await;
    let response = get(&app, "/", &[("accept", PAGE)]).await;
    assert_eq!(
        (response.status().as_u16(), header(&response, "cache-control")),
        (200, "no-store")
    );
    let policy = header(&response, "content-security-policy").to_owned();
    let page = response.text().await.unwrap();
    assert!(
        page.contains("npm --prefix frontend ci &amp;&amp; npm --prefix frontend run build"),
        "{page}"
    );
    assert!(
        !page.contains(&directory.path().display().to_string()),
        "internals stay inside"
    );
    let (_, rest) = page.split_once("<style>").unwrap();
    let (style, rest) = rest.split_once("</style>").unwrap();
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
    assert!(
        policy.starts_with("default-src 'none'; ") && policy.contains(&format!("style-src 'sha256-{hash}'")),
        "{policy}"
    );
    assert!(!rest.contains("style") && !page.contains("script"), "{page}");

    for (path, accept, status) in [
        ("/", "*/*", 200),
        ("/", "application/json", 200),
        ("/login", PAGE, 404),
        ("/index.html", PAGE, 404),
        ("/home", PAGE, 401),
    ] {
        let response = get(&app, path, &[("accept", accept)]).await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "content-type")),
            (status, "application/json"),
            "{path} {accept}"
        );
    }
    assert_eq!(app.get_as("/home", &app.token()).await.0, 200);
}

#[actix_web::test]
async fn without_a_web_root_the_root_is_json_for_everybody() {
    let app = spawn().await;
    let (status, body) = read(get(&app, "/", &[("accept", PAGE)]).await).await;
    assert_eq!((status, &body["name"]), (200, &json!("portcullis")));
}

/// What starting with `root` fails with.
async fn refusal(root: &Path) -> String {
    let mut config = config(crate::helpers::Echo::start().address);
    config.web_root = root.to_owned();
    let mistakes: Vec<_> = config.mistakes().iter().map(ToString::to_string).collect();
    let follower = FollowerConfig {
        token_url: url(([127, 0, 0, 1], 1).into()),
        client_id: "gateway".to_owned(),
        client_secret: "secret".into(),
        verifier: VerifierConfig {
            issuer: String::new(),
            audience: String::new(),
            leeway: std::time::Duration::ZERO,
            max_staleness: std::time::Duration::ZERO,
            cache_size: 1,
        },
    };
    let error = portcullis_gateway::start(config, follower, Clock::system())
        .await
        .unwrap_err();
    assert_eq!(mistakes, [error.to_string()], "the check says the same");
    assert!(mistakes[0].starts_with("gateway.web_root: "), "{mistakes:?}");
    error.to_string()
}

#[actix_web::test]
async fn links_are_followed_to_files_within_the_directory_only() {
    let directory = built();
    let dist = directory.path().join("dist");
    symlink("assets/app-1a2b.js", dist.join("app.js")).unwrap();
    let linked = directory.path().join("current");
    symlink("dist", &linked).unwrap();
    let app = spawn_with(|config| config.web_root = linked).await;
    assert_eq!(get(&app, "/app.js", &[]).await.text().await.unwrap(), SCRIPT);

    for (target, problem) in [
        ("../secret.txt", "leads out of the directory"),
        ("/etc/passwd", "leads out of the directory"),
        ("..", "leads out of the directory"),
        ("assets", "is a link to a directory"),
        (".", "is a link to a directory"),
        ("nowhere", "cannot be read"),
        ("link", "cannot be read"),
    ] {
        let link = dist.join("link");
        symlink(target, &link).unwrap();
        let refusal = refusal(&dist).await;
        assert!(
            refusal.contains(problem) && refusal.contains("dist/link"),
            "{target}: {refusal}"
        );
        fs::remove_file(link).unwrap();
    }
}

#[actix_web::test]
async fn a_directory_that_cannot_be_the_app_stops_the_start_and_names_the_key() {
    let directory = built();
    let dist = directory.path().join("dist");
    let file = refusal(&dist.join("index.html")).await;
    assert!(file.contains("index.html cannot be read"), "{file}");

    let pipe = dist.join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let refused = refusal(&dist).await;
    assert!(refused.contains("pipe is neither a file nor a directory"), "{refused}");
    fs::remove_file(pipe).unwrap();

    let huge = fs::File::create(dist.join("huge.bin")).unwrap();
    huge.set_len(33 * 1024 * 1024).unwrap();
    let refused = refusal(&dist).await;
    assert!(refused.contains("more than 32 MiB"), "{refused}");
    fs::remove_file(dist.join("huge.bin")).unwrap();

    let deep = (0..20).fold(dist.clone(), |path, _| path.join("d"));
    fs::create_dir_all(deep).unwrap();
    let refused = refusal(&dist).await;
    assert!(refused.contains("16 directories deep"), "{refused}");
}
