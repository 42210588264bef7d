//! Service accounts.

use axum::extract::State;
use axum::response::IntoResponse;
use hafen_base::{PageLimit, PageToken};
use hafen_client::wire::{List, Problem, ServiceAccount, ServiceAccountCreate, ServiceAccountPatch};
use hafen_http::{ApiResult, IfMatch, Json, JsonBytes, Path, Query, RepeatKey, Tagged};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Asks, ListQuery, OfQuery, list};
use crate::Identity;

pub fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(service_account_create, service_account_list))
        .routes(routes!(service_account_get, service_account_update))
}

/// Make a service account: a robot that a team owns.
#[utoipa::path(post, path = "/api/v1/service-accounts", tag = "identity", operation_id = "service_account_create",
    params(OfQuery, ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 200, description = "Repeats act once")), request_body = ServiceAccountCreate,
    responses(
        (status = 201, description = "Made", body = ServiceAccount),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn service_account_create(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<OfQuery>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<ServiceAccountCreate>,
) -> ApiResult<impl IntoResponse> {
    let once = repeat.once(&bytes)?;
    let made =
        identity.service_account_create(&caller, query.organisation.as_deref(), body, once.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// List the service accounts.
#[utoipa::path(get, path = "/api/v1/service-accounts", tag = "identity", operation_id = "service_account_list",
    params(ListQuery),
    responses(
        (status = 200, description = "A page", body = List<ServiceAccount>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn service_account_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<ServiceAccount>>> {
    let after = PageToken::decode(query.page.as_deref())?;
    let limit = PageLimit::new(query.limit)?;
    Ok(Json(list(
        identity.service_account_list(&caller, query.organisation.as_deref(), &after, limit).await?,
    )))
}

/// Show a service account, by id or name.
#[utoipa::path(get, path = "/api/v1/service-accounts/{account}", tag = "identity", operation_id = "service_account_get",
    params(("account" = String, Path), OfQuery),
    responses(
        (status = 200, description = "Found", body = ServiceAccount, headers(("ETag" = String))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn service_account_get(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<impl IntoResponse> {
    let found = identity.service_account_get(&caller, query.organisation.as_deref(), &key).await?;
    Ok(Tagged(found.generation, Json(found)))
}

/// Change, suspend or reinstate a service account. The tokens of a suspended one stop at once.
#[utoipa::path(patch, path = "/api/v1/service-accounts/{account}", tag = "identity", operation_id = "service_account_update",
    params(("account" = String, Path), OfQuery, ("if-match" = Option<String>, Header)), request_body = ServiceAccountPatch,
    responses(
        (status = 200, description = "Changed", body = ServiceAccount, headers(("ETag" = String))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn service_account_update(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
    fits: IfMatch,
    Json(body): Json<ServiceAccountPatch>,
) -> ApiResult<impl IntoResponse> {
    let changed = identity
        .service_account_update(&caller, (query.organisation.as_deref(), &key), body, |generation| {
            fits.check(generation)
        })
        .await?;
    Ok(Tagged(changed.generation, Json(changed)))
}
