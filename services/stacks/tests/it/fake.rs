//! A machines service in memory, with the rules of the real one (names, quota, conflicts, instances, keys that act once),
//! that can lose requests and answers, and stop for good at any call. Time passes when somebody looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use hafen_base::{
    Error, ErrorKind, ImageId, InstanceId, MachineId, NetworkId, OperationId, PublicationId, Result,
    SeededRandom, Timestamp,
};
use hafen_client::wire::{
    App, AppSpec, Backend, BackendPut, Image, ImageCreate, Machine, MachineCreate, MachinePatch, MachinePut,
    MachineSpec, MachineState, Network, NetworkCreate, NetworkPatch, Operation, Project, ProjectPut,
    Publication, PublicationPut, Quota, Route, RoutePut, Usage,
};
use hafen_stacks::platform::Platform;
use tokio::sync::watch;

use crate::fake_delivery::Delivery;

/// A machine with this user data fails when it starts.
pub const BROKEN: &str = "broken";
/// A machine with this user data starts and never becomes healthy.
pub const SICK: &str = "sick";

/// What goes wrong, and when.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Every n-th mutation is lost before it acts; 0 for never.
    pub lose_request: u64,
    /// Every n-th mutation acts, and its answer is lost.
    pub lose_answer: u64,
    /// The caller dies at this entry of the log.
    pub die: Option<(String, Death)>,
    /// The caller dies at this call, of any kind.
    pub die_at: Option<u64>,
}

/// When the caller of a mutation dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The request never arrives.
    Before,
    /// It acts, and the answer is never read.
    After,
    /// So many calls later.
    Later(u64),
}

#[derive(Default)]
pub struct World {
    pub project: Option<Project>,
    pub networks: BTreeMap<String, Network>,
    pub images: BTreeMap<String, Image>,
    pub machines: BTreeMap<String, Machine>,
    pub publications: BTreeMap<String, Publication>,
    pub delivery: Delivery,
    pub faults: Faults,
    pub calls: u64,
    pub mutations: u64,
    /// Machines ever made, over all names.
    pub made: u64,
    /// Every mutation that acted, as `machine.create web-1`.
    pub log: Vec<String>,
    /// The fewest healthy machines seen in each group since `watch_group`.
    pub fewest: BTreeMap<String, usize>,
    /// A build of the same source gives another digest: as if the mirror had newer packages.
    pub mirror: u64,
    /// Stand still so many calls after this entry of the log: `(entry, calls)`.
    pub freeze: Option<(String, u64)>,
    freeze_at: Option<u64>,
    /// How many times longer everything takes.
    pub slow: u32,
    answers: BTreeMap<String, String>,
    /// Looks until a transient state ends.
    patience: BTreeMap<String, u32>,
    next: u64,
}

#[derive(Clone)]
pub struct Fake {
    world: Arc<Mutex<World>>,
    random: Arc<SeededRandom>,
    dead: watch::Sender<bool>,
    frozen: watch::Sender<bool>,
}

