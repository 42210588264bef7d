//! Events over server-sent events (WHATWG HTML, section 9.2): in order, from any position. A reader that is too slow is cut
//! off and told to read again from its last position; it never misses one silently.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use hafen_work::{EventFilter, EventLog};
use http::header;
use http_body_util::StreamBody;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::StillPermitted;

/// A reader may lag by this many events before it is cut off; beside that the kernel's socket buffer gives it room.
const BUFFER: usize = 1024;
/// A comment this often keeps proxies from closing an idle stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a full buffer may stay full.
const PATIENCE: Duration = Duration::from_secs(10);

/// The last frame of a reader that was cut off. It has no `id`, so that a browser goes on from the last event it got.
const CUT_OFF: &str = "event: cut_off\ndata: {\"detail\":\"you read too slowly: connect again and read on from the last id \
                       you got\"}\n\n";

/// Where the frames of a stream are written. A reader that does not keep up is cut off: what is in the buffer still reaches it,
/// then the word that it was.
pub struct EventWriter {
    sender: mpsc::Sender<Bytes>,
    too_slow: Arc<AtomicBool>,
    patience: Duration,
}

impl EventWriter {
    /// Writes a frame, as the format has it; false when nobody reads any more.
    pub async fn write(&self, frame: String) -> bool {
        let Ok(sent) = timeout(self.patience, self.sender.send(Bytes::from(frame))).await else {
            tracing::debug!("an event reader is too slow and is cut off");
            self.too_slow.store(true, Ordering::Release);
            return false;
        };
        sent.is_ok()
    }

    /// Waits for one of the bells, and gives a sign of life where none rings; false when nobody reads any more.
    pub async fn wait(&self, bells: &mut [watch::Receiver<()>]) -> bool {
        let any = futures::future::select_all(bells.iter_mut().map(|bell| Box::pin(bell.changed())));
        // A full buffer needs no sign of life; a reader that went away is noticed.
        timeout(KEEP_ALIVE, any).await.is_ok()
            || !matches!(
                self.sender.try_send(Bytes::from_static(b": still here\n\n")),
                Err(mpsc::error::TrySendError::Closed(_))
            )
    }
}

/// A stream of server-sent events, and where to write it. It ends when the writer goes.
pub fn event_writer() -> (EventWriter, Response) {
    writer(PATIENCE)
}

fn writer(patience: Duration) -> (EventWriter, Response) {
    let (sender, receiver) = mpsc::channel::<Bytes>(BUFFER);
    let too_slow = Arc::new(AtomicBool::new(false));
    let frames = frames(receiver, Arc::clone(&too_slow));
    let answer = (
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")],
        Body::new(StreamBody::new(frames)),
    );
    (EventWriter { sender, too_slow, patience }, answer.into_response())
}

/// Streams events after position `after` that the filter lets through. What the reader may see is asked anew before each read: a
/// role that was taken shows nothing more, and a credential that was ended ends the stream.
pub fn event_stream(log: EventLog, after: i64, filter: EventFilter, still: StillPermitted) -> Response {
    stream(log, after, filter, still, PATIENCE)
}

fn stream(
    log: EventLog,
    after: i64,
    mut filter: EventFilter,
    still: StillPermitted,
    patience: Duration,
) -> Response {
    let (writer, answer) = writer(patience);
    // The task ends when the reader goes: its next frame finds nobody.
    let mut bell = [log.subscribe()];
    tokio::spawn(async move {
        let mut position = after;
        loop {
            bell.iter_mut().for_each(watch::Receiver::mark_unchanged);
            match still.now().await {
                Ok(None) => {}
                Ok(Some(permitted)) => filter.permitted = permitted,
                Err(error) => {
                    tracing::debug!("an event stream ends with the right to it: {error}");
                    return;
                }
            }
            let read = async {
                let last = log.last().await?;
                Ok::<_, hafen_base::Error>((last, log.read_permitted(position, 200, &filter).await?))
            };
            let (last, events) = match read.await {
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!(cause = %error.cause_chain(), "an event stream ends: {error}");
                    return;
                }
            };
            let more = events.len() == 200;
            for event in events {
                position = event.seq;
                let Ok(data) = serde_json::to_string(&event) else { return };
                let frame = format!("id: {}\nevent: {}\ndata: {data}\n\n", event.seq, event.kind);
                if !writer.write(frame).await {
                    return;
                }
            }
            if more {
                continue;
            }
            // What is not this reader's is not looked through again at every ring of the bell.
            position = position.max(last);
            if !writer.wait(&mut bell).await {
                return;
            }
        }
    });
    answer
}

