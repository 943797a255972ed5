//! Another `token.algorithm`: it arrives by rotation, and what was signed before goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis::role::Role;
use portcullis_token::keys::Algorithm;
use serde_json::Value;

use crate::helpers::{Portcullis, spawn_with};

/// Starts the token service anew, where what is due to its keys is done.
async fn restart(portcullis: &mut Portcullis) {
    portcullis.stop(Role::Token).await;
    portcullis.start(Role::Token).await;
}

/// The `alg` of each key in the key set, and how many there are.
async fn published(portcullis: &Portcullis) -> (BTreeSet<String>, usize) {
    let client = &portcullis.client;
    let answer = client.send(client.request("GET", "/.well-known/jwks.json")).await;
    answer.expect(200, Value::Null);
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    let algorithms = keys.iter().map(|key| key["alg"].as_str().unwrap().to_owned());
    (algorithms.collect(), keys.len())
}

fn algorithm(token: &str) -> String {
    format!("{:?}", jsonwebtoken::decode_header(token).unwrap().alg)
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn three_algorithms_stand_side_by_side_and_what_the_older_ones_signed_is_good_until_it_expires() {
    let mut portcullis = spawn_with(|config| config.token.access_ttl = Duration::from_hours(1)).await;
    let first = portcullis.client.register("ada").await;
    let mut tokens = vec![first.access];
    let mut signed = "ES256";
    for (next, name) in [(Algorithm::EdDSA, "EdDSA"), (Algorithm::RS256, "RS256")] {
        portcullis.reconfigure(Role::Token, |config| config.token.algorithm = next);
        restart(&mut portcullis).await;
        let (algorithms, _) = published(&portcullis).await;
        assert!(
            algorithms.contains(name) && algorithms.contains(signed),
            "{algorithms:?}"
        );
        let early = portcullis.client.login("ada").await.access;
        assert_eq!(algorithm(&early), signed, "it is published before it signs");
        portcullis.clock.advance(Duration::from_mins(11));
        restart(&mut portcullis).await;
        let late = portcullis.client.login("ada").await.access;
        assert_eq!(algorithm(&late), name);
        tokens.extend([early, late]);
        signed = name;
    }
    // The active one, the next, and the two that were before.
    let (algorithms, count) = published(&portcullis).await;
    assert_eq!((algorithms, count), (set(&["ES256", "EdDSA", "RS256"]), 4));
    let names: Vec<String> = tokens.iter().map(|token| algorithm(token)).collect();
    assert_eq!(names, ["ES256", "ES256", "EdDSA", "EdDSA", "RS256"]);
    for token in &tokens {
        portcullis.client.home_becomes(token, 200).await;
    }
    // Refresh tokens know no algorithm.
    let refreshed = portcullis.client.refresh(&first.refresh).await.field("access");
    assert_eq!(algorithm(&refreshed), "RS256");

    // EdDSA was retired eleven minutes later than ES256, and goes so much later.
    for (minutes, left) in [(51, &["EdDSA", "RS256"][..]), (11, &["RS256"])] {
        portcullis.clock.advance(Duration::from_mins(minutes));
        restart(&mut portcullis).await;
        assert_eq!(published(&portcullis).await.0, set(left), "after {minutes} minutes");
    }
    portcullis.client.home_becomes(&tokens[0], 401).await;
    portcullis
        .client
        .home_becomes(&portcullis.client.login("ada").await.access, 200)
        .await;
}
