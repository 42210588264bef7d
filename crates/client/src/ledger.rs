//! Calls of the `ledger` service.

use hafen_base::Result;

use crate::wire::{LedgerEntry, LedgerErase, LedgerErased, LedgerShard, LedgerShardCreate, List};
use crate::{Client, Conditions};

impl Client {
    /// One page. `query` holds filters, as `project=hello&limit=50`.
    pub async fn ledger_list(&self, query: &str) -> Result<List<LedgerEntry>> {
        self.get(&format!("/api/v1/ledger/entries?{query}")).await
    }

    pub async fn ledger_get(&self, shard: &str, position: i64) -> Result<LedgerEntry> {
        self.get(&format!("/api/v1/ledger/entries/{shard}/{position}")).await
    }

    /// The inclusion proof as a file of C2SP `tlog-proof`.
    pub async fn ledger_proof(&self, shard: &str, position: i64) -> Result<String> {
        self.text(&format!("/api/v1/ledger/entries/{shard}/{position}/proof")).await
    }

    pub async fn ledger_shards(&self) -> Result<List<LedgerShard>> {
        self.get("/api/v1/ledger/shards").await
    }

    pub async fn ledger_shard_create(&self, body: &LedgerShardCreate) -> Result<LedgerShard> {
        self.post("/api/v1/ledger/shards", body, &Conditions::default()).await
    }

    pub async fn ledger_erase(&self, body: &LedgerErase) -> Result<LedgerErased> {
        self.post("/api/v1/ledger/erasures", body, &Conditions::default()).await
    }
}
