//! Changes of a machine: start, stop, restart, rebuild, resize, another configuration, the end.

use hafen_base::{Error, InstanceId, OperationId, Result};
use hafen_client::wire::{
    Machine, MachinePatch, MachinePut, MachineResize, MachineSpec, MachineState, Usage,
};
use hafen_db::Tx;
use hafen_work::{Begun, Once, OnceTx};

use super::machine::{Guard, wire};
use crate::Machines;
use crate::model::{MachineRow, Problems, WantedState, check_around, check_sizes, check_spec, mac_of};
use crate::store;

/// A change under way: the row as it is to become, in the transaction that will hold it.
struct Change<'a> {
    once: OnceTx<'a>,
    row: MachineRow,
    /// The instance and spec it began with.
    before: (InstanceId, MachineSpec),
}

enum Begin<'a> {
    Answered(Box<Machine>),
    New(Box<Change<'a>>),
}

fn difference(new: &MachineSpec, old: &MachineSpec) -> Usage {
    Usage {
        machines: 0,
        cpus: new.cpus - old.cpus,
        memory: new.memory - old.memory,
        disk: new.disk - old.disk,
    }
}

impl Machines {
    /// Begins a change of a machine: one transaction, ended by `change_finish`.
    async fn change_begin<'a>(
        &self,
        project: &str,
        name: &str,
        guard: &Guard<'_>,
        repeat: Option<&'a Once>,
    ) -> Result<Begin<'a>> {
        let mut once = match OnceTx::begin(&self.0.db, repeat).await? {
            Begun::Answered(machine) => return Ok(Begin::Answered(Box::new(machine))),
            Begun::New(once) => once,
        };
        let row = self.machine_for_change(&mut once.tx, project, name, guard).await?;
        self.refuse_while_restoring(&mut once.tx, &row).await?;
        let before = (row.instance_id, row.spec.clone());
        Ok(Begin::New(Box::new(Change { once, row, before })))
    }

    /// Ends a change. `kind` names the operation it begins; none when there was nothing to do.
    async fn change_finish(&self, change: Box<Change<'_>>, kind: Option<&'static str>) -> Result<Machine> {
        let Change { mut once, mut row, before } = *change;
        let Some(kind) = kind else {
            let machine = wire(&row);
            once.finish(&machine, &*self.0.clock).await?;
            return Ok(machine);
        };
        let now = self.0.now();
        row.generation += 1;
        row.updated_at = now;
        if kind != "machine.patch" {
            self.supersede(&mut once.tx, row.operation).await?;
            let operation = self.new_operation();
            let resources = [format!("machine/{}", row.name)];
            store::operation::insert(&mut once.tx, operation, &row.project, kind, &resources, false, now)
                .await?;
            row.operation = Some(operation);
            row.since = now;
            row.restarts = 0;
            row.reason = String::new();
        }
        if before.0 != row.instance_id {
            store::instance::replaced(&mut once.tx, row.id, before.0, &before.1, now).await?;
        }
        store::machine::set_wanted(&mut once.tx, &row).await?;
        self.machine_event(&mut once.tx, &row, event_of(kind), &format!("was asked: {kind}")).await?;
        let machine = wire(&row);
        once.finish(&machine, &*self.0.clock).await?;
        self.0.events.ring();
        self.0.wakes.machine.wake(machine.id.to_string());
        self.0.wakes.check.wake(machine.id.to_string());
        // Traffic follows at once: it leaves a machine before the machine goes.
        self.wake_publications(&row.project, row.group.as_deref()).await?;
        Ok(machine)
    }

    /// An operation that a newer wish overtook.
    async fn supersede(&self, tx: &mut Tx, operation: Option<OperationId>) -> Result<()> {
        if let Some(operation) = operation {
            let status = hafen_client::wire::OperationStatus::Cancelled;
            store::operation::finish(tx, operation, status, "overtaken by a newer request", self.0.now())
                .await?;
            self.0.forget_progress(operation);
        }
        Ok(())
    }

    /// Starts it; a started machine is left alone.
    pub async fn machine_start(
        &self,
        project: &str,
        name: &str,
        guard: &Guard<'_>,
        repeat: Option<&Once>,
    ) -> Result<Machine> {
        let mut change = match self.change_begin(project, name, guard, repeat).await? {
            Begin::Answered(machine) => return Ok(*machine),
            Begin::New(change) => change,
        };
        let row = &mut change.row;
        refuse_destroyed(row)?;
        if row.wanted == WantedState::Started && row.state != MachineState::Failed {
            return self.change_finish(change, None).await;
        }
        row.wanted = WantedState::Started;
        row.state = MachineState::Starting;
        self.change_finish(change, Some("machine.start")).await
    }

    pub async fn machine_stop(
        &self,
        project: &str,
        name: &str,
        guard: &Guard<'_>,
        repeat: Option<&Once>,
    ) -> Result<Machine> {
        let mut change = match self.change_begin(project, name, guard, repeat).await? {
            Begin::Answered(machine) => return Ok(*machine),
            Begin::New(change) => change,
        };
        let row = &mut change.row;
        refuse_destroyed(row)?;
        if row.wanted == WantedState::Stopped && row.state != MachineState::Failed {
            return self.change_finish(change, None).await;
        }
        row.wanted = WantedState::Stopped;
        row.state = MachineState::Stopping;
        row.healthy = false;
        self.change_finish(change, Some("machine.stop")).await
    }

    pub async fn machine_restart(
        &self,
        project: &str,
        name: &str,
        guard: &Guard<'_>,
        repeat: Option<&Once>,
    ) -> Result<Machine> {
        let mut change = match self.change_begin(project, name, guard, repeat).await? {
            Begin::Answered(machine) => return Ok(*machine),
            Begin::New(change) => change,
        };
        let row = &mut change.row;
        refuse_destroyed(row)?;
        row.wanted = WantedState::Started;
        row.restart_wanted += 1;
        row.state = MachineState::Starting;
        row.healthy = false;
        self.change_finish(change, Some("machine.restart")).await
    }

    /// Makes the machine anew from its image: a new instance with a new disk.
    pub async fn machine_rebuild(
        &self,
        project: &str,
        name: &str,
        guard: &Guard<'_>,
        repeat: Option<&Once>,
    ) -> Result<Machine> {
        let mut change = match self.change_begin(project, name, guard, repeat).await? {
            Begin::Answered(machine) => return Ok(*machine),
            Begin::New(change) => change,
        };
        let (row, tx) = (&mut change.row, &mut change.once.tx);
        refuse_destroyed(row)?;
        self.image_must_exist(tx, project, &row.spec.image).await?;
        self.renew(row, true);
        self.change_finish(change, Some("machine.rebuild")).await
    }

    fn renew(&self, row: &mut MachineRow, disk: bool) {
        row.instance_id = InstanceId::generate(self.0.now(), &*self.0.random);
        if disk {
            row.disk_instance = row.instance_id;
        }
        row.wanted = WantedState::Started;
        row.state = MachineState::Updating;
        row.healthy = false;
    }

    pub async fn machine_resize(
        &self,
        project: &str,
        name: &str,
        body: &MachineResize,
        guard: &Guard<'_>,
        repeat: Option<&Once>,
    ) -> Result<Machine> {
        let mut problems = Problems::default();
        check_sizes(&mut problems, "", body.cpus, body.memory, body.disk);
        problems.finish()?;
        let mut change = match self.change_begin(project, name, guard, repeat).await? {
            Begin::Answered(machine) => return Ok(*machine),
            Begin::New(change) => change,
        };
        let (row, tx) = (&mut change.row, &mut change.once.tx);
        refuse_destroyed(row)?;
        let mut spec = row.spec.clone();
        spec.cpus = body.cpus.unwrap_or(spec.cpus);
        spec.memory = body.memory.unwrap_or(spec.memory);
        spec.disk = body.disk.unwrap_or(spec.disk);
        if spec == row.spec {
            return self.change_finish(change, None).await;
        }
        if spec.disk < row.spec.disk {
            return Err(Error::invalid_field(
                "/disk",
                "a disk only grows: what is on it would be lost; rebuild the machine with a smaller one instead",
            ));
        }
        self.quota_take(tx, project, difference(&spec, &row.spec)).await?;
        row.spec = spec;
        let wanted = row.wanted;
        self.renew(row, false);
        row.wanted = wanted;
        self.change_finish(change, Some("machine.resize")).await
    }

    /// Replaces the configuration. Another spec makes a new instance; the rest changes in place.
    pub async fn machine_put(
        &self,
        project: &str,
        name: &str,
        body: &MachinePut,
        guard: &Guard<'_>,
    ) -> Result<Machine> {
        let mut problems = Problems::default();
        check_spec(&mut problems, &body.spec);
        check_around(&mut problems, body.group.as_deref(), &body.metadata, body.health.as_ref());
        problems.finish()?;
        let mut change = match self.change_begin(project, name, guard, None).await? {
            Begin::Answered(machine) => return Ok(*machine),
            Begin::New(change) => change,
        };
        let (row, tx) = (&mut change.row, &mut change.once.tx);
        refuse_destroyed(row)?;
        let image = store::image::find(&mut **tx, project, &body.spec.image).await?;
        // An image that was rebuilt under the same name is another configuration too.
        let stale = image.is_some_and(|image| {
            !row.image_digest.is_empty()
                && (image.image.state != "ready" || image.image.digest != row.image_digest)
        });
        let around = row.group == body.group && row.metadata == body.metadata && row.health == body.health;
        if body.spec == row.spec && !stale {
            if around && row.state != MachineState::Failed {
                return self.change_finish(change, None).await;
            }
            if around {
                self.renew(row, true);
                return self.change_finish(change, Some("machine.update")).await;
            }
            row.group.clone_from(&body.group);
            row.metadata.clone_from(&body.metadata);
            row.health.clone_from(&body.health);
            return self.change_finish(change, Some("machine.patch")).await;
        }
        self.image_must_exist(tx, project, &body.spec.image).await?;
        self.quota_take(tx, project, difference(&body.spec, &row.spec)).await?;
        if body.spec.network != row.spec.network || body.spec.address != row.spec.address {
            store::network::release_addresses(tx, row.id).await?;
            let (network, address) = self.place(tx, project, row.id, &body.spec).await?;
            row.network_id = network;
            row.address = address;
            row.mac = mac_of(address);
        }
        row.spec = body.spec.clone();
        row.group.clone_from(&body.group);
        row.metadata.clone_from(&body.metadata);
        row.health.clone_from(&body.health);
        self.renew(row, true);
        self.change_finish(change, Some("machine.update")).await
    }

    pub async fn machine_patch(
        &self,
        project: &str,
        name: &str,
        body: &MachinePatch,
        guard: &Guard<'_>,
    ) -> Result<Machine> {
        let mut problems = Problems::default();
        let empty = std::collections::BTreeMap::new();
        check_around(&mut problems, None, body.metadata.as_ref().unwrap_or(&empty), body.health.as_ref());
        problems.finish()?;
        let mut change = match self.change_begin(project, name, guard, None).await? {
            Begin::Answered(machine) => return Ok(*machine),
            Begin::New(change) => change,
        };
        let row = &mut change.row;
        refuse_destroyed(row)?;
        let before = row.clone();
        if let Some(metadata) = &body.metadata {
            row.metadata.clone_from(metadata);
        }
        if let Some(health) = &body.health {
            row.health = Some(health.clone());
        }
        row.cordoned = body.cordoned.unwrap_or(row.cordoned);
        let kind = (*row != before).then_some("machine.patch");
        self.change_finish(change, kind).await
    }

    pub async fn machine_delete(&self, project: &str, name: &str, guard: &Guard<'_>) -> Result<Machine> {
        let mut change = match self.change_begin(project, name, guard, None).await? {
            Begin::Answered(machine) => return Ok(*machine),
            Begin::New(change) => change,
        };
        let row = &mut change.row;
        // One that could not be destroyed in time is tried again.
        if row.wanted == WantedState::Destroyed && row.state != MachineState::Failed {
            return self.change_finish(change, None).await;
        }
        row.wanted = WantedState::Destroyed;
        row.state = MachineState::Destroying;
        row.healthy = false;
        self.change_finish(change, Some("machine.delete")).await
    }

    pub(crate) async fn wake_publications(&self, project: &str, group: Option<&str>) -> Result<()> {
        let Some(group) = group else { return Ok(()) };
        for row in store::publication::list(self.0.db.reader(), project, "", i64::MAX).await? {
            if row.publication.group == group {
                self.0.wakes.publication.wake(row.publication.id.to_string());
            }
        }
        Ok(())
    }
}

fn refuse_destroyed(row: &MachineRow) -> Result<()> {
    if row.wanted == WantedState::Destroyed {
        return Err(Error::conflict(format!("machine {:?} is being destroyed", row.name)));
    }
    Ok(())
}

fn event_of(kind: &str) -> &'static str {
    match kind {
        "machine.start" | "machine.restart" => "machine.starting",
        "machine.stop" => "machine.stopping",
        "machine.delete" => "machine.destroying",
        "machine.patch" => "machine.changed",
        _ => "machine.updating",
    }
}
