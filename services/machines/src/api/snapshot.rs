//! `/projects/{project}/machines/{machine}/snapshots`

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hafen_client::wire::{List, Operation, Problem, Snapshot, SnapshotCreate};
use hafen_http::{ApiResult, Json, JsonBytes, LeaseNonce, Path, Query, RepeatKey};
use http::{StatusCode, header};

use super::{Paging, list_of};
use crate::Machines;
use crate::app::machine::Guard;

/// Lists the snapshots of a machine by name.
#[utoipa::path(get, path = "/api/v1/projects/{project}/machines/{machine}/snapshots", operation_id = "snapshot_list", tag = "snapshots",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"), Paging), responses(
    (status = 200, description = "A page of snapshots", body = List<Snapshot>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Snapshot>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(machines.snapshot_list(&project, &machine, &after, limit).await?)))
}

/// Snapshots have no generation; they are guarded by the lease of their machine.
const fn leased(nonce: Option<&str>) -> Guard<'_> {
    Guard { if_match: &|_| Ok(()), lease_nonce: nonce }
}

fn accepted(operation: Operation) -> Response {
    let location = format!("/api/v1/operations/{}", operation.id);
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(operation)).into_response()
}

/// Keeps the state of a machine's disk under a name.
#[utoipa::path(post, path = "/api/v1/projects/{project}/machines/{machine}/snapshots", operation_id = "snapshot_create", tag = "snapshots",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease, while one is held"),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = SnapshotCreate, responses(
    (status = 202, description = "It is being made", body = Operation, headers(("Location" = String, description = "The operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn create(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    LeaseNonce(nonce): LeaseNonce,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<SnapshotCreate>,
) -> ApiResult<Response> {
    let (repeat, guard) = (repeat.once(&bytes)?, leased(nonce.as_deref()));
    Ok(accepted(machines.snapshot_create(&project, &machine, &body.name, &guard, repeat.as_ref()).await?))
}

/// Puts the disk of a stopped machine back.
#[utoipa::path(post, path = "/api/v1/projects/{project}/machines/{machine}/snapshots/{snapshot}/restore", operation_id = "snapshot_restore", tag = "snapshots",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("snapshot" = String, Path, description = "Name or id"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease, while one is held"),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")), responses(
    (status = 202, description = "It is being put back", body = Operation, headers(("Location" = String, description = "The operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn restore(
    State(machines): State<Machines>,
    Path((project, machine, snapshot)): Path<(String, String, String)>,
    LeaseNonce(nonce): LeaseNonce,
    repeat: RepeatKey,
) -> ApiResult<Response> {
    let (repeat, guard) = (repeat.once(b"")?, leased(nonce.as_deref()));
    let (machine, repeat) = (machine.as_str(), repeat.as_ref());
    Ok(accepted(machines.snapshot_change(&project, machine, &snapshot, "restore", &guard, repeat).await?))
}

/// Removes a snapshot.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/machines/{machine}/snapshots/{snapshot}", operation_id = "snapshot_delete", tag = "snapshots",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("snapshot" = String, Path, description = "Name or id"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease, while one is held")), responses(
    (status = 202, description = "It is being removed", body = Operation, headers(("Location" = String, description = "The operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn delete(
    State(machines): State<Machines>,
    Path((project, machine, snapshot)): Path<(String, String, String)>,
    LeaseNonce(nonce): LeaseNonce,
) -> ApiResult<Response> {
    let guard = leased(nonce.as_deref());
    Ok(accepted(machines.snapshot_change(&project, &machine, &snapshot, "absent", &guard, None).await?))
}
