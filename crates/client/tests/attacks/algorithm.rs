//! Attacks on the choice of the algorithm (RFC 8725 section 2.1): by the token, instead of by the key.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{KeyPair, RSA_PSS_SHA256};
use portcullis_client::TokenError;
use serde_json::{Value, json};

use crate::example::{Example, Row, because, encode, merged, parts, row, without};

#[tokio::test]
async fn a_good_token_of_each_algorithm_is_taken() {
    let example = Example::new();
    example
        .takes(["ES256", "EdDSA", "RS256"].map(|algorithm| (algorithm, example.good(algorithm))))
        .await;
}

fn hmac_signed(example: &Example, header: &Value, algorithm: hmac::Algorithm, secret: &[u8]) -> String {
    let signed = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(example.claims().to_string())
    );
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
    format!("{signed}.{}", encode(tag))
}

#[tokio::test]
async fn a_public_key_is_no_secret_to_be_signed_with() {
    let example = Example::new();
    let keys = &example.keys;
    let mut rows = Vec::new();
    for key in ["ES256", "EdDSA", "RS256"] {
        let jwk = keys.jwk(key);
        let member = if key == "RS256" { "n" } else { "x" };
        let raw = match key {
            "ES256" => keys.es256.public_key().as_ref().to_vec(),
            "EdDSA" => keys.eddsa.public_key().as_ref().to_vec(),
            _ => keys.modulus(),
        };
        for (form, secret) in [
            ("PEM", keys.pem(key).into_bytes()),
            (
                "PEM without its last line break",
                keys.pem(key).trim_end().as_bytes().to_vec(),
            ),
            ("DER", keys.der(key)),
            ("raw", raw),
            ("JWK", jwk.to_string().into_bytes()),
            ("a member of the JWK", jwk[member].as_str().unwrap().as_bytes().to_vec()),
            ("its id", key.as_bytes().to_vec()),
            ("nothing", Vec::new()),
        ] {
            let header = merged(Example::header(key), &json!({"alg": "HS256"}));
            let token = hmac_signed(&example, &header, hmac::HMAC_SHA256, &secret);
            rows.push(row(format!("HS256, the secret is {key}'s public key as {form}"), token));
        }
    }
    for (name, algorithm) in [("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
        let header = merged(Example::header("RS256"), &json!({"alg": name}));
        let token = hmac_signed(&example, &header, algorithm, keys.pem("RS256").as_bytes());
        rows.push(row(format!("{name}, the secret is the public key"), token));
    }
    // The tag where the header goes on to name the key's own algorithm.
    let token = hmac_signed(
        &example,
        &Example::header("RS256"),
        hmac::HMAC_SHA256,
        keys.pem("RS256").as_bytes(),
    );
    rows.push(row("a tag by the public key, called RS256", token));
    example.refuses(rows).await;
}

#[tokio::test]
async fn a_key_verifies_its_own_algorithm_and_no_other() {
    let example = Example::new();
    let mut rows = Vec::new();
    for signs in ["ES256", "EdDSA", "RS256"] {
        for named in ["ES256", "EdDSA", "RS256"].into_iter().filter(|named| *named != signs) {
            let claims = example.claims().to_string();
            let header = json!({"typ": "at+jwt", "alg": named, "kid": signs});
            rows.push(row(
                format!("{signs} signs and is called {named}"),
                example.sign(signs, header.to_string(), &claims),
            ));
            let header = json!({"typ": "at+jwt", "alg": signs, "kid": named});
            rows.push(row(
                format!("{signs} signs and {named}'s key is named"),
                example.sign(signs, header.to_string(), &claims),
            ));
            let header = Example::header(named);
            rows.push(row(
                format!("{signs} signs, {named} is named"),
                example.sign(signs, header.to_string(), &claims),
            ));
        }
    }
    for named in [
        "ES384", "ES512", "ES256K", "PS256", "PS384", "RS384", "RS512", "Ed25519", "Ed448", "HS256", "RSA-OAEP", "dir",
    ] {
        rows.push(row(
            format!("called {named}"),
            example.with_header(&json!({"alg": named})),
        ));
    }
    let header = merged(Example::header("RS256"), &json!({"alg": "PS256"})).to_string();
    let signed = format!("{}.{}", encode(header), encode(example.claims().to_string()));
    let pss = encode(example.keys.rsa(&RSA_PSS_SHA256, signed.as_bytes()));
    rows.push(row("PS256, and well signed as such", format!("{signed}.{pss}")));
    example.refuses(rows).await;
}

#[tokio::test]
async fn no_algorithm_at_all_is_none_of_ours() {
    let example = Example::new();
    let mut rows: Vec<Row> = Vec::new();
    for none in ["none", "None", "NONE", "nOnE", " none", "none ", ""] {
        let signed = example.with_header(&json!({"alg": none}));
        let (signing_input, _) = parts(&signed);
        rows.push(row(format!("alg {none:?} with a good signature"), signed.clone()));
        rows.push(row(
            format!("alg {none:?} without a signature"),
            format!("{signing_input}."),
        ));
        rows.push(row(format!("alg {none:?} without the last dot"), signing_input));
        rows.push(row(
            format!("alg {none:?} with a signature of one byte"),
            format!("{signing_input}.AA"),
        ));
    }
    let header = without(Example::header("ES256"), "alg").to_string();
    rows.push(row(
        "no alg",
        example.sign("ES256", header, example.claims().to_string()),
    ));
    for alg in [
        json!(null),
        json!(256),
        json!(["ES256"]),
        json!({"alg": "ES256"}),
        json!(true),
    ] {
        rows.push(row(format!("alg {alg}"), example.with_header(&json!({"alg": alg}))));
    }
    for alg in ["es256", "Es256", "ES256 ", " ES256", "ES256\0", "ＥS256", "EdDSA"] {
        rows.push(row(format!("alg {alg:?}"), example.with_header(&json!({"alg": alg}))));
    }
    rows.push(because(
        TokenError::UnknownKey,
        "HS256's would-be key",
        example.with_header(&json!({"kid": "HS256"})),
    ));
    example.refuses(rows).await;
}
