//! The whole of Portcullis, through its gateway, as clients meet it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod access_log;
mod accounts;
mod attacks;
mod bad_input;
mod contract;
mod crash;
mod cut_off;
mod cut_over;
mod faults;
mod helpers;
mod keys;
mod killed;
mod large;
mod line;
mod operator;
mod outage;
mod process;
mod reload;
mod replicas;
mod rotation;
mod running;
mod service_accounts;
mod sessions;
mod sigterm;
mod tls;
mod topology;
mod tutorials;
mod unread;
mod web;
