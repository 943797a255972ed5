//! What can go wrong here, in the domain's words, and how each is answered.

use actix_web::http::StatusCode;
use portcullis_client::TokenServiceError;
use service_kit::Problem;
use service_kit::blocking::BlockingError;

/// A condition that whoever called can act on, or [`IdentityError::Internal`].
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Unknown, wrong password, or not active: which of them is not said.
    #[error("No active account found with the given credentials")]
    WrongCredentials,
    /// The password that somebody who is signed in gave once more is not the account's.
    #[error("The password is not right.")]
    WrongPassword,
    /// Whoever asked is no longer who they were when they did: the password was changed, or the account was deactivated,
    /// demoted or deleted. Nothing was done.
    #[error("Your account has changed meanwhile, so nothing was done. Try again.")]
    AccountChanged,
    /// What was asked for needs the password once more.
    #[error("This field is required.")]
    PasswordMissing,
    /// An administrator would lock themselves out.
    #[error("You cannot deactivate, demote or delete your own account here; ask another superuser.")]
    OwnAccount,
    /// Another account has the username, the email, or both, without regard to case.
    #[error("{}", taken(*username, *email).iter().map(|(_, message)| *message).collect::<Vec<_>>().join(" "))]
    Taken {
        /// The username is taken.
        username: bool,
        /// The email is taken.
        email: bool,
    },
    /// The database cannot be reached, is locked, or failed; trying again may help.
    #[error("the users' database is not available")]
    StoreUnavailable(#[source] anyhow::Error),
    /// Too much is waiting already.
    #[error(transparent)]
    Busy(#[from] BlockingError),
    /// The token service did not do its part.
    #[error(transparent)]
    Tokens(#[from] TokenServiceError),
    /// Our own fault.
    #[error("internal error")]
    Internal(#[from] anyhow::Error),
}

/// The fields that are taken, each with its message.
fn taken(username: bool, email: bool) -> Vec<(&'static str, &'static str)> {
    [
        (username, "username", "user with this username already exists."),
        (email, "email", "user with this email already exists."),
    ]
    .into_iter()
    .filter_map(|(is_taken, field, message)| is_taken.then_some((field, message)))
    .collect()
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::WrongCredentials => Self::unauthorized("no_active_account", error.to_string(), None),
            IdentityError::WrongPassword | IdentityError::PasswordMissing => {
                Self::invalid(vec![("current_password".to_owned(), vec![error.to_string()])])
            }
            IdentityError::AccountChanged => Self::new(StatusCode::CONFLICT, "account_changed", error.to_string()),
            IdentityError::OwnAccount => Self::bad_request("own_account", error.to_string()),
            IdentityError::Taken { username, email } => Self::invalid(
                taken(username, email)
                    .into_iter()
                    .map(|(field, message)| (field.to_owned(), vec![message.to_owned()]))
                    .collect(),
            ),
            IdentityError::StoreUnavailable(cause) => Self::unavailable(
                "store_unavailable",
                "Accounts cannot be reached at the moment. Try again in a moment.",
            )
            .caused_by(cause),
            IdentityError::Busy(cause) => cause.into(),
            IdentityError::Tokens(cause) => cause.into(),
            IdentityError::Internal(cause) => Self::internal(cause),
        }
    }
}
