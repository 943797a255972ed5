//! How an account is shown.

use serde::Serialize;

use crate::user::User;

/// An account as clients see it.
#[derive(Debug, Serialize)]
pub(crate) struct UserView {
    id: String,
    username: String,
    email: String,
    is_active: bool,
    created: String,
    updated: String,
    is_staff: bool,
    is_superuser: bool,
    roles: Vec<String>,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username.clone(),
            email: user.email.clone(),
            is_active: user.is_active,
            created: format!("{:.6}", user.created),
            updated: format!("{:.6}", user.updated),
            is_staff: user.is_staff,
            is_superuser: user.is_superuser,
            roles: user.roles.clone(),
        }
    }
}
