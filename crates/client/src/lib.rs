//! What a service needs to live behind Portcullis: to know who asks, without asking anyone.
//!
//! - [`Follower::start`] keeps the key set and the revocations of the token service in memory, pushed as they happen.
//! - [`Verifier`] checks bearer tokens against them, offline. A session that was ended is refused within milliseconds; past
//!   `max_staleness` without news the answer is 503, never a guess.
//! - [`Caller`] is the actix extractor that hands a handler the user who asks. What else the user needs stands in its type:
//!   [`Caller<Staff>`](Requirement). [`ServiceAccount`] is the same for other services.
//! - [`TokenClient`] holds a token of the service's own account, renewed ahead of time, and calls others with it.
//!
//! ```no_run
//! use actix_web::web::{self, Data};
//! use actix_web::{App, HttpServer};
//! use portcullis_client::{Caller, Clock, Follower, FollowerConfig, Requirement, ServiceAccount, VerifierConfig};
//!
//! struct Staff;
//! impl Requirement for Staff {
//!     const ROLES: &'static [&'static str] = &["staff"];
//! }
//!
//! struct ReadOrders;
//! impl Requirement for ReadOrders {
//!     const SCOPES: &'static [&'static str] = &["orders:read"];
//! }
//!
//! /// Any user.
//! async fn orders(caller: Caller) -> String {
//!     format!("Orders of {}", caller.sub)
//! }
//!
//! /// Users with the role `staff`; others get 403.
//! async fn all_orders(_: Caller<Staff>) -> &'static str {
//!     "Orders of everybody"
//! }
//!
//! /// Other services, whose account has the scope `orders:read`; others get 403, and users 401.
//! async fn export(account: ServiceAccount<ReadOrders>) -> String {
//!     format!("Orders for {}", account.client_id)
//! }
//!
//! #[actix_web::main]
//! async fn main() -> anyhow::Result<()> {
//!     let config = FollowerConfig {
//!         token_url: "http://127.0.0.1:8002".parse()?,
//!         // portcullis clients create orders --scope feed:read
//!         client_id: "orders".to_owned(),
//!         client_secret: std::fs::read_to_string("/run/secrets/orders")?.trim().into(),
//!         // token.issuer and token.audience
//!         verifier: VerifierConfig::new("https://example.com", "portcullis"),
//!     };
//!     let follower = Data::new(Follower::start(config, Clock::system())?);
//!     let verifier = Data::from(follower.verifier());
//!     let tokens = Data::new(follower.client());
//!     HttpServer::new(move || {
//!         App::new()
//!             .app_data(verifier.clone())
//!             .app_data(tokens.clone())
//!             .app_data(follower.clone()) // it follows for as long as it is there
//!             .route("/orders", web::get().to(orders))
//!             .route("/orders/all", web::get().to(all_orders))
//!             .route("/orders/export", web::get().to(export))
//!     })
//!     .bind("127.0.0.1:5000")?
//!     .run()
//!     .await?;
//!     Ok(())
//! }
//! ```

mod bearer;
mod caller;
mod claims;
mod compact;
mod delivery;
mod error;
mod follower;
mod http;
mod keyset;
mod mark;
mod requirement;
mod revocation;
mod service_token;
mod token_client;
mod trust;
mod verifier;
mod watch;
pub mod wire;

pub use bearer::{bearer_token, bearer_token_of};
pub use caller::{Caller, OptionalCaller, ServiceAccount};
pub use claims::{Claims, TokenType};
pub use delivery::{DELIVERY_HEADER, Delivered, Delivery, REFRESH_COOKIE, forget_cookie, refresh_cookie};
pub use error::{TokenError, TokenServiceError};
pub use follower::{Follower, FollowerConfig};
pub use keyset::KeySet;
pub use requirement::{Anybody, Denied, Requirement};
pub use revocation::Revocations;
pub use service_kit::{Clock, Problem};
pub use token_client::TokenClient;
pub use trust::Trust;
pub use verifier::{Verifier, VerifierConfig};
pub use watch::Watch;
