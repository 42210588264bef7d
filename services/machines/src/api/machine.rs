//! `/projects/{project}/machines`

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hafen_base::Error;
use hafen_client::wire::{
    Lease, LeaseCreate, List, Machine, MachineCreate, MachineCreated, MachineInstance, MachinePatch,
    MachinePut, MachineResize, MachineState, Problem, SerialLog,
};
use hafen_http::{ApiResult, IfMatch, Json, JsonBytes, LeaseNonce, Path, Query, RepeatKey, Tagged};
use http::{StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Paging, list_of, wait_time};
use crate::Machines;
use crate::app::machine::Guard;
use crate::store::machine::Filter;

/// What a list is narrowed by, beside `metadata.KEY=VALUE`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MachineFilter {
    /// Only machines of this cluster.
    group: Option<String>,
    /// Only machines in this state.
    state: Option<String>,
}

/// Lists the machines of a project by name. `?metadata.KEY=VALUE` narrows it, up to eight times.
#[utoipa::path(get, path = "/api/v1/projects/{project}/machines", operation_id = "machine_list", tag = "machines",
    params(("project" = String, Path), Paging, MachineFilter), responses(
    (status = 200, description = "A page of machines", body = List<Machine>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(machines): State<Machines>,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
    Query(filter): Query<MachineFilter>,
    Query(all): Query<Vec<(String, String)>>,
) -> ApiResult<Json<List<Machine>>> {
    let (after, limit) = paging.read()?;
    let state = match filter.state.as_deref() {
        None | Some("") => None,
        Some(text) => Some(MachineState::parse(text).ok_or_else(|| {
            let known: Vec<&str> = MachineState::ALL.iter().map(|state| state.as_str()).collect();
            Error::invalid_field("/state", format!("expected one of {}", known.join(", ")))
        })?),
    };
    let metadata: BTreeMap<String, String> = all
        .into_iter()
        .filter_map(|(key, value)| key.strip_prefix("metadata.").map(|key| (key.to_owned(), value)))
        .collect();
    let filter = Filter { group: filter.group, state, metadata };
    Ok(Json(list_of(machines.machine_list(&project, &filter, &after, limit).await?)))
}

/// Creates a machine. It answers in `creating`; wait for it, or follow its operation.
#[utoipa::path(post, path = "/api/v1/projects/{project}/machines", operation_id = "machine_create", tag = "machines",
    params(("project" = String, Path), ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = MachineCreate, responses(
    (status = 201, description = "Created", body = MachineCreated, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is, or the operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn create(
    State(machines): State<Machines>,
    Path(project): Path<String>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<MachineCreate>,
) -> ApiResult<Response> {
    let created = machines.machine_create(&project, body, repeat.once(&bytes)?.as_ref()).await?;
    let location = format!("/api/v1/projects/{project}/machines/{}", created.machine.name);
    let generation = created.machine.generation;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Tagged(generation, Json(created)))
        .into_response())
}

/// Shows a machine.
#[utoipa::path(get, path = "/api/v1/projects/{project}/machines/{machine}", operation_id = "machine_get", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id")), responses(
    (status = 200, description = "The machine", body = Machine, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
) -> ApiResult<Tagged<Json<Machine>>> {
    let machine = machines.machine_view(&project, &machine).await?;
    Ok(Tagged(machine.generation, Json(machine)))
}

/// Shows which configurations a machine had: the current instance, then up to 100 that it replaced, newest first.
#[utoipa::path(get, path = "/api/v1/projects/{project}/machines/{machine}/instances", operation_id = "machine_instances", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id")), responses(
    (status = 200, description = "The instances; `next_page` is null", body = List<MachineInstance>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn instances(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
) -> ApiResult<Json<List<MachineInstance>>> {
    let items = machines.machine_instances(&project, &machine).await?;
    Ok(Json(List { items, next_page: None }))
}

/// The object with its operation in `Location`.
fn accepted(machine: Machine) -> Response {
    let location = machine.operation.map(|operation| format!("/api/v1/operations/{operation}"));
    let body = Tagged(machine.generation, Json(machine));
    match location {
        Some(location) => (StatusCode::ACCEPTED, [(header::LOCATION, location)], body).into_response(),
        None => (StatusCode::ACCEPTED, body).into_response(),
    }
}

/// Replaces the configuration; another spec makes a new instance.
#[utoipa::path(put, path = "/api/v1/projects/{project}/machines/{machine}", operation_id = "machine_put", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease, while one is held")),
    request_body = MachinePut, responses(
    (status = 202, description = "Accepted", body = Machine, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is, or the operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn put(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    if_match: IfMatch,
    LeaseNonce(nonce): LeaseNonce,
    Json(body): Json<MachinePut>,
) -> ApiResult<Response> {
    let guard = Guard { if_match: &|generation| if_match.check(generation), lease_nonce: nonce.as_deref() };
    Ok(accepted(machines.machine_put(&project, &machine, &body, &guard).await?))
}

/// Changes metadata, health check or cordon in place.
#[utoipa::path(patch, path = "/api/v1/projects/{project}/machines/{machine}", operation_id = "machine_patch", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease, while one is held")),
    request_body = MachinePatch, responses(
    (status = 202, description = "Accepted", body = Machine, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is, or the operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn patch(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    if_match: IfMatch,
    LeaseNonce(nonce): LeaseNonce,
    Json(body): Json<MachinePatch>,
) -> ApiResult<Response> {
    let guard = Guard { if_match: &|generation| if_match.check(generation), lease_nonce: nonce.as_deref() };
    Ok(accepted(machines.machine_patch(&project, &machine, &body, &guard).await?))
}

/// Destroys a machine with its disk and snapshots.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/machines/{machine}", operation_id = "machine_delete", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease, while one is held")), responses(
    (status = 202, description = "Accepted", body = Machine, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is, or the operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn delete(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    if_match: IfMatch,
    LeaseNonce(nonce): LeaseNonce,
) -> ApiResult<Response> {
    let guard = Guard { if_match: &|generation| if_match.check(generation), lease_nonce: nonce.as_deref() };
    Ok(accepted(machines.machine_delete(&project, &machine, &guard).await?))
}

/// Starts a machine; a started one is left alone.
#[utoipa::path(post, path = "/api/v1/projects/{project}/machines/{machine}/start", operation_id = "machine_start", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease, while one is held"),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")), responses(
    (status = 202, description = "Accepted", body = Machine, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is, or the operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn start(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    if_match: IfMatch,
    LeaseNonce(nonce): LeaseNonce,
    repeat: RepeatKey,
) -> ApiResult<Response> {
    let guard = Guard { if_match: &|generation| if_match.check(generation), lease_nonce: nonce.as_deref() };
    Ok(accepted(machines.machine_start(&project, &machine, &guard, repeat.once(b"")?.as_ref()).await?))
}

/// Stops a machine; a stopped one is left alone.
#[utoipa::path(post, path = "/api/v1/projects/{project}/machines/{machine}/stop", operation_id = "machine_stop", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease, while one is held"),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")), responses(
    (status = 202, description = "Accepted", body = Machine, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is, or the operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn stop(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    if_match: IfMatch,
    LeaseNonce(nonce): LeaseNonce,
    repeat: RepeatKey,
) -> ApiResult<Response> {
    let guard = Guard { if_match: &|generation| if_match.check(generation), lease_nonce: nonce.as_deref() };
    Ok(accepted(machines.machine_stop(&project, &machine, &guard, repeat.once(b"")?.as_ref()).await?))
}

/// Stops and starts a machine.
#[utoipa::path(post, path = "/api/v1/projects/{project}/machines/{machine}/restart", operation_id = "machine_restart", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease, while one is held"),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")), responses(
    (status = 202, description = "Accepted", body = Machine, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is, or the operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn restart(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    if_match: IfMatch,
    LeaseNonce(nonce): LeaseNonce,
    repeat: RepeatKey,
) -> ApiResult<Response> {
    let guard = Guard { if_match: &|generation| if_match.check(generation), lease_nonce: nonce.as_deref() };
    Ok(accepted(machines.machine_restart(&project, &machine, &guard, repeat.once(b"")?.as_ref()).await?))
}

/// Makes a machine anew from its image: a new instance, a new disk.
#[utoipa::path(post, path = "/api/v1/projects/{project}/machines/{machine}/rebuild", operation_id = "machine_rebuild", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease, while one is held"),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")), responses(
    (status = 202, description = "Accepted", body = Machine, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is, or the operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn rebuild(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    if_match: IfMatch,
    LeaseNonce(nonce): LeaseNonce,
    repeat: RepeatKey,
) -> ApiResult<Response> {
    let guard = Guard { if_match: &|generation| if_match.check(generation), lease_nonce: nonce.as_deref() };
    Ok(accepted(machines.machine_rebuild(&project, &machine, &guard, repeat.once(b"")?.as_ref()).await?))
}

/// Changes cpus, memory, disk; a disk only grows.
#[utoipa::path(post, path = "/api/v1/projects/{project}/machines/{machine}/resize", operation_id = "machine_resize", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease, while one is held"),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = MachineResize, responses(
    (status = 202, description = "Accepted", body = Machine, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is, or the operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn resize(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    if_match: IfMatch,
    LeaseNonce(nonce): LeaseNonce,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<MachineResize>,
) -> ApiResult<Response> {
    let guard = Guard { if_match: &|generation| if_match.check(generation), lease_nonce: nonce.as_deref() };
    Ok(accepted(
        machines.machine_resize(&project, &machine, &body, &guard, repeat.once(&bytes)?.as_ref()).await?,
    ))
}

/// What to wait for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MachineWait {
    /// `started`, `stopped`, `destroyed`, `healthy`, or `settled`: any state that stays.
    #[serde(rename = "for")]
    #[param(rename = "for", pattern = "^(started|stopped|destroyed|healthy|settled)$")]
    wanted: String,
    /// End with a conflict when another instance replaced this one.
    instance_id: Option<String>,
    /// Seconds; 60 unless asked.
    #[param(minimum = 1, maximum = 60)]
    timeout: Option<u64>,
}

/// Waits; returns early with 409 when the machine failed, 408 after the timeout.
#[utoipa::path(get, path = "/api/v1/projects/{project}/machines/{machine}/wait", operation_id = "machine_wait", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"), MachineWait), responses(
    (status = 200, description = "Reached", body = Machine, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn wait(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    Query(query): Query<MachineWait>,
) -> ApiResult<Tagged<Json<Machine>>> {
    let timeout = wait_time(query.timeout)?;
    let instance = query.instance_id.as_deref();
    let machine = machines.machine_wait(&project, &machine, &query.wanted, instance, timeout).await?;
    Ok(Tagged(machine.generation, Json(machine)))
}

/// Takes the lease of a machine, or renews it with its nonce: mutations by others are refused until it ends.
#[utoipa::path(post, path = "/api/v1/projects/{project}/machines/{machine}/lease", operation_id = "machine_lease_take", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease, to renew it"),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = LeaseCreate, responses(
    (status = 201, description = "Taken", body = Lease),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn lease_take(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    LeaseNonce(nonce): LeaseNonce,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<LeaseCreate>,
) -> ApiResult<(StatusCode, Json<Lease>)> {
    let repeat = repeat.once(&bytes)?;
    let lease = machines.lease_take(&project, &machine, body.ttl, nonce.as_deref(), repeat.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(lease)))
}

/// Gives the lease back.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/machines/{machine}/lease", operation_id = "machine_lease_release", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"),
        ("hafen-lease-nonce" = Option<String>, Header, description = "Nonce of the lease")), responses(
    (status = 204, description = "Given back"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn lease_release(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    LeaseNonce(nonce): LeaseNonce,
) -> ApiResult<StatusCode> {
    machines.lease_release(&project, &machine, nonce.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SerialQuery {
    /// How many; 100 unless asked.
    #[param(minimum = 1, maximum = 5000)]
    lines: Option<usize>,
}

/// The last lines of the serial console, oldest first.
#[utoipa::path(get, path = "/api/v1/projects/{project}/machines/{machine}/serial", operation_id = "machine_serial", tag = "machines",
    params(("project" = String, Path), ("machine" = String, Path, description = "Name or id"), SerialQuery), responses(
    (status = 200, description = "The lines", body = SerialLog),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn serial(
    State(machines): State<Machines>,
    Path((project, machine)): Path<(String, String)>,
    Query(query): Query<SerialQuery>,
) -> ApiResult<Json<SerialLog>> {
    let lines = query.lines.unwrap_or(100);
    if !(1..=5000).contains(&lines) {
        return Err(Error::invalid_field("/lines", "1 to 5000 lines of the console are kept").into());
    }
    let row = machines.machine_row(&project, &machine).await?;
    Ok(Json(SerialLog { lines: machines.machine_serial(&row, lines).await? }))
}
