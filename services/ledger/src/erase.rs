//! Erasing a person: written down, put apart, carried out; in this order, and again from any point.

use async_trait::async_trait;
use hafen_base::{Error, Result};
use hafen_client::wire::{LedgerErase, LedgerErased};
use hafen_db::{Backend, Tx, sqlx, store_error};
use hafen_work::{Next, Reconciler};
use serde_json::json;
use sqlx::Row as _;

use crate::Ledger;
use crate::apart::Erasure;
use crate::model::NewEntry;
use crate::store::person::{self, PersonRow};
use crate::store::shard;

pub struct Erase(pub Ledger);

#[async_trait]
impl Reconciler for Erase {
    fn name(&self) -> &'static str {
        "ledger.erase"
    }

    /// One key for all: an erasure is small, and they are rare.
    async fn pending(&self) -> Result<Vec<String>> {
        let open = person::erasures_open(self.0.0.db.reader()).await?;
        Ok(if open.is_empty() { Vec::new() } else { vec!["all".into()] })
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        self.0.erasures_carry_out().await?;
        Ok(Next::Done)
    }
}

impl Ledger {
    /// Makes a person unreadable in all shards. Returns when it is done.
    ///
    /// # Errors
    /// Not found when the ledger knows nobody of this id (any more).
    pub async fn erase(&self, body: &LedgerErase) -> Result<LedgerErased> {
        let reason = body.reason.trim();
        if reason.is_empty() || reason.len() > 1000 {
            return Err(Error::invalid_field("/reason", "say why, in 1 to 1000 bytes"));
        }
        if body.person.is_empty() || body.person.chars().count() > 255 {
            return Err(Error::invalid_field("/person", "an id has 1 to 255 characters"));
        }
        let mut tx = self.0.db.write().await?;
        let persons = person::of(&mut *tx, &body.person).await?;
        if persons.is_empty() {
            return Err(Error::not_found("person of this id in the ledger; entries show it as `who.id`"));
        }
        let shards = shard::all(&mut *tx).await?;
        let name = |id: i64| {
            shards.iter().find(|shard| shard.id == id).map(|shard| shard.name.clone()).unwrap_or_default()
        };
        let pseudonyms: Vec<String> =
            persons.iter().map(|person| format!("{}/{}", name(person.shard), person.pseudonym)).collect();
        let new = NewEntry {
            service: String::new(),
            seq: 0,
            happened: self.0.now(),
            // Who asks may be the one who is erased, and the reason may name them.
            actor: hafen_base::Actor::current(),
            kind: "ledger.erase".into(),
            outcome: "done".into(),
            project: String::new(),
            object: format!("pseudonym/{}", persons.last().map(|p| p.pseudonym.as_str()).unwrap_or_default()),
            message: String::new(),
            data: json!({ "pseudonyms": pseudonyms, "reason": reason }),
        };
        let (shard, _) = self.append_own(&mut tx, new).await?;
        // The entry itself may have given the person a pseudonym in the present shard.
        for person in person::of(&mut *tx, &body.person).await? {
            person::erasure_insert(&mut tx, &person).await?;
        }
        tx.commit().await.map_err(store_error)?;
        self.grown(&shard);
        let entries = self.erasures_carry_out().await?;
        Ok(LedgerErased { pseudonyms, entries: i64::try_from(entries).unwrap_or(i64::MAX) })
    }

    /// Carries out what was written down: first into the list apart, then for good.
    async fn erasures_carry_out(&self) -> Result<u64> {
        let open = person::erasures_open(self.0.db.reader()).await?;
        if open.is_empty() {
            return Ok(0);
        }
        let shards = shard::all(self.0.db.reader()).await?;
        let listed = open
            .iter()
            .filter_map(|person| {
                let shard = shards.iter().find(|shard| shard.id == person.shard)?;
                Some(Erasure { shard: shard.name.clone(), pseudonym: person.pseudonym.clone() })
            })
            .collect();
        self.0.apart.erasure_add(listed).await?;
        self.erase_all(&open).await
    }

    /// Erases again whoever was erased before the backup was restored that this database may come from.
    pub(crate) async fn erasures_replay(&self) -> Result<()> {
        let erasures = self.0.apart.erasures()?;
        let shards = shard::all(self.0.db.reader()).await?;
        let persons: Vec<PersonRow> = erasures
            .into_iter()
            .filter_map(|erasure| {
                let shard = shards.iter().find(|shard| shard.name == erasure.shard)?;
                Some(PersonRow { shard: shard.id, pseudonym: erasure.pseudonym })
            })
            .collect();
        let again = self.erase_all(&persons).await?;
        if again > 0 {
            tracing::warn!("{again} entries named persons that had been erased; they were erased again");
        }
        Ok(())
    }

    async fn erase_all(&self, persons: &[PersonRow]) -> Result<u64> {
        if persons.is_empty() {
            return Ok(0);
        }
        let mut touched = 0;
        let mut tx = self.0.db.write().await?;
        overwrite_deleted(&mut tx, self.0.db.backend()).await?;
        for person in persons {
            touched += person::erase(&mut tx, person).await?;
        }
        tx.commit().await.map_err(store_error)?;
        if self.0.db.backend() == Backend::Sqlite && touched > 0 {
            self.wal_empty().await?;
        }
        Ok(touched)
    }

    /// The write-ahead log still holds the pages as they were. A reader that is in the middle of something holds it up.
    async fn wal_empty(&self) -> Result<()> {
        for _ in 0..100 {
            let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
                .fetch_one(self.0.db.reader())
                .await
                .map_err(store_error)?;
            if row.try_get::<i64, _>(0).map_err(store_error)? == 0 {
                return Ok(());
            }
            self.0.clock.sleep(std::time::Duration::from_millis(20)).await;
        }
        tracing::warn!(
            "pages of before an erasure are still in SQLite's write-ahead log; they go with its next checkpoint"
        );
        Ok(())
    }
}

/// Has SQLite overwrite what is deleted, where it would only unlink it. Stays set on the connection, the one that writes.
pub async fn overwrite_deleted(tx: &mut Tx, backend: Backend) -> Result<()> {
    if backend == Backend::Sqlite {
        sqlx::query("PRAGMA secure_delete = ON").fetch_all(&mut **tx).await.map_err(store_error)?;
    }
    Ok(())
}
