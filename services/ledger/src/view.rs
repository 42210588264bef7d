//! Entries and shards as callers see them.

use std::collections::HashMap;

use hafen_base::{Actor, Error, Page, PageLimit, Permitted, Result, Timestamp};
use hafen_client::wire::{LedgerEntry, LedgerShard, LedgerShardCreate};
use hafen_db::store_error;
use hafen_tlog::{ProofFile, inclusion_proof};

use crate::Ledger;
use crate::append::{OWN, next_seq};
use crate::model::{NewEntry, Record, year};
use crate::store::entry::{self, EntryRow};
use crate::store::list::{self, Filter};
use crate::store::shard::{self, ShardRow};
use crate::store::{checkpoint, signed, unsigned};

fn wire(row: EntryRow) -> Result<LedgerEntry> {
    let record: Record = serde_json::from_str(&row.record).map_err(Error::internal)?;
    Ok(LedgerEntry {
        shard: record.shard,
        position: row.position,
        at: row.at,
        happened: record.happened,
        service: record.service,
        seq: record.seq,
        kind: record.kind,
        outcome: record.outcome,
        project: record.project,
        object: record.object,
        organisation: record.organisation,
        actor_kind: record.actor_kind,
        actor: record.actor,
        who: serde_json::from_str(&row.personal.who).ok(),
        address: record.address,
        request: record.request,
        what: serde_json::from_str(&row.personal.what).ok(),
        record: row.record,
    })
}

/// As the list of entries decides.
fn is_visible(permitted: &Permitted, entry: &LedgerEntry) -> bool {
    match permitted {
        Permitted::Only(sight) if entry.project.is_empty() => {
            sight.organisation.as_ref().is_some_and(|id| *id == entry.organisation)
        }
        _ => permitted.had(&entry.project, entry.at),
    }
}

impl Ledger {
    pub(crate) async fn shard(&self, name: &str) -> Result<ShardRow> {
        let found = shard::named(self.0.db.reader(), name).await?;
        found.ok_or_else(|| Error::not_found(format!("shard {name:?}")))
    }

    /// The shard that is written to; the first is opened by the first entry.
    pub(crate) async fn shard_present(&self) -> Result<ShardRow> {
        shard::newest(self.0.db.reader())
            .await?
            .ok_or_else(|| Error::not_found("shard yet: nothing has happened"))
    }

    /// Sees to it that nothing is written down before `until` any more, when that lies in the past. The turn to write is taken
    /// first, so that whoever took the time before us has committed; and the shard remembers the time, so that a clock that
    /// goes back does not reach behind it.
    pub(crate) async fn seal(&self, until: Timestamp) -> Result<()> {
        let newest = shard::newest(self.0.db.reader()).await?;
        if newest.is_some_and(|shard| shard.last_at >= until) || self.0.check_accepting().is_err() {
            return Ok(());
        }
        let mut tx = self.0.db.write().await?;
        let now = self.0.now();
        let shard = shard::present(&mut tx, now).await?;
        if shard.last_at < until.min(now) {
            shard::grow(&mut tx, shard.id, shard.size, until.min(now)).await?;
        }
        tx.commit().await.map_err(store_error)
    }

    /// A page of entries, in the order they were written down, or the other way round.
    pub(crate) async fn entries(&self, filter: &Filter, limit: PageLimit) -> Result<Page<LedgerEntry>> {
        let rows = list::entries(self.0.db.reader(), filter, i64::from(limit.get()) + 1).await?;
        let page = limit.page(rows, |row| format!("{}/{}", row.shard, row.position));
        let items = page.items.into_iter().map(wire).collect::<Result<_>>()?;
        Ok(Page { items, next_page: page.next_page })
    }

    /// One that may not be seen is not there.
    pub(crate) async fn entry(
        &self,
        permitted: &Permitted,
        shard: &str,
        position: i64,
    ) -> Result<LedgerEntry> {
        let row = self.shard(shard).await?;
        let found = entry::get(self.0.db.reader(), row.id, position).await?.map(wire).transpose()?;
        let found = found.filter(|entry| is_visible(permitted, entry));
        found.ok_or_else(|| Error::not_found(format!("entry {position} in shard {shard}")))
    }

