//! `GET /api/user/{id}`: one account.

use actix_web::web::{Data, Json, Path};
use service_kit::Problem;

use super::caller::ActiveUser;
use super::view::UserView;
use crate::store::UserStore;
use crate::user::UserId;

/// 200 with the account: the caller's own, or, for a superuser, any. Others look as if they did not exist.
pub(crate) async fn get_user(
    ActiveUser(caller): ActiveUser,
    id: Path<String>,
    users: Data<UserStore>,
) -> Result<Json<UserView>, Problem> {
    let id: UserId = id.parse().map_err(|_| Problem::not_found())?;
    if id == caller.id {
        return Ok(Json(UserView::from(&caller)));
    }
    if !caller.is_superuser {
        return Err(Problem::not_found());
    }
    let user = users.find_by_id(id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(UserView::from(&user)))
}
