//! The endpoint: everything that can fail has, when the upgrade is answered.

use axum::extract::State;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::response::Response;
use hafen_base::Error;
use hafen_client::wire::Problem;
use hafen_http::{ApiResult, Path, Query, StillPermitted};
use hafen_remote::Size;
use http::{HeaderMap, header};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shells;

/// What somebody pastes comes in one message.
const MESSAGE: usize = 1 << 20;
const MOST: u32 = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ShellQuery {
    /// Width of the terminal; 80 unless given.
    #[param(minimum = 1, maximum = 1000)]
    columns: Option<u32>,
    /// Its height; 24 unless given.
    #[param(minimum = 1, maximum = 1000)]
    rows: Option<u32>,
}

/// A size of a terminal, of those there are.
pub(super) fn size(columns: u32, rows: u32) -> Option<Size> {
    let good = |count| (1..=MOST).contains(&count);
    (good(columns) && good(rows)).then_some(Size { columns, rows })
}

/// A shell on a machine, as the caller: a WebSocket.
///
/// Binary frames are what is typed and what the terminal (`xterm-256color`) shows. A text frame `{"columns":80,"rows":24}` says that it has
/// another size. It is an SSH session in the caller's name, by a key and a certificate made for it: in the list of sessions and the
/// ledger, and ended by a revocation within 5 seconds, as by the end of the caller's session or role. When the shell ends, the
/// WebSocket is closed with code 1000 and the reason `exit STATUS`, or `signal`; when the platform ends it with 1008 and `revoked`, `too_long` (12 hours) or `idle`
/// (an hour without a byte), 1001 and `stopping`, 1007 for a frame that is neither, 1011 when the connection to the machine breaks.
/// A simulated machine has no shell: there a few words are understood.
#[utoipa::path(get, path = "/api/v1/projects/{project}/machines/{machine}/shell", tag = "access", operation_id = "machine_shell",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"), ShellQuery), responses(
    (status = 101, description = "Connected"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn shell(
    State(shells): State<Shells>,
    Path((project, machine)): Path<(String, String)>,
    Query(query): Query<ShellQuery>,
    still: StillPermitted,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let size = size(query.columns.unwrap_or(80), query.rows.unwrap_or(24))
        .ok_or_else(|| Error::invalid(format!("a terminal has 1 to {MOST} columns and rows")))?;
    let socket =
        socket.map_err(|_| Error::invalid("this path is a WebSocket: ask for an upgrade (RFC 6455)"))?;
    let client = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let standing = shells.stand(&project, &machine, size, client).await?;
    let socket = socket.max_message_size(MESSAGE).max_frame_size(MESSAGE);
    Ok(socket.on_upgrade(move |socket| {
        let tasks = shells.0.tasks.clone();
        tasks.track_future(async move { shells.carry(standing, socket, still).await })
    }))
}
