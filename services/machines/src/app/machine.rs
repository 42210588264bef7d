//! Machines: made, shown, listed, and what a change of one must respect.

use hafen_base::{Error, InstanceId, MachineId, Page, PageLimit, Result, check_label};
use hafen_client::wire::{
    Machine, MachineCreate, MachineCreated, MachineInstance, MachineSpec, MachineState, Usage,
};
use hafen_db::Tx;
use hafen_work::{Begun, Once, OnceTx};

use super::no_project;
use crate::Machines;
use crate::model::{MachineRow, Problems, Subnet, WantedState, check_around, check_spec, mac_of};
use crate::store;
use crate::store::machine::Filter;

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

    pub(super) async fn image_must_exist(&self, tx: &mut Tx, project: &str, image: &str) -> Result<()> {
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
    pub(super) async fn place(
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
}
