//! What has to be done now and then: stale calls, shards whose time is over.

use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Result, Timestamp};
use hafen_db::store_error;
use hafen_work::{Next, Reconciler};

use crate::Ledger;
use crate::model::{NewEntry, year};
use crate::store::shard::{self, ShardRow};

pub struct Housekeeping(pub Ledger);

#[async_trait]
impl Reconciler for Housekeeping {
    fn name(&self) -> &'static str {
        "ledger.housekeeping"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        Ok(vec!["calls".into(), "shards".into()])
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        if self.0.0.check_accepting().is_err() {
            // The health of the whole ledger says it; nothing is to be done here meanwhile.
            return Ok(Next::Done);
        }
        if key == "calls" {
            self.0.calls_close().await?;
        } else {
            self.0.shards_expire().await?;
        }
        Ok(Next::Done)
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(60)
    }
}

impl Ledger {
    /// When a shard is removed, by the published rule: so many years after the end of its own.
    pub(crate) fn expires_at(&self, shard: &ShardRow) -> Timestamp {
        let year: u32 = shard.name.get(..4).and_then(|year| year.parse().ok()).unwrap_or(9998);
        let text = format!("\"{:04}-01-01T00:00:00Z\"", (year + 1 + self.0.keep_years).min(9999));
        serde_json::from_str(&text).unwrap_or(Timestamp::from_micros(i64::MAX))
    }

    async fn shards_expire(&self) -> Result<()> {
        let now = self.0.now();
        let due = |shard: &ShardRow| shard.state == "closed" && self.expires_at(shard) <= now;
        for old in shard::all(self.0.db.reader()).await?.into_iter().filter(due) {
            let mut tx = self.0.db.write().await?;
            let new = NewEntry {
                service: String::new(),
                seq: 0,
                happened: now,
                actor: hafen_base::Actor::platform(),
                kind: "ledger.expire".into(),
                outcome: "done".into(),
                project: String::new(),
                object: format!("shard/{}", old.name),
                message: format!(
                    "{} entries of shard {} were removed: it is {}",
                    old.size,
                    old.name,
                    year(now)
                ),
                data: serde_json::Value::Null,
            };
            let (present, _) = self.append_own(&mut tx, new).await?;
            shard::expire(&mut tx, old.id).await?;
            tx.commit().await.map_err(store_error)?;
            self.grown(&present);
        }
        Ok(())
    }
}
