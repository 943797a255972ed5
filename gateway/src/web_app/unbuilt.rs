//! The page that stands in for a web app that has not been built.

use actix_web::HttpResponse;
use actix_web::http::header;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What builds the app, in the directory of the source code.
pub(super) const BUILD: &str = "npm --prefix frontend ci && npm --prefix frontend run build";

const STYLE: &str = ":root{color-scheme:light dark;font:1rem/1.6 system-ui,sans-serif}\
body{display:grid;min-height:100vh;margin:0;place-items:center}\
main{box-sizing:border-box;max-width:42rem;padding:2rem}\
h1{margin:0 0 1rem;font-size:1.75rem;line-height:1.2}\
pre{overflow-x:auto;padding:1rem;border:1px solid;border-radius:.5rem}\
code{font:.95rem/1.6 ui-monospace,monospace}";

/// The page, and the policy that lets it have its own style and nothing else.
#[derive(Debug)]
pub(crate) struct Page {
    html: String,
    policy: String,
}

impl Page {
    pub(super) fn new() -> Self {
        let build = BUILD.replace('&', "&amp;");
        let html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>Portcullis</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>Portcullis is running</h1>\n\
             <p>Its API works. Its web app has not been built yet; in the directory of the source code, run</p>\n\
             <pre><code>{build}</code></pre>\n\
             <p>and start Portcullis again.</p>\n\
             </main>\n</body>\n</html>\n"
        );
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'none'; base-uri 'none'; \
             frame-ancestors 'none'"
        );
        Self { html, policy }
    }

    pub(super) fn answer(&self) -> HttpResponse {
        HttpResponse::Ok()
            .content_type("text/html; charset=utf-8")
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::VARY, "Accept"))
            .insert_header(super::PERMISSIONS)
            .insert_header((header::CONTENT_SECURITY_POLICY, self.policy.as_str()))
            .body(self.html.clone())
    }
}
