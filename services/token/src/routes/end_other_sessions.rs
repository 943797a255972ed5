//! `DELETE /api/auth/sessions`: signs out everywhere else.

use actix_web::HttpResponse;
use actix_web::web::Data;
use portcullis_client::Caller;
use service_kit::Problem;

use crate::sessions::Sessions;

/// Ends all of the caller's sessions but the one that asks.
pub(super) async fn end_other_sessions(sessions: Data<Sessions>, caller: Caller) -> Result<HttpResponse, Problem> {
    sessions.end_others(&caller).await?;
    Ok(HttpResponse::NoContent().finish())
}
