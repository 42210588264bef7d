//! `/projects/{project}/networks`

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hafen_client::wire::{List, Network, NetworkCreate, NetworkPatch, Problem};
use hafen_http::{ApiResult, IfMatch, Json, JsonBytes, Path, Query, RepeatKey, Tagged};
use http::{StatusCode, header};

use super::{Paging, list_of};
use crate::Machines;

/// Lists the networks of a project by name.
#[utoipa::path(get, path = "/api/v1/projects/{project}/networks", operation_id = "network_list", tag = "networks",
    params(("project" = String, Path), Paging), responses(
    (status = 200, description = "A page of networks", body = List<Network>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(machines): State<Machines>,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Network>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(machines.network_list(&project, &after, limit).await?)))
}

/// Creates a network. It answers in `creating`.
#[utoipa::path(post, path = "/api/v1/projects/{project}/networks", operation_id = "network_create", tag = "networks",
    params(("project" = String, Path), ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = NetworkCreate, responses(
    (status = 201, description = "Created", body = Network, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is, or the operation that works on it"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn create(
    State(machines): State<Machines>,
    Path(project): Path<String>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<NetworkCreate>,
) -> ApiResult<Response> {
    let network = machines.network_create(&project, body, repeat.once(&bytes)?.as_ref()).await?;
    let location = format!("/api/v1/projects/{project}/networks/{}", network.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Tagged(network.generation, Json(network)))
        .into_response())
}

/// Shows a network.
#[utoipa::path(get, path = "/api/v1/projects/{project}/networks/{network}", operation_id = "network_get", tag = "networks",
    params(("project" = String, Path), ("network" = String, Path, description = "Name or id")), responses(
    (status = 200, description = "The network", body = Network, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(machines): State<Machines>,
    Path((project, network)): Path<(String, String)>,
) -> ApiResult<Tagged<Json<Network>>> {
    let network = machines.network_view(&project, &network).await?;
    Ok(Tagged(network.generation, Json(network)))
}

/// Changes what may leave a network, in place.
#[utoipa::path(patch, path = "/api/v1/projects/{project}/networks/{network}", operation_id = "network_patch", tag = "networks",
    params(("project" = String, Path), ("network" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")),
    request_body = NetworkPatch, responses(
    (status = 200, description = "Changed", body = Network, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn patch(
    State(machines): State<Machines>,
    Path((project, network)): Path<(String, String)>,
    if_match: IfMatch,
    Json(body): Json<NetworkPatch>,
) -> ApiResult<Tagged<Json<Network>>> {
    let network =
        machines.network_patch(&project, &network, &body, |generation| if_match.check(generation)).await?;
    Ok(Tagged(network.generation, Json(network)))
}

/// Destroys a network without machines.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/networks/{network}", operation_id = "network_delete", tag = "networks",
    params(("project" = String, Path), ("network" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")), responses(
    (status = 202, description = "It is being destroyed", body = Network),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn delete(
    State(machines): State<Machines>,
    Path((project, network)): Path<(String, String)>,
    if_match: IfMatch,
) -> ApiResult<(StatusCode, Json<Network>)> {
    let network =
        machines.network_delete(&project, &network, |generation| if_match.check(generation)).await?;
    Ok((StatusCode::ACCEPTED, Json(network)))
}
