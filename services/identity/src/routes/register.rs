//! `POST /api/auth/register`: makes an account and logs it in.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_client::{Delivery, TokenClient};
use serde::Serialize;
use service_kit::{Device, Fields, Form, FromFields, Problem};

use super::session;
use super::view::UserView;
use crate::password::{Password, PasswordHasher};
use crate::store::{NewAccount, UserStore};
use crate::user::{Email, Username};

/// What somebody who registers sends.
#[derive(Debug)]
pub(crate) struct RegisterRequest {
    username: Username,
    email: Email,
    password: Password,
}

impl FromFields for RegisterRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let username = fields.text("username");
        let username = fields.parse("username", username, Username::parse);
        let email = fields.text("email");
        let email = fields.parse("email", email, Email::parse);
        let password = fields.secret("password");
        let password = password.and_then(|secret| match Password::parse(secret) {
            Ok(password) => Some(password),
            Err(message) => fields.reject("password", message),
        });
        // Nobody registers as anything but an active user; clients that send the field all the same must make sense.
        let is_active = fields.boolean("is_active");
        is_active.and(Some(Self {
            username: username?,
            email: email?,
            password: password?,
        }))
    }
}

#[derive(Debug, Serialize)]
struct RegisterResponse {
    user: UserView,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<String>,
    token: String,
    access: String,
}

/// 201 with the account and its first session. When no session can be opened the account is taken back, so that the same
/// registration can be sent again.
pub(crate) async fn register(
    form: Form<RegisterRequest>,
    users: Data<UserStore>,
    hasher: Data<PasswordHasher>,
    tokens: Data<TokenClient>,
    device: Device,
    delivery: Delivery,
) -> Result<HttpResponse, Problem> {
    let Form(RegisterRequest {
        username,
        email,
        password,
    }) = form;
    let password = hasher.hash(password).await?;
    let account = NewAccount {
        username,
        email,
        password,
        is_staff: false,
        is_superuser: false,
    };
    let user = users.create(account).await?;
    match session::open(&tokens, &user, device).await {
        Ok(pair) => {
            let delivered = delivery.deliver(&pair);
            let body = RegisterResponse {
                user: UserView::from(&user),
                refresh: delivered.refresh,
                token: pair.access.clone(),
                access: pair.access,
            };
            Ok(session::answer(StatusCode::CREATED, delivered.cookie, body))
        }
        Err(error) => {
            // The session may have been opened and only the reply lost: deleting ends it as well.
            users.delete(user.id, None).await?;
            Err(error.into())
        }
    }
}
