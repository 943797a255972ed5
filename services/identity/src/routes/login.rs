//! `POST /api/auth/login` and `POST /token`: trade an email address or a username and a password for a token pair.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_client::{Delivery, TokenClient};
use secrecy::SecretString;
use serde::Serialize;
use service_kit::{Device, Fields, Form, FromFields, Problem};

use super::session;
use super::view::UserView;
use crate::IdentityError;
use crate::password::PasswordHasher;
use crate::store::UserStore;
use crate::user::{Login, User};

/// Who somebody says they are, and their proof of it.
#[derive(Debug)]
pub(crate) struct Credentials {
    login: Login,
    password: SecretString,
}

/// Credentials of somebody who is expected to give an email address.
#[derive(Debug)]
pub(crate) struct LoginRequest(Credentials);

/// Credentials of somebody who is expected to give a username.
#[derive(Debug)]
pub(crate) struct TokenRequest(Credentials);

impl FromFields for LoginRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let by_username = fields.has("username") && !fields.has("email");
        credentials(fields, by_username).map(Self)
    }
}

impl FromFields for TokenRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let by_username = fields.has("username") || !fields.has("email");
        credentials(fields, by_username).map(Self)
    }
}

fn credentials(fields: &mut Fields, by_username: bool) -> Option<Credentials> {
    let login = if by_username {
        fields.text("username").map(|text| Login::username(&text))
    } else {
        fields.text("email").map(|text| Login::email(&text))
    };
    let password = fields.secret("password");
    Some(Credentials {
        login: login?,
        password: password?,
    })
}

#[derive(Debug, Serialize)]
struct LoginResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<String>,
    access: String,
    user: UserView,
}

/// 200 with a session by email address (or username).
pub(crate) async fn login(
    form: Form<LoginRequest>,
    users: Data<UserStore>,
    hasher: Data<PasswordHasher>,
    tokens: Data<TokenClient>,
    device: Device,
    delivery: Delivery,
) -> Result<HttpResponse, Problem> {
    let user = authenticate(form.0.0, &users, &hasher).await?;
    open(&user, &tokens, device, delivery).await
}

/// 200 with a session by username (or email address).
pub(crate) async fn token(
    form: Form<TokenRequest>,
    users: Data<UserStore>,
    hasher: Data<PasswordHasher>,
    tokens: Data<TokenClient>,
    device: Device,
    delivery: Delivery,
) -> Result<HttpResponse, Problem> {
    let user = authenticate(form.0.0, &users, &hasher).await?;
    open(&user, &tokens, device, delivery).await
}

async fn authenticate(
    credentials: Credentials,
    users: &UserStore,
    hasher: &PasswordHasher,
) -> Result<User, IdentityError> {
    let found = users.find_by_login(credentials.login).await?;
    let verified = hasher.verify(found, credentials.password).await?;
    if let Some(hash) = verified.rehashed
        && let Err(error) = users.rehash(&verified.user, hash).await
    {
        log::warn!(user_id:% = verified.user.id, cause:% = error; "a password keeps its old hash until the next login");
    }
    Ok(verified.user)
}

async fn open(user: &User, tokens: &TokenClient, device: Device, delivery: Delivery) -> Result<HttpResponse, Problem> {
    let pair = session::open(tokens, user, device).await?;
    let delivered = delivery.deliver(&pair);
    let body = LoginResponse {
        refresh: delivered.refresh,
        access: pair.access,
        user: UserView::from(user),
    };
    Ok(session::answer(StatusCode::OK, delivered.cookie, body))
}
