//! What an access token says (RFC 7519 section 4.1, RFC 9068 section 2.2).

use serde::{Deserialize, Serialize};

/// Whom a token speaks for. Not part of RFC 9068; the Django world reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenType {
    /// A user, in a session.
    Access,
    /// A service account.
    Service,
}

/// The claims of an access token, in the order they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whom the token speaks for; see [`TokenType`].
    pub token_type: TokenType,
    /// Who issued it: a URL.
    pub iss: String,
    /// The subject: the user's id, or the service account's.
    pub sub: String,
    /// Whom it is meant for.
    pub aud: String,
    /// The client it was issued to.
    pub client_id: String,
    /// Issued at, in seconds since the epoch.
    pub iat: i64,
    /// Expires at, in seconds since the epoch.
    pub exp: i64,
    /// Not valid before, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The token's own id.
    pub jti: String,
    /// The session's id; every user token has one, no service token does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Scopes, with spaces between them (RFC 8693 section 4.2); none at all are not written (RFC 6749 section 3.3 knows no
    /// empty list).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// What the subject may do; nothing at all is not written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// `sub` again, under the name that Django's simplejwt uses; only user tokens have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

impl Claims {
    /// Whether `scope` is among the token's scopes.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope.split_ascii_whitespace().any(|held| held == scope)
    }

    /// Whether `role` is among the subject's roles.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_there_is_none_of_is_not_written_and_may_be_missing() {
        let minimal = json!({"token_type": "service", "iss": "i", "sub": "s", "aud": "a", "client_id": "c", "iat": 1,
            "exp": 2, "jti": "j"});
        let claims: Claims = serde_json::from_value(minimal.clone()).unwrap();
        assert_eq!(serde_json::to_value(&claims).unwrap(), minimal);
        assert!(claims.roles.is_empty() && !claims.has_scope(""));
    }
}
