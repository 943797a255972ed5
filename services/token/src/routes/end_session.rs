//! `DELETE /api/auth/sessions/{sid}`: signs out somewhere else, or here.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use portcullis_client::Caller;
use service_kit::Problem;

use crate::sessions::Sessions;

/// Ends one of the caller's sessions. Of other people's sessions nothing is told: they are 404, as those that have ended.
pub(super) async fn end_session(
    sessions: Data<Sessions>,
    caller: Caller,
    sid: Path<String>,
) -> Result<HttpResponse, Problem> {
    sessions.end_own(&caller, &sid).await?;
    Ok(HttpResponse::NoContent().finish())
}
