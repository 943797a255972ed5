//! The one list of paths of the token service.

mod end_other_sessions;
mod end_session;
mod feed;
mod introspect;
mod jwks;
mod list_sessions;
mod logout;
mod metadata;
mod oauth;
mod oauth_token;
mod open_session;
mod refresh;
mod revoke;
mod revoke_subject;
mod service_account;
mod shown;

use actix_web::web::{self, ServiceConfig};
use actix_web::{Error, HttpResponse};
use service_kit::Problem;
use service_kit::server::allow_only;

/// Registers every endpoint. A trailing slash is trimmed before paths are matched.
pub(crate) fn register(app: &mut ServiceConfig) {
    for path in ["/api/auth/refresh", "/token/refresh"] {
        app.service(
            web::resource(path)
                .route(web::post().to(refresh::refresh))
                .default_service(allow_only("POST, OPTIONS")),
        );
    }
    app.service(
        web::resource("/api/auth/logout")
            .route(web::post().to(logout::logout))
            .default_service(allow_only("POST, OPTIONS")),
    )
    .service(
        web::resource("/logout")
            .route(web::post().to(logout::logout_of_caller))
            .default_service(allow_only("POST, OPTIONS")),
    )
    .service(
        web::resource("/api/auth/sessions")
            .route(web::get().to(list_sessions::list_sessions))
            .route(web::head().to(list_sessions::list_sessions))
            .route(web::delete().to(end_other_sessions::end_other_sessions))
            .default_service(allow_only("GET, HEAD, DELETE, OPTIONS")),
    )
    .service(
        web::resource("/api/auth/sessions/{sid}")
            .route(web::delete().to(end_session::end_session))
            .default_service(allow_only("DELETE, OPTIONS")),
    )
    .service(
        web::resource("/.well-known/jwks.json")
            .route(web::get().to(jwks::jwks))
            .route(web::head().to(jwks::jwks))
            .default_service(allow_only("GET, HEAD")),
    )
    .service(
        web::resource("/.well-known/oauth-authorization-server")
            .route(web::get().to(metadata::metadata))
            .route(web::head().to(metadata::metadata))
            .default_service(allow_only("GET, HEAD")),
    )
    .service(
        web::resource("/oauth/token")
            .route(web::post().to(oauth_token::token))
            .default_service(allow_only("POST")),
    )
    .service(
        web::resource("/oauth/introspect")
            .route(web::post().to(introspect::introspect))
            .default_service(allow_only("POST")),
    )
    .service(
        web::resource("/oauth/revoke")
            .route(web::post().to(revoke::revoke))
            .default_service(allow_only("POST")),
    )
    .service(
        web::resource("/internal/sessions")
            .route(web::post().to(open_session::open_session))
            .default_service(allow_only("POST")),
    )
    .service(
        web::resource("/internal/revoke")
            .route(web::post().to(revoke_subject::revoke_subject))
            .default_service(allow_only("POST")),
    )
    .service(
        web::resource("/internal/feed")
            .route(web::get().to(feed::feed))
            .default_service(allow_only("GET")),
    )
    .default_service(web::to(not_found));
}

async fn not_found() -> Result<HttpResponse, Error> {
    Err(Problem::not_found().into())
}
