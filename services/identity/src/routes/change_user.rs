//! `PATCH /api/admin/users/{id}`: what an account may do, for superusers.

use actix_web::web::{Data, Json, Path};
use portcullis_client::TokenClient;
use service_kit::{Fields, FromFields, Problem};

use super::caller::{Asked, Superuser};
use super::view::UserView;
use crate::store::{Rights, UserStore};
use crate::user::{UserId, parse_roles};
use crate::{IdentityError, outbox};

impl FromFields for Rights {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let is_active = fields.boolean("is_active");
        let is_staff = fields.boolean("is_staff");
        let is_superuser = fields.boolean("is_superuser");
        let roles = match fields.texts("roles") {
            Some(Some(roles)) => match parse_roles(roles) {
                Ok(roles) => Some(Some(roles)),
                Err(message) => fields.reject("roles", &message),
            },
            absent => absent,
        };
        Some(Self {
            is_active: is_active?,
            is_staff: is_staff?,
            is_superuser: is_superuser?,
            roles: roles?,
        })
    }
}

/// 200 with the account as it is now. Its sessions have ended when it was deactivated or lost a role.
pub(crate) async fn change_user(
    Asked(Superuser(caller), rights): Asked<Superuser, Rights>,
    id: Path<String>,
    users: Data<UserStore>,
    tokens: Data<TokenClient>,
) -> Result<Json<UserView>, Problem> {
    let id: UserId = id.parse().map_err(|_| Problem::not_found())?;
    if id == caller.id && (rights.is_active == Some(false) || rights.is_superuser == Some(false)) {
        return Err(IdentityError::OwnAccount.into());
    }
    let changed = if rights == Rights::default() {
        users.find_by_id(id).await?
    } else {
        users.set_rights(id, rights, Some(&caller)).await?
    };
    let changed = changed.ok_or_else(Problem::not_found)?;
    log::info!(user_id:% = id, by:% = caller.id; "an administrator changed what an account may do");
    outbox::deliver_now(&users, &tokens).await;
    Ok(Json(UserView::from(&changed)))
}
