//! `DELETE /api/admin/users/{id}`: the end of an account, for superusers.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use portcullis_client::TokenClient;
use service_kit::Problem;

use super::caller::Superuser;
use crate::store::UserStore;
use crate::user::UserId;
use crate::{IdentityError, outbox};

/// 204; every session of the account has ended.
pub(crate) async fn delete_user(
    Superuser(caller): Superuser,
    id: Path<String>,
    users: Data<UserStore>,
    tokens: Data<TokenClient>,
) -> Result<HttpResponse, Problem> {
    let id: UserId = id.parse().map_err(|_| Problem::not_found())?;
    if id == caller.id {
        return Err(IdentityError::OwnAccount.into());
    }
    if !users.delete(id, Some(&caller)).await? {
        return Err(Problem::not_found());
    }
    log::info!(user_id:% = id, by:% = caller.id; "an administrator deleted an account");
    outbox::deliver_now(&users, &tokens).await;
    Ok(HttpResponse::NoContent().finish())
}
