//! `/projects/{project}/repositories`

use axum::extract::State;
use axum::response::IntoResponse;
use hafen_base::{PageLimit, PageToken};
use hafen_client::wire::{
    GitCommit, GitReference, List, Problem, Repository, RepositoryCreate, RepositoryPut,
};
use hafen_http::{ApiResult, IfMatch, Json, JsonBytes, Paging, Path, Query, RepeatKey, Tagged, list_of};
use http::{StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::Delivery;

/// List the repositories of a project by name.
#[utoipa::path(get, path = "/api/v1/projects/{project}/repositories", tag = "repositories", operation_id = "repository_list",
    params(("project" = String, Path), Paging), responses(
    (status = 200, description = "A page of repositories", body = List<Repository>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn repository_list(
    State(delivery): State<Delivery>,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Repository>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(delivery.repository_list(&project, &after, limit).await?)))
}

/// Make a repository. Git finds it at `path`, with any user name and a token as the password.
#[utoipa::path(post, path = "/api/v1/projects/{project}/repositories", tag = "repositories", operation_id = "repository_create",
    params(("project" = String, Path), ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = RepositoryCreate, responses(
    (status = 201, description = "Made", body = Repository, headers(
        ("ETag" = String, description = "Generation of what is shown, for If-Match"),
        ("Location" = String, description = "Where it is"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn repository_create(
    State(delivery): State<Delivery>,
    Path(project): Path<String>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<RepositoryCreate>,
) -> ApiResult<impl IntoResponse> {
    let made = delivery.repository_create(&project, body, repeat.once(&bytes)?.as_ref()).await?;
    let location = format!("/api/v1/projects/{project}/repositories/{}", made.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Tagged(made.generation, Json(made))))
}

/// Show a repository.
#[utoipa::path(get, path = "/api/v1/projects/{project}/repositories/{repository}", tag = "repositories", operation_id = "repository_get",
    params(("project" = String, Path), ("repository" = String, Path, description = "Name or id")), responses(
    (status = 200, description = "The repository", body = Repository, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn repository_get(
    State(delivery): State<Delivery>,
    Path((project, repository)): Path<(String, String)>,
) -> ApiResult<Tagged<Json<Repository>>> {
    let found = delivery.repository_row(&project, &repository).await?.repository;
    Ok(Tagged(found.generation, Json(found)))
}

/// Change a repository: default branch, protected branches, limits.
#[utoipa::path(put, path = "/api/v1/projects/{project}/repositories/{repository}", tag = "repositories", operation_id = "repository_put",
    params(("project" = String, Path), ("repository" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")),
    request_body = RepositoryPut, responses(
    (status = 200, description = "Changed", body = Repository, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn repository_put(
    State(delivery): State<Delivery>,
    Path((project, repository)): Path<(String, String)>,
    fits: IfMatch,
    Json(body): Json<RepositoryPut>,
) -> ApiResult<Tagged<Json<Repository>>> {
    let done =
        delivery.repository_put(&project, &repository, body, |generation| fits.check(generation)).await?;
    Ok(Tagged(done.generation, Json(done)))
}

/// Delete a repository with all that was pushed to it.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/repositories/{repository}", tag = "repositories", operation_id = "repository_delete",
    params(("project" = String, Path), ("repository" = String, Path, description = "Name or id"),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")), responses(
    (status = 204, description = "Deleted"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn repository_delete(
    State(delivery): State<Delivery>,
    Path((project, repository)): Path<(String, String)>,
    fits: IfMatch,
) -> ApiResult<StatusCode> {
    delivery.repository_delete(&project, &repository, |generation| fits.check(generation)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CommitQuery {
    /// Branch, tag or commit; the default branch unless given.
    #[serde(rename = "ref")]
    #[param(rename = "ref")]
    reference: Option<String>,
    /// Token of the page, as `next_page` gave it.
    page: Option<String>,
    /// 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// List commits, newest first.
#[utoipa::path(get, path = "/api/v1/projects/{project}/repositories/{repository}/commits", tag = "repositories", operation_id = "commit_list",
    params(("project" = String, Path), ("repository" = String, Path, description = "Name or id"), CommitQuery), responses(
    (status = 200, description = "A page of commits", body = List<GitCommit>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn commit_list(
    State(delivery): State<Delivery>,
    Path((project, repository)): Path<(String, String)>,
    Query(query): Query<CommitQuery>,
) -> ApiResult<Json<List<GitCommit>>> {
    let (after, limit) = (PageToken::decode(query.page.as_deref())?, PageLimit::new(query.limit)?);
    let reference = query.reference.as_deref();
    Ok(Json(list_of(delivery.commit_list(&project, &repository, reference, &after, limit).await?)))
}

/// List branches and tags by name.
#[utoipa::path(get, path = "/api/v1/projects/{project}/repositories/{repository}/references", tag = "repositories", operation_id = "reference_list",
    params(("project" = String, Path), ("repository" = String, Path, description = "Name or id"), Paging), responses(
    (status = 200, description = "A page of references", body = List<GitReference>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn reference_list(
    State(delivery): State<Delivery>,
    Path((project, repository)): Path<(String, String)>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<GitReference>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(delivery.reference_list(&project, &repository, &after, limit).await?)))
}
