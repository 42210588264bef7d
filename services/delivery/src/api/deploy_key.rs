//! `/projects/{project}/repositories/{repository}/deploy-keys`

use axum::extract::State;
use axum::response::IntoResponse;
use hafen_client::wire::{DeployKey, DeployKeyCreate, List, Problem};
use hafen_http::{ApiResult, Json, JsonBytes, Paging, Path, Query, RepeatKey, list_of};
use http::StatusCode;

use crate::Delivery;

/// List the deploy keys of a repository by name.
#[utoipa::path(get, path = "/api/v1/projects/{project}/repositories/{repository}/deploy-keys", tag = "repositories", operation_id = "deploy_key_list",
    params(("project" = String, Path), ("repository" = String, Path, description = "Name or id"), Paging), responses(
    (status = 200, description = "A page of keys", body = List<DeployKey>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn deploy_key_list(
    State(delivery): State<Delivery>,
    Path((project, repository)): Path<(String, String)>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<DeployKey>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(delivery.deploy_key_list(&project, &repository, &after, limit).await?)))
}

/// Let an SSH key in to a repository, as user `git` at the bastion. A key that may push does so as a developer.
#[utoipa::path(post, path = "/api/v1/projects/{project}/repositories/{repository}/deploy-keys", tag = "repositories", operation_id = "deploy_key_create",
    params(("project" = String, Path), ("repository" = String, Path, description = "Name or id"),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = DeployKeyCreate, responses(
    (status = 201, description = "Let in", body = DeployKey),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn deploy_key_create(
    State(delivery): State<Delivery>,
    Path((project, repository)): Path<(String, String)>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<DeployKeyCreate>,
) -> ApiResult<impl IntoResponse> {
    let made = delivery.deploy_key_create(&project, &repository, body, repeat.once(&bytes)?.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Let a key in no more.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/repositories/{repository}/deploy-keys/{key}", tag = "repositories", operation_id = "deploy_key_delete",
    params(("project" = String, Path), ("repository" = String, Path, description = "Name or id"),
        ("key" = String, Path, description = "Name or id")), responses(
    (status = 204, description = "Done"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn deploy_key_delete(
    State(delivery): State<Delivery>,
    Path((project, repository, key)): Path<(String, String, String)>,
) -> ApiResult<StatusCode> {
    delivery.deploy_key_delete(&project, &repository, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}
