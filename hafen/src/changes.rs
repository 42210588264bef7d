//! What changed, of all services at once: for a console, which shows how things are and must know when to look again.
//!
//! A change carries no state and no promise: a reader that was away reads anew what it shows, and goes on from now. Who needs
//! every event in order reads those of the services (`/api/v1/events`), or the ledger.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hafen_base::{Error, PageLimit, Permitted, Result};
use hafen_client::wire::{Event, List, PlatformChange, Problem};
use hafen_http::{ApiResult, EventWriter, Json, Query, Sees, StillPermitted, event_writer};
use hafen_work::{EventFilter, EventLog};
use http::{HeaderMap, header};
use serde::Deserialize;
use tokio::sync::watch;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::services::Services;

/// Changes read at a time from one service.
const BATCH: u32 = 200;
/// What people do to accounts and by SSH is for those who audit.
const AUDITED: &str = "ledger.read";

#[derive(Clone)]
struct Changes {
    /// Of projects, for all who may see the project.
    open: Vec<(&'static str, EventLog)>,
    audited: Vec<(&'static str, EventLog)>,
}

pub fn router(services: &Services) -> OpenApiRouter {
    let changes = Changes {
        open: vec![
            ("machines", services.machines.events().clone()),
            ("stacks", services.stacks.events().clone()),
            ("delivery", services.delivery.events().clone()),
            ("vault", services.vault.events().clone()),
            ("edge", services.edge.events().clone()),
        ],
        audited: vec![
            ("access", services.access.events().clone()),
            ("identity", services.identity.events().clone()),
        ],
    };
    OpenApiRouter::new().routes(routes!(change_list)).with_state(changes)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ChangeQuery {
    /// Only of this project.
    #[param(max_length = 255)]
    project: Option<String>,
    /// Only of this object, as `machine/web-1`.
    #[param(max_length = 512)]
    object: Option<String>,
    /// 1 to 1000; 100 unless given. Of the list alone.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// What changed last, newest first, of all services in the projects one may see; people, sign-ins and SSH for those who may
/// read the ledger. With `Accept: text/event-stream` it goes on from now as server-sent events named `change`; a reader that is
/// too slow gets a last one named `cut_off`.
#[utoipa::path(get, path = "/api/v1/changes", tag = "events", operation_id = "change_list", params(ChangeQuery), responses(
    (status = 200, description = "Changes; `next_page` is null. As a stream with `Accept: text/event-stream`", content(
        (List<PlatformChange> = "application/json"), (String = "text/event-stream"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn change_list(
    State(changes): State<Changes>,
    Sees(permitted): Sees,
    still: StillPermitted,
    headers: HeaderMap,
    Query(query): Query<ChangeQuery>,
) -> ApiResult<Response> {
    let limit = PageLimit::new(query.limit)?.get();
    for (field, value, most) in [("/project", &query.project, 255), ("/object", &query.object, 512)] {
        if value.as_ref().is_some_and(|text| text.chars().count() > most) {
            return Err(
                Error::invalid_field(field, format!("no name is longer than {most} characters")).into()
            );
        }
    }
    let reader = Reader { changes, still, project: query.project, object: query.object };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if accept.contains("text/event-stream") {
        return Ok(reader.stream().await?);
    }
    let mut items = Vec::new();
    for (service, log, permitted) in reader.sources(permitted).await? {
        let events = log.latest(limit, &reader.filter(permitted)).await?;
        items.extend(events.into_iter().map(|event| change(service, event)));
    }
    items.sort_by(|a, b| b.at.cmp(&a.at).then(b.seq.cmp(&a.seq)));
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Json(List { items, next_page: None }).into_response())
}

fn change(service: &str, event: Event) -> PlatformChange {
    PlatformChange {
        service: service.to_owned(),
        seq: event.seq,
        at: event.at,
        project: event.project,
        kind: event.kind,
        object: event.object,
        message: event.message,
        actor: event.actor.name,
    }
}

/// Who reads, and what of.
struct Reader {
    changes: Changes,
    still: StillPermitted,
    project: Option<String>,
    object: Option<String>,
}

impl Reader {
    fn filter(&self, permitted: Permitted) -> EventFilter {
        EventFilter { project: self.project.clone(), kind: None, object: self.object.clone(), permitted }
    }

    /// The logs, each with what is seen of it.
    async fn sources(&self, permitted: Permitted) -> Result<Vec<(&'static str, EventLog, Permitted)>> {
        let audited = self.still.by(AUDITED).await?;
        let of = |logs: &[(&'static str, EventLog)], permitted: &Permitted| {
            logs.iter().map(|(name, log)| (*name, log.clone(), permitted.clone())).collect::<Vec<_>>()
        };
        Ok([of(&self.changes.open, &permitted), of(&self.changes.audited, &audited)].concat())
    }

    async fn stream(self) -> Result<Response> {
        let logs: Vec<EventLog> =
            self.changes.open.iter().chain(&self.changes.audited).map(|(_, log)| log.clone()).collect();
        let mut positions = Vec::with_capacity(logs.len());
        // From before the answer begins: what changes once the reader has it is told.
        for log in &logs {
            positions.push(log.last().await?);
        }
        let (writer, answer) = event_writer();
        tokio::spawn(async move {
            if let Err(error) = self.carry(&logs, positions, &writer).await {
                tracing::debug!(cause = %error.cause_chain(), "a stream of changes ends: {error}");
            }
        });
        Ok(answer)
    }

    /// Until the reader is gone, is too slow, or has lost its right.
    async fn carry(&self, logs: &[EventLog], mut positions: Vec<i64>, writer: &EventWriter) -> Result<()> {
        let mut bells: Vec<_> = logs.iter().map(EventLog::subscribe).collect();
        // So that a reader knows at once that the stream is there.
        let mut reads = writer.write(": from now on\n\n".into()).await;
        while reads {
            bells.iter_mut().for_each(watch::Receiver::mark_unchanged);
            let permitted = self.still.now().await?.unwrap_or(Permitted::Everything);
            let mut more = false;
            for ((service, log, permitted), position) in
                self.sources(permitted).await?.into_iter().zip(&mut positions)
            {
                let last = log.last().await?;
                if last == *position {
                    continue;
                }
                let events = log.read_permitted(*position, BATCH, &self.filter(permitted)).await?;
                let full = events.len() == BATCH as usize;
                more |= full;
                // What is not this reader's is not looked through again.
                *position = match events.last() {
                    Some(event) if full => event.seq,
                    _ => last,
                };
                for event in events {
                    let data = serde_json::to_string(&change(service, event)).map_err(Error::internal)?;
                    reads = reads && writer.write(format!("event: change\ndata: {data}\n\n")).await;
                }
            }
            reads = reads && (more || writer.wait(&mut bells).await);
        }
        Ok(())
    }
}
