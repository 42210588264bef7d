//! `/projects/{project}/publications`

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hafen_client::wire::{List, Problem, Publication, PublicationPut};
use hafen_http::{ApiResult, Json, Path, Query, Tagged};
use http::StatusCode;

use super::{Paging, list_of};
use crate::Machines;

/// Lists the published ports of a project by name.
#[utoipa::path(get, path = "/api/v1/projects/{project}/publications", operation_id = "publication_list", tag = "publications",
    params(("project" = String, Path), Paging), responses(
    (status = 200, description = "A page of published ports", body = List<Publication>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(machines): State<Machines>,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Publication>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(machines.publication_list(&project, &after, limit).await?)))
}

/// Shows a published port and the machines behind it.
#[utoipa::path(get, path = "/api/v1/projects/{project}/publications/{publication}", operation_id = "publication_get", tag = "publications",
    params(("project" = String, Path), ("publication" = String, Path, description = "Name or id")), responses(
    (status = 200, description = "The published port", body = Publication, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(machines): State<Machines>,
    Path((project, publication)): Path<(String, String)>,
) -> ApiResult<Tagged<Json<Publication>>> {
    let publication = machines.publication_view(&project, &publication).await?;
    Ok(Tagged(publication.generation, Json(publication)))
}

/// Publishes a port of a cluster on the host.
#[utoipa::path(put, path = "/api/v1/projects/{project}/publications/{publication}", operation_id = "publication_put", tag = "publications",
    params(("project" = String, Path), ("publication" = String, Path, description = "Name",
        pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")),
    request_body = PublicationPut, responses(
    (status = 200, description = "It was there; changed", body = Publication, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = 201, description = "Created", body = Publication, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn put(
    State(machines): State<Machines>,
    Path((project, publication)): Path<(String, String)>,
    Json(body): Json<PublicationPut>,
) -> ApiResult<Response> {
    let (publication, new) = machines.publication_put(&project, &publication, &body).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Tagged(publication.generation, Json(publication))).into_response())
}

/// Takes a published port back.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/publications/{publication}", operation_id = "publication_delete", tag = "publications",
    params(("project" = String, Path), ("publication" = String, Path, description = "Name or id")), responses(
    (status = 202, description = "It is being taken back", body = Publication),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn delete(
    State(machines): State<Machines>,
    Path((project, publication)): Path<(String, String)>,
) -> ApiResult<(StatusCode, Json<Publication>)> {
    Ok((StatusCode::ACCEPTED, Json(machines.publication_delete(&project, &publication).await?)))
}
