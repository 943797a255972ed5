//! `GET /.well-known/jwks.json` (RFC 7517 section 5).

use actix_web::HttpResponse;
use actix_web::http::header::{self, ETag, EntityTag, IfNoneMatch};
use actix_web::web::{Data, Header};
use aws_lc_rs::digest;
use service_kit::{Problem, random};

use crate::keys::KeyRing;

/// The public keys: the one that signs, the one that is about to, and those that signed lately. Whoever has them already is
/// told so (RFC 9110 section 13.1.2).
pub(super) async fn jwks(ring: Data<KeyRing>, known: Option<Header<IfNoneMatch>>) -> Result<HttpResponse, Problem> {
    let body = serde_json::to_string(&ring.jwks()).map_err(Problem::internal)?;
    // The same from every token service that has the same keys.
    let tag = EntityTag::new_strong(random::hex(
        &digest::digest(&digest::SHA256, body.as_bytes()).as_ref()[..16],
    ));
    let is_known = known.is_some_and(|Header(known)| match known {
        IfNoneMatch::Any => true,
        IfNoneMatch::Items(tags) => tags.iter().any(|other| other.weak_eq(&tag)),
    });
    let mut answer = if is_known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    answer
        .insert_header((header::CACHE_CONTROL, "public, max-age=60"))
        .insert_header(ETag(tag));
    Ok(if is_known {
        answer.finish()
    } else {
        answer.content_type(header::ContentType::json()).body(body)
    })
}