impl Fake {
    pub fn new() -> Self {
        Self {
            world: Arc::default(),
            random: Arc::new(SeededRandom::new(7)),
            dead: watch::Sender::new(false),
            frozen: watch::Sender::new(false),
        }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Ends when the caller is to die.
    pub async fn died(&self) {
        let mut dead = self.dead.subscribe();
        dead.wait_for(|dead| *dead).await.unwrap();
    }

    /// A new caller comes; it is told of no faults.
    pub fn revive(&self) {
        self.world().faults = Faults::default();
        self.dead.send_replace(false);
    }

    /// Ends when the world stands still.
    pub async fn froze(&self) {
        self.frozen.subscribe().wait_for(|frozen| *frozen).await.unwrap();
    }

    pub fn thaw(&self) {
        {
            let mut world = self.world();
            world.freeze = None;
            world.freeze_at = None;
        }
        self.frozen.send_replace(false);
    }

    pub fn watch_group(&self, group: &str) {
        let mut world = self.world();
        let now = world.healthy(group);
        world.fewest.insert(group.to_owned(), now);
    }

    fn now() -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000)
    }

    /// One call: maybe the world stands still, maybe the caller dies here.
    async fn call<T: Send>(&self, what: &str, act: impl FnOnce(&mut World) -> Result<T> + Send) -> Result<T> {
        let stands_still = {
            let world = self.world();
            world.freeze_at.is_some_and(|at| world.calls >= at)
        };
        if stands_still {
            self.frozen.send_replace(true);
            self.frozen.subscribe().wait_for(|frozen| !*frozen).await.unwrap();
        }
        let answer = {
            let mut world = self.world();
            world.calls += 1;
            let now = world.calls;
            let death = world.faults.die.clone().filter(|(entry, _)| entry == what).map(|(_, death)| death);
            if let Some(Death::Later(calls)) = death {
                world.faults.die = None;
                world.faults.die_at = Some(now + calls);
            }
            if *self.dead.borrow()
                || death == Some(Death::Before)
                || world.faults.die_at.is_some_and(|at| now >= at)
            {
                None
            } else {
                Some(act(&mut world)).filter(|_| death != Some(Death::After))
            }
        };
        let Some(answer) = answer else {
            self.dead.send_replace(true);
            return std::future::pending().await;
        };
        tokio::task::yield_now().await;
        answer
    }

    async fn mutate<T: Send>(
        &self,
        what: String,
        act: impl FnOnce(&mut World) -> Result<T> + Send,
    ) -> Result<T> {
        let entry = what.clone();
        self.call(&entry, move |world| {
            world.mutations += 1;
            let (count, faults) = (world.mutations, world.faults.clone());
            let hits = |n: u64| n > 0 && count.is_multiple_of(n);
            if hits(faults.lose_request) {
                return Err(Error::unavailable("the request was lost"));
            }
            let answer = act(world);
            if answer.is_ok() {
                if let Some((entry, calls)) = &world.freeze
                    && *entry == what
                {
                    world.freeze_at = Some(world.calls + calls);
                }
                world.log.push(what);
            }
            world.measure();
            if hits(faults.lose_answer) {
                return Err(Error::unavailable("the answer was lost"));
            }
            answer
        })
        .await
    }

    async fn look<T: Send>(&self, read: impl FnOnce(&mut World) -> T + Send) -> Result<T> {
        self.call("look", |world| {
            world.pass();
            Ok(read(world))
        })
        .await
    }

    fn id<T>(&self, make: impl FnOnce(Timestamp, &SeededRandom) -> T) -> T {
        make(Self::now(), &self.random)
    }
}

impl World {
    pub fn healthy(&self, group: &str) -> usize {
        let of = |machine: &&Machine| machine.group.as_deref() == Some(group) && machine.healthy;
        self.machines.values().filter(of).count()
    }

    fn measure(&mut self) {
        let groups: Vec<String> = self.fewest.keys().cloned().collect();
        for group in groups {
            let now = self.healthy(&group);
            let fewest = self.fewest.get_mut(&group).unwrap();
            *fewest = now.min(*fewest);
        }
    }

    fn wait(&mut self, what: &str, looks: u32) -> bool {
        let looks = looks * self.slow.max(1);
        let left = self.patience.entry(what.to_owned()).or_insert(looks);
        if *left == 0 {
            self.patience.remove(what);
            return true;
        }
        *left -= 1;
        false
    }

    /// One moment passes.
    fn pass(&mut self) {
        let names: Vec<String> = self.networks.keys().cloned().collect();
        for name in names {
            match self.networks[&name].state.clone().as_str() {
                "creating" if self.wait(&format!("n{name}"), 1) => {
                    let network = self.networks.get_mut(&name).unwrap();
                    network.state = "ready".into();
                }
                "destroying" => drop(self.networks.remove(&name)),
                _ => {}
            }
            if let Some(network) = self.networks.get_mut(&name) {
                network.observed_generation = network.generation;
            }
        }
        let names: Vec<String> = self.images.keys().cloned().collect();
        for name in names {
            match self.images[&name].state.clone().as_str() {
                "building" if self.wait(&format!("i{name}"), 2) => {
                    let mirror = self.mirror;
                    let image = self.images.get_mut(&name).unwrap();
                    let bad = format!("{:?}", image.source).contains(BROKEN);
                    image.state = if bad { "failed".into() } else { "ready".into() };
                    image.reason = if bad { "there is no such package".into() } else { String::new() };
                    image.digest =
                        if bad { String::new() } else { format!("sha256-{:?}-{mirror}", image.source) };
                    image.observed_generation = image.generation;
                }
                "destroying" => drop(self.images.remove(&name)),
                _ => {}
            }
        }
        for publication in self.publications.values_mut().filter(|found| found.state == "creating") {
            publication.state = "ready".into();
        }
        self.publications.retain(|_, found| found.state != "destroying");
        self.delivery.pass();
        let names: Vec<String> = self.machines.keys().cloned().collect();
        for name in names {
            self.pass_machine(&name);
        }
        self.measure();
    }

