//! Tokens that nobody should take for good, in the manner of Project Wycheproof: each row is one attack, made from a token
//! that is good by changing one thing. Controls show that the forge makes good tokens when nothing is changed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod algorithm;
mod claim;
mod example;
mod form;
mod header;
mod json;
mod revoked;
mod signature;
