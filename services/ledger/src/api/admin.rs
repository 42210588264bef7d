//! Shards, erasures, exports.

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use hafen_client::wire::{LedgerErase, LedgerErased, LedgerShard, LedgerShardCreate, List, Problem};
use hafen_http::{ApiResult, Json, Query, Sees};
use http::{StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::Ledger;

/// List the shards with their keys, oldest first: for whoever sees an entry, as a proof is checked with the key.
#[utoipa::path(get, path = "/api/v1/ledger/shards", tag = "ledger", operation_id = "ledger_shard_list",
    responses(
        (status = 200, description = "All shards", body = List<LedgerShard>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn shards(
    State(ledger): State<Ledger>,
    Sees(permitted): Sees,
) -> ApiResult<Json<List<LedgerShard>>> {
    let items = if permitted.is_nothing() { Vec::new() } else { ledger.shards().await? };
    Ok(Json(List { items, next_page: None }))
}

/// Begin another shard, after a database was restored that is older than the last checkpoint.
///
/// Refused with 409 while nothing is wrong.
#[utoipa::path(post, path = "/api/v1/ledger/shards", tag = "ledger", operation_id = "ledger_shard_create",
    request_body = LedgerShardCreate,
    responses(
        (status = 201, description = "The shard", body = LedgerShard),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn begin(
    State(ledger): State<Ledger>,
    Json(body): Json<LedgerShardCreate>,
) -> ApiResult<impl IntoResponse> {
    Ok((StatusCode::CREATED, Json(ledger.begin(&body).await?)))
}

/// Erase a person: keys, payloads and salts are destroyed in all shards. The log verifies as before.
#[utoipa::path(post, path = "/api/v1/ledger/erasures", tag = "ledger", operation_id = "ledger_erase",
    request_body = LedgerErase,
    responses(
        (status = 200, description = "Done", body = LedgerErased),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn erase(
    State(ledger): State<Ledger>,
    Json(body): Json<LedgerErase>,
) -> ApiResult<Json<LedgerErased>> {
    Ok(Json(ledger.erase(&body).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// The shard; the present one unless given.
    shard: Option<String>,
    /// With what is known of persons.
    personal: Option<bool>,
}

/// Export a shard as a tar: checkpoint, key, tiles and entries, to be verified offline.
#[utoipa::path(get, path = "/api/v1/ledger/export", tag = "ledger", operation_id = "ledger_export", params(ExportQuery),
    responses(
        (status = 200, description = "The archive", body = Vec<u8>, content_type = "application/x-tar"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn export(
    State(ledger): State<Ledger>,
    Query(query): Query<ExportQuery>,
) -> ApiResult<impl IntoResponse> {
    let shard = match query.shard {
        Some(name) => ledger.shard(&name).await?,
        None => ledger.shard_present().await?,
    };
    let stream = ledger.export(shard, query.personal.unwrap_or(false)).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], Body::from_stream(stream)))
}
