//! Machines: every change of what is wanted of them.

use hafen_base::{
    Error, ErrorKind, InstanceId, MachineId, OperationId, Page, PageLimit, Result, check_label,
};
use hafen_client::wire::{
    Lease, Machine, MachineCreate, MachineCreated, MachineInstance, MachinePatch, MachinePut, MachineResize,
    MachineSpec, MachineState, Usage,
};
use hafen_db::{Tx, store_error};
use hafen_work::{Begun, Once, OnceTx};

use super::no_project;
use crate::Machines;
use crate::model::{
    MachineRow, Problems, Subnet, WantedState, check_around, check_sizes, check_spec, mac_of,
};
use crate::store;
use crate::store::machine::Filter;

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

/// What a mutation must respect.
pub struct Guard<'a> {
    pub if_match: &'a (dyn Fn(i64) -> Result<()> + Sync),
    pub lease_nonce: Option<&'a str>,
}

pub(crate) fn no_machine(project: &str, name: &str) -> Error {
    Error::not_found(format!("machine {name:?} in project {project:?}"))
}

/// The wire form of a row.
pub fn wire(row: &MachineRow) -> Machine {
    Machine {
        id: row.id,
        instance_id: row.instance_id,
        project: row.project.clone(),
        name: row.name.clone(),
        group: row.group.clone(),
        spec: row.spec.clone(),
        metadata: row.metadata.clone(),
        health: row.health.clone(),
        cordoned: row.cordoned,
        state: row.state,
        wanted_state: row.wanted.as_str().to_owned(),
        reason: row.reason.clone(),
        healthy: row.healthy,
        address: Some(row.address.to_string()),
        mac: Some(row.mac.clone()),
        boot_id: Some(row.boot_id.clone()).filter(|id| !id.is_empty()),
        ssh_host_key: Some(row.host_key.clone()).filter(|key| !key.is_empty()),
        image_digest: Some(row.image_digest.clone()).filter(|digest| !digest.is_empty()),
        restarts: row.restarts,
        operation: row.operation,
        created_at: row.created_at,
        updated_at: row.updated_at,
        generation: row.generation,
        observed_generation: row.observed_generation,
    }
}

