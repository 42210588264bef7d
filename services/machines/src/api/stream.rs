//! Byte streams into a machine, as WebSockets of binary frames: its serial console, a connection to one of its ports.

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::response::Response;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hafen_base::Error;
use hafen_client::wire::Problem;
use hafen_http::{ApiResult, Path, Query};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use utoipa::IntoParams;

use crate::Machines;
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
#[utoipa::path(get, path = "/api/v1/projects/{project}/machines/{machine}/dial", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"), DialQuery), responses(
    (status = 101, description = "Connected"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn dial(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    Query(query): Query<DialQuery>,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let socket = upgrade(socket)?;
    let stream = machines.machine_dial(&project, &machine, query.port).await?;
    Ok(socket.on_upgrade(move |socket| carry(socket, stream)))
}

/// The serial console of a machine. A WebSocket of binary frames.
#[utoipa::path(get, path = "/api/v1/projects/{project}/machines/{machine}/console", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id")), responses(
    (status = 101, description = "Connected"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn console(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let socket = upgrade(socket)?;
    let stream = machines.machine_console(&project, &machine).await?;
    Ok(socket.on_upgrade(move |socket| carry(socket, stream)))
}

/// Copies both ways until the machine's side ends, or the caller went away. An empty frame of the caller says that it sends
/// no more and still listens (a WebSocket's own close would end both directions).
async fn carry(socket: WebSocket, stream: BoxDuplex) {
    let (mut sink, mut source) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let to_machine = async {
        while let Some(Ok(message)) = source.next().await {
            let done = match message {
                Message::Binary(bytes) if bytes.is_empty() => writer.shutdown().await,
                Message::Binary(bytes) => writer.write_all(&bytes).await,
                Message::Text(text) => writer.write_all(text.as_bytes()).await,
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
