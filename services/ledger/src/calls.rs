//! Calls that change something: on disk before they are made, an entry when they end.

use async_trait::async_trait;
use hafen_base::{Actor, Error, Result};
use hafen_db::{Backend, store_error};
use hafen_http::{Call, CallLog, CallOutcome};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Ledger;
use crate::append::next_seq;
use crate::model::{NewEntry, about};
use crate::store::call;

/// The source of entries about calls.
pub const CALLS: &str = "calls";

/// A call that is open for longer has lost whoever would complete it. No answer of ours takes so long.
pub const STALE: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// Begins another shard.
const BEGIN: &str = "/api/v1/ledger/shards";

#[derive(Serialize, Deserialize)]
struct Opened {
    actor: Actor,
    method: String,
    path: String,
}

#[async_trait]
impl CallLog for Ledger {
    async fn opened(&self, call: &Call) -> Result<()> {
        // Nothing is done that cannot be written down; but for what ends that state.
        if call.path != BEGIN {
            self.0.check_accepting()?;
        }
        let opened =
            Opened { actor: call.actor.clone(), method: call.method.clone(), path: call.path.clone() };
        let text = serde_json::to_string(&opened).map_err(Error::internal)?;
        let mut tx = self.0.db.write().await?;
        call::insert(&mut tx, &call.id, &self.0.life, self.0.now(), &text).await?;
        tx.commit().await.map_err(store_error)
    }

    async fn completed(&self, id: &str, outcome: CallOutcome) -> Result<()> {
        let mut tx = self.0.db.write().await?;
        let Some(row) = call::take(&mut tx, id).await? else {
            // Closed as unknown meanwhile: that entry stands.
            tracing::warn!(id, "a call was completed that is not open");
            return Ok(());
        };
        let Opened { mut actor, method, path } = serde_json::from_str(&row.call).map_err(Error::internal)?;
        if actor.request_id.is_empty() {
            id.clone_into(&mut actor.request_id);
        }
        let (project, object) = about(&path);
        let new = NewEntry {
            service: CALLS.to_owned(),
            seq: next_seq(&mut tx, CALLS).await?,
            happened: row.at,
            actor,
            kind: format!("call.{}", method.to_lowercase()),
            outcome: words(outcome),
            project,
            object,
            message: format!("{method} {path}"),
            data: Value::Null,
        };
        let (shard, _) = self.append(&mut tx, std::slice::from_ref(&new)).await?;
        tx.commit().await.map_err(store_error)?;
        self.grown(&shard);
        Ok(())
    }
}

fn words(outcome: CallOutcome) -> String {
    match outcome {
        CallOutcome::Unknown => "unknown".to_owned(),
        CallOutcome::Answered(status) => {
            let word = match status {
                0..400 => "done",
                400..500 => "refused",
                _ => "failed",
            };
            format!("{word} {status}")
        }
    }
}

impl Ledger {
    /// Closes calls that nobody will complete. On SQLite there is one process, so that those of another life are over; on
    /// PostgreSQL they may be another replica's, and get their time.
    pub(crate) async fn calls_close(&self) -> Result<()> {
        let before = hafen_base::Timestamp::from_micros(
            self.0.now().micros() - i64::try_from(STALE.as_micros()).unwrap_or(i64::MAX),
        );
        let life = (self.0.db.backend() == Backend::Sqlite).then_some(self.0.life.as_str());
        for id in call::stale(self.0.db.reader(), before, life).await? {
            self.completed(&id, CallOutcome::Unknown).await?;
        }
        Ok(())
    }
}
