//! Signatures that are none, are cut, are of others, or are of values that careless arithmetic takes for good.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256,
};
use serde_json::json;

use crate::example::{Example, Row, encode, parts, row};

/// The order of the curve P-256 (FIPS 186-5, SP 800-186 section 3.2.1.3).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// The order of the group of Ed25519 (RFC 8032 section 5.1), in its own byte order.
const ED_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// What `signatures` make of a token of `algorithm`.
fn signed_by(example: &Example, algorithm: &str, signatures: Vec<(String, Vec<u8>)>) -> Vec<Row> {
    let good = example.good(algorithm);
    let (signed, _) = parts(&good);
    signatures
        .into_iter()
        .map(|(what, signature)| {
            row(
                format!("{algorithm}: {what}"),
                format!("{signed}.{}", encode(signature)),
            )
        })
        .collect()
}

/// What can be done to the signature of any algorithm.
fn bent(signature: &[u8]) -> Vec<(String, Vec<u8>)> {
    let length = signature.len();
    let mut all = vec![
        ("nothing".to_owned(), Vec::new()),
        ("one byte".to_owned(), signature[..1].to_vec()),
        ("half".to_owned(), signature[..length / 2].to_vec()),
        ("a byte less at the end".to_owned(), signature[..length - 1].to_vec()),
        ("a byte less at the beginning".to_owned(), signature[1..].to_vec()),
        ("a zero more at the end".to_owned(), [signature, &[0]].concat()),
        ("a zero more at the beginning".to_owned(), [&[0], signature].concat()),
        ("twice".to_owned(), [signature, signature].concat()),
        ("a kilobyte more".to_owned(), [signature, &[7; 1024]].concat()),
        ("backwards".to_owned(), signature.iter().rev().copied().collect()),
        ("zeros".to_owned(), vec![0; length]),
        ("ones".to_owned(), vec![0xff; length]),
        ("one".to_owned(), [vec![0; length - 1], vec![1]].concat()),
    ];
    for place in [0, 1, length / 2 - 1, length / 2, length - 1] {
        let mut flipped = signature.to_vec();
        flipped[place] ^= 1;
        all.push((format!("a bit of byte {place} flipped"), flipped));
    }
    all
}

#[tokio::test]
async fn signatures_that_are_cut_bent_or_borrowed_are_refused() {
    let example = Example::new();
    let other = Example::other();
    for algorithm in ["ES256", "EdDSA", "RS256"] {
        let good = example.good(algorithm);
        let (signed, signature) = parts(&good);
        let mut signatures = bent(&signature);
        let keys = &example.keys;
        for (what, signature) in [
            ("by another key", other.keys.sign(algorithm, signed.as_bytes())),
            (
                "of another token",
                parts(&example.with_claims(&json!({"jti": "other"}))).1,
            ),
            ("of nothing", keys.sign(algorithm, b"")),
            (
                "of the header alone",
                keys.sign(algorithm, signed.split('.').next().unwrap().as_bytes()),
            ),
            (
                "of the payload alone",
                keys.sign(algorithm, signed.split('.').nth(1).unwrap().as_bytes()),
            ),
            ("of a dot more", keys.sign(algorithm, format!("{signed}.").as_bytes())),
            (
                "of the claims without encoding",
                keys.sign(algorithm, example.claims().to_string().as_bytes()),
            ),
        ] {
            signatures.push((what.to_owned(), signature));
        }
        example.refuses(signed_by(&example, algorithm, signatures)).await;
        // And the other way round: the signature stays, and what is signed changes.
        let claims = example.claims_with(&json!({"roles": ["superuser"]})).to_string();
        let header = Example::header(algorithm).to_string();
        let raised = format!("{}.{}.{}", encode(&header), encode(claims), encode(&signature));
        let spaced = format!(
            "{}.{}.{}",
            encode(header + " "),
            signed.split('.').nth(1).unwrap(),
            encode(&signature)
        );
        example
            .refuses([row("other claims", raised), row("a space more in the header", spaced)])
            .await;
    }
}

