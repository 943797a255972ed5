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
pub(crate) enum Identity {
    /// The header lines that upstreams get, as they are sent, when those say everything.
    Said(Arc<str>),
    /// The lines, and the claims themselves, which no header can hold as they are.
    Unsaid(Arc<(Box<str>, Claims)>),
}

impl From<Claims> for Identity {
    fn from(claims: Claims) -> Self {
        let mut lines = Vec::new();
        let mut head = HeadWriter::new(&mut lines);
        head.say(USER, &claims.sub);
        head.say(ROLES, &listed(&claims.roles));
        head.say(SESSION, claims.sid.as_deref().unwrap_or_default());
        head.say(SCOPE, &claims.scope);
        let lines = String::from_utf8(lines).unwrap_or_default();
        if say(&lines, &claims) {
            Self::Said(lines.into())
        } else {
            Self::Unsaid(Arc::new((lines.into(), claims)))
        }
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
        match self {
            Self::Said(lines) => lines,
            Self::Unsaid(both) => &both.0,
        }
    }

    pub(crate) fn user_id(&self) -> &str {
        match self {
            Self::Said(lines) => said(lines, USER),
            Self::Unsaid(both) => &both.1.sub,
        }
    }

    /// Empty when there is none.
    pub(crate) fn session_id(&self) -> &str {
        match self {
            Self::Said(lines) => said(lines, SESSION),
            Self::Unsaid(both) => both.1.sid.as_deref().unwrap_or_default(),
        }
    }

    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        match self {
            Self::Said(lines) => said(lines, SCOPE).split_ascii_whitespace().any(|held| held == scope),
            Self::Unsaid(both) => both.1.has_scope(scope),
        }
    }

    pub(crate) fn has_role(&self, role: &str) -> bool {
        match self {
            Self::Said(lines) => roles(lines).any(|held| held == role),
            Self::Unsaid(both) => both.1.has_role(role),
        }
    }
}

/// The value of the line of this name; empty when there is none.
fn said<'a>(lines: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(": ");
    lines.lines().find_map(value).unwrap_or_default()
}

fn roles(lines: &str) -> impl Iterator<Item = &str> {
    said(lines, ROLES).split(',').filter(|role| !role.is_empty())
}

/// Whether `lines` say the same as `claims`.
fn say(lines: &str, claims: &Claims) -> bool {
    said(lines, USER) == claims.sub
        && roles(lines).eq(&claims.roles)
        && said(lines, SESSION) == claims.sid.as_deref().unwrap_or_default()
        && said(lines, SCOPE) == claims.scope
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
        assert!(matches!(identity, Identity::Said(_)));
        assert_eq!(
            identity.lines(),
            "x-user-id: 7\r\nx-user-roles: staff,support\r\nx-session-id: session\r\nx-scope: read write\r\n"
        );
        assert_eq!((identity.user_id(), identity.session_id()), ("7", "session"));
        assert!(identity.has_scope("read") && identity.has_scope("write"));
        assert!(!identity.has_scope("read write") && !identity.has_scope(""));
        assert!(identity.has_role("staff") && identity.has_role("support"));
        assert!(!identity.has_role("staff,support") && !identity.has_role(""));

        assert_eq!(size_of::<Identity>(), 16, "it is kept of each of very many tokens");

        let nobody = Identity::from(claims("7", &[], ""));
        assert!(matches!(nobody, Identity::Said(_)) && !nobody.has_role("") && !nobody.has_scope(""));
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
        assert_eq!(said(identity.lines(), ROLES), "staff,");
    }
}
