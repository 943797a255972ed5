//! The one list of paths.

mod caller;
mod device;
mod get_user;
mod list_users;
mod login;
mod register;
mod session;
mod view;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use service_kit::Problem;

use caller::ActiveUser;

/// Adds every endpoint; paths are matched after slashes are collapsed and a trailing one is dropped.
pub(crate) fn configure(app: &mut ServiceConfig) {
    app.service(post("/api/auth/register").route(web::post().to(register::register)))
        .service(post("/api/auth/login").route(web::post().to(login::login)))
        .service(post("/token").route(web::post().to(login::token)))
        .service(
            web::resource("/api/user")
                .route(web::get().to(list_users::list_users))
                .route(web::head().to(list_users::list_users))
                .default_service(web::to(read_only)),
        )
        .service(
            web::resource("/api/user/{id}")
                .route(web::get().to(get_user::get_user))
                .route(web::head().to(get_user::get_user))
                .default_service(web::to(read_only)),
        )
        .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::not_found()) }));
}

fn post(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(post_only))
}

async fn post_only(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::method_not_allowed(request.method().as_str(), "POST"))
}

/// Nobody is told what is allowed before it is known who asks.
async fn read_only(_: ActiveUser, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::method_not_allowed(request.method().as_str(), "GET"))
}
