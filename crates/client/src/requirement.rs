//! What a caller needs besides a good token, written in the signature of a handler.

use actix_web::http::StatusCode;
use actix_web::http::header::WWW_AUTHENTICATE;
use serde_json::json;
use service_kit::Problem;

use crate::Claims;

/// What a token must have to open an endpoint; named in the handler's arguments, as in `Caller<ReadOrders>`.
///
/// ```
/// use portcullis_client::{Caller, Requirement};
///
/// struct ReadOrders;
/// impl Requirement for ReadOrders {
///     const SCOPES: &'static [&'static str] = &["orders:read"];
/// }
///
/// struct Staff;
/// impl Requirement for Staff {
///     const ROLES: &'static [&'static str] = &["staff", "superuser"];
/// }
///
/// async fn cancel(caller: Caller<Staff>) -> String {
///     format!("{} is staff, or a superuser", caller.sub)
/// }
/// ```
pub trait Requirement: 'static {
    /// The token must have all of these scopes.
    const SCOPES: &'static [&'static str] = &[];
    /// The subject must have one of these roles; when none is named, nothing is asked.
    const ROLES: &'static [&'static str] = &[];
}

/// Nothing besides a good token: what `Caller` asks for when it is written alone.
#[derive(Clone, Copy, Debug)]
pub enum Anybody {}

impl Requirement for Anybody {}

/// What a good token lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// One of these scopes.
    #[error("The scope {} is needed here.", .0.join(" "))]
    Scope(&'static [&'static str]),
    /// All of the roles that would do.
    #[error("You do not have permission to perform this action.")]
    Role,
}

impl Denied {
    /// What `claims` lack to meet `R`.
    pub(crate) fn check<R: Requirement>(claims: &Claims) -> Result<(), Self> {
        if !R::SCOPES.iter().all(|scope| claims.has_scope(scope)) {
            return Err(Self::Scope(R::SCOPES));
        }
        if R::ROLES.is_empty() || R::ROLES.iter().any(|role| claims.has_role(role)) {
            return Ok(());
        }
        Err(Self::Role)
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            // RFC 6750 section 3.1
            Denied::Scope(scopes) => {
                let scope = scopes.join(" ");
                let challenge = format!("Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{scope}\"");
                Self::new(StatusCode::FORBIDDEN, "insufficient_scope", denied.to_string())
                    .header(WWW_AUTHENTICATE, &challenge)
                    .member("scope", json!(scope))
            }
            Denied::Role => Self::forbidden(),
        }
    }
}
