//! `/operations`

use axum::extract::State;
use hafen_client::wire::{List, Operation, Problem};
use hafen_http::{ApiResult, Json, Path, Query, Sees};
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Paging, list_of, wait_time};
use crate::Machines;

/// Lists operations of the projects one may see, newest first.
#[utoipa::path(get, path = "/api/v1/operations", operation_id = "operation_list", tag = "operations", params(Paging), responses(
    (status = 200, description = "A page of operations", body = List<Operation>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(machines): State<Machines>,
    Sees(permitted): Sees,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Operation>>> {
    let (before, limit) = paging.read()?;
    Ok(Json(list_of(machines.operation_list(&permitted, &before, limit).await?)))
}

/// Shows an operation with its progress.
#[utoipa::path(get, path = "/api/v1/operations/{operation}", operation_id = "operation_get", tag = "operations",
    params(("operation" = String, Path)), responses(
    (status = 200, description = "The operation", body = Operation),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(machines): State<Machines>,
    Sees(permitted): Sees,
    Path(operation): Path<String>,
) -> ApiResult<Json<Operation>> {
    Ok(Json(machines.operation_view(&permitted, &operation).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OperationWait {
    /// Seconds; 60 unless asked.
    #[param(minimum = 1, maximum = 60)]
    timeout: Option<u64>,
}

/// Waits until an operation ended, well or not; 408 after the timeout.
#[utoipa::path(get, path = "/api/v1/operations/{operation}/wait", operation_id = "operation_wait", tag = "operations",
    params(("operation" = String, Path), OperationWait), responses(
    (status = 200, description = "It ended", body = Operation),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn wait(
    State(machines): State<Machines>,
    Sees(permitted): Sees,
    Path(operation): Path<String>,
    Query(query): Query<OperationWait>,
) -> ApiResult<Json<Operation>> {
    Ok(Json(machines.operation_wait(&permitted, &operation, wait_time(query.timeout)?).await?))
}

/// Asks an operation that may be cancelled to end.
#[utoipa::path(post, path = "/api/v1/operations/{operation}/cancel", operation_id = "operation_cancel", tag = "operations",
    params(("operation" = String, Path)), responses(
    (status = 202, description = "It was asked", body = Operation),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn cancel(
    State(machines): State<Machines>,
    Sees(permitted): Sees,
    Path(operation): Path<String>,
) -> ApiResult<(StatusCode, Json<Operation>)> {
    Ok((StatusCode::ACCEPTED, Json(machines.operation_cancel(&permitted, &operation).await?)))
}
