//! Organisations, and who owns which project.

use axum::extract::State;
use axum::response::IntoResponse;
use hafen_base::{PageLimit, PageToken};
use hafen_client::wire::{
    List, Organisation, OrganisationCreate, OrganisationPatch, Problem, ProjectOwner, ProjectOwnerPut,
};
use hafen_http::{ApiResult, IfMatch, Json, JsonBytes, Path, Query, RepeatKey, Tagged};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Asks, ListQuery, OfQuery, list};
use crate::Identity;

pub fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(organisation_create, organisation_list))
        .routes(routes!(organisation_get, organisation_update))
        .routes(routes!(project_owner_list))
        .routes(routes!(project_owner_get, project_owner_put, project_owner_delete))
}

/// Found an organisation: a tenant of its own. For owners of the platform.
#[utoipa::path(post, path = "/api/v1/organisations", tag = "identity", operation_id = "organisation_create",
    params(("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 200, description = "Repeats act once")), request_body = OrganisationCreate,
    responses(
        (status = 201, description = "Made", body = Organisation),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn organisation_create(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<OrganisationCreate>,
) -> ApiResult<impl IntoResponse> {
    let once = repeat.once(&bytes)?;
    let made = identity.organisation_create(&caller, body, once.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// List the organisations one may see: one's own, or for owners of the platform all.
#[utoipa::path(get, path = "/api/v1/organisations", tag = "identity", operation_id = "organisation_list",
    params(ListQuery),
    responses(
        (status = 200, description = "A page", body = List<Organisation>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn organisation_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<Organisation>>> {
    identity.tenant(&caller, query.organisation.as_deref()).await?;
    let after = PageToken::decode(query.page.as_deref())?;
    let limit = PageLimit::new(query.limit)?;
    Ok(Json(list(identity.organisation_list(&caller, &after, limit).await?)))
}

/// Show an organisation, by id or name.
#[utoipa::path(get, path = "/api/v1/organisations/{organisation}", tag = "identity", operation_id = "organisation_get",
    params(("organisation" = String, Path)),
    responses(
        (status = 200, description = "Found", body = Organisation, headers(("ETag" = String))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn organisation_get(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let found = identity.organisation_get(&caller, &key).await?;
    Ok(Tagged(found.generation, Json(found)))
}

/// Change an organisation.
///
/// To make signing in weaker than it is takes an owner and a fresh second factor (`step_up_required`).
#[utoipa::path(patch, path = "/api/v1/organisations/{organisation}", tag = "identity", operation_id = "organisation_update",
    params(("organisation" = String, Path), ("if-match" = Option<String>, Header)), request_body = OrganisationPatch,
    responses(
        (status = 200, description = "Changed", body = Organisation, headers(("ETag" = String))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn organisation_update(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    fits: IfMatch,
    Json(body): Json<OrganisationPatch>,
) -> ApiResult<impl IntoResponse> {
    let changed =
        identity.organisation_update(&caller, &key, body, |generation| fits.check(generation)).await?;
    Ok(Tagged(changed.generation, Json(changed)))
}

/// List which project belongs to which team.
#[utoipa::path(get, path = "/api/v1/project-owners", tag = "identity", operation_id = "project_owner_list",
    params(ListQuery),
    responses(
        (status = 200, description = "A page", body = List<ProjectOwner>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn project_owner_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<ProjectOwner>>> {
    let after = PageToken::decode(query.page.as_deref())?;
    let limit = PageLimit::new(query.limit)?;
    Ok(Json(list(identity.project_owner_list(&caller, query.organisation.as_deref(), &after, limit).await?)))
}

/// Show which team owns a project.
#[utoipa::path(get, path = "/api/v1/project-owners/{project}", tag = "identity", operation_id = "project_owner_get",
    params(("project" = String, Path), OfQuery),
    responses(
        (status = 200, description = "Found", body = ProjectOwner, headers(("ETag" = String))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn project_owner_get(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<impl IntoResponse> {
    let found = identity.project_owner_get(&caller, query.organisation.as_deref(), &key).await?;
    Ok(Tagged(found.generation, Json(found)))
}

/// Give a project to a team: take its name, or hand it over.
///
/// Every project has an owning team for its whole life.
#[utoipa::path(put, path = "/api/v1/project-owners/{project}", tag = "identity", operation_id = "project_owner_put",
    params(("project" = String, Path), OfQuery), request_body = ProjectOwnerPut,
    responses(
        (status = 200, description = "Given", body = ProjectOwner, headers(("ETag" = String))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn project_owner_put(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
    Json(body): Json<ProjectOwnerPut>,
) -> ApiResult<impl IntoResponse> {
    let owner = identity.project_owner_put(&caller, query.organisation.as_deref(), &key, body).await?;
    Ok(Tagged(owner.generation, Json(owner)))
}

/// Forget a project that is gone.
#[utoipa::path(delete, path = "/api/v1/project-owners/{project}", tag = "identity", operation_id = "project_owner_delete",
    params(("project" = String, Path), OfQuery),
    responses(
        (status = 204, description = "Gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn project_owner_delete(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<StatusCode> {
    identity.project_owner_delete(&caller, query.organisation.as_deref(), &key).await?;
    Ok(StatusCode::NO_CONTENT)
}
