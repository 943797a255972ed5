//! What every role needs to run: configuration, problems, forms, logging, health, metrics, start and stop.
//!
//! Nothing in here knows what a user, a token or a route is.

pub mod blocking;
pub mod clock;
pub mod config;
pub mod device;
pub mod edge;
pub mod form;
pub mod health;
pub mod logging;
pub mod meter;
pub mod private;
pub mod problem;
pub mod random;
pub mod server;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use clock::Clock;
pub use device::Device;
pub use edge::RequestId;
pub use form::{Fields, Form, FromFields};
pub use problem::Problem;
pub use server::Running;
