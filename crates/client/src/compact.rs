//! Reading a signed token (RFC 7515 section 7.1, RFC 7519 section 7.2), strictly: where two readers might understand it
//! differently, it is refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Parameters of a header that change what the rest means, and that we never write: an extension that has to be understood
/// (RFC 7515 section 4.1.11), a payload that is not encoded (RFC 7797), a token in a token (RFC 7519 section 5.2), and
/// encryption or compression.
const FOREIGN: [&str; 5] = ["crit", "b64", "cty", "enc", "zip"];

/// A token whose form is right. Nothing in it is to be believed before the signature has been checked.
#[derive(Debug)]
pub(crate) struct Compact<'a> {
    /// What it is signed with, as it says itself: to be compared with the key's, never to be chosen by.
    pub(crate) algorithm: Algorithm,
    /// The id of the key.
    pub(crate) kid: String,
    /// Header and payload, as they are signed.
    pub(crate) signed: &'a str,
    /// The signature, in base64url.
    pub(crate) signature: &'a str,
    payload: &'a str,
}

impl<'a> Compact<'a> {
    /// The parts of an access token (RFC 9068 section 2.1): `None` for whatever is not one.
    pub(crate) fn read(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        // More than three segments would leave a dot here. Without a signature there is no more to be seen.
        if payload.contains('.') || signature.is_empty() {
            return None;
        }
        let header = object(header)?;
        if FOREIGN.iter().any(|parameter| header.contains_key(*parameter)) {
            return None;
        }
        let typ = header.get("typ")?.as_str()?;
        if !typ.eq_ignore_ascii_case("at+jwt") && !typ.eq_ignore_ascii_case("application/at+jwt") {
            return None;
        }
        let algorithm = match header.get("alg")?.as_str()? {
            "ES256" => Algorithm::ES256,
            "EdDSA" => Algorithm::EdDSA,
            "RS256" => Algorithm::RS256,
            _ => return None,
        };
        Some(Self {
            algorithm,
            kid: header.get("kid")?.as_str()?.to_owned(),
            signed,
            signature,
            payload,
        })
    }

    /// The members of the payload, to be asked for once the signature has been found good.
    pub(crate) fn payload(&self) -> Option<Map<String, Value>> {
        object(self.payload)
    }
}

/// The JSON object in a segment. No padding, no bits beyond its end, no name twice (RFC 7515 section 4).
fn object(segment: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(segment).ok()?;
    match serde_json::from_slice(&bytes).ok()? {
        Unique(Value::Object(members)) => Some(members),
        Unique(_) => None,
    }
}

/// JSON in which no object has a name twice. (`serde_json` goes by the last one, others by the first.)
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("JSON without a name twice in one object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Unique(value))) = access.next_entry::<String, Unique>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name twice"));
            }
        }
        Ok(Value::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(Unique(element)) = access.next_element()? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}