fn frames(
    receiver: mpsc::Receiver<Bytes>,
    too_slow: Arc<AtomicBool>,
) -> impl futures::Stream<Item = Result<http_body::Frame<Bytes>, std::convert::Infallible>> {
    futures::stream::unfold((receiver, too_slow), |(mut receiver, too_slow)| async move {
        let bytes = match receiver.recv().await {
            Some(bytes) => bytes,
            // Said once: the swap leaves false behind.
            None if too_slow.swap(false, Ordering::AcqRel) => Bytes::from_static(CUT_OFF.as_bytes()),
            None => return None,
        };
        Some((Ok(http_body::Frame::data(bytes)), (receiver, too_slow)))
    })
}

#[cfg(test)]
mod tests {
    use hafen_base::{Permitted, SystemClock};
    use hafen_db::{Db, testing};
    use hafen_work::NewEvent;
    use http_body_util::BodyExt as _;

    use super::*;

    /// Far more than the buffer holds.
    const EVENTS: i64 = 3000;

    fn all() -> EventFilter {
        EventFilter { project: None, kind: None, object: None, permitted: Permitted::Everything }
    }

    async fn filled() -> (EventLog, testing::TestDb) {
        let database = testing::sqlite();
        let db =
            Db::open(&database.location, "events", &[hafen_work::MIGRATION, hafen_work::ACTOR_MIGRATION])
                .await
                .unwrap();
        let log = EventLog::new("events", db.clone(), Arc::new(SystemClock));
        let event = |number: i64| NewEvent {
            project: "p".into(),
            kind: "machine.started",
            object: format!("machine/m{number}"),
            message: String::new(),
            data: serde_json::Value::Null,
        };
        let mut tx = db.write().await.unwrap();
        log.append_many(&mut tx, (0..EVENTS).map(event).collect()).await.unwrap();
        tx.commit().await.unwrap();
        (log, database)
    }

    /// Ids of events, and the other lines, until the stream ends or the last event came.
    async fn read(response: Response) -> (Vec<i64>, String) {
        let mut body = response.into_body();
        let (mut ids, mut rest) = (Vec::new(), String::new());
        while ids.last() != Some(&EVENTS) {
            let Some(frame) = timeout(Duration::from_secs(20), body.frame()).await.unwrap() else { break };
            let data = frame.unwrap().into_data().unwrap();
            let text = std::str::from_utf8(&data).unwrap();
            match text.lines().find_map(|line| line.strip_prefix("id: ")) {
                Some(id) => ids.push(id.parse().unwrap()),
                None => rest.push_str(text),
            }
        }
        (ids, rest)
    }

    #[tokio::test]
    async fn a_slow_reader_is_cut_off_told_and_misses_nothing_when_it_reads_on() {
        let (log, _database) = filled().await;
        let slow = stream(log.clone(), 0, all(), StillPermitted::always(), Duration::from_millis(100));
        // It reads nothing until the writer has given up: then the log's only reader of its bell is gone.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let gone = log.clone();
        while gone.readers() > 0 {
            assert!(tokio::time::Instant::now() < deadline, "it was never cut off");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (first, told) = read(slow).await;
        let last = *first.last().unwrap();
        assert_eq!(first, (1..=last).collect::<Vec<_>>());
        assert!(last < EVENTS && told.contains("event: cut_off"), "{last} {told}");

        let (second, told) =
            read(stream(log, last, all(), StillPermitted::always(), Duration::from_secs(10))).await;
        assert_eq!(second, (last + 1..=EVENTS).collect::<Vec<_>>());
        assert_eq!(told, "");
    }

    #[tokio::test]
    async fn a_reader_that_keeps_up_is_not_cut_off() {
        let (log, _database) = filled().await;
        let (ids, told) =
            read(stream(log, 0, all(), StillPermitted::always(), Duration::from_millis(100))).await;
        assert_eq!(ids, (1..=EVENTS).collect::<Vec<_>>());
        assert_eq!(told, "");
    }
}
