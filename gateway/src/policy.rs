//! What a caller whose token is good must have besides, to get through a route.

use actix_web::http::header::WWW_AUTHENTICATE;
use service_kit::Problem;

use crate::identity::Identity;
use crate::routes::{Extras, Route};

/// Why a caller is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// One of these scopes is missing.
    #[error("a scope is missing")]
    Scope(Vec<String>),
    #[error("none of the roles is held")]
    Role,
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            // RFC 6750 section 3.1
            Denied::Scope(scopes) => {
                let scopes = scopes.join(" ");
                let challenge = format!("Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{scopes}\"");
                Self::forbidden().header(WWW_AUTHENTICATE, &challenge)
            }
            Denied::Role => Self::forbidden(),
        }
    }
}

/// Whether `caller` has every scope and one of the roles that `route` asks for.
pub(crate) fn check(route: &Route, caller: &Identity) -> Result<(), Denied> {
    let Extras { scopes, roles, .. } = &*route.extras;
    if !scopes.iter().all(|scope| caller.has_scope(scope)) {
        return Err(Denied::Scope(scopes.clone()));
    }
    if !(roles.is_empty() || roles.iter().any(|role| caller.has_role(role))) {
        return Err(Denied::Role);
    }
    Ok(())
}
