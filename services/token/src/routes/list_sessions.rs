//! `GET /api/auth/sessions`: where one is signed in.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use jiff::Timestamp;
use portcullis_client::Caller;
use serde::Serialize;
use service_kit::Problem;

use crate::session::Session;
use crate::sessions::Sessions;

#[derive(Serialize)]
struct SessionView {
    id: String,
    current: bool,
    created: String,
    last_used: String,
    expires: String,
    user_agent: Option<String>,
    ip: Option<String>,
}

/// A time as every answer has it: with microseconds, in UTC.
fn time(millis: i64) -> Result<String, Problem> {
    let time = Timestamp::from_millisecond(millis).map_err(Problem::internal)?;
    Ok(format!("{time:.6}"))
}

fn view(session: Session, current: Option<&str>) -> Result<SessionView, Problem> {
    let id = session.id.to_string();
    Ok(SessionView {
        current: current == Some(id.as_str()),
        id,
        created: time(session.created_at)?,
        last_used: time(session.last_used_at)?,
        expires: time(session.idle_expires_at.min(session.absolute_expires_at))?,
        user_agent: session.user_agent,
        ip: session.ip,
    })
}

/// The caller's live sessions, last used first.
pub(super) async fn list_sessions(sessions: Data<Sessions>, caller: Caller) -> Result<HttpResponse, Problem> {
    let live = sessions.list(&caller).await?;
    let views = live.into_iter().map(|session| view(session, caller.sid.as_deref()));
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(views.collect::<Result<Vec<_>, _>>()?))
}
