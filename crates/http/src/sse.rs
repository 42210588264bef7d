//! Events over server-sent events (WHATWG HTML, section 9.2): in order, from any position. A reader that is too slow is cut
//! off and told to read again from its last position; it never misses one silently.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use hafen_work::EventLog;
use http::header;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A reader may lag by this many events before it is cut off; beside that the kernel's socket buffer gives it room.
const BUFFER: usize = 1024;
/// A comment this often keeps proxies from closing an idle stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a full buffer may stay full.
const PATIENCE: Duration = Duration::from_secs(10);

/// Streams events after position `after`.
pub fn event_stream(log: EventLog, after: i64, project: Option<String>) -> Response {
    let (sender, receiver) = mpsc::channel::<Bytes>(BUFFER);
    // The task ends when the reader goes: its next send fails.
    tokio::spawn(async move {
        let mut bell = log.subscribe();
        let mut position = after;
        loop {
            bell.mark_unchanged();
            let events = match log.read(position, 200, project.as_deref()).await {
                Ok(events) => events,
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
                match timeout(PATIENCE, sender.send(Bytes::from(frame))).await {
                    Ok(Ok(())) => {}
                    // Gone, or too slow.
                    Ok(Err(_)) | Err(_) => return,
                }
            }
            if more {
                continue;
            }
            if timeout(KEEP_ALIVE, bell.changed()).await.is_err()
                && sender.try_send(Bytes::from_static(b": still here\n\n")).is_err()
            {
                return;
            }
        }
    });
    let stream = futures_unfold(receiver);
    (
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")],
        Body::new(StreamBody::new(stream)),
    )
        .into_response()
}

fn futures_unfold(
    receiver: mpsc::Receiver<Bytes>,
) -> impl futures::Stream<Item = Result<http_body::Frame<Bytes>, std::convert::Infallible>> {
    futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|bytes| (Ok(http_body::Frame::data(bytes)), receiver))
    })
}
