//! Byte streams into a machine, as WebSockets of binary frames: its serial console, a connection to one of its ports.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::response::Response;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hafen_base::Error;
use hafen_client::wire::Problem;
use hafen_http::{ApiResult, Path, Query, StillPermitted};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use utoipa::IntoParams;

use crate::Machines;
use crate::app::Connection;
use crate::engine::BoxDuplex;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DialQuery {
    /// TCP port of the machine.
    #[param(minimum = 1, maximum = 65535)]
    port: u16,
}

fn upgrade(socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>) -> Result<WebSocketUpgrade, Error> {
    socket.map_err(|_| Error::invalid("this path is a WebSocket: ask for an upgrade (RFC 6455)"))
}

/// Connects to a TCP port of a machine from inside its network. A WebSocket of binary frames; an empty one ends
/// the caller's direction only.
#[utoipa::path(get, path = "/api/v1/projects/{project}/machines/{machine}/dial", operation_id = "stream_dial", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"), DialQuery), responses(
    (status = 101, description = "Connected"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn dial(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    Query(query): Query<DialQuery>,
    still: StillPermitted,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let socket = upgrade(socket)?;
    let stream = machines.machine_dial(&project, &machine, query.port).await?;
    let connection = machines.connection_opened(&project, &machine, Some(query.port)).await?;
    Ok(answer(machines, socket, stream, connection, still))
}

/// The serial console of a machine. A WebSocket of binary frames.
#[utoipa::path(get, path = "/api/v1/projects/{project}/machines/{machine}/console", operation_id = "stream_console", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id")), responses(
    (status = 101, description = "Connected"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn console(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    still: StillPermitted,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    // Browsers hide why a handshake was refused; asked again without one, this says it.
    let stream = machines.machine_console(&project, &machine).await?;
    let socket = upgrade(socket)?;
    let connection = machines.connection_opened(&project, &machine, None).await?;
    Ok(answer(machines, socket, stream, connection, still))
}

/// Carries the stream for as long as its caller may have it, and writes down its end.
fn answer(
    machines: Machines,
    socket: WebSocketUpgrade,
    stream: BoxDuplex,
    connection: Option<Connection>,
    still: StillPermitted,
) -> Response {
    socket.on_upgrade(move |socket| async move {
        let counts = Counts::default();
        tokio::select! {
            () = carry(socket, stream, &counts) => {}
            over = still.over(&*machines.0.clock, &counts.used) => {
                tracing::info!("a stream into a machine ends with the right to it: {over}");
            }
        }
        if let Some(connection) = connection {
            let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
            machines.connection_closed(connection, read(&counts.sent), read(&counts.received)).await;
        }
    })
}

/// Bytes to the machine and from it.
#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
    /// The caller sent something since somebody looked.
    used: AtomicBool,
}

/// Copies both ways until the machine's side ends, or the caller went away. An empty frame of the caller says that it sends
/// no more and still listens (a WebSocket's own close would end both directions).
async fn carry(socket: WebSocket, stream: BoxDuplex, counts: &Counts) {
    let (mut sink, mut source) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let to_machine = async {
        while let Some(Ok(message)) = source.next().await {
            let done = match message {
                Message::Binary(bytes) if bytes.is_empty() => writer.shutdown().await,
                Message::Binary(bytes) => written(&mut writer, &bytes, counts).await,
                Message::Text(text) => written(&mut writer, text.as_bytes(), counts).await,
                Message::Close(_) => return,
                Message::Ping(_) | Message::Pong(_) => Ok(()),
            };
            if done.is_err() {
                // The machine takes no more; what it still says is heard.
                break;
            }
        }
        while let Some(Ok(message)) = source.next().await {
            if matches!(message, Message::Close(_)) {
                return;
            }
        }
    };
    let to_caller = async {
        let mut buffer = vec![0_u8; 32 << 10];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    let Some(bytes) = buffer.get(..count) else { break };
                    if sink.send(Message::Binary(Bytes::copy_from_slice(bytes))).await.is_err() {
                        break;
                    }
                    counts.received.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
                }
            }
        }
        let _closed = sink.send(Message::Close(None)).await;
    };
    tokio::select! {
        () = to_caller => {}
        () = to_machine => {}
    }
}

async fn written<W: AsyncWrite + Unpin>(
    writer: &mut W,
    bytes: &[u8],
    counts: &Counts,
) -> std::io::Result<()> {
    counts.used.store(true, Ordering::Relaxed);
    writer.write_all(bytes).await?;
    counts.sent.fetch_add(u64::try_from(bytes.len()).unwrap_or(0), Ordering::Relaxed);
    Ok(())
}
