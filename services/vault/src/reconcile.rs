//! What happens without a request: projects that ended take their secrets along, and traces of what was destroyed are removed.

use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{ErrorKind, Result};
use hafen_db::store_error;
use hafen_work::{NewEvent, Next, Once, Reconciler};
use serde_json::json;

use crate::Vault;
use crate::store;

/// Whose log is followed.
const MACHINES: &str = "machines";
/// Events of one page.
const PAGE: u32 = 500;

/// Follows what the platform says of projects.
pub struct Projects(pub Vault);

#[async_trait]
impl Reconciler for Projects {
    fn name(&self) -> &'static str {
        "vault/projects"
    }

    /// The whole work is done in the sweep: there is nothing of it that could wait or fail alone.
    async fn pending(&self) -> Result<Vec<String>> {
        while self.follow().await? {}
        Ok(Vec::new())
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        Ok(Next::Done)
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(2)
    }
}

impl Projects {
    /// Reads on; true while there may be more.
    async fn follow(&self) -> Result<bool> {
        let parts = &self.0.0;
        let after = store::followed(parts.db.reader(), MACHINES).await?;
        let events = parts.platform.event_list(after, PAGE).await?.items;
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(false) };
        let missed = first.seq > after + 1;
        let mut tx = parts.db.write().await?;
        // Another process may have been faster.
        if store::followed(&mut *tx, MACHINES).await? != after {
            return Ok(true);
        }
        let mut ended = 0;
        for row in store::key_list(&mut *tx).await?.into_iter().filter(|row| !row.project.is_empty()) {
            // The end of an earlier life of the name is none of this one.
            let told = events.iter().any(|event| {
                event.kind == "project.deleted" && event.project == row.project && event.at >= row.born
            });
            if told || (missed && self.is_another(&row).await?) {
                self.0.project_end(&mut tx, &row.project).await?;
                ended += 1;
            }
        }
        store::set_followed(&mut tx, MACHINES, last.seq).await?;
        tx.commit().await.map_err(store_error)?;
        if ended > 0 {
            parts.events.ring();
            parts.traces.wake("traces");
        }
        Ok(true)
    }

    /// Events were dropped before they were read, so the end may have been among them. A project that begins anew shows it.
    async fn is_another(&self, row: &store::KeyRow) -> Result<bool> {
        match self.0.0.platform.project_get(&row.project).await {
            Ok(project) => Ok(project.created_at > row.born),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::warn!(
                    project = row.project,
                    "there is no such project, and what was said of its end is lost: its secrets stay until the name is used again"
                );
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Removes what a database keeps of what was deleted.
pub struct Traces(pub Vault);

#[async_trait]
impl Reconciler for Traces {
    fn name(&self) -> &'static str {
        "vault/traces"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let any = !store::trace_list(self.0.0.db.reader()).await?.is_empty();
        Ok(if any { vec!["traces".to_owned()] } else { Vec::new() })
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        let parts = &self.0.0;
        // Those written down now were deleted before what follows; one that comes meanwhile waits for the next round.
        let traces = store::trace_list(parts.db.reader()).await?;
        if traces.is_empty() {
            return Ok(Next::Done);
        }
        store::traces_remove(&parts.db).await?;
        let mut tx = parts.db.write().await?;
        for trace in traces {
            if !store::trace_done(&mut tx, &trace).await? {
                continue;
            }
            let event = NewEvent {
                project: trace.project,
                kind: "secret.erased",
                object: trace.object,
                message: format!("{}: no trace of it is left in the database", trace.what),
                data: json!({ "what": trace.what }),
            };
            parts.events.append(&mut tx, event).await?;
        }
        tx.commit().await.map_err(store_error)?;
        parts.events.ring();
        Ok(Next::Now)
    }

    fn parallel(&self) -> usize {
        1
    }
}

/// Forgets the answers of idempotency keys after a day.
pub struct Housekeeping(pub Vault);

#[async_trait]
impl Reconciler for Housekeeping {
    fn name(&self) -> &'static str {
        "vault/housekeeping"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        Once::forget_old(&self.0.0.db, self.0.0.now()).await?;
        Ok(Vec::new())
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        Ok(Next::Done)
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(3600)
    }
}
