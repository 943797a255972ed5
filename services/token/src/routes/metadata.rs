//! `GET /.well-known/oauth-authorization-server` (RFC 8414).

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use serde_json::json;

use crate::issuer::Issuer;

/// What this authorization server offers, and where.
pub(super) async fn metadata(issuer: Data<Issuer>) -> HttpResponse {
    let base = issuer.issuer.trim_end_matches('/');
    let methods = json!(["client_secret_basic", "client_secret_post"]);
    // People's tokens are refreshed and revoked by a client without a secret, too.
    let or_none = json!(["client_secret_basic", "client_secret_post", "none"]);
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=60"))
        .json(json!({
            "issuer": issuer.issuer,
            "token_endpoint": format!("{base}/oauth/token"),
            "introspection_endpoint": format!("{base}/oauth/introspect"),
            "revocation_endpoint": format!("{base}/oauth/revoke"),
            "jwks_uri": format!("{base}/.well-known/jwks.json"),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials", "refresh_token"],
            "token_endpoint_auth_methods_supported": or_none,
            "introspection_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_methods_supported": or_none,
        }))
}
