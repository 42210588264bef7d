//! `/projects/{project}/hooks`, and `/hooks/{hook}`, which others call.

use axum::extract::{DefaultBodyLimit, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use hafen_client::wire::{Hook, HookCreate, HookCreated, HookDelivery, List, Problem};
use hafen_http::{ApiResult, Json, JsonBytes, Paging, Path, Query, RepeatKey, list_of};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Delivery;

/// A push of thousands of commits is told with some of them.
const BODY: usize = 8 << 20;

pub(super) fn open_routes() -> OpenApiRouter<Delivery> {
    OpenApiRouter::new().routes(routes!(hook_call)).layer(DefaultBodyLimit::max(BODY))
}

/// List the hooks of a project by name.
#[utoipa::path(get, path = "/api/v1/projects/{project}/hooks", tag = "hooks", operation_id = "hook_list",
    params(("project" = String, Path), Paging), responses(
    (status = 200, description = "A page of hooks", body = List<Hook>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn hook_list(
    State(delivery): State<Delivery>,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Hook>>> {
    let (after, limit) = paging.read()?;
    Ok(Json(list_of(delivery.hook_list(&project, &after, limit).await?)))
}

/// Make a hook. The answer holds its secret, this once.
#[utoipa::path(post, path = "/api/v1/projects/{project}/hooks", tag = "hooks", operation_id = "hook_create",
    params(("project" = String, Path), ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = HookCreate, responses(
    (status = 201, description = "Made", body = HookCreated),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn hook_create(
    State(delivery): State<Delivery>,
    Path(project): Path<String>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<HookCreate>,
) -> ApiResult<impl IntoResponse> {
    let made = delivery.hook_create(&project, body, repeat.once(&bytes)?.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Show a hook.
#[utoipa::path(get, path = "/api/v1/projects/{project}/hooks/{hook}", tag = "hooks", operation_id = "hook_get",
    params(("project" = String, Path), ("hook" = String, Path, description = "Name or id")), responses(
    (status = 200, description = "The hook", body = Hook),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn hook_get(
    State(delivery): State<Delivery>,
    Path((project, hook)): Path<(String, String)>,
) -> ApiResult<Json<Hook>> {
    Ok(Json(delivery.hook_get(&project, &hook).await?))
}

/// End a hook.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/hooks/{hook}", tag = "hooks", operation_id = "hook_delete",
    params(("project" = String, Path), ("hook" = String, Path, description = "Name or id")), responses(
    (status = 204, description = "Ended"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn hook_delete(
    State(delivery): State<Delivery>,
    Path((project, hook)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    delivery.hook_delete(&project, &hook).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List what a hook was called with by who knows its secret, newest first: what it acted on, and the last that asked for nothing.
#[utoipa::path(get, path = "/api/v1/projects/{project}/hooks/{hook}/deliveries", tag = "hooks", operation_id = "hook_delivery_list",
    params(("project" = String, Path), ("hook" = String, Path, description = "Name or id"), Paging), responses(
    (status = 200, description = "A page of calls", body = List<HookDelivery>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn hook_delivery_list(
    State(delivery): State<Delivery>,
    Path((project, hook)): Path<(String, String)>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<HookDelivery>>> {
    let (below, limit) = paging.read()?;
    Ok(Json(list_of(delivery.hook_delivery_list(&project, &hook, &below, limit).await?)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CallQuery {
    /// Jenkins: the hook's secret.
    #[param(max_length = 255, pattern = "^[!-~]*$")]
    token: Option<String>,
}

/// What came of a call.
#[derive(Debug, Serialize, ToSchema)]
struct HookCalled {
    /// `accepted`: it is acted on; `ignored`: there is nothing to act on; `repeated`: it was acted on before.
    outcome: &'static str,
    /// For a person.
    detail: String,
}

/// Call a hook, as GitLab, GitHub, Forgejo and Jenkins do: by its secret or a signature.
#[utoipa::path(post, path = "/hooks/{hook}", tag = "hooks", operation_id = "hook_call",
    params(("hook" = String, Path, description = "Id"), CallQuery),
    request_body(content = serde_json::Value, description = "As the other system writes it", content_type = "application/json"),
    responses(
    (status = 200, description = "Heard, and nothing to act on", body = HookCalled),
    (status = 202, description = "Heard, and acted on", body = HookCalled),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn hook_call(
    State(delivery): State<Delivery>,
    Path(hook): Path<String>,
    Query(query): Query<CallQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> ApiResult<impl IntoResponse> {
    let called = delivery.hook_called(&hook, &headers, query.token.as_deref(), &body).await?;
    let status = if called.outcome == "accepted" { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(HookCalled { outcome: called.outcome, detail: called.detail })))
}
