//! The HTTP API of stacks: handlers of a few lines, and their description.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::response::IntoResponse;
use hafen_base::Error;
use hafen_client::wire::{Apply, ApplyCreate, Drift, List, Plan, PlanCreate, Problem, Stack};
use hafen_http::{ApiResult, Json, JsonBytes, Paging, Path, Query, RepeatKey, Tagged, list_of};
use http::{StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Stacks;

/// Manifests come with the files they name, plans of 10,000 machines with every change; both are larger than other bodies.
const BODY_LIMIT: usize = 64 << 20;

impl Stacks {
    /// The routes, to be merged with those of the other services.
    pub fn router(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(plan_create))
            .routes(routes!(apply_create, apply_list))
            .routes(routes!(apply_get))
            .routes(routes!(apply_cancel))
            .routes(routes!(apply_wait))
            .routes(routes!(stack_get))
            .routes(routes!(drift_get))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(self.clone())
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct WaitQuery {
    /// Seconds; 60 unless given.
    #[param(minimum = 1, maximum = 60)]
    timeout: Option<u64>,
}

/// Plan a manifest. Nothing changes.
///
/// A wrong manifest is a 400 whose `errors` hold file, line and column. Unchanged resources are counted, not listed.
#[utoipa::path(post, path = "/api/v1/projects/{project}/plans", tag = "stacks", operation_id = "plan_create",
    params(("project" = String, Path)), request_body = PlanCreate,
    responses(
        (status = 200, description = "The plan", body = Plan),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn plan_create(
    State(stacks): State<Stacks>,
    Path(project): Path<String>,
    Json(body): Json<PlanCreate>,
) -> ApiResult<Json<Plan>> {
    Ok(Json(stacks.plan_create(&project, body).await?))
}

/// Apply a plan.
///
/// Refused with 412 when wanted state or reality moved since the plan was made, with 409 while another apply of the project
/// runs or when the plan has problems. Once accepted it is carried to its end, across restarts of the platform.
#[utoipa::path(post, path = "/api/v1/projects/{project}/applies", tag = "stacks", operation_id = "apply_create",
    params(("project" = String, Path), ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = ApplyCreate,
    responses(
        (status = 202, description = "Accepted", body = Apply, headers(("Location" = String, description = "Where the apply is"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn apply_create(
    State(stacks): State<Stacks>,
    Path(project): Path<String>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<ApplyCreate>,
) -> ApiResult<impl IntoResponse> {
    let repeat = repeat.once(&bytes)?;
    drop(bytes);
    let apply = stacks.apply_create(&project, body, repeat.as_ref()).await?;
    let location = format!("/api/v1/projects/{project}/applies/{}", apply.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(apply)))
}

/// List the applies of a project, newest first, without their steps.
#[utoipa::path(get, path = "/api/v1/projects/{project}/applies", tag = "stacks", operation_id = "apply_list",
    params(("project" = String, Path), Paging),
    responses(
        (status = 200, description = "A page of applies", body = List<Apply>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn apply_list(
    State(stacks): State<Stacks>,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Apply>>> {
    let (below, limit) = paging.read()?;
    Ok(Json(list_of(stacks.apply_list(&project, &below, limit).await?)))
}

/// Show an apply with its steps.
#[utoipa::path(get, path = "/api/v1/projects/{project}/applies/{apply}", tag = "stacks", operation_id = "apply_get",
    params(("project" = String, Path), ("apply" = String, Path)),
    responses(
        (status = 200, description = "The apply", body = Apply),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn apply_get(
    State(stacks): State<Stacks>,
    Path((project, apply)): Path<(String, String)>,
) -> ApiResult<Json<Apply>> {
    Ok(Json(stacks.apply_view(&project, &apply).await?))
}

/// Cancel an apply: steps that run come to their end, no other begins.
#[utoipa::path(post, path = "/api/v1/projects/{project}/applies/{apply}/cancel", tag = "stacks",
    operation_id = "apply_cancel", params(("project" = String, Path), ("apply" = String, Path)),
    responses(
        (status = 202, description = "Accepted", body = Apply),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn apply_cancel(
    State(stacks): State<Stacks>,
    Path((project, apply)): Path<(String, String)>,
) -> ApiResult<impl IntoResponse> {
    Ok((StatusCode::ACCEPTED, Json(stacks.apply_cancel(&project, &apply).await?)))
}

/// Wait for the end of an apply, however it ends.
///
/// A 408 after `timeout` seconds: wait again.
#[utoipa::path(get, path = "/api/v1/projects/{project}/applies/{apply}/wait", tag = "stacks", operation_id = "apply_wait",
    params(("project" = String, Path), ("apply" = String, Path), WaitQuery),
    responses(
        (status = 200, description = "The apply", body = Apply),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn apply_wait(
    State(stacks): State<Stacks>,
    Path((project, apply)): Path<(String, String)>,
    Query(query): Query<WaitQuery>,
) -> ApiResult<Json<Apply>> {
    let timeout = query.timeout.unwrap_or(60);
    if !(1..=60).contains(&timeout) {
        return Err(Error::invalid_field("/timeout", "wait 1 to 60 seconds").into());
    }
    Ok(Json(stacks.apply_wait(&project, &apply, Duration::from_secs(timeout)).await?))
}

/// Show what was applied last.
#[utoipa::path(get, path = "/api/v1/projects/{project}/stack", tag = "stacks", operation_id = "stack_get",
    params(("project" = String, Path)),
    responses(
        (status = 200, description = "The stack", body = Stack, headers(("ETag" = String))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn stack_get(
    State(stacks): State<Stacks>,
    Path(project): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let stack = stacks.stack_view(&project).await?;
    Ok(Tagged(stack.serial, Json(stack)))
}

/// Show where reality differs from what was applied. Nothing changes.
#[utoipa::path(get, path = "/api/v1/projects/{project}/drift", tag = "stacks", operation_id = "drift_get",
    params(("project" = String, Path)),
    responses(
        (status = 200, description = "The drift", body = Drift),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn drift_get(State(stacks): State<Stacks>, Path(project): Path<String>) -> ApiResult<Json<Drift>> {
    Ok(Json(stacks.drift_view(&project).await?))
}