fn usage_of(spec: &MachineSpec) -> Usage {
    Usage { machines: 1, cpus: spec.cpus, memory: spec.memory, disk: spec.disk }
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
    pub async fn machine_create(
        &self,
        project: &str,
        body: MachineCreate,
        repeat: Option<&Once>,
    ) -> Result<MachineCreated> {
        let mut problems = Problems::default();
        if let Err(message) = check_label("machine", &body.name) {
            problems.add("/name", message);
        }
        check_spec(&mut problems, &body.spec);
        check_around(&mut problems, body.group.as_deref(), &body.metadata, body.health.as_ref());
        if body.lease_ttl.is_some_and(|ttl| !(1..=3600).contains(&ttl)) {
            problems.add("/lease_ttl", "a lease lasts 1 to 3600 seconds");
        }
        problems.finish()?;
        let mut once = match OnceTx::begin(&self.0.db, repeat).await? {
            Begun::Answered(created) => return Ok(created),
            Begun::New(once) => once,
        };
        let created = self.insert_machine(&mut once.tx, project, &body).await?;
        once.finish(&created, &*self.0.clock).await?;
        self.0.events.ring();
        self.0.wakes.machine.wake(created.machine.id.to_string());
        Ok(created)
    }

    async fn insert_machine(
        &self,
        tx: &mut Tx,
        project: &str,
        body: &MachineCreate,
    ) -> Result<MachineCreated> {
        store::project::find(&mut **tx, project).await?.ok_or_else(|| no_project(project))?;
        self.image_must_exist(tx, project, &body.spec.image).await?;
        self.quota_take(tx, project, usage_of(&body.spec)).await?;
        let now = self.0.now();
        let id = MachineId::generate(now, &*self.0.random);
        let (network_id, address) = self.place(tx, project, id, &body.spec).await?;
        let instance = InstanceId::generate(now, &*self.0.random);
        let operation = self.new_operation();
        let lease = body.lease_ttl.map(|ttl| self.new_lease(ttl));
        let row = MachineRow {
            id,
            project: project.to_owned(),
            name: body.name.clone(),
            group: body.group.clone(),
            spec: body.spec.clone(),
            health: body.health.clone(),
            metadata: body.metadata.clone(),
            cordoned: body.skip_registration,
            instance_id: instance,
            disk_instance: instance,
            wanted: if body.skip_launch { WantedState::Stopped } else { WantedState::Started },
            restart_wanted: 0,
            restart_seen: 0,
            network_id,
            address,
            mac: mac_of(address),
            generation: 1,
            lease_nonce: lease.as_ref().map(|lease| lease.nonce.clone()),
            lease_until: lease.as_ref().map(|lease| lease.expires_at).unwrap_or_default(),
            operation: Some(operation),
            created_at: now,
            updated_at: now,
            state: MachineState::Creating,
            reason: String::new(),
            healthy: false,
            boot_id: String::new(),
            host_key: String::new(),
            image_digest: String::new(),
            restarts: 0,
            since: now,
            observed_generation: 0,
        };
        if !store::machine::insert(tx, &row).await? {
            return Err(Error::conflict(format!(
                "there is a machine {:?} in project {project} already",
                body.name
            )));
        }
        let resources = [format!("machine/{}", row.name)];
        store::operation::insert(tx, operation, project, "machine.create", &resources, false, now).await?;
        self.machine_event(tx, &row, "machine.creating", "is to be created").await?;
        Ok(MachineCreated { machine: wire(&row), lease })
    }

    async fn image_must_exist(&self, tx: &mut Tx, project: &str, image: &str) -> Result<()> {
        match store::image::find(&mut **tx, project, image).await? {
            Some(row) if row.absent => Err(Error::conflict(format!("image {image:?} is being removed"))),
            Some(_) => Ok(()),
            None => Err(Error::invalid_field(
                "/spec/image",
                format!("there is no image {image:?} in project {project}"),
            )),
        }
    }

    /// Gives the machine an address in its network.
    async fn place(
        &self,
        tx: &mut Tx,
        project: &str,
        id: MachineId,
        spec: &MachineSpec,
    ) -> Result<(hafen_base::NetworkId, std::net::Ipv4Addr)> {
        let name = &spec.network;
        let row = store::network::find(&mut **tx, project, name).await?.ok_or_else(|| {
            Error::invalid_field(
                "/spec/network",
                format!("there is no network {name:?} in project {project}"),
            )
        })?;
        if row.absent {
            return Err(Error::conflict(format!("network {name:?} is being destroyed")));
        }
        let network = row.network.id;
        let subnet = Subnet::parse(&row.network.subnet).map_err(Error::internal)?;
        if let Some(address) = &spec.address {
            let address =
                address.parse().map_err(|_| Error::invalid_field("/spec/address", "not an IPv4 address"))?;
            let position = subnet.position(address).ok_or_else(|| {
                let (first, last) = (subnet.host(Subnet::FIRST_HOST), subnet.host(subnet.size() - 2));
                Error::invalid_field(
                    "/spec/address",
                    format!("{address} is not between {first} and {last} of {subnet}"),
                )
            })?;
            if store::network::take_address(tx, network, position, id).await? {
                return Ok((network, address));
            }
            return Err(Error::conflict(format!("the address {address} is taken")));
        }
        let last = subnet.size() - 2;
        let next = store::network::highest_position(tx, network).await?.map_or(Subnet::FIRST_HOST, |n| n + 1);
        let position = if next <= last {
            next
        } else {
            let taken = store::network::positions(tx, network).await?;
            (Subnet::FIRST_HOST..=last).find(|n| taken.binary_search(n).is_err()).ok_or_else(|| {
                Error::conflict(format!("network {name:?} ({subnet}) has no free address left"))
            })?
        };
        if store::network::take_address(tx, network, position, id).await? {
            Ok((network, subnet.host(position)))
        } else {
            Err(Error::unavailable("another machine took the address at the same time; try again"))
        }
    }

    pub(crate) async fn machine_event(
        &self,
        tx: &mut Tx,
        row: &MachineRow,
        kind: &'static str,
        what: &str,
    ) -> Result<()> {
        let data = serde_json::json!({
            "id": row.id, "instance_id": row.instance_id, "state": row.state, "generation": row.generation,
        });
        let message = format!("machine {} {what}", row.name);
        self.event(tx, &row.project, kind, format!("machine/{}", row.name), message, data).await
    }

    pub async fn machine_row(&self, project: &str, name: &str) -> Result<MachineRow> {
        let row = store::machine::find(self.0.db.reader(), project, name).await?;
        row.ok_or_else(|| no_machine(project, name))
    }

    pub async fn machine_view(&self, project: &str, name: &str) -> Result<Machine> {
        Ok(wire(&self.machine_row(project, name).await?))
    }

    /// Its current instance, then those that it replaced, newest first.
    pub async fn machine_instances(&self, project: &str, name: &str) -> Result<Vec<MachineInstance>> {
        let row = self.machine_row(project, name).await?;
        let current = MachineInstance {
            instance_id: row.instance_id,
            state: "current".into(),
            replaced_at: None,
            spec: row.spec,
        };
        let replaced = store::instance::list(self.0.db.reader(), row.id).await?;
        // A change between the two reads would show the same instance twice.
        let replaced = replaced.into_iter().filter(|one| one.instance_id != current.instance_id);
        Ok(std::iter::once(current.clone()).chain(replaced).collect())
    }

    pub async fn machine_list(
        &self,
        project: &str,
        filter: &Filter,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<Machine>> {
        self.project_must_exist(project).await?;
        if filter.metadata.len() > 8 {
            return Err(Error::invalid("a list is narrowed by at most 8 metadata entries"));
        }
        let rows =
            store::machine::list(self.0.db.reader(), project, filter, after, i64::from(limit.get()) + 1)
                .await?;
        Ok(limit.page(rows.iter().map(wire).collect(), |machine| machine.name.clone()))
    }

    /// Reads the row in `tx` and checks what the caller says to know about it.
    pub(super) async fn machine_for_change(
        &self,
        tx: &mut Tx,
        project: &str,
        name: &str,
        guard: &Guard<'_>,
    ) -> Result<MachineRow> {
        let row =
            store::machine::find(&mut **tx, project, name).await?.ok_or_else(|| no_machine(project, name))?;
        (guard.if_match)(row.generation)?;
        let held = row.lease_until > self.0.now();
        match (&row.lease_nonce, guard.lease_nonce) {
            (Some(nonce), Some(sent)) if held && nonce == sent => {}
            (Some(_), _) if held => {
                return Err(Error::conflict(format!(
                    "machine {name:?} is leased until {}: send its nonce as Hafen-Lease-Nonce, or wait",
                    row.lease_until
                ))
                .with_code("leased"));
            }
            (_, Some(_)) => {
                return Err(Error::conflict("that lease has ended; take a new one").with_code("lease_ended"));
            }
            _ => {}
        }
        Ok(row)
    }

    /// A disk must not be put back under a machine that starts, or is being made anew, in the same moment.
    pub(super) async fn refuse_while_restoring(&self, tx: &mut Tx, row: &MachineRow) -> Result<()> {
        match store::snapshot::restoring(&mut **tx, row.id).await? {
            None => Ok(()),
            Some(snapshot) => Err(Error::conflict(format!(
                "snapshot {snapshot:?} is being put back on the disk of {:?}; try again when that is done",
                row.name
            ))
            .with_code("restoring")),
        }
    }

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

    fn new_lease(&self, ttl: i64) -> Lease {
        let mut bytes = [0_u8; 16];
        self.0.random.fill(&mut bytes);
        let nonce = bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let ttl = std::time::Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
        Lease { nonce, expires_at: self.0.now().plus(ttl) }
    }

    /// Takes the lease, or renews it for its holder.
    pub async fn lease_take(
        &self,
        project: &str,
        name: &str,
        ttl: i64,
        nonce: Option<&str>,
        repeat: Option<&Once>,
    ) -> Result<Lease> {
        if !(1..=3600).contains(&ttl) {
            return Err(Error::invalid_field("/ttl", "a lease lasts 1 to 3600 seconds"));
        }
        let mut once = match OnceTx::begin(&self.0.db, repeat).await? {
            Begun::Answered(lease) => return Ok(lease),
            Begun::New(once) => once,
        };
        let row = store::machine::find(&mut *once.tx, project, name)
            .await?
            .ok_or_else(|| no_machine(project, name))?;
        let mut lease = self.new_lease(ttl);
        if row.lease_until > self.0.now() {
            match (row.lease_nonce, nonce) {
                (Some(held), Some(sent)) if held == sent => lease.nonce = held,
                _ => {
                    let until = row.lease_until;
                    return Err(Error::conflict(format!("machine {name:?} is leased until {until}"))
                        .with_code("leased"));
                }
            }
        }
        store::machine::set_lease(&mut once.tx, row.id, &lease.nonce, lease.expires_at).await?;
        once.finish(&lease, &*self.0.clock).await?;
        Ok(lease)
    }

    pub async fn lease_release(&self, project: &str, name: &str, nonce: Option<&str>) -> Result<()> {
        let mut tx = self.0.db.write().await?;
        let guard = Guard { if_match: &|_| Ok(()), lease_nonce: nonce };
        let row = self.machine_for_change(&mut tx, project, name, &guard).await?;
        store::machine::set_lease(&mut tx, row.id, "", hafen_base::Timestamp::default()).await?;
        tx.commit().await.map_err(store_error)
    }

    /// Waits for a state, `healthy` or `settled`. Early with a conflict when the machine failed, or another instance
    /// replaced the one waited for.
    pub async fn machine_wait(
        &self,
        project: &str,
        name: &str,
        wanted: &str,
        instance: Option<&str>,
        timeout: std::time::Duration,
    ) -> Result<Machine> {
        if !matches!(wanted, "started" | "stopped" | "destroyed" | "healthy" | "settled") {
            return Err(Error::invalid_field(
                "/for",
                "wait for \"started\", \"stopped\", \"destroyed\", \"healthy\" or \"settled\"",
            ));
        }
        let id = match store::machine::find(self.0.db.reader(), project, name).await? {
            Some(row) => row.id.to_string(),
            None => return Err(no_machine(project, name)),
        };
        let mut bell = self.0.events.subscribe();
        let deadline = self.0.clock.sleep(timeout);
        tokio::pin!(deadline);
        let mut last: Option<MachineRow> = None;
        loop {
            bell.mark_unchanged();
            let Some(row) = store::machine::get(self.0.db.reader(), &id).await? else {
                return match last {
                    Some(mut row) if matches!(wanted, "destroyed" | "settled") => {
                        row.state = MachineState::Destroyed;
                        Ok(wire(&row))
                    }
                    _ => Err(no_machine(project, name)),
                };
            };
            if instance.is_some_and(|instance| instance != row.instance_id.to_string()) {
                return Err(Error::conflict(format!(
                    "that instance of {name:?} was replaced by {}",
                    row.instance_id
                ))
                .with_code("replaced"));
            }
            let settled = row.state.is_settled() && row.observed_generation == row.generation;
            let reached = match wanted {
                "settled" => settled,
                "healthy" => settled && row.state == MachineState::Started && row.healthy,
                state => settled && row.state.as_str() == state,
            };
            if reached {
                return Ok(wire(&row));
            }
            if settled && row.state == MachineState::Failed {
                return Err(Error::conflict(format!("machine {name:?} failed: {}", row.reason))
                    .with_code("machine_failed"));
            }
            last = Some(row);
            tokio::select! {
                _ = bell.changed() => {}
                () = &mut deadline => {
                    let state = last.as_ref().map_or("unknown", |row| row.state.as_str());
                    let reason = last.as_ref().map(|row| row.reason.clone()).filter(|reason| !reason.is_empty());
                    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                    return Err(Error::new(
                        ErrorKind::Timeout,
                        format!("machine {name:?} is {state}{reason}, not {wanted}, after {} s; wait again", timeout.as_secs()),
                    ));
                }
            }
        }
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
