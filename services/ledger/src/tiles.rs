//! Tiles, made from what is in the database, and the tree as proofs ask for it.

use std::collections::HashMap;

use hafen_base::{Error, Result};
use hafen_tlog::{Hash, Nodes, Tile, WIDTH, bundle_push, leaf_hash, tile_node};

use crate::Ledger;
use crate::store::entry;

impl Ledger {
    /// The hashes of a tile of a shard.
    async fn tile_hashes(&self, shard: i64, tile: Tile) -> Result<Vec<Hash>> {
        let (first, db) = (tile.index * WIDTH, self.0.db.reader());
        let hashes: Vec<Hash> = match tile.level {
            None | Some(0) => entry::records(db, shard, first, tile.width)
                .await?
                .iter()
                .map(|line| leaf_hash(line.as_bytes()))
                .collect(),
            Some(level) => entry::nodes(db, shard, level, first, tile.width).await?,
        };
        if hashes.len() as u64 == tile.width { Ok(hashes) } else { Err(gone(&tile)) }
    }

    /// The content of a tile, or of a bundle of entries.
    ///
    /// # Errors
    /// Not found when the shard does not hold all of it.
    pub(crate) async fn tile(&self, shard: i64, tile: Tile) -> Result<Vec<u8>> {
        if tile.level.is_some() {
            return Ok(self.tile_hashes(shard, tile).await?.into_iter().flat_map(|hash| hash.0).collect());
        }
        let lines = entry::records(self.0.db.reader(), shard, tile.index * WIDTH, tile.width).await?;
        if lines.len() as u64 != tile.width {
            return Err(gone(&tile));
        }
        let mut bundle = Vec::new();
        for line in lines {
            bundle_push(&mut bundle, line.as_bytes()).map_err(Error::internal)?;
        }
        Ok(bundle)
    }

    /// Computes something over the tree of the first `size` entries. The computation is done again whenever it asks for a
    /// tile that was not read yet, which is once for each level.
    pub(crate) async fn over_tree<T>(
        &self,
        shard: i64,
        size: u64,
        compute: impl Fn(&Tiles) -> std::result::Result<T, Missing>,
    ) -> Result<T> {
        let mut tiles = Tiles { size, read: HashMap::new() };
        loop {
            match compute(&tiles) {
                Ok(value) => return Ok(value),
                Err(Missing(None)) => return Err(Error::not_found("such entry in this tree")),
                Err(Missing(Some(tile))) => {
                    let hashes = self.tile_hashes(shard, tile).await?;
                    tiles.read.insert(tile, hashes);
                }
            }
        }
    }
}

fn gone(tile: &Tile) -> Error {
    Error::not_found(format!("{tile} in this shard"))
}

/// Tiles read so far.
pub struct Tiles {
    size: u64,
    read: HashMap<Tile, Vec<Hash>>,
}

/// The tile that is to be read first; none when the tree does not hold what was asked for.
pub struct Missing(Option<Tile>);

impl Nodes for Tiles {
    type Error = Missing;

    fn node(&self, level: u8, index: u64) -> std::result::Result<Hash, Missing> {
        let (tile, range) = Tile::of_node(level, index, self.size);
        let hashes = self.read.get(&tile).ok_or(Missing(Some(tile)))?;
        hashes.get(range).map(tile_node).ok_or(Missing(None))
    }

    fn outside(&self) -> Missing {
        Missing(None)
    }
}