    fn pass_machine(&mut self, name: &str) {
        let machine = &self.machines[name];
        let image = self.images.get(&machine.spec.image).filter(|image| image.state == "ready");
        let digest = image.map(|image| image.digest.clone());
        let network =
            self.networks.get(&machine.spec.network).is_some_and(|network| network.state == "ready");
        let (state, data) = (machine.state, machine.spec.user_data.clone());
        match state {
            MachineState::Creating | MachineState::Updating | MachineState::Starting => {
                let Some(digest) = digest.filter(|_| network) else { return };
                if !self.wait(&format!("m{name}"), 1) {
                    return;
                }
                let machine = self.machines.get_mut(name).unwrap();
                machine.observed_generation = machine.generation;
                machine.image_digest = Some(digest);
                if data.as_deref() == Some(BROKEN) {
                    machine.state = MachineState::Failed;
                    machine.reason = "the guest did not come up".into();
                } else {
                    machine.state = MachineState::Started;
                    machine.reason.clear();
                    machine.healthy = machine.health.is_none();
                }
            }
            MachineState::Started => {
                let well =
                    data.as_deref() != Some(SICK) && (machine.healthy || self.wait(&format!("h{name}"), 1));
                let machine = self.machines.get_mut(name).unwrap();
                machine.observed_generation = machine.generation;
                machine.healthy = well || machine.health.is_none();
                machine.reason = if machine.healthy { String::new() } else { "GET / answers 502".into() };
            }
            MachineState::Stopping => {
                let machine = self.machines.get_mut(name).unwrap();
                machine.state = MachineState::Stopped;
                machine.observed_generation = machine.generation;
            }
            MachineState::Destroying => {
                if self.wait(&format!("d{name}"), 1) {
                    let spec = self.machines.remove(name).unwrap().spec;
                    self.take(&spec, -1);
                }
            }
            MachineState::Stopped | MachineState::Destroyed | MachineState::Failed => {
                let machine = self.machines.get_mut(name).unwrap();
                machine.observed_generation = machine.generation;
            }
        }
    }

    fn take(&mut self, spec: &MachineSpec, sign: i64) {
        let usage = &mut self.project.as_mut().unwrap().usage;
        usage.machines += sign;
        usage.cpus += sign * spec.cpus;
        usage.memory += sign * spec.memory;
        usage.disk += sign * spec.disk;
    }

    fn check_quota(&self) -> Result<()> {
        let project = self.project.as_ref().unwrap();
        let (Quota { machines, cpus, memory, disk }, used) = (project.quota, project.usage);
        if used.machines > machines || used.cpus > cpus || used.memory > memory || used.disk > disk {
            return Err(Error::new(ErrorKind::Quota, "the quota of project hello does not allow it"));
        }
        Ok(())
    }

    fn machine_mut(&mut self, name: &str) -> Result<&mut Machine> {
        let found =
            self.machines.get_mut(name).ok_or_else(|| Error::not_found(format!("machine {name:?}")))?;
        if found.state == MachineState::Destroying {
            return Err(Error::conflict(format!("machine {name:?} is being destroyed")));
        }
        Ok(found)
    }

    fn once<T: serde::Serialize + serde::de::DeserializeOwned>(
        &mut self,
        key: &str,
        act: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        if let Some(answer) = self.answers.get(key) {
            return Ok(serde_json::from_str(answer).unwrap());
        }
        let answer = act(self)?;
        self.answers.insert(key.to_owned(), serde_json::to_string(&answer).unwrap());
        Ok(answer)
    }

    /// What an operator does behind the platform's back.
    pub fn stop_by_hand(&mut self, name: &str) {
        let machine = self.machines.get_mut(name).unwrap();
        machine.wanted_state = "stopped".into();
        machine.state = MachineState::Stopped;
        machine.healthy = false;
        machine.generation += 1;
        machine.observed_generation = machine.generation;
    }

    pub fn delete_by_hand(&mut self, name: &str) {
        let machine = self.machines.remove(name).unwrap();
        self.take(&machine.spec, -1);
    }
}

#[async_trait]
impl Platform for Fake {
    async fn project(&self, _project: &str) -> Result<Option<Project>> {
        self.look(|world| world.project.clone()).await
    }

