//! Teams.

use axum::extract::State;
use axum::response::IntoResponse;
use hafen_base::{PageLimit, PageToken};
use hafen_client::wire::{List, Problem, Team, TeamCreate, TeamPatch};
use hafen_http::{ApiResult, IfMatch, Json, JsonBytes, Path, Query, RepeatKey, Tagged};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Asks, ListQuery, OfQuery, list};
use crate::Identity;

pub fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new().routes(routes!(team_create, team_list)).routes(routes!(
        team_get,
        team_update,
        team_delete
    ))
}

/// Make a team.
#[utoipa::path(post, path = "/api/v1/teams", tag = "identity", operation_id = "team_create",
    params(OfQuery, ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 200, description = "Repeats act once")), request_body = TeamCreate,
    responses(
        (status = 201, description = "Made", body = Team),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn team_create(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<OfQuery>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<TeamCreate>,
) -> ApiResult<impl IntoResponse> {
    let once = repeat.once(&bytes)?;
    let made = identity.team_create(&caller, query.organisation.as_deref(), body, once.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// List the teams.
#[utoipa::path(get, path = "/api/v1/teams", tag = "identity", operation_id = "team_list",
    params(ListQuery),
    responses(
        (status = 200, description = "A page", body = List<Team>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn team_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<Team>>> {
    let after = PageToken::decode(query.page.as_deref())?;
    let limit = PageLimit::new(query.limit)?;
    Ok(Json(list(identity.team_list(&caller, query.organisation.as_deref(), &after, limit).await?)))
}

/// Show a team, by id or name.
#[utoipa::path(get, path = "/api/v1/teams/{team}", tag = "identity", operation_id = "team_get",
    params(("team" = String, Path), OfQuery),
    responses(
        (status = 200, description = "Found", body = Team, headers(("ETag" = String))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn team_get(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<impl IntoResponse> {
    let found = identity.team_get(&caller, query.organisation.as_deref(), &key).await?;
    Ok(Tagged(found.generation, Json(found)))
}

/// Change a team.
#[utoipa::path(patch, path = "/api/v1/teams/{team}", tag = "identity", operation_id = "team_update",
    params(("team" = String, Path), OfQuery, ("if-match" = Option<String>, Header)), request_body = TeamPatch,
    responses(
        (status = 200, description = "Changed", body = Team, headers(("ETag" = String))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn team_update(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
    fits: IfMatch,
    Json(body): Json<TeamPatch>,
) -> ApiResult<impl IntoResponse> {
    let changed = identity
        .team_update(&caller, (query.organisation.as_deref(), &key), body, |generation| {
            fits.check(generation)
        })
        .await?;
    Ok(Tagged(changed.generation, Json(changed)))
}

/// Dissolve a team. Refused while it owns projects or service accounts.
#[utoipa::path(delete, path = "/api/v1/teams/{team}", tag = "identity", operation_id = "team_delete",
    params(("team" = String, Path), OfQuery),
    responses(
        (status = 204, description = "Gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn team_delete(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<StatusCode> {
    identity.team_delete(&caller, query.organisation.as_deref(), &key).await?;
    Ok(StatusCode::NO_CONTENT)
}
