//! `POST /internal/sessions`: the identity service vouches for somebody.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use portcullis_client::wire::OpenSessionRequest;
use service_kit::Problem;

use super::service_account::{Issue, ServiceAccount};
use crate::sessions::Sessions;

/// Opens a session and gives its first pair.
pub(super) async fn open_session(
    _: ServiceAccount<Issue>,
    sessions: Data<Sessions>,
    request: Json<OpenSessionRequest>,
) -> Result<HttpResponse, Problem> {
    let pair = sessions.open(request.into_inner()).await?;
    Ok(HttpResponse::Created().json(pair))
}
