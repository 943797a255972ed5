//! `GET /api/auth/me`: the caller's own account.

use actix_web::web::Json;

use super::caller::ActiveUser;
use super::view::UserView;

/// 200 with the account.
pub(crate) async fn get_me(ActiveUser(user): ActiveUser) -> Json<UserView> {
    Json(UserView::from(&user))
}
