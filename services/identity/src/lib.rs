//! The identity service: users, passwords, and who may log in.
//!
//! [`start`] runs it; [`Accounts`] is what the operator's commands do to the same database, beside a running service or
//! without one. It signs no token: it asks the token service to open and to end sessions.

mod accounts;
mod config;
mod error;
mod outbox;
mod password;
mod routes;
mod server;
mod store;
mod user;

pub use accounts::{Accounts, CreateError, NewUser};
pub use config::Config;
pub use error::IdentityError;
pub use server::start;
pub use store::{LegacyMistake, LegacyProblem};
pub use user::{User, UserId};
