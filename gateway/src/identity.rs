//! Who asks, as it is kept of each of very many tokens: what a request needs to know, side by side in memory.

use std::sync::Arc;

use portcullis_client::Claims;

use crate::upstream::HeadWriter;

/// Checks tokens, and keeps of them what the gateway needs.
pub(crate) type Verifier = portcullis_client::Verifier<Identity>;
/// Watches over such a token.
pub(crate) type Watch = portcullis_client::Watch<Identity>;

const USER: &str = "x-user-id";
const ROLES: &str = "x-user-roles";
const SESSION: &str = "x-session-id";
const SCOPE: &str = "x-scope";

/// What the claims of a user's token say about who asks.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The header lines that upstreams get, as they are sent.
    lines: Arc<str>,
    /// The claims themselves, when the lines do not say all of them as they are.
    unsaid: Option<Arc<Claims>>,
}

impl From<Claims> for Identity {
    fn from(claims: Claims) -> Self {
        let mut lines = Vec::new();
        let mut head = HeadWriter::new(&mut lines);
        head.say(USER, &claims.sub);
        head.say(ROLES, &listed(&claims.roles));
        head.say(SESSION, claims.sid.as_deref().unwrap_or_default());
        head.say(SCOPE, &claims.scope);
        let mut identity = Self {
            lines: String::from_utf8(lines).unwrap_or_default().into(),
            unsaid: None,
        };
        if !identity.says(&claims) {
            identity.unsaid = Some(Arc::new(claims));
        }
        identity
    }
}

/// Roles with commas between them; one that has a comma itself would read as two, and is left out.
fn listed(roles: &[String]) -> String {
    let plain: Vec<&str> = roles
        .iter()
        .map(String::as_str)
        .filter(|role| !role.contains(','))
        .collect();
    plain.join(",")
}

impl Identity {
    /// The header lines for upstreams. A claim that no header can hold has none.
    pub(crate) fn lines(&self) -> &str {
        &self.lines
    }

    pub(crate) fn user_id(&self) -> &str {
        match &self.unsaid {
            Some(claims) => &claims.sub,
            None => self.said(USER),
        }
    }

    /// Empty when there is none.
    pub(crate) fn session_id(&self) -> &str {
        match &self.unsaid {
            Some(claims) => claims.sid.as_deref().unwrap_or_default(),
            None => self.said(SESSION),
        }
    }

    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        match &self.unsaid {
            Some(claims) => claims.has_scope(scope),
            None => self.said(SCOPE).split_ascii_whitespace().any(|held| held == scope),
        }
    }

    pub(crate) fn has_role(&self, role: &str) -> bool {
        match &self.unsaid {
            Some(claims) => claims.has_role(role),
            None => self.roles().any(|held| held == role),
        }
    }

    fn roles(&self) -> impl Iterator<Item = &str> {
        self.said(ROLES).split(',').filter(|role| !role.is_empty())
    }

    /// The value of the line of this name.
    fn said(&self, name: &str) -> &str {
        let value = |line| str::strip_prefix(line, name)?.strip_prefix(": ");
        self.lines.split("\r\n").find_map(value).unwrap_or_default()
    }

    /// Whether the lines say the same as `claims`.
    fn says(&self, claims: &Claims) -> bool {
        self.said(USER) == claims.sub
            && self.roles().eq(&claims.roles)
            && self.said(SESSION) == claims.sid.as_deref().unwrap_or_default()
            && self.said(SCOPE) == claims.scope
    }
}

#[cfg(test)]
mod tests {
    use portcullis_client::TokenType;

    use super::*;

    fn claims(sub: &str, roles: &[&str], scope: &str) -> Claims {
        Claims {
            token_type: TokenType::Access,
            iss: "issuer".to_owned(),
            sub: sub.to_owned(),
            aud: "audience".to_owned(),
            client_id: "client".to_owned(),
            iat: 1,
            exp: 2,
            nbf: None,
            jti: "id".to_owned(),
            sid: Some("session".to_owned()),
            scope: scope.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            user_id: None,
        }
    }

    #[test]
    fn of_a_plain_token_nothing_is_kept_but_the_lines_and_they_say_everything() {
        let identity = Identity::from(claims("7", &["staff", "support"], "read write"));
        assert!(identity.unsaid.is_none());
        assert_eq!(
            identity.lines(),
            "x-user-id: 7\r\nx-user-roles: staff,support\r\nx-session-id: session\r\nx-scope: read write\r\n"
        );
        assert_eq!((identity.user_id(), identity.session_id()), ("7", "session"));
        assert!(identity.has_scope("read") && identity.has_scope("write"));
        assert!(!identity.has_scope("read write") && !identity.has_scope(""));
        assert!(identity.has_role("staff") && identity.has_role("support"));
        assert!(!identity.has_role("staff,support") && !identity.has_role(""));

        let nobody = Identity::from(claims("7", &[], ""));
        assert!(nobody.unsaid.is_none() && !nobody.has_role("") && !nobody.has_scope(""));
    }

    #[test]
    fn a_claim_that_no_header_can_hold_has_no_line_and_is_known_all_the_same() {
        for (claims, missing) in [
            (claims("zoë", &["staff"], "read"), USER),
            (claims("7\r\nx-user-roles: root", &["staff"], "read"), USER),
            (claims("7", &["staff", "rôle"], "read"), ROLES),
            (claims("7", &["staff\r\nx-scope: all"], "read"), ROLES),
            (claims("7", &["staff"], "read\u{0}"), SCOPE),
            (claims("7", &["staff"], "read\tall"), SCOPE),
        ] {
            let identity = Identity::from(claims.clone());
            assert_eq!(identity.user_id(), claims.sub);
            assert_eq!(identity.session_id(), "session");
            assert!(claims.roles.iter().all(|role| identity.has_role(role)), "{claims:?}");
            assert!(!identity.has_role("root") && !identity.has_role("rôle,staff"));
            assert_eq!(identity.has_scope("all"), claims.has_scope("all"), "{claims:?}");
            let lines: Vec<&str> = identity.lines().split_terminator("\r\n").collect();
            assert_eq!(lines.len(), 3, "{lines:?}");
            assert!(!lines.iter().any(|line| line.starts_with(missing)), "{lines:?}");
        }
    }

    #[test]
    fn a_role_with_a_comma_is_one_role_and_not_in_the_line() {
        let identity = Identity::from(claims("7", &["staff", "a,root", ""], "read"));
        assert!(identity.has_role("a,root") && identity.has_role("staff") && identity.has_role(""));
        assert!(!identity.has_role("a") && !identity.has_role("root"));
        assert_eq!(identity.said(ROLES), "staff,");
    }
}
