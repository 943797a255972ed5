//! `GET /.well-known/jwks.json` (RFC 7517 section 5).

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;

use crate::keys::KeyRing;

/// The public keys: the one that signs, the one that is about to, and those that signed lately.
pub(super) async fn jwks(ring: Data<KeyRing>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=60"))
        .json(ring.jwks())
}
