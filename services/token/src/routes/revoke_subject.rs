//! `POST /internal/revoke`: the identity service ends all sessions of somebody.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use portcullis_client::wire::{RevokeSubjectRequest, RevokeSubjectResponse};
use service_kit::Problem;

use super::service_account::{Revoke, ServiceAccount};
use crate::sessions::Sessions;

/// Answers once the revocations are durable and published.
pub(super) async fn revoke_subject(
    _: ServiceAccount<Revoke>,
    sessions: Data<Sessions>,
    request: Json<RevokeSubjectRequest>,
) -> Result<HttpResponse, Problem> {
    let ended = sessions.end_subject(&request).await?;
    Ok(HttpResponse::Ok().json(RevokeSubjectResponse { ended }))
}
