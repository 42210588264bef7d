//! `/events`

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hafen_base::{Error, ErrorKind, PageLimit};
use hafen_client::wire::{Event, List, Problem};
use hafen_http::{ApiResult, Json, Query, Sees, StillPermitted, event_stream};
use hafen_work::EventFilter;
use http::{HeaderMap, header};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::Machines;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only events after this position.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Only events of this project.
    project: Option<String>,
    /// Events a page.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// What happened in the projects one may see, in order. With `Accept: text/event-stream` it goes on as server-sent events, from `after` or
/// `Last-Event-ID`; a reader that is too slow is cut off and reads again from its last position. A position older than the
/// 200,000 events that are kept is refused with 412: nothing is skipped in silence.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "event_list", tag = "events", params(EventQuery), responses(
    (status = 200, description = "Events, oldest first; `next_page` is null: read on with `after`. As a stream with \
        `Accept: text/event-stream`: `id` is the position, `event` the kind, `data` the event", content(
        (List<Event> = "application/json"), (String = "text/event-stream"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(machines): State<Machines>,
    Sees(permitted): Sees,
    still: StillPermitted,
    headers: HeaderMap,
    Query(query): Query<EventQuery>,
) -> ApiResult<Response> {
    let limit = PageLimit::new(query.limit)?;
    let header = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let last =
        headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let after: i64 = query.after.or(last).unwrap_or(0);
    if after < 0 {
        return Err(Error::invalid_field("/after", "a position is 0 (from the beginning) or more").into());
    }
    let oldest = machines.events().oldest().await?;
    if after > 0 && after < oldest - 1 {
        let lost = format!(
            "the events after {after} are not kept any more; read the state anew, then go on after {}",
            oldest - 1
        );
        return Err(Error::new(ErrorKind::Stale, lost).with_code("events_dropped").into());
    }
    let filter = EventFilter { project: query.project, kind: None, object: None, permitted };
    if header(header::ACCEPT).is_some_and(|accept| accept.contains("text/event-stream")) {
        return Ok(event_stream(machines.events().clone(), after, filter, still));
    }
    let items = machines.events().read_permitted(after, limit.get(), &filter).await?;
    Ok(Json(List { items, next_page: None }).into_response())
}
