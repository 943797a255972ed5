//! The identity service from outside: over HTTP, and through what the operator's commands use.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod accounts;
mod administration;
mod bad_input;
mod database;
mod helpers;
mod issuer;
mod login;
mod outage;
mod own_account;
mod postgres;
mod register;
mod statements;
mod users;
