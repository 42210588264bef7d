//! The simulated reality, and the faults drawn over it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hafen_base::{Error, MachineId, NetworkId, PublicationId, Random, Result, SeededRandom};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::engine::{MachineConfig, NetworkConfig, Noticed, Power, Sight};

/// How likely each fault is, 0 to 1, and how long calls take.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// A call fails before anything happened.
    pub fails: f64,
    /// A call happens, its reply is lost.
    pub lost_reply: f64,
    /// A creation breaks off in the middle.
    pub half_made: f64,
    /// A machine dies right after its start.
    pub dies: f64,
    /// Each call takes this long, in milliseconds.
    pub latency_ms: u64,
    /// Seed of the draws.
    pub seed: u64,
}

/// A machine that is not real.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimMachine {
    pub config: MachineConfig,
    pub power: Power,
    pub boots: u64,
    pub serial: Vec<String>,
    pub snapshots: BTreeSet<String>,
}

impl SimMachine {
    pub fn new(config: MachineConfig, power: Power) -> Self {
        Self { config, power, boots: 0, serial: Vec::new(), snapshots: BTreeSet::new() }
    }

    pub fn sight(&self) -> Sight {
        Sight {
            id: self.config.id,
            instance: self.config.instance,
            disk_instance: self.config.disk_instance,
            power: self.power.clone(),
        }
    }
}

#[derive(Default)]
struct Inner {
    machines: BTreeMap<MachineId, SimMachine>,
    /// Who runs at an address: kept beside `machines` so that a start is not a walk over all of them.
    running: HashMap<(NetworkId, Ipv4Addr), MachineId>,
    networks: BTreeMap<NetworkId, NetworkConfig>,
    images: BTreeSet<String>,
    publications: BTreeMap<PublicationId, Vec<SocketAddrV4>>,
    silent: BTreeSet<MachineId>,
    faults: Faults,
    watchers: Vec<mpsc::UnboundedSender<Noticed>>,
}

/// A simulated reality. Outlives any number of control planes.
pub struct World {
    inner: Mutex<Inner>,
    draws: SeededRandom,
    /// Where it is kept; none: only in memory.
    folder: Option<PathBuf>,
}

impl World {
    /// A world in memory.
    pub fn new(faults: Faults) -> Self {
        Self {
            inner: Mutex::new(Inner { faults, ..Inner::default() }),
            draws: SeededRandom::new(faults.seed),
            folder: None,
        }
    }

