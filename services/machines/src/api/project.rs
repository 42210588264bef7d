//! `/projects`

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hafen_client::wire::{List, Problem, Project, ProjectPut};
use hafen_http::{ApiResult, Json, Path, Query, Sees, Tagged};
use http::StatusCode;

use super::{Paging, list_of};
use crate::Machines;

/// Lists the projects one may see, by name.
#[utoipa::path(get, path = "/api/v1/projects", operation_id = "project_list", tag = "projects", params(Paging), responses(
    (status = 200, description = "A page of projects", body = List<Project>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(machines): State<Machines>,
    Sees(permitted): Sees,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Project>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(machines.project_list(&permitted, &after, limit).await?)))
}

/// Shows a project, its quota and what it uses.
#[utoipa::path(get, path = "/api/v1/projects/{project}", operation_id = "project_get", tag = "projects", params(("project" = String, Path)), responses(
    (status = 200, description = "The project", body = Project, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(machines): State<Machines>,
    Path(project): Path<String>,
) -> ApiResult<Tagged<Json<Project>>> {
    let project = machines.project_view(&project).await?;
    Ok(Tagged(project.generation, Json(project)))
}

/// Creates a project, or changes its quota.
#[utoipa::path(put, path = "/api/v1/projects/{project}", operation_id = "project_put", tag = "projects",
    params(("project" = String, Path, pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")),
    request_body = ProjectPut, responses(
    (status = 200, description = "It was there; changed", body = Project, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = 201, description = "Created", body = Project, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn put(
    State(machines): State<Machines>,
    Path(project): Path<String>,
    Json(body): Json<ProjectPut>,
) -> ApiResult<Response> {
    let (project, new) = machines.project_put(&project, &body).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Tagged(project.generation, Json(project))).into_response())
}

/// Deletes an empty project.
#[utoipa::path(delete, path = "/api/v1/projects/{project}", operation_id = "project_delete", tag = "projects", params(("project" = String, Path)), responses(
    (status = 204, description = "Deleted"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn delete(State(machines): State<Machines>, Path(project): Path<String>) -> ApiResult<StatusCode> {
    machines.project_delete(&project).await?;
    Ok(StatusCode::NO_CONTENT)
}
