//! The crate as services use it: a server with its extractors, and a token service that says whatever a test wants.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod callers;
mod issuer;
mod keys;
mod tls;
mod tokens;