#[tokio::test]
async fn ecdsa_values_out_of_range_and_other_encodings_are_refused() {
    let example = Example::new();
    let good = example.good("ES256");
    let (signed, signature) = parts(&good);
    let (r, s) = signature.split_at(32);
    let zero = [0; 32];
    let mut over = ORDER;
    over[31] += 1;
    let mut under = ORDER;
    under[31] -= 1;
    let one = [vec![0; 31], vec![1]].concat();
    let pairs: [(&str, &[u8], &[u8]); 17] = [
        ("r = 0", &zero, s),
        ("s = 0", r, &zero),
        ("r = s = 0", &zero, &zero),
        ("r = n", &ORDER, s),
        ("s = n", r, &ORDER),
        ("r = s = n", &ORDER, &ORDER),
        ("r = 0, s = n", &zero, &ORDER),
        ("r = n, s = 0", &ORDER, &zero),
        ("r = n + 1", &over, s),
        ("s = n + 1", r, &over),
        ("r = n - 1", &under, s),
        ("s = n - 1", r, &under),
        ("r = s = 1", &one, &one),
        ("r = 1, s = n - 1", &one, &under),
        ("r as large as can be", &[0xff; 32], s),
        ("s as large as can be", r, &[0xff; 32]),
        ("r and s exchanged", s, r),
    ];
    let mut signatures: Vec<(String, Vec<u8>)> = pairs
        .iter()
        .map(|(what, r, s)| ((*what).to_owned(), [*r, *s].concat()))
        .collect();
    // The key signs, but writes it as X.509 has it.
    let pkcs8 = example.keys.es256.to_pkcs8v1().unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
    let der = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    signatures.push(("in DER".to_owned(), der.as_ref().to_vec()));
    let curves: [(&str, &'static EcdsaSigningAlgorithm); 3] = [
        ("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
        ("secp256k1", &ECDSA_P256K1_SHA256_FIXED_SIGNING),
    ];
    for (curve, algorithm) in curves {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        signatures.push((format!("on the curve {curve}"), signature.as_ref().to_vec()));
    }
    // In DER by hand, so that a token that is good is turned into this one.
    let integer = |value: &[u8]| {
        let value = [&[0], value].concat();
        [&[2, u8::try_from(value.len()).unwrap()], value.as_slice()].concat()
    };
    let body = [integer(r), integer(s)].concat();
    let der = [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat();
    signatures.push(("the good one in DER".to_owned(), der));
    example.refuses(signed_by(&example, "ES256", signatures)).await;
}

#[tokio::test]
async fn ed25519_points_of_small_order_and_scalars_out_of_range_are_refused() {
    let example = Example::new();
    let (_, signature) = parts(&example.good("EdDSA"));
    let (r, s) = signature.split_at(32);
    let zero = [0_u8; 32];
    let point = |first: u8, middle: u8, last: u8| {
        let mut point = [middle; 32];
        (point[0], point[31]) = (first, last);
        point
    };
    let mut signatures = Vec::new();
    // The identity, points of order 2 and 4, and the same written in ways that are not theirs (RFC 8032 section 5.1.3).
    for (what, r) in [
        ("the identity", point(1, 0, 0)),
        ("the identity with a sign", point(1, 0, 0x80)),
        ("a point of order 2", point(0xec, 0xff, 0x7f)),
        ("a point of order 4", zero),
        ("the other point of order 4", point(0, 0, 0x80)),
        ("p", point(0xed, 0xff, 0x7f)),
        ("p + 1", point(0xee, 0xff, 0x7f)),
        ("no point at all", point(2, 0, 0)),
    ] {
        signatures.push((format!("R is {what}, S = 0"), [r, zero].concat()));
        signatures.push((format!("R is {what}, S stays"), [&r, s].concat()));
    }
    signatures.push(("S = 0".to_owned(), [r, &zero].concat()));
    signatures.push(("S = L".to_owned(), [r, &ED_ORDER].concat()));
    // S + L means the same where nobody looks whether S is below L.
    let mut carry = 0;
    let more = s.iter().zip(ED_ORDER).map(|(left, right)| {
        let sum = u16::from(*left) + u16::from(right) + carry;
        carry = sum >> 8;
        u8::try_from(sum & 0xff).unwrap()
    });
    let more: Vec<u8> = more.collect();
    signatures.push(("S + L".to_owned(), [r, &more].concat()));
    let mut sign = signature.clone();
    sign[31] ^= 0x80;
    signatures.push(("R with the other sign".to_owned(), sign));
    let mut high = signature.clone();
    high[63] |= 0xe0;
    signatures.push(("S with its high bits set".to_owned(), high));
    example.refuses(signed_by(&example, "EdDSA", signatures)).await;
}

#[tokio::test]
async fn rsa_signatures_of_other_paddings_digests_and_sizes_are_refused() {
    let example = Example::new();
    let good = example.good("RS256");
    let (signed, signature) = parts(&good);
    let (keys, message) = (&example.keys, signed.as_bytes());
    let modulus = keys.modulus();
    let mut less = modulus.clone();
    less[255] -= 1;
    let signatures = [
        ("PSS", keys.rsa(&RSA_PSS_SHA256, message)),
        ("SHA-384", keys.rsa(&RSA_PKCS1_SHA384, message)),
        ("SHA-512", keys.rsa(&RSA_PKCS1_SHA512, message)),
        ("the modulus", modulus.clone()),
        ("the modulus less one", less),
        (
            "the padding itself, not signed",
            [vec![0, 1], vec![0xff; 221], vec![0], vec![7; 32]].concat(),
        ),
        ("a zero before and a byte less", [&[0], &signature[..255]].concat()),
    ];
    let signatures = signatures.map(|(what, signature)| (what.to_owned(), signature)).into();
    example.refuses(signed_by(&example, "RS256", signatures)).await;
}

/// The equation holds for both, and the standard asks for neither: no attack, since it takes a good token to make one, and
/// what it says is the same.
#[tokio::test]
async fn an_ecdsa_signature_with_the_other_s_says_the_same() {
    let example = Example::new();
    let good = example.good("ES256");
    let (signed, mut signature) = parts(&good);
    let mut borrow = 0;
    for place in (0..32).rev() {
        let value = i16::from(ORDER[place]) - i16::from(signature[32 + place]) - borrow;
        borrow = i16::from(value < 0);
        signature[32 + place] = u8::try_from(value.rem_euclid(256)).unwrap();
    }
    example
        .takes([("n - s", format!("{signed}.{}", encode(signature)))])
        .await;
}
