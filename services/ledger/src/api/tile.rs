//! C2SP `tlog-tiles`: checkpoints and tiles. A tile never changes, so whoever has it keeps it; a checkpoint does.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hafen_base::{Error, Result};
use hafen_http::{ApiResult, Path};
use hafen_tlog::Tile;
use http::header;

use crate::Ledger;
use crate::store::shard::ShardRow;

async fn send_checkpoint(ledger: &Ledger, shard: &ShardRow) -> Result<Response> {
    let (_, note) = ledger.checkpoint_note(shard).await?;
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, note.to_string()).into_response())
}

async fn send_tile(ledger: &Ledger, shard: &ShardRow, path: &str) -> Result<Response> {
    let nothing = || Error::not_found(format!("tile at tile/{path} in shard {}", shard.name));
    let tile: Tile = format!("tile/{path}").parse().map_err(|_| nothing())?;
    // Only what was signed is given out: nobody should build on what may yet be refused.
    let (checkpoint, _) = ledger.checkpoint_note(shard).await?;
    if !tile.is_in(checkpoint.size) {
        return Err(nothing());
    }
    let content = ledger.tile(shard.id, tile).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
    ];
    Ok((headers, content).into_response())
}

pub async fn present_checkpoint(State(ledger): State<Ledger>) -> ApiResult<Response> {
    let shard = ledger.shard_present().await?;
    Ok(send_checkpoint(&ledger, &shard).await?)
}

pub async fn present_tile(State(ledger): State<Ledger>, Path(tile): Path<String>) -> ApiResult<Response> {
    let shard = ledger.shard_present().await?;
    Ok(send_tile(&ledger, &shard, &tile).await?)
}

pub async fn checkpoint(State(ledger): State<Ledger>, Path(shard): Path<String>) -> ApiResult<Response> {
    let shard = ledger.shard(&shard).await?;
    Ok(send_checkpoint(&ledger, &shard).await?)
}

pub async fn tile(
    State(ledger): State<Ledger>,
    Path((shard, tile)): Path<(String, String)>,
) -> ApiResult<Response> {
    let shard = ledger.shard(&shard).await?;
    Ok(send_tile(&ledger, &shard, &tile).await?)
}
