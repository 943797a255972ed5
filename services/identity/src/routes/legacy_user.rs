//! `POST /internal/legacy-user`: who somebody is here whom the system before knew, for the token service.

use actix_web::web::{Data, Json};
use portcullis_client::wire::{LegacyUser, LegacyUserResponse, scope};
use portcullis_client::{Requirement, ServiceAccount};
use service_kit::{Fields, Form, FromFields, Problem};

use crate::store::UserStore;
use crate::user::User;

/// The scope `users:legacy`.
pub(crate) enum AskLegacy {}

impl Requirement for AskLegacy {
    const SCOPES: &'static [&'static str] = &[scope::LEGACY];
}

/// `{user_id}`
#[derive(Debug)]
pub(crate) struct LegacyUserRequest {
    user_id: String,
}

impl FromFields for LegacyUserRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        Some(Self {
            user_id: fields.text("user_id")?,
        })
    }
}

/// Whether tokens of the system before still count: what has ended every session of an account since it is here (another
/// password, a deactivation, an administrator) has ended those too.
fn counts(user: &User) -> bool {
    user.is_active && user.epoch == 0
}

/// 200, whether there is such an account or not.
pub(crate) async fn legacy_user(
    _: ServiceAccount<AskLegacy>,
    form: Form<LegacyUserRequest>,
    users: Data<UserStore>,
) -> Result<Json<LegacyUserResponse>, Problem> {
    let user = users.find_by_legacy_id(&form.0.user_id).await?.filter(counts);
    Ok(Json(LegacyUserResponse {
        user: user.map(|user| LegacyUser {
            subject: user.id.to_string(),
            epoch: user.epoch,
            roles: user.all_roles(),
        }),
    }))
}
