//! What a service needs to live behind Portcullis.
//!
//! [`Follower::start`] keeps the key set and the revocations of the token service in memory; [`Verifier`] checks bearer
//! tokens against them without asking anyone; [`Caller`] is the actix extractor that hands a handler who is asking.
//! [`TokenClient`] makes the calls that a service account may make.

mod bearer;
mod caller;
mod claims;
mod compact;
mod delivery;
mod error;
mod follower;
mod keyset;
mod revocation;
mod token_client;
mod trust;
mod verifier;
mod watch;
pub mod wire;

pub use bearer::bearer_token;
pub use caller::{Caller, OptionalCaller};
pub use claims::{Claims, TokenType};
pub use delivery::{DELIVERY_HEADER, Delivered, Delivery, REFRESH_COOKIE, forget_cookie, refresh_cookie};
pub use error::{TokenError, TokenServiceError};
pub use follower::{Follower, FollowerConfig};
pub use keyset::KeySet;
pub use revocation::Revocations;
pub use token_client::TokenClient;
pub use trust::Trust;
pub use verifier::{Verifier, VerifierConfig};
pub use watch::Watch;