    async fn project_put(&self, project: &str, body: &ProjectPut) -> Result<Project> {
        self.mutate("project.put".into(), |world| {
            let found = world.project.get_or_insert_with(|| Project {
                name: project.to_owned(),
                quota: Quota::default(),
                usage: Usage::default(),
                created_at: Self::now(),
                generation: 1,
            });
            if let Some(quota) = body.quota {
                found.quota = quota;
            }
            Ok(found.clone())
        })
        .await
    }

    async fn project_delete(&self, project: &str) -> Result<()> {
        self.mutate("project.delete".into(), |world| {
            if !world.machines.is_empty() || !world.networks.is_empty() || !world.images.is_empty() {
                return Err(Error::conflict(format!("project {project} still holds objects")));
            }
            world.project.take().map(drop).ok_or_else(|| Error::not_found("project"))
        })
        .await
    }

    async fn networks(&self, _project: &str) -> Result<Vec<Network>> {
        self.look(|world| world.networks.values().cloned().collect()).await
    }

    async fn network_create(&self, project: &str, body: &NetworkCreate, key: &str) -> Result<Network> {
        let id = self.id(|now, random| NetworkId::generate(now, random));
        self.mutate(format!("network.create {}", body.name), |world| {
            world.once(key, |world| {
                if world.networks.contains_key(&body.name) {
                    return Err(Error::conflict("there is a network of that name already"));
                }
                let network = Network {
                    id,
                    project: project.to_owned(),
                    name: body.name.clone(),
                    egress: body.egress.clone(),
                    subnet: body.subnet.clone().unwrap_or_else(|| "10.40.0.0/22".into()),
                    state: "creating".into(),
                    reason: String::new(),
                    created_at: Self::now(),
                    generation: 1,
                    observed_generation: 0,
                };
                world.networks.insert(body.name.clone(), network.clone());
                Ok(network)
            })
        })
        .await
    }

    async fn network_patch(&self, _project: &str, network: &str, body: &NetworkPatch) -> Result<Network> {
        self.mutate(format!("network.patch {network}"), |world| {
            let found = world.networks.get_mut(network).ok_or_else(|| Error::not_found("network"))?;
            if found.egress != body.egress {
                found.egress = body.egress.clone();
                found.generation += 1;
            }
            Ok(found.clone())
        })
        .await
    }

    async fn network_delete(&self, _project: &str, network: &str) -> Result<()> {
        self.mutate(format!("network.delete {network}"), |world| {
            if world.machines.values().any(|machine| machine.spec.network == network) {
                return Err(Error::conflict("machines are in the network"));
            }
            let found = world.networks.get_mut(network).ok_or_else(|| Error::not_found("network"))?;
            found.state = "destroying".into();
            Ok(())
        })
        .await
    }

    async fn images(&self, _project: &str) -> Result<Vec<Image>> {
        self.look(|world| world.images.values().cloned().collect()).await
    }

    async fn image(&self, _project: &str, image: &str) -> Result<Option<Image>> {
        self.look(|world| world.images.get(image).cloned()).await
    }

    async fn image_make(&self, project: &str, body: &ImageCreate, key: &str) -> Result<Image> {
        let id = self.id(|now, random| ImageId::generate(now, random));
        let operation = self.id(|now, random| OperationId::generate(now, random));
        self.mutate(format!("image.make {}", body.name), |world| {
            world.once(key, |world| {
                let image = world.images.entry(body.name.clone()).or_insert_with(|| Image {
                    id,
                    project: project.to_owned(),
                    name: body.name.clone(),
                    source: body.source.clone(),
                    state: "failed".into(),
                    reason: String::new(),
                    digest: String::new(),
                    lock: String::new(),
                    size: 0,
                    operation: None,
                    created_at: Self::now(),
                    generation: 0,
                    observed_generation: 0,
                });
                if image.state == "destroying" {
                    return Err(Error::conflict("the image is being removed"));
                }
                if image.source != body.source || image.state == "failed" {
                    image.source = body.source.clone();
                    image.state = "building".into();
                    image.generation += 1;
                    image.operation = Some(operation);
                }
                Ok(image.clone())
            })
        })
        .await
    }

    async fn image_delete(&self, _project: &str, image: &str) -> Result<()> {
        self.mutate(format!("image.delete {image}"), |world| {
            if world.machines.values().any(|machine| machine.spec.image == image) {
                return Err(Error::conflict("machines are made of the image"));
            }
            let found = world.images.get_mut(image).ok_or_else(|| Error::not_found("image"))?;
            found.state = "destroying".into();
            Ok(())
        })
        .await
    }

