//! `GET /internal/feed?after=CURSOR`: keys and revocations as they happen, a JSON object a line.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Query};
use serde::Deserialize;

use super::service_account::{ReadFeed, ServiceAccount};
use crate::feed::Feed;

#[derive(Debug, Deserialize)]
pub(super) struct Position {
    after: Option<String>,
}

/// The stream of one follower; it ends when the follower goes, falls too far behind, or this service stops.
pub(super) async fn feed(
    follower: ServiceAccount<ReadFeed>,
    feed: Data<Feed>,
    position: Query<Position>,
) -> HttpResponse {
    let lines = feed
        .into_inner()
        .subscribe(follower.claims, position.into_inner().after);
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/x-ndjson"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(lines)
}
