//! Peers that mean harm, on raw sockets: clients and upstreams that send what nobody should. An upstream that records every
//! byte judges what the gateway made of it, with a parser that forgives nothing.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod answer_bodies;
mod answer_vectors;
mod answers;
mod chunks;
mod connection;
mod cuts;
mod fields;
mod framing;
mod front;
#[expect(
    dead_code,
    reason = "shared with the other tests of the gateway, which use more of it"
)]
#[path = "../api/helpers.rs"]
mod helpers;
mod host;
mod identity;
#[expect(
    dead_code,
    reason = "shared with the other tests of the gateway, which use more of it"
)]
#[path = "../api/issuer.rs"]
mod issuer;
mod lines;
mod methods;
mod pipeline;
mod recorder;
mod second;
mod slow;
mod strict;
mod target;
mod vector;

/// How many vectors there are at least, in both directions.
const VECTORS: usize = 700;

#[test]
fn there_are_vectors_enough() {
    let clients = [
        chunks::vectors().len(),
        connection::vectors().len(),
        fields::vectors().len(),
        framing::vectors().len(),
        host::vectors().len(),
        lines::vectors().len(),
        methods::vectors().len(),
        pipeline::vectors().len(),
        second::rows().len(),
        target::vectors().len(),
    ];
    let upstreams = answer_vectors::vectors().len();
    let all = clients.iter().sum::<usize>() + upstreams;
    println!("{all} vectors: {clients:?} of clients, {upstreams} of upstreams");
    assert!(all >= VECTORS, "{all}");
}
