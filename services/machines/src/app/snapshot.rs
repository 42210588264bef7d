//! Snapshots.

use hafen_base::{Error, Page, PageLimit, Result, SnapshotId, check_label};
use hafen_client::wire::{MachineState, Operation, Snapshot};
use hafen_work::{Begun, Once, OnceTx};

use super::machine::Guard;
use crate::Machines;
use crate::store;

fn no_snapshot(machine: &str, name: &str) -> Error {
    Error::not_found(format!("snapshot {name:?} of machine {machine:?}"))
}

impl Machines {
    pub async fn snapshot_create(
        &self,
        project: &str,
        machine: &str,
        name: &str,
        guard: &Guard<'_>,
        repeat: Option<&Once>,
    ) -> Result<Operation> {
        check_label("snapshot", name).map_err(|message| Error::invalid_field("/name", message))?;
        let begun = OnceTx::begin::<(Operation, String)>(&self.0.db, repeat).await?;
        let mut once = match begun {
            Begun::Answered((operation, _)) => return Ok(operation),
            Begun::New(once) => once,
        };
        let tx = &mut once.tx;
        let (operation, id) = {
            let row = self.machine_for_change(tx, project, machine, guard).await?;
            if !matches!(row.state, MachineState::Started | MachineState::Stopped) {
                let state = row.state.as_str();
                return Err(Error::conflict(format!(
                    "machine {machine:?} is {state}; a snapshot needs it started or stopped"
                )));
            }
            let now = self.0.now();
            let operation = self.new_operation();
            let id = SnapshotId::generate(now, &*self.0.random);
            if !store::snapshot::insert(tx, id, row.id, name, operation, now).await? {
                return Err(Error::conflict(format!("machine {machine:?} has a snapshot {name:?} already")));
            }
            let resources = [format!("machine/{}", row.name), format!("snapshot/{name}")];
            store::operation::insert(tx, operation, project, "snapshot.create", &resources, false, now)
                .await?;
            let operation = store::operation::get(&mut **tx, &operation.to_string()).await?;
            (operation.ok_or_else(|| Error::not_found("operation"))?, id.to_string())
        };
        once.finish(&(&operation, &id), &*self.0.clock).await?;
        self.0.wakes.snapshot.wake(id);
        Ok(operation)
    }

    pub async fn snapshot_list(
        &self,
        project: &str,
        machine: &str,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<Snapshot>> {
        let row = self.machine_row(project, machine).await?;
        let rows =
            store::snapshot::list(self.0.db.reader(), row.id, after, i64::from(limit.get()) + 1).await?;
        Ok(limit.page(rows.into_iter().map(|row| row.snapshot).collect(), |snapshot| snapshot.name.clone()))
    }

    /// Puts the disk back, or removes the snapshot: `wanted` is `restore` or `absent`.
    pub async fn snapshot_change(
        &self,
        project: &str,
        machine: &str,
        name: &str,
        wanted: &'static str,
        guard: &Guard<'_>,
        repeat: Option<&Once>,
    ) -> Result<Operation> {
        let begun = OnceTx::begin::<(Operation, String)>(&self.0.db, repeat).await?;
        let mut once = match begun {
            Begun::Answered((operation, _)) => return Ok(operation),
            Begun::New(once) => once,
        };
        let tx = &mut once.tx;
        let (operation, id) = {
            let row = self.machine_for_change(tx, project, machine, guard).await?;
            self.refuse_while_restoring(tx, &row).await?;
            let found = store::snapshot::find(&mut **tx, row.id, name)
                .await?
                .ok_or_else(|| no_snapshot(machine, name))?;
            let snapshot = found.snapshot;
            let (state, kind) = match wanted {
                "restore" => ("restoring", "snapshot.restore"),
                _ => ("destroying", "snapshot.delete"),
            };
            if wanted == "restore" && row.state != MachineState::Stopped {
                return Err(Error::conflict(format!(
                    "machine {machine:?} is {}: stop it before its disk is put back",
                    row.state.as_str()
                )));
            }
            if snapshot.state != "ready" && !(wanted == "absent" && snapshot.state == "failed") {
                return Err(Error::conflict(format!("snapshot {name:?} is {}", snapshot.state)));
            }
            let operation = self.new_operation();
            store::snapshot::want(tx, snapshot.id, wanted, state, operation).await?;
            let resources = [format!("machine/{}", row.name), format!("snapshot/{}", snapshot.name)];
            store::operation::insert(tx, operation, project, kind, &resources, false, self.0.now()).await?;
            let operation = store::operation::get(&mut **tx, &operation.to_string()).await?;
            (operation.ok_or_else(|| Error::not_found("operation"))?, snapshot.id.to_string())
        };
        once.finish(&(&operation, &id), &*self.0.clock).await?;
        self.0.wakes.snapshot.wake(id);
        Ok(operation)
    }
}
