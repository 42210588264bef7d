//! Snapshots: made, put back, removed.

use async_trait::async_trait;
use hafen_base::{ErrorKind, Result};
use hafen_client::wire::{MachineState, OperationStatus};
use hafen_db::store_error;
use hafen_work::{Next, Reconciler};
use serde_json::Value;

use crate::Machines;
use crate::store;

pub struct Snapshots(pub Machines);

#[async_trait]
impl Reconciler for Snapshots {
    fn name(&self) -> &'static str {
        "machines/snapshots"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        store::snapshot::unsettled(self.0.0.db.reader()).await
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let parts = &self.0.0;
        let Some(row) = store::snapshot::get(parts.db.reader(), key).await? else { return Ok(Next::Done) };
        let (engine, id, name) = (&parts.engine, row.machine_id, row.snapshot.name.as_str());
        let (outcome, state, kind) = match row.snapshot.state.as_str() {
            "creating" => {
                let there = engine.snapshot_list(id).await?.iter().any(|one| one == name);
                let made = if there { Ok(()) } else { engine.snapshot_create(id, name).await };
                (made, "ready", "snapshot.created")
            }
            "restoring" => {
                let machine = store::machine::get(parts.db.reader(), &id.to_string()).await?;
                if machine.is_none_or(|machine| machine.state != MachineState::Stopped) {
                    let error = hafen_base::Error::conflict("the machine was started in the meantime");
                    (Err(error), "ready", "snapshot.restored")
                } else {
                    (engine.snapshot_restore(id, name).await, "ready", "snapshot.restored")
                }
            }
            "destroying" => (engine.snapshot_delete(id, name).await, "gone", "snapshot.destroyed"),
            _ => return Ok(Next::Done),
        };
        let reason = match &outcome {
            Err(error) if error.kind() == ErrorKind::Unavailable => return outcome.map(|()| Next::Done),
            Err(error) => error.to_string(),
            Ok(()) => String::new(),
        };
        let mut tx = parts.db.write().await?;
        match (&outcome, state) {
            (Ok(()), "gone") => store::snapshot::delete(&mut tx, row.snapshot.id).await?,
            (Ok(()), state) => store::snapshot::set_seen(&mut tx, row.snapshot.id, state, "").await?,
            // A restore that failed leaves the snapshot as good as before.
            (Err(_), _) if row.snapshot.state == "restoring" => {
                store::snapshot::set_seen(&mut tx, row.snapshot.id, "ready", &reason).await?;
            }
            (Err(_), _) => store::snapshot::set_seen(&mut tx, row.snapshot.id, "failed", &reason).await?,
        }
        if let Some(operation) = row.operation {
            let status = if outcome.is_ok() { OperationStatus::Succeeded } else { OperationStatus::Failed };
            store::operation::finish(&mut tx, operation, status, &reason, parts.now()).await?;
        }
        let message =
            format!("snapshot {name} of {}: {kind} {reason}", row.snapshot.machine).trim().to_owned();
        let object = format!("machine/{}", row.snapshot.machine);
        self.0.event(&mut tx, &row.project, kind, object, message, Value::Null).await?;
        tx.commit().await.map_err(store_error)?;
        parts.events.ring();
        Ok(Next::Done)
    }
}
