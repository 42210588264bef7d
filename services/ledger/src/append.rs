//! Appending: records, what lies beside them, and the hashes of tiles that became full, in the caller's transaction.

use std::collections::HashMap;

use hafen_base::Result;
use hafen_db::Tx;
use hafen_tlog::{Hash, WIDTH, leaf_hash, tile_node};

use crate::Ledger;
use crate::model::{NewEntry, Pseudonym, is_somebody, person_of, record};
use crate::store::shard::ShardRow;
use crate::store::{entry, person, shard};

impl Ledger {
    /// Appends entries in this order; gives the shard and the position of the first. The caller commits, then calls `grown`.
    ///
    /// # Errors
    /// Unavailable while the ledger stands still; as the database's.
    pub(crate) async fn append(&self, tx: &mut Tx, entries: &[NewEntry]) -> Result<(ShardRow, u64)> {
        self.0.check_accepting()?;
        self.append_unchecked(tx, entries).await
    }

    /// As `append`, also while the ledger stands still: for the entry that ends that.
    pub(crate) async fn append_unchecked(
        &self,
        tx: &mut Tx,
        entries: &[NewEntry],
    ) -> Result<(ShardRow, u64)> {
        let now = self.0.now();
        let mut shard = shard::present(tx, now).await?;
        let first = shard.size;
        // Time in the ledger never goes back, whatever the clock does: a window that is over stays as it is.
        let at = now.max(shard.last_at);
        let mut persons: HashMap<String, Pseudonym> = HashMap::new();
        let mut fresh: Vec<Hash> = Vec::with_capacity(entries.len());
        for new in entries {
            let actor_id = is_somebody(&new.actor).then_some(new.actor.id.as_str());
            let object_id = person_of(&new.object);
            for (id, name) in [(actor_id, new.actor.name.as_str()), (object_id, "")] {
                if let Some(id) = id
                    && !persons.contains_key(id)
                {
                    let pseudonym = self.pseudonym(tx, shard.id, id, name).await?;
                    persons.insert(id.to_owned(), pseudonym);
                }
            }
            let actor = actor_id.and_then(|id| persons.get(id));
            let object = object_id.and_then(|id| persons.get(id));
            let salts = [self.0.bytes(), self.0.bytes()];
            let (record, personal) = record(new, &shard.name, at, actor, object, salts);
            let line = serde_json::to_string(&record).map_err(hafen_base::Error::internal)?;
            let position = shard.size;
            entry::insert(tx, shard.id, position, &record, &line).await?;
            if !(personal.who.is_empty() && personal.what.is_empty()) {
                let object = object.map(|person| person.text.as_str()).unwrap_or_default();
                entry::insert_personal(tx, shard.id, position, &record.actor, object, &personal).await?;
            }
            fresh.push(leaf_hash(line.as_bytes()));
            shard.size += 1;
            if shard.size.is_multiple_of(WIDTH) {
                self.tile_full(tx, shard.id, shard.size, &mut fresh).await?;
            }
        }
        shard.last_at = at;
        shard::grow(tx, shard.id, shard.size, at).await?;
        Ok((shard, first))
    }

    async fn pseudonym(&self, tx: &mut Tx, shard: i64, id: &str, name: &str) -> Result<Pseudonym> {
        if let Some(known) = person::pseudonym(tx, shard, id).await? {
            return Ok(known);
        }
        let pseudonym = Pseudonym::new(self.0.bytes(), id);
        person::insert(tx, shard, id, name, &pseudonym).await?;
        Ok(pseudonym)
    }

    /// The tree has `size` leaves and a full tile at its end: keeps its hash, and those of the tiles above that became full
    /// with it. `fresh` are the leaf hashes of this batch, of which those of the tile are taken.
    async fn tile_full(&self, tx: &mut Tx, shard: i64, size: u64, fresh: &mut Vec<Hash>) -> Result<()> {
        let start = size - WIDTH;
        let older = WIDTH - (fresh.len() as u64).min(WIDTH);
        let mut hashes: Vec<Hash> = entry::records(&mut **tx, shard, start, older)
            .await?
            .iter()
            .map(|line| leaf_hash(line.as_bytes()))
            .collect();
        hashes.append(fresh);
        let (mut level, mut tiles) = (1_u8, size / WIDTH);
        loop {
            entry::insert_node(tx, shard, level, tiles - 1, &tile_node(&hashes)).await?;
            if !tiles.is_multiple_of(WIDTH) {
                return Ok(());
            }
            hashes = entry::nodes(&mut **tx, shard, level, tiles - WIDTH, WIDTH).await?;
            level += 1;
            tiles /= WIDTH;
        }
    }

    /// Tells the signer, after the commit.
    pub(crate) fn grown(&self, shard: &ShardRow) {
        self.0.wake_sign.wake(shard.name.clone());
    }

    /// Writes down one thing that this service did itself.
    pub(crate) async fn append_own(&self, tx: &mut Tx, mut new: NewEntry) -> Result<(ShardRow, u64)> {
        OWN.clone_into(&mut new.service);
        new.seq = next_seq(tx, OWN).await?;
        self.append(tx, std::slice::from_ref(&new)).await
    }
}

/// This service's own entries.
pub const OWN: &str = "ledger";

/// The next number of a source that the ledger counts itself.
pub async fn next_seq(tx: &mut Tx, service: &str) -> Result<i64> {
    let seq = crate::store::checkpoint::followed(&mut **tx, service).await? + 1;
    crate::store::checkpoint::set_followed(tx, service, seq).await?;
    Ok(seq)
}
