//! The web app: what browsers get at paths that no route has.

mod files;
mod unbuilt;

use std::collections::HashMap;
use std::path::Path;

use actix_http::Request as Message;
use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{
    self, Accept, AcceptEncoding, ContentEncoding, Encoding, Header, HeaderName, HeaderValue, IfNoneMatch,
};
use percent_encoding::percent_decode_str;
use serde_json::json;
use service_kit::Problem;
use service_kit::config::Mistake;

use crate::client::Request;
use crate::path;
pub(crate) use files::examine;
use files::{ASSETS, Asset, Form, INDEX};
use unbuilt::Page;

/// First segments that belong to the API or to files: nothing below them is ever an address of the app.
const RESERVED: [&str; 8] = [
    "api",
    "assets",
    "home",
    "internal",
    "logout",
    "oauth",
    "token",
    ".well-known",
];

/// For files whose names change with their content.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// For everything else.
const REVALIDATE: &str = "no-cache";

/// What a page of ours may load and do: nothing but what comes from here, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                      connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";
const PERMISSIONS: (HeaderName, HeaderValue) = (
    HeaderName::from_static("permissions-policy"),
    HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
);

/// What there is to serve.
#[derive(Debug)]
pub(crate) enum WebApp {
    /// None is wanted.
    Off,
    /// None has been built yet: a page says how.
    Unbuilt(Page),
    /// The files of one, by path.
    Built(HashMap<String, Asset>),
}

impl WebApp {
    /// Reads the app that was built into `root`; an empty `root` means that there is to be none.
    ///
    /// # Errors
    /// When what is there cannot be served.
    pub(crate) fn load(root: &Path) -> Result<Self, Mistake> {
        if root.as_os_str().is_empty() {
            return Ok(Self::Off);
        }
        let web_root = root.display().to_string();
        if let Some(files) = files::read(root)? {
            log::info!(web_root = web_root.as_str(), files = files.len(); "serving the web app");
            return Ok(Self::Built(files));
        }
        log::warn!(
            web_root = web_root.as_str();
            "the web app is not built, only the API is served: run `{}` and restart, or set gateway.web_root to \"\"",
            unbuilt::BUILD
        );
        Ok(Self::Unbuilt(Page::new()))
    }

    /// The answer to a request for a normal `path` that no route has: a file, the app's page for an address of the app,
    /// or 404.
    pub(crate) fn answer(&self, request: &Request, path: &str) -> Result<HttpResponse, Problem> {
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        let file = self.file(path);
        if !is_read && (file.is_some() || path == "/") {
            return Err(Problem::method_not_allowed(request.method.as_str(), "GET, HEAD"));
        }
        if let Some(file) = file {
            let cache = if path.starts_with(ASSETS) { FOREVER } else { REVALIDATE };
            return Ok(file.answer(&request.message(), cache, "Accept-Encoding"));
        }
        let is_address = path::segments(path)
            .next()
            .is_none_or(|first| !RESERVED.contains(&first));
        if is_read && is_address && prefers_html(&request.message()) {
            match self {
                Self::Built(files) => {
                    if let Some(index) = files.get(INDEX) {
                        return Ok(index.answer(&request.message(), REVALIDATE, "Accept, Accept-Encoding"));
                    }
                }
                Self::Unbuilt(page) if path == "/" => return Ok(page.answer()),
                Self::Unbuilt(_) | Self::Off => {}
            }
        }
        if path == "/" {
            Ok(welcome())
        } else {
            Err(Problem::not_found())
        }
    }

    /// The file whose name `path` is. Nothing in a normal path is left to interpret but escapes.
    fn file(&self, path: &str) -> Option<&Asset> {
        match self {
            Self::Built(files) => files.get(percent_decode_str(path).decode_utf8().ok()?.as_ref()),
            Self::Off | Self::Unbuilt(_) => None,
        }
    }
}

impl Asset {
    fn answer(&self, request: &Message, cache: &'static str, vary: &'static str) -> HttpResponse {
        let (encoding, form) = self.choose(request);
        let is_known = match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&form.tag)),
            Err(_) => false,
        };
        let mut answer = if is_known {
            HttpResponse::NotModified()
        } else {
            HttpResponse::Ok()
        };
        answer
            .insert_header((header::ETAG, form.tag.to_string()))
            .insert_header((header::CACHE_CONTROL, cache))
            .insert_header((header::VARY, vary))
            .insert_header(PERMISSIONS)
            .insert_header((header::CONTENT_SECURITY_POLICY, POLICY));
        if is_known {
            return answer.finish();
        }
        if let Some(encoding) = encoding {
            answer.insert_header((header::CONTENT_ENCODING, encoding.as_str()));
        }
        answer.content_type(self.media.clone()).body(form.bytes.clone())
    }

    /// The form that the client likes best (RFC 9110 section 12.5.3); the plain one when it likes none.
    fn choose(&self, request: &Message) -> (Option<ContentEncoding>, &Form) {
        let known: Vec<Encoding> = self
            .compressed
            .iter()
            .map(|(encoding, _)| Encoding::Known(*encoding))
            .chain([Encoding::identity()])
            .collect();
        let liked = AcceptEncoding::parse(request)
            .ok()
            .and_then(|accept| accept.negotiate(known.iter()));
        let compressed = self
            .compressed
            .iter()
            .find(|(encoding, _)| liked == Some(Encoding::Known(*encoding)));
        compressed.map_or((None, &self.plain), |(encoding, form)| (Some(*encoding), form))
    }
}

/// Whether the client names HTML among what it takes, and likes JSON no better: browsers on their way to a page do,
/// programs that take anything do not.
fn prefers_html(request: &Message) -> bool {
    let Ok(Accept(ranges)) = Accept::parse(request) else {
        return false;
    };
    let quality = |media: &str| {
        let named = ranges.iter().filter(|range| range.item.essence_str() == media);
        named.map(|range| range.quality).max()
    };
    match (quality("text/html"), quality("application/json")) {
        (Some(html), json) => html > header::Quality::ZERO && json.is_none_or(|json| html >= json),
        (None, _) => false,
    }
}

fn welcome() -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::VARY, "Accept")).json(json!({
        "name": "portcullis",
        "version": env!("CARGO_PKG_VERSION"),
        "docs": "POST /api/auth/register, then GET /home with the access token as a bearer token.",
    }))
}
