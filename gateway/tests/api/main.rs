//! The gateway as its clients, its upstreams and the token service see it: real servers, real sockets.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod admission;
mod bodies;
mod broken_answers;
mod clients;
mod connections;
mod cookies;
mod cors;
mod crowds;
mod events;
mod headers;
mod helpers;
mod http2;
mod issuer;
mod limits;
mod numbers;
mod paths;
mod policy;
mod proxy;
mod rates;
mod reload;
mod service;
mod streams;
mod tls;
mod unread;
mod upstreams;
mod web_app;
mod web_sockets;
