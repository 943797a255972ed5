//! `DELETE /api/admin/users/{id}/sessions`: signs somebody out everywhere, for superusers.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use portcullis_client::TokenClient;
use service_kit::Problem;

use super::caller::Superuser;
use crate::outbox;
use crate::store::UserStore;
use crate::user::UserId;

/// 204; every session that the account had has ended. It may log in again at once.
pub(crate) async fn end_sessions(
    Superuser(caller): Superuser,
    id: Path<String>,
    users: Data<UserStore>,
    tokens: Data<TokenClient>,
) -> Result<HttpResponse, Problem> {
    let id: UserId = id.parse().map_err(|_| Problem::not_found())?;
    if !users.end_sessions(id, &caller).await? {
        return Err(Problem::not_found());
    }
    log::info!(user_id:% = id, by:% = caller.id; "an administrator ended the sessions of an account");
    outbox::deliver_now(&users, &tokens).await;
    Ok(HttpResponse::NoContent().finish())
}
