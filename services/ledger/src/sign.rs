//! Signing checkpoints, and refusing to.
//!
//! Before a new checkpoint is signed the tree is shown to continue the last one, which lies in the place apart. Signing is
//! two steps: into the place apart, by compare and swap, then into the database, where readers find it. A crash between
//! leaves a checkpoint that nobody saw; the next round continues it.

use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, Result};
use hafen_db::store_error;
use hafen_tlog::{Checkpoint, Note, root};
use hafen_work::{Next, Reconciler};

use crate::Ledger;
use crate::store::checkpoint;
use crate::store::shard::{self, ShardRow};

/// The least time between two checkpoints of a shard: entries that come meanwhile share the next.
const PACE: Duration = Duration::from_millis(250);

pub struct Sign(pub Ledger);

#[async_trait]
impl Reconciler for Sign {
    fn name(&self) -> &'static str {
        "ledger.sign"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for shard in shard::all(self.0.0.db.reader()).await? {
            let signed = checkpoint::get(self.0.0.db.reader(), shard.id).await?;
            if matches!(&*shard.state, "open" | "closed")
                && signed.is_none_or(|signed| signed.size < shard.size)
            {
                names.push(shard.name);
            }
        }
        Ok(names)
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let parts = &self.0.0;
        parts.check_accepting()?;
        let Some(shard) = shard::named(parts.db.reader(), key).await? else { return Ok(Next::Done) };
        let begun = parts.now();
        if !self.0.checkpoint_sign(&shard).await? {
            return Ok(Next::Now);
        }
        for witness in &parts.witnesses {
            parts.wake_witness.wake(witness.key.name());
        }
        // Whoever appends meanwhile wakes this key; the runner waits for the end of this step.
        parts.clock.sleep(PACE.saturating_sub(parts.now().since(begun))).await;
        Ok(Next::Done)
    }
}

impl Ledger {
    /// Signs what the shard holds now; false when another replica was faster.
    async fn checkpoint_sign(&self, shard: &ShardRow) -> Result<bool> {
        let parts = &self.0;
        let signer = parts.keys.signer(&shard.name)?;
        let last = parts.apart.last(&shard.name, signer.verifier())?;
        let root = match self.check(shard, last.as_ref().map(|(checkpoint, _)| checkpoint)).await {
            Ok(root) => root,
            Err(error) => {
                if error.code() == FORK {
                    parts.refuse(error.message());
                }
                return Err(error);
            }
        };
        let note = match &last {
            // It was put apart before and may be missing in the database.
            Some((checkpoint, note)) if checkpoint.size == shard.size => note.clone(),
            _ => {
                let checkpoint =
                    Checkpoint { origin: parts.keys.origin(&shard.name), size: shard.size, root };
                let note = signer.sign(&checkpoint.to_string()).map_err(Error::internal)?;
                if !parts.apart.swap(&shard.name, last.as_ref().map(|(_, note)| note), &note).await? {
                    return Ok(false);
                }
                note
            }
        };
        let mut tx = parts.db.write().await?;
        checkpoint::put(&mut tx, shard.id, shard.size, &note.to_string()).await?;
        tx.commit().await.map_err(store_error)?;
        Ok(true)
    }

    /// Shows that the shard continues its last checkpoint; gives its root.
    async fn check(&self, shard: &ShardRow, last: Option<&Checkpoint>) -> Result<hafen_tlog::Hash> {
        if let Some(last) = last {
            if last.size > shard.size {
                return Err(fork(&format!(
                    "shard {} has {} entries in the database, and {} were signed",
                    shard.name, shard.size, last.size
                )));
            }
            let then =
                self.over_tree(shard.id, last.size, |tiles| root(last.size, tiles)).await.map_err(damaged)?;
            if then != last.root {
                return Err(fork(&format!(
                    "the first {} entries of shard {} in the database are not those that were signed",
                    last.size, shard.name
                )));
            }
        } else if let Some(row) = checkpoint::get(self.0.db.reader(), shard.id).await? {
            return Err(fork(&format!(
                "shard {} was signed at {} entries, and {} does not know of it",
                shard.name,
                row.size,
                self.0.apart.folder().display()
            )));
        }
        self.over_tree(shard.id, shard.size, |tiles| root(shard.size, tiles)).await.map_err(damaged)
    }

    /// Compares every shard with the place apart, at start. A shard that is closed since is compared too.
    pub(crate) async fn check_all(&self) -> Result<()> {
        let shards = shard::all(self.0.db.reader()).await?;
        if let Some(shard) = shards.iter().rev().find(|shard| shard.state == "open") {
            let last = self.0.apart.last(&shard.name, &self.0.keys.verifier(&shard.name)?)?;
            if let Err(error) = self.check(shard, last.as_ref().map(|(checkpoint, _)| checkpoint)).await {
                if error.code() != FORK {
                    return Err(error);
                }
                self.0.refuse(error.message());
            }
        }
        // A database from before this shard was opened does not even know its name.
        let newest = shards.last().map(|shard| shard.name.as_str()).unwrap_or_default();
        let year = crate::model::year(self.0.now());
        for name in [year.clone(), shard::successor(newest), shard::successor(&year)] {
            if name.as_str() > newest
                && shards.iter().all(|shard| shard.name != name)
                && self.0.apart.last(&name, &self.0.keys.verifier(&name)?)?.is_some()
            {
                self.0.refuse(
                    fork(&format!("the database does not know shard {name}, which was signed")).message(),
                );
            }
        }
        Ok(())
    }

    /// The signed checkpoint that readers get, with the cosignatures there are for it.
    pub(crate) async fn checkpoint_note(&self, shard: &ShardRow) -> Result<(Checkpoint, Note)> {
        let nothing =
            || Error::not_found(format!("checkpoint of shard {} yet; it comes within a second", shard.name));
        let row = checkpoint::get(self.0.db.reader(), shard.id).await?.ok_or_else(nothing)?;
        let mut note = Note::parse(row.note.as_bytes()).map_err(Error::internal)?;
        let checkpoint: Checkpoint = note.text.parse().map_err(Error::internal)?;
        for line in checkpoint::cosignatures(self.0.db.reader(), shard.id).await? {
            if line.size == checkpoint.size
                && let Ok(signature) = line.line.trim_end().parse()
            {
                note.signatures.push(signature);
            }
        }
        Ok((checkpoint, note))
    }
}

/// The code of errors that mean two histories under one name.
pub const FORK: &str = "ledger_fork";

fn fork(what: &str) -> Error {
    Error::unavailable(format!(
        "{what}. Was a backup restored? Nothing is written or signed, so that no two histories bear one name. Bring back the newest \
         state of the database; or, if it is lost, keep what an export or a mirror holds of this shard and begin another with: \
         hafen ledger begin --reason TEXT"
    ))
    .with_code(FORK)
}

/// Entries or tiles that should be there are not.
fn damaged(error: Error) -> Error {
    if error.kind() == hafen_base::ErrorKind::NotFound {
        fork(&format!("the database lacks entries or hashes that it counted ({})", error.message()))
    } else {
        error
    }
}
