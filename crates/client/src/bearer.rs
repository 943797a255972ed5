//! Reading the `Authorization` header (RFC 6750 section 2.1).

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::TokenError;

/// The bearer token in `headers`. Other schemes count as no credentials; more than one header is refused, since whoever
/// stands behind us might read the other one.
pub fn bearer_token(headers: &HeaderMap) -> Result<&str, TokenError> {
    bearer_token_of(headers.get_all(AUTHORIZATION).map(HeaderValue::as_bytes))
}

/// The same, out of the values of all `Authorization` headers.
pub fn bearer_token_of<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<&'a str, TokenError> {
    let value = values.next().ok_or(TokenError::Missing)?;
    if values.next().is_some() {
        return Err(TokenError::BadHeader);
    }
    let text = std::str::from_utf8(value).map_err(|_| TokenError::BadHeader)?;
    // As everybody writes it. What follows reads it letter by letter, and tokens are long.
    if let Some(token) = text.strip_prefix("Bearer ")
        && !token.is_empty()
        // Without a way out in the middle many letters are looked at at once.
        && token.bytes().fold(true, |plain, letter| plain & letter.is_ascii_graphic())
    {
        return Ok(token);
    }
    if !text.is_ascii() {
        return Err(TokenError::BadHeader);
    }
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(scheme), token, rest) if scheme.eq_ignore_ascii_case("bearer") => match (token, rest) {
            (Some(token), None) => Ok(token),
            _ => Err(TokenError::BadHeader),
        },
        _ => Err(TokenError::Missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Result<String, TokenError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        bearer_token(&headers).map(str::to_owned)
    }

    #[test]
    fn the_scheme_is_case_insensitive_and_other_schemes_are_no_credentials() {
        assert_eq!(read(&["bEARER abc"]).unwrap(), "abc");
        for other in ["Token abc", "Basic abc", "JWT abc", "", "  "] {
            assert_eq!(read(&[other]), Err(TokenError::Missing));
        }
        assert_eq!(read(&[]), Err(TokenError::Missing));
    }

    #[test]
    fn a_header_of_one_or_three_parts_and_two_headers_are_refused() {
        for bad in [&["Bearer"][..], &["Bearer a b"], &["Bearer a", "Bearer b"]] {
            assert_eq!(read(bad), Err(TokenError::BadHeader));
        }
    }
}
