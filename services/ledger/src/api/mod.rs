//! The HTTP API of the ledger: `/api/v1/ledger` for people and programs of Hafen, `/ledger` for any client of C2SP tiles.

mod admin;
mod entry;
mod tile;

use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Ledger;

impl Ledger {
    /// The routes, to be merged with those of the other services. The paths of C2SP are not in the document: they are
    /// described there (`tlog-tiles`).
    pub fn router(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(entry::list))
            .routes(routes!(entry::get))
            .routes(routes!(entry::proof))
            .routes(routes!(admin::shards, admin::begin))
            .routes(routes!(admin::erase))
            .routes(routes!(admin::export))
            .route("/ledger/checkpoint", get(tile::present_checkpoint))
            .route("/ledger/tile/{*tile}", get(tile::present_tile))
            .route("/ledger/{shard}/checkpoint", get(tile::checkpoint))
            .route("/ledger/{shard}/tile/{*tile}", get(tile::tile))
            .with_state(self.clone())
    }
}