    async fn operation(&self, _operation: &str) -> Result<Operation> {
        Err(Error::not_found("operation"))
    }

    async fn machines(&self, _project: &str) -> Result<Vec<Machine>> {
        self.look(|world| world.machines.values().cloned().collect()).await
    }

    async fn machine(&self, _project: &str, machine: &str) -> Result<Option<Machine>> {
        self.look(|world| world.machines.get(machine).cloned()).await
    }

    async fn machine_create(&self, project: &str, body: &MachineCreate, key: &str) -> Result<Machine> {
        let id = self.id(|now, random| MachineId::generate(now, random));
        let instance = self.id(|now, random| InstanceId::generate(now, random));
        self.mutate(format!("machine.create {}", body.name), |world| {
            world.once(key, |world| {
                if world.machines.contains_key(&body.name) {
                    return Err(Error::conflict(format!("there is a machine {:?} already", body.name)));
                }
                if !world.images.contains_key(&body.spec.image)
                    || !world.networks.contains_key(&body.spec.network)
                {
                    return Err(Error::invalid("there is no such image or network"));
                }
                world.take(&body.spec, 1);
                if let Err(error) = world.check_quota() {
                    world.take(&body.spec, -1);
                    return Err(error);
                }
                world.made += 1;
                world.next += 1;
                let machine = Machine {
                    id,
                    instance_id: instance,
                    project: project.to_owned(),
                    name: body.name.clone(),
                    group: body.group.clone(),
                    spec: body.spec.clone(),
                    metadata: body.metadata.clone(),
                    health: body.health.clone(),
                    cordoned: false,
                    state: MachineState::Creating,
                    wanted_state: "started".into(),
                    reason: String::new(),
                    healthy: false,
                    address: None,
                    mac: None,
                    boot_id: None,
                    ssh_host_key: None,
                    image_digest: None,
                    restarts: 0,
                    operation: None,
                    created_at: Self::now(),
                    updated_at: Self::now(),
                    generation: 1,
                    observed_generation: 0,
                };
                world.machines.insert(body.name.clone(), machine.clone());
                Ok(machine)
            })
        })
        .await
    }

    async fn machine_put(&self, _project: &str, machine: &str, body: &MachinePut) -> Result<Machine> {
        let instance = self.id(|now, random| InstanceId::generate(now, random));
        self.mutate(format!("machine.put {machine}"), |world| {
            let image = world.images.get(&body.spec.image).cloned();
            let old = world.machine_mut(machine)?.clone();
            let stale = image.is_some_and(|image| {
                old.image_digest
                    .as_ref()
                    .is_some_and(|digest| image.state != "ready" || image.digest != *digest)
            });
            let around =
                old.group == body.group && old.metadata == body.metadata && old.health == body.health;
            let same = body.spec == old.spec && !stale;
            if same && around && old.state != MachineState::Failed {
                return Ok(old);
            }
            world.take(&old.spec, -1);
            world.take(&body.spec, 1);
            if let Err(error) = world.check_quota() {
                world.take(&body.spec, -1);
                world.take(&old.spec, 1);
                return Err(error);
            }
            let found = world.machine_mut(machine)?;
            found.spec = body.spec.clone();
            found.group.clone_from(&body.group);
            found.metadata.clone_from(&body.metadata);
            found.health.clone_from(&body.health);
            found.generation += 1;
            if !same || around {
                found.instance_id = instance;
                found.state = MachineState::Updating;
                found.wanted_state = "started".into();
                found.healthy = false;
                found.reason.clear();
            }
            Ok(found.clone())
        })
        .await
    }

    async fn machine_patch(&self, _project: &str, machine: &str, body: &MachinePatch) -> Result<Machine> {
        self.mutate(format!("machine.patch {machine}"), |world| {
            let found = world.machine_mut(machine)?;
            if let Some(metadata) = &body.metadata {
                found.metadata.clone_from(metadata);
            }
            if let Some(health) = &body.health {
                found.health = Some(health.clone());
            }
            found.cordoned = body.cordoned.unwrap_or(found.cordoned);
            found.generation += 1;
            Ok(found.clone())
        })
        .await
    }

