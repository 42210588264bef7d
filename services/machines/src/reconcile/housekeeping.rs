//! What is kept for a while only: operations that ended, answers of idempotency keys.

use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Result, Timestamp};
use hafen_db::store_error;
use hafen_work::{Next, Once, Reconciler};

use crate::Machines;
use crate::store;

/// How long an operation that ended can be read.
const OPERATIONS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

pub struct Housekeeping(pub Machines);

#[async_trait]
impl Reconciler for Housekeeping {
    fn name(&self) -> &'static str {
        "machines/housekeeping"
    }

    /// The whole work is done in the sweep: there is nothing of it that could wait or fail alone.
    async fn pending(&self) -> Result<Vec<String>> {
        let parts = &self.0.0;
        let now = parts.now();
        Once::forget_old(&parts.db, now).await?;
        let kept = i64::try_from(OPERATIONS_KEPT.as_micros()).unwrap_or(i64::MAX);
        let mut tx = parts.db.write().await?;
        store::operation::forget_before(&mut tx, Timestamp::from_micros(now.micros().saturating_sub(kept)))
            .await?;
        tx.commit().await.map_err(store_error)?;
        Ok(Vec::new())
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        Ok(Next::Done)
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(3600)
    }
}
