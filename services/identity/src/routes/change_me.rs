//! `PATCH /api/auth/me`: another username or email address for the caller's own account.

use actix_web::web::{Data, Json};
use secrecy::SecretString;
use service_kit::{Fields, FromFields, Problem};

use super::caller::{ActiveUser, Asked};
use super::view::UserView;
use crate::IdentityError;
use crate::password::PasswordHasher;
use crate::store::UserStore;
use crate::user::{Email, Username};

/// What is to be changed; what is absent stays.
#[derive(Debug)]
pub(crate) struct ChangeMeRequest {
    username: Option<Username>,
    email: Option<Email>,
    current_password: Option<SecretString>,
}

impl FromFields for ChangeMeRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let username = fields.optional_parse("username", Username::parse);
        let email = fields.optional_parse("email", Email::parse);
        let current_password = fields.optional_secret("current_password");
        Some(Self {
            username: username?,
            email: email?,
            current_password: current_password?,
        })
    }
}

/// 200 with the account as it is now. Whoever logs in with the email address could be locked out by another one, so that
/// changing it asks for the password.
pub(crate) async fn change_me(
    Asked(ActiveUser(user), mut change): Asked<ActiveUser, ChangeMeRequest>,
    users: Data<UserStore>,
    hasher: Data<PasswordHasher>,
) -> Result<Json<UserView>, Problem> {
    change.username = change.username.filter(|username| username.text != user.username);
    change.email = change.email.filter(|email| email.text != user.email);
    if change.email.is_some() {
        let password = change.current_password.ok_or(IdentityError::PasswordMissing)?;
        hasher.confirm(&user, password).await?;
    }
    if change.username.is_none() && change.email.is_none() {
        return Ok(Json(UserView::from(&user)));
    }
    let changed = users.rename(&user, change.username, change.email).await?;
    Ok(Json(UserView::from(&changed)))
}