    /// The proof of an entry against the last checkpoint.
    pub(crate) async fn proof(&self, permitted: &Permitted, shard: &str, position: i64) -> Result<ProofFile> {
        let entry = self.entry(permitted, shard, position).await?;
        let row = self.shard(shard).await?;
        let (checkpoint, note) = self.checkpoint_note(&row).await?;
        let index = unsigned(position);
        if index >= checkpoint.size {
            return Err(Error::unavailable(format!(
                "entry {position} is newer than the last checkpoint (of {} entries): the next comes within a second",
                checkpoint.size
            ))
            .with_code("not_signed_yet"));
        }
        let size = checkpoint.size;
        let path = self.over_tree(row.id, size, |tiles| inclusion_proof(index, size, tiles)).await?;
        Ok(ProofFile { record: entry.record.into_bytes(), index, path, checkpoint: note })
    }

    pub(crate) async fn shards(&self) -> Result<Vec<LedgerShard>> {
        let mut items = Vec::new();
        for row in shard::all(self.0.db.reader()).await? {
            items.push(self.shard_view(row).await?);
        }
        Ok(items)
    }

    async fn shard_view(&self, row: ShardRow) -> Result<LedgerShard> {
        let key = self.0.keys.verifier(&row.name)?;
        let head = checkpoint::get(self.0.db.reader(), row.id).await?;
        let head = head.map_or(0, |head| head.size);
        let cosigned: HashMap<String, u64> = checkpoint::cosignatures(self.0.db.reader(), row.id)
            .await?
            .into_iter()
            .map(|line| (line.witness, line.size))
            .collect();
        let mut witnesses: Vec<String> =
            cosigned.into_iter().filter(|(_, size)| *size == head).map(|(witness, _)| witness).collect();
        witnesses.sort();
        Ok(LedgerShard {
            expires_at: self.expires_at(&row),
            origin: self.0.keys.origin(&row.name),
            key: key.to_string(),
            name: row.name,
            state: row.state,
            size: signed(row.size),
            signed: signed(head),
            witnesses,
        })
    }

    /// Begins another shard after a database was restored that is behind the last checkpoint: the old one keeps its name and
    /// its history, as far as it is known, and is never signed again.
    ///
    /// # Errors
    /// Conflict while nothing is wrong.
    pub async fn begin(&self, body: &LedgerShardCreate) -> Result<LedgerShard> {
        if self.0.check_accepting().is_ok() {
            return Err(Error::conflict(
                "nothing is wrong with the present shard; another is begun with the year, or after a restore",
            ));
        }
        let reason = body.reason.trim();
        if reason.is_empty() || reason.len() > 1000 {
            return Err(Error::invalid_field("/reason", "say why, in 1 to 1000 bytes"));
        }
        let now = self.0.now();
        let mut tx = self.0.db.write().await?;
        let newest = shard::newest(&mut *tx).await?;
        let (id, last_at) =
            newest.as_ref().map_or((0, Timestamp::default()), |shard| (shard.id, shard.last_at));
        let mut name = year(now).max(newest.map_or_else(String::new, |shard| shard.name));
        // Past every name that was ever signed.
        while shard::named(&mut *tx, &name).await?.is_some()
            || self.0.apart.last(&name, &self.0.keys.verifier(&name)?)?.is_some()
        {
            name = shard::successor(&name);
        }
        shard::open(&mut tx, id + 1, name, last_at).await?;
        shard::set_state(&mut tx, id, "abandoned").await?;
        let new = NewEntry {
            service: OWN.to_owned(),
            seq: next_seq(&mut tx, OWN).await?,
            happened: now,
            actor: Actor::current(),
            kind: "ledger.begin".into(),
            outcome: "done".into(),
            project: String::new(),
            object: "ledger".into(),
            message: reason.to_owned(),
            data: serde_json::Value::Null,
        };
        let (shard, _) = self.append_unchecked(&mut tx, std::slice::from_ref(&new)).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.accept();
        self.grown(&shard);
        self.shard_view(shard).await
    }
}
