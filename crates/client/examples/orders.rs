//! A service that knows who calls it, and hears within milliseconds when somebody's session has ended.

use actix_web::web::{self, Data, Json};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context;
use portcullis_client::{Caller, Clock, Follower, FollowerConfig, Requirement, VerifierConfig};
use serde_json::{Value, json};

struct Superuser;
impl Requirement for Superuser {
    const ROLES: &'static [&'static str] = &["superuser"];
}

async fn orders(user: Caller) -> Json<Value> {
    Json(json!({"user": user.sub, "orders": []}))
}

/// For administrators.
async fn clear(_: Caller<Superuser>) -> HttpResponse {
    HttpResponse::NoContent().finish()
}

#[expect(clippy::disallowed_methods, reason = "an example has no configuration of its own")]
fn setting(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let config = FollowerConfig {
        token_url: setting("PORTCULLIS_TOKEN_URL")?.parse()?, // the token service itself, not the gateway
        client_id: setting("PORTCULLIS_CLIENT_ID")?,          // an account with the scope feed:read
        client_secret: setting("PORTCULLIS_CLIENT_SECRET")?.into(),
        verifier: VerifierConfig::new(setting("PORTCULLIS_ISSUER")?, setting("PORTCULLIS_AUDIENCE")?),
    };
    let follower = Data::new(Follower::start(config, Clock::system())?);
    follower.synced().await;
    let verifier = Data::from(follower.verifier());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(verifier.clone())
            .app_data(follower.clone()) // it follows for as long as it is there
            .route("/orders", web::get().to(orders))
            .route("/orders", web::delete().to(clear))
    })
    .bind(format!("127.0.0.1:{}", setting("PORT")?))?;
    println!("listening on http://{}", server.addrs()[0]);
    server.run().await?;
    Ok(())
}
