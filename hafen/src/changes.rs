//! What changed, of all services at once: for a console, which shows how things are and must know when to look again.
//!
//! A change carries no state and no promise: a reader that was away reads anew what it shows, and goes on from now. Who needs
//! every event in order reads those of the services (`/api/v1/events`), or the ledger. The stream tells progress, too: what goes
//! on between two events and is written down nowhere, such as the steps of an apply.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hafen_base::{Error, PageLimit, Permitted, Result};
use hafen_client::wire::{Event, List, PlatformChange, Problem};
use hafen_http::{ApiResult, EventWriter, Json, Query, Sees, StillPermitted, event_writer};
use hafen_work::{EventFilter, EventLog, Note, Progress};
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
/// The last frame of a reader that was too far behind for progress to be remembered.
const MISSED: &str =
    "event: cut_off\ndata: {\"detail\":\"you read too slowly: connect again, and read anew\"}\n\n";

/// What one service tells.
#[derive(Clone)]
struct Source {
    service: &'static str,
    log: EventLog,
    progress: Option<Progress>,
    /// For who may read the ledger; else it is of projects, for all who may see the project.
    audited: bool,
}

#[derive(Clone)]
struct Changes(Vec<Source>);

pub fn router(services: &Services) -> OpenApiRouter {
    let open = |service, log: &EventLog| Source { service, log: log.clone(), progress: None, audited: false };
    let audited = |service, log: &EventLog| Source { audited: true, ..open(service, log) };
    let changes = Changes(vec![
        open("machines", services.machines.events()),
        Source {
            progress: Some(services.stacks.progress().clone()),
            ..open("stacks", services.stacks.events())
        },
        open("delivery", services.delivery.events()),
        open("vault", services.vault.events()),
        open("edge", services.edge.events()),
        audited("access", services.access.events()),
        audited("identity", services.identity.events()),
    ]);
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
/// read the ledger. With `Accept: text/event-stream` it goes on from now as server-sent events named `change`, and what goes on
/// between two of them, as the steps of an apply do, as such named `progress`: of the same form, but kept nowhere. A reader that is
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
    for (source, permitted) in reader.sources(permitted).await? {
        let events = source.log.latest(limit, &reader.filter(permitted)).await?;
        items.extend(events.into_iter().map(|event| change(source.service, event)));
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

fn noted(service: &str, note: Note) -> PlatformChange {
    PlatformChange {
        service: service.to_owned(),
        seq: 0,
        at: note.at,
        project: note.project,
        kind: note.kind.to_owned(),
        object: note.object,
        message: note.message,
        actor: note.actor,
    }
}

/// Up to where a reader has read a source.
#[derive(Default, Clone, Copy)]
struct Position {
    event: i64,
    note: u64,
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

    /// The services, each with what is seen of it.
    async fn sources(&self, permitted: Permitted) -> Result<Vec<(Source, Permitted)>> {
        let audited = self.still.by(AUDITED).await?;
        let seen = |source: &Source| if source.audited { audited.clone() } else { permitted.clone() };
        Ok(self.changes.0.iter().map(|source| (source.clone(), seen(source))).collect())
    }

    async fn stream(self) -> Result<Response> {
        let mut positions = Vec::with_capacity(self.changes.0.len());
        // From before the answer begins: what changes once the reader has it is told.
        for source in &self.changes.0 {
            let note = source.progress.as_ref().map_or(0, Progress::last);
            positions.push(Position { event: source.log.last().await?, note });
        }
        let (writer, answer) = event_writer();
        tokio::spawn(async move {
            if let Err(error) = self.carry(positions, &writer).await {
                tracing::debug!(cause = %error.cause_chain(), "a stream of changes ends: {error}");
            }
        });
        Ok(answer)
    }

    /// Until the reader is gone, is too slow, or has lost its right.
    async fn carry(&self, mut positions: Vec<Position>, writer: &EventWriter) -> Result<()> {
        let progress = self.changes.0.iter().filter_map(|source| source.progress.as_ref());
        let mut bells: Vec<_> = self
            .changes
            .0
            .iter()
            .map(|source| source.log.subscribe())
            .chain(progress.map(Progress::subscribe))
            .collect();
        // So that a reader knows at once that the stream is there.
        let mut reads = writer.write(": from now on\n\n".into()).await;
        while reads {
            bells.iter_mut().for_each(watch::Receiver::mark_unchanged);
            let permitted = self.still.now().await?.unwrap_or(Permitted::Everything);
            let mut more = false;
            for ((source, permitted), position) in
                self.sources(permitted).await?.into_iter().zip(&mut positions)
            {
                let (events, full) = self.events(&source, &permitted, position).await?;
                more |= full;
                // After the events: whatever led to one of them is among what was told by now.
                let Some(notes) = self.notes(&source, &permitted, position) else {
                    writer.write(MISSED.into()).await;
                    return Ok(());
                };
                for frame in frames(source.service, events, notes)? {
                    reads = reads && writer.write(frame).await;
                }
            }
            reads = reads && (more || writer.wait(&mut bells).await);
        }
        Ok(())
    }

    /// The next events of a source, and whether there may be more.
    async fn events(
        &self,
        source: &Source,
        permitted: &Permitted,
        position: &mut Position,
    ) -> Result<(Vec<Event>, bool)> {
        let last = source.log.last().await?;
        if last == position.event {
            return Ok((Vec::new(), false));
        }
        let filter = self.filter(permitted.clone());
        let events = source.log.read_permitted(position.event, BATCH, &filter).await?;
        let full = events.len() == BATCH as usize;
        // What is not this reader's is not looked through again.
        position.event = match events.last() {
            Some(event) if full => event.seq,
            _ => last,
        };
        Ok((events, full))
    }

    /// What was told since; none when it is remembered no more.
    fn notes(&self, source: &Source, permitted: &Permitted, position: &mut Position) -> Option<Vec<Note>> {
        let Some(progress) = &source.progress else { return Some(Vec::new()) };
        let (mut notes, last) = progress.read(position.note)?;
        position.note = last;
        notes.retain(|note| {
            self.project.as_ref().is_none_or(|project| *project == note.project)
                && self.object.as_ref().is_none_or(|object| *object == note.object)
                && permitted.had(&note.project, note.at)
        });
        Some(notes)
    }
}

/// Events and what was told between them, in one order: what led to an event comes before it.
fn frames(service: &str, events: Vec<Event>, notes: Vec<Note>) -> Result<Vec<String>> {
    let frame = |name: &str, change: &PlatformChange| -> Result<String> {
        let data = serde_json::to_string(change).map_err(Error::internal)?;
        Ok(format!("event: {name}\ndata: {data}\n\n"))
    };
    let mut frames = Vec::with_capacity(events.len() + notes.len());
    let mut notes = notes.into_iter().peekable();
    for event in events {
        while let Some(note) = notes.next_if(|note| note.at <= event.at) {
            frames.push(frame("progress", &noted(service, note))?);
        }
        frames.push(frame("change", &change(service, event))?);
    }
    for note in notes {
        frames.push(frame("progress", &noted(service, note))?);
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use hafen_base::{Actor, Timestamp};

    use super::*;

    #[test]
    fn what_led_to_an_event_comes_before_it() {
        let event = |seq: i64| Event {
            seq,
            at: Timestamp::from_micros(seq * 10),
            project: "hello".into(),
            kind: "apply.started".into(),
            object: "apply/op-1".into(),
            message: format!("event {seq}"),
            data: serde_json::Value::Null,
            actor: Actor::platform(),
        };
        let note = |at: i64| Note {
            at: Timestamp::from_micros(at),
            project: "hello".into(),
            kind: "apply.step",
            object: "apply/op-1".into(),
            message: format!("note {at}"),
            actor: "olga".into(),
        };
        let frames = frames("stacks", vec![event(1), event(2)], vec![note(11), note(20), note(21)]).unwrap();
        let said: Vec<String> = frames
            .iter()
            .map(|frame| {
                let (name, data) = frame.trim_end().split_once("\ndata: ").unwrap();
                let data: PlatformChange = serde_json::from_str(data).unwrap();
                format!("{name}: {} {}", data.message, data.seq)
            })
            .collect();
        assert_eq!(
            said,
            [
                "event: change: event 1 1",
                "event: progress: note 11 0",
                "event: progress: note 20 0",
                "event: change: event 2 2",
                "event: progress: note 21 0"
            ]
        );
    }
}