    /// A world kept in a folder, with what was left there.
    ///
    /// # Errors
    /// Unavailable when the folder cannot be used.
    pub fn open(folder: &Path, faults: Faults) -> Result<Self> {
        let mut world = Self::new(faults);
        for part in ["machines", "networks", "images"] {
            std::fs::create_dir_all(folder.join(part)).map_err(|error| io_error(folder, error))?;
        }
        {
            let mut inner = world.lock();
            for machine in read_all::<SimMachine>(&folder.join("machines"))? {
                if matches!(machine.power, Power::Running(_)) {
                    inner
                        .running
                        .insert((machine.config.network.id, machine.config.address), machine.config.id);
                }
                inner.machines.insert(machine.config.id, machine);
            }
            for network in read_all::<NetworkConfig>(&folder.join("networks"))? {
                inner.networks.insert(network.id, network);
            }
            inner.images.extend(read_all::<String>(&folder.join("images"))?);
        }
        world.folder = Some(folder.to_owned());
        Ok(world)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep<T: Serialize>(&self, part: &str, name: &str, value: Option<&T>) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.join(part).join(name);
        let done = match value {
            Some(value) => {
                let text = serde_json::to_string(value).map_err(Error::internal)?;
                let fresh = path.with_extension("new");
                std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &path))
            }
            None => match std::fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        done.map_err(|error| io_error(&path, error))
    }

    fn chance(&self, probability: f64) -> bool {
        if probability <= 0.0 {
            return false;
        }
        let mut bytes = [0_u8; 4];
        self.draws.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) < probability * f64::from(u32::MAX)
    }

    pub(super) fn draw_before(&self) -> (Duration, bool) {
        let faults = self.faults();
        (Duration::from_millis(faults.latency_ms), self.chance(faults.fails))
    }

    pub(super) fn draw_lost_reply(&self) -> bool {
        self.chance(self.faults().lost_reply)
    }

    pub(super) fn draw_half_made(&self) -> bool {
        self.chance(self.faults().half_made)
    }

    pub(super) fn draw_dies(&self) -> bool {
        self.chance(self.faults().dies)
    }

    pub fn faults(&self) -> Faults {
        self.lock().faults
    }

    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// All machines, through `view`.
    pub fn machines<T>(&self, view: impl Fn(&SimMachine) -> T) -> Vec<T> {
        self.lock().machines.values().map(view).collect()
    }

    pub fn machine(&self, id: MachineId) -> Option<SimMachine> {
        self.lock().machines.get(&id).cloned()
    }

    pub(super) fn machine_put(&self, machine: SimMachine) -> Result<()> {
        let id = machine.config.id;
        self.keep("machines", &id.to_string(), Some(&machine))?;
        let mut inner = self.lock();
        let place = (machine.config.network.id, machine.config.address);
        if matches!(machine.power, Power::Running(_)) {
            inner.running.insert(place, id);
        } else if inner.running.get(&place) == Some(&id) {
            inner.running.remove(&place);
        }
        inner.machines.insert(id, machine);
        Ok(())
    }

    pub(super) fn machine_remove(&self, id: MachineId) -> Result<()> {
        self.keep::<SimMachine>("machines", &id.to_string(), None)?;
        let mut inner = self.lock();
        if let Some(machine) = inner.machines.remove(&id) {
            let place = (machine.config.network.id, machine.config.address);
            if inner.running.get(&place) == Some(&id) {
                inner.running.remove(&place);
            }
        }
        Ok(())
    }

    /// The hypervisor of a machine dies.
    pub fn kill(&self, id: MachineId) {
        if let Some(mut machine) = self.machine(id) {
            if !matches!(machine.power, Power::Running(_)) {
                return;
            }
            machine.power = Power::Dead("simulated fault: the hypervisor ended".into());
            machine.serial.push("[simulated] killed".into());
            if let Err(error) = self.machine_put(machine) {
                tracing::warn!("{error}");
            }
            self.notice(&Noticed::Machine(id));
        }
    }

    /// A machine that runs but does not answer; or does again.
    pub fn set_silent(&self, id: MachineId, silent: bool) {
        let mut inner = self.lock();
        if silent {
            inner.silent.insert(id);
        } else {
            inner.silent.remove(&id);
        }
    }

    pub(super) fn answers(&self, id: MachineId) -> bool {
        !self.lock().silent.contains(&id)
    }

    pub(super) fn holder_of(&self, network: NetworkId, address: Ipv4Addr) -> Option<MachineId> {
        self.lock().running.get(&(network, address)).copied()
    }

    pub fn network(&self, id: NetworkId) -> Option<NetworkConfig> {
        self.lock().networks.get(&id).cloned()
    }

    pub(super) fn network_put(&self, config: &NetworkConfig) -> Result<()> {
        self.keep("networks", &config.id.to_string(), Some(config))?;
        self.lock().networks.insert(config.id, config.clone());
        Ok(())
    }

    pub(super) fn network_remove(&self, id: NetworkId) -> Result<()> {
        self.keep::<NetworkConfig>("networks", &id.to_string(), None)?;
        self.lock().networks.remove(&id);
        Ok(())
    }

    pub(super) fn image_add(&self, digest: &str) -> Result<()> {
        self.keep("images", digest, Some(&digest))?;
        self.lock().images.insert(digest.to_owned());
        Ok(())
    }

    pub(super) fn image_has(&self, digest: &str) -> bool {
        self.lock().images.contains(digest)
    }

    pub(super) fn image_gc(&self, keep: &[String], dry_run: bool) -> Result<Vec<String>> {
        let gone: Vec<String> =
            self.lock().images.iter().filter(|digest| !keep.contains(digest)).cloned().collect();
        if !dry_run {
            for digest in &gone {
                self.keep::<String>("images", digest, None)?;
                self.lock().images.remove(digest);
            }
        }
        Ok(gone)
    }

    pub(super) fn publish(&self, id: PublicationId, backends: Vec<SocketAddrV4>) {
        self.lock().publications.insert(id, backends);
    }

    pub(super) fn unpublish(&self, id: PublicationId) {
        self.lock().publications.remove(&id);
    }

    /// The backends of a published port.
    pub fn backends(&self, id: PublicationId) -> Option<Vec<SocketAddrV4>> {
        self.lock().publications.get(&id).cloned()
    }

    pub(super) fn watch(&self) -> mpsc::UnboundedReceiver<Noticed> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().watchers.push(sender);
        receiver
    }

    fn notice(&self, noticed: &Noticed) {
        self.lock().watchers.retain(|watcher| watcher.send(noticed.clone()).is_ok());
    }
}

fn io_error(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("the simulated world at {} cannot be used: {error}", path.display()))
        .with_cause(error)
}

fn read_all<T: serde::de::DeserializeOwned>(folder: &Path) -> Result<Vec<T>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| io_error(folder, error))? {
        let path = entry.map_err(|error| io_error(folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|error| io_error(&path, error))?;
        all.push(serde_json::from_str(&text).map_err(Error::internal)?);
    }
    Ok(all)
}