    async fn machine_start(&self, _project: &str, machine: &str) -> Result<Machine> {
        self.mutate(format!("machine.start {machine}"), |world| {
            let found = world.machine_mut(machine)?;
            if found.wanted_state != "started" || found.state == MachineState::Failed {
                found.wanted_state = "started".into();
                found.state = MachineState::Starting;
                found.generation += 1;
            }
            Ok(found.clone())
        })
        .await
    }

    async fn machine_delete(&self, _project: &str, machine: &str) -> Result<()> {
        self.mutate(format!("machine.delete {machine}"), |world| {
            let found = world.machines.get_mut(machine).ok_or_else(|| Error::not_found("machine"))?;
            found.state = MachineState::Destroying;
            found.wanted_state = "destroyed".into();
            found.healthy = false;
            Ok(())
        })
        .await
    }

    async fn serial(&self, _project: &str, machine: &str, lines: u32) -> Result<Vec<String>> {
        Ok((1..=lines).map(|line| format!("{machine} console line {line}")).collect())
    }

    async fn publications(&self, _project: &str) -> Result<Vec<Publication>> {
        self.look(|world| world.publications.values().cloned().collect()).await
    }

    async fn publication_put(&self, project: &str, name: &str, body: &PublicationPut) -> Result<Publication> {
        let id = self.id(|now, random| PublicationId::generate(now, random));
        self.mutate(format!("publication.put {name}"), |world| {
            if world.publications.values().any(|other| other.host == body.host && other.name != name) {
                return Err(Error::conflict(format!("{} is published already", body.host)));
            }
            let found = world.publications.entry(name.to_owned()).or_insert_with(|| Publication {
                id,
                project: project.to_owned(),
                name: name.to_owned(),
                host: body.host.clone(),
                group: body.group.clone(),
                port: body.port,
                state: "creating".into(),
                reason: String::new(),
                backends: Vec::new(),
                generation: 1,
            });
            if found.state == "destroying" || found.host != body.host {
                return Err(Error::conflict("delete it first"));
            }
            if found.group != body.group || found.port != body.port {
                found.group.clone_from(&body.group);
                found.port = body.port;
                found.generation += 1;
            }
            Ok(found.clone())
        })
        .await
    }

    async fn publication_delete(&self, _project: &str, name: &str) -> Result<()> {
        self.mutate(format!("publication.delete {name}"), |world| {
            let found = world.publications.get_mut(name).ok_or_else(|| Error::not_found("publication"))?;
            found.state = "destroying".into();
            Ok(())
        })
        .await
    }

    async fn secrets(&self, _project: &str) -> Result<Vec<String>> {
        self.look(|world| world.delivery.secrets.iter().cloned().collect()).await
    }

    async fn apps(&self, _project: &str) -> Result<Vec<App>> {
        self.look(|world| world.delivery.apps.values().cloned().collect()).await
    }

    async fn app_put(&self, project: &str, name: &str, body: &AppSpec) -> Result<App> {
        let act = |world: &mut World| {
            let machines = world.healthy(&body.on);
            world.delivery.app_put(project, name, body, machines)
        };
        self.mutate(format!("app.put {name}"), act).await
    }

    async fn app_delete(&self, _project: &str, name: &str) -> Result<()> {
        self.mutate(format!("app.delete {name}"), |world| world.delivery.app_delete(name)).await
    }

    async fn backends(&self, _project: &str) -> Result<Vec<Backend>> {
        self.look(|world| world.delivery.backends.values().cloned().collect()).await
    }

    async fn backend_put(&self, project: &str, name: &str, body: &BackendPut) -> Result<Backend> {
        let act = |world: &mut World| Ok(world.delivery.backend_put(project, name, body));
        self.mutate(format!("backend.put {name}"), act).await
    }

    async fn backend_delete(&self, _project: &str, name: &str) -> Result<()> {
        self.mutate(format!("backend.delete {name}"), |world| world.delivery.backend_delete(name)).await
    }

    async fn routes(&self, _project: &str) -> Result<Vec<Route>> {
        self.look(|world| world.delivery.routes.values().cloned().collect()).await
    }

    async fn route_put(&self, project: &str, host: &str, body: &RoutePut) -> Result<Route> {
        let act = |world: &mut World| world.delivery.route_put(project, host, body);
        self.mutate(format!("route.put {host}"), act).await
    }

    async fn route_delete(&self, _project: &str, host: &str) -> Result<()> {
        self.mutate(format!("route.delete {host}"), |world| world.delivery.route_delete(host)).await
    }
}
