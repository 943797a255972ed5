//! The one list of paths.

mod caller;
mod change_me;
mod change_password;
mod change_user;
mod delete_me;
mod delete_user;
mod end_sessions;
mod get_me;
mod get_user;
mod legacy_user;
mod list_users;
mod login;
mod register;
mod session;
mod view;

use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, HttpRequest, HttpResponse, Route};
use portcullis_client::ServiceAccount;
use service_kit::Problem;

use caller::{ActiveUser, Superuser};
use legacy_user::AskLegacy;

/// Adds every endpoint; paths are matched after slashes are collapsed and a trailing one is dropped.
pub(crate) fn configure(app: &mut ServiceConfig) {
    app.service(post("/api/auth/register").route(web::post().to(register::register)))
        .service(post("/api/auth/login").route(web::post().to(login::login)))
        .service(post("/token").route(web::post().to(login::token)))
        .service(
            web::resource("/api/auth/me")
                .route(web::get().to(get_me::get_me))
                .route(web::head().to(get_me::get_me))
                .route(web::patch().to(change_me::change_me))
                .route(web::delete().to(delete_me::delete_me))
                .default_service(only::<ActiveUser>("GET, HEAD, PATCH, DELETE")),
        )
        .service(
            web::resource("/api/auth/password")
                .route(web::post().to(change_password::change_password))
                .default_service(only::<ActiveUser>("POST")),
        )
        .service(
            web::resource("/api/admin/users/{id}")
                .route(web::patch().to(change_user::change_user))
                .route(web::delete().to(delete_user::delete_user))
                .default_service(only::<Superuser>("PATCH, DELETE")),
        )
        .service(
            web::resource("/api/admin/users/{id}/sessions")
                .route(web::delete().to(end_sessions::end_sessions))
                .default_service(only::<Superuser>("DELETE")),
        )
        .service(
            web::resource("/api/user")
                .route(web::get().to(list_users::list_users))
                .route(web::head().to(list_users::list_users))
                .default_service(only::<ActiveUser>("GET")),
        )
        .service(
            web::resource("/api/user/{id}")
                .route(web::get().to(get_user::get_user))
                .route(web::head().to(get_user::get_user))
                .default_service(only::<ActiveUser>("GET")),
        )
        .service(
            web::resource("/internal/legacy-user")
                .route(web::post().to(legacy_user::legacy_user))
                .default_service(only::<ServiceAccount<AskLegacy>>("POST")),
        )
        .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::not_found()) }));
}

fn post(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(post_only))
}

async fn post_only(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::method_not_allowed(request.method().as_str(), "POST"))
}

/// What other methods answer; nobody is told before it is known who asks.
fn only<Who: FromRequest + 'static>(allow: &'static str) -> Route {
    web::to(move |_: Who, request: HttpRequest| async move {
        Err::<HttpResponse, _>(Problem::method_not_allowed(request.method().as_str(), allow))
    })
}
