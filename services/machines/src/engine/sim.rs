//! The simulated engine: no hypervisor, time and faults under control.
//!
//! Its *world* outlives the control plane, as real machines do: in a test it is shared between one life of the service
//! and the next; under `hafen serve --engine sim` it is kept in files, so that a killed platform finds its machines
//! again. Faults are drawn from a seeded generator, so a failing run replays.

mod world;

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Clock, Error, MachineId, NetworkId, PublicationId, Result};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::{
    BoxDuplex, BuiltImage, Engine, EngineInfo, ImageRequest, MachineConfig, NetworkConfig, Noticed, Power,
    Progress, PublicationConfig, Running, Sight,
};
pub use world::{Faults, SimMachine, World};

/// The engine over a world.
pub struct Sim {
    world: Arc<World>,
    clock: Arc<dyn Clock>,
}

impl Sim {
    pub fn new(world: Arc<World>, clock: Arc<dyn Clock>) -> Self {
        Self { world, clock }
    }

    /// Waits as long as the call is to take, and may fail before anything happened.
    async fn before(&self, call: &str) -> Result<()> {
        let (delay, fails) = self.world.draw_before();
        if delay > Duration::ZERO {
            self.clock.sleep(delay).await;
        }
        if fails {
            Err(Error::unavailable(format!("simulated fault: {call} was not carried out")))
        } else {
            Ok(())
        }
    }

    /// May lose the reply of something that did happen.
    fn after(&self, call: &str) -> Result<()> {
        if self.world.draw_lost_reply() {
            return Err(Error::unavailable(format!("simulated fault: the reply of {call} was lost")));
        }
        Ok(())
    }
}

fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().fold("sha256-".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn missing(id: MachineId) -> Error {
    Error::not_found(format!("machine {id} in the engine"))
}

#[async_trait]
impl Engine for Sim {
    fn name(&self) -> &'static str {
        "sim"
    }

    async fn info(&self) -> EngineInfo {
        EngineInfo { detail: "simulated: no machine is real".into() }
    }

    async fn image_ensure(&self, request: &ImageRequest, progress: Progress) -> Result<BuiltImage> {
        progress("simulated build".into(), Some(50));
        self.before("image_ensure").await?;
        let source = serde_json::to_string(&request.source).map_err(Error::internal)?;
        let digest = digest(&source);
        self.world.image_add(&digest)?;
        self.after("image_ensure")?;
        let lock = request.lock.clone().unwrap_or_else(|| format!("# simulated lock of {digest}\n"));
        Ok(BuiltImage { digest, lock, size: 1 << 20 })
    }

    async fn image_verify(&self, digest: &str, _progress: Progress) -> Result<()> {
        self.before("image_verify").await?;
        if self.world.image_has(digest) { Ok(()) } else { Err(Error::not_found(format!("image {digest}"))) }
    }

    async fn image_gc(&self, keep: &[String], dry_run: bool) -> Result<(Vec<String>, i64)> {
        let removed = self.world.image_gc(keep, dry_run)?;
        let freed = i64::try_from(removed.len()).unwrap_or(0) << 20;
        Ok((removed, freed))
    }

    async fn network_ensure(&self, config: &NetworkConfig) -> Result<()> {
        self.before("network_ensure").await?;
        self.world.network_put(config)?;
        self.after("network_ensure")
    }

    async fn network_delete(&self, network: NetworkId) -> Result<()> {
        self.before("network_delete").await?;
        self.world.network_remove(network)?;
        self.after("network_delete")
    }

    async fn machine_list(&self) -> Result<Vec<Sight>> {
        Ok(self.world.machines(SimMachine::sight))
    }

    async fn machine_see(&self, id: MachineId) -> Result<Option<Sight>> {
        Ok(self.world.machine(id).as_ref().map(SimMachine::sight))
    }

    async fn machine_create(&self, config: &MachineConfig) -> Result<()> {
        self.before("machine_create").await?;
        if !self.world.image_has(&config.image) {
            return Err(Error::unavailable(format!("image {} is not there", config.image)));
        }
        if self.world.network(config.network.id).is_none() {
            return Err(Error::unavailable(format!("network {} is not there", config.network.name)));
        }
        match self.world.machine(config.id) {
            Some(there) if there.power != Power::HalfMade && there.config.instance == config.instance => {}
            Some(_) => return Err(Error::conflict("the machine exists as another instance")),
            None => {
                // Half made first: a fault or a crash between the two leaves it so.
                self.world.machine_put(SimMachine::new(config.clone(), Power::HalfMade))?;
                if self.world.draw_half_made() {
                    return Err(Error::unavailable("simulated fault: machine_create broke off"));
                }
                self.world.machine_put(SimMachine::new(config.clone(), Power::Stopped))?;
            }
        }
        self.after("machine_create")
    }

    async fn machine_configure(&self, config: &MachineConfig) -> Result<()> {
        self.before("machine_configure").await?;
        let mut machine = self.world.machine(config.id).ok_or_else(|| missing(config.id))?;
        if machine.power != Power::Stopped {
            return Err(Error::conflict("a running machine cannot be configured"));
        }
        machine.config = config.clone();
        self.world.machine_put(machine)?;
        self.after("machine_configure")
    }

    async fn machine_start(&self, config: &MachineConfig) -> Result<Running> {
        self.before("machine_start").await?;
        let mut machine = self.world.machine(config.id).ok_or_else(|| missing(config.id))?;
        if let Power::Running(running) = &machine.power {
            return Ok(running.clone());
        }
        if machine.power == Power::HalfMade {
            return Err(Error::conflict("a half-made machine cannot be started"));
        }
        if let Some(other) = self.world.holder_of(config.network.id, config.address)
            && other != config.id
        {
            return Err(Error::conflict(format!("the address {} is in use", config.address)));
        }
        machine.boots += 1;
        let seed = format!("{} {} {}", config.id, config.disk_instance, machine.boots);
        let running = Running {
            boot_id: digest(&seed).chars().skip(7).take(32).collect(),
            host_key: digest(&format!("key {} {}", config.id, config.disk_instance)),
        };
        machine.power = Power::Running(running.clone());
        machine.serial.push(format!("[simulated] {} started", config.name));
        self.world.machine_put(machine)?;
        if self.world.draw_dies() {
            self.world.kill(config.id);
        }
        self.after("machine_start")?;
        Ok(running)
    }

    async fn machine_stop(&self, id: MachineId) -> Result<()> {
        self.before("machine_stop").await?;
        let mut machine = self.world.machine(id).ok_or_else(|| missing(id))?;
        if machine.power != Power::HalfMade {
            machine.power = Power::Stopped;
            machine.serial.push("[simulated] stopped".into());
            self.world.machine_put(machine)?;
        }
        self.after("machine_stop")
    }

    async fn machine_delete(&self, id: MachineId) -> Result<()> {
        self.before("machine_delete").await?;
        self.world.machine_remove(id)?;
        self.after("machine_delete")
    }

    async fn machine_serial(&self, id: MachineId, lines: usize) -> Result<Vec<String>> {
        let machine = self.world.machine(id).ok_or_else(|| missing(id))?;
        let skip = machine.serial.len().saturating_sub(lines);
        Ok(machine.serial.into_iter().skip(skip).collect())
    }

    async fn machine_console(&self, id: MachineId) -> Result<BoxDuplex> {
        let machine = self.world.machine(id).ok_or_else(|| missing(id))?;
        let (near, mut far) = tokio::io::duplex(4096);
        // An echo: ends when the near side goes.
        tokio::spawn(async move {
            let greeting = format!("{} login (simulated): ", machine.config.name);
            let mut buffer = vec![0_u8; 1024];
            if far.write_all(greeting.as_bytes()).await.is_err() {
                return;
            }
            while let Ok(count @ 1..) = far.read(&mut buffer).await {
                let Some(bytes) = buffer.get(..count) else { return };
                if far.write_all(bytes).await.is_err() {
                    return;
                }
            }
        });
        Ok(Box::new(near))
    }

    async fn dial(&self, network: NetworkId, to: SocketAddrV4) -> Result<BoxDuplex> {
        let refused = || Error::unavailable(format!("{to} does not answer"));
        let holder = self.world.holder_of(network, *to.ip()).ok_or_else(refused)?;
        let machine = self.world.machine(holder).ok_or_else(refused)?;
        if !self.world.answers(holder) {
            return Err(refused());
        }
        let (near, mut far) = tokio::io::duplex(4096);
        // One HTTP answer, whatever was asked.
        tokio::spawn(async move {
            let mut buffer = vec![0_u8; 2048];
            if far.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                let body = format!("hello from {}\n", machine.config.name);
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _gone = far.write_all(answer.as_bytes()).await;
            }
        });
        Ok(Box::new(near))
    }

    async fn snapshot_create(&self, id: MachineId, name: &str) -> Result<()> {
        self.before("snapshot_create").await?;
        let mut machine = self.world.machine(id).ok_or_else(|| missing(id))?;
        machine.snapshots.insert(name.to_owned());
        self.world.machine_put(machine)?;
        self.after("snapshot_create")
    }

    async fn snapshot_list(&self, id: MachineId) -> Result<Vec<String>> {
        let machine = self.world.machine(id).ok_or_else(|| missing(id))?;
        Ok(machine.snapshots.into_iter().collect())
    }

    async fn snapshot_restore(&self, id: MachineId, name: &str) -> Result<()> {
        self.before("snapshot_restore").await?;
        let machine = self.world.machine(id).ok_or_else(|| missing(id))?;
        if machine.power != Power::Stopped {
            return Err(Error::conflict("the machine runs"));
        }
        if !machine.snapshots.contains(name) {
            return Err(Error::not_found(format!("snapshot {name:?}")));
        }
        self.after("snapshot_restore")
    }

    async fn snapshot_delete(&self, id: MachineId, name: &str) -> Result<()> {
        let mut machine = self.world.machine(id).ok_or_else(|| missing(id))?;
        machine.snapshots.remove(name);
        self.world.machine_put(machine)
    }

    async fn publish(&self, config: &PublicationConfig) -> Result<()> {
        self.before("publish").await?;
        self.world.publish(config.id, config.backends.clone());
        self.after("publish")
    }

    async fn unpublish(&self, id: PublicationId) -> Result<()> {
        self.world.unpublish(id);
        Ok(())
    }

    fn watch(&self) -> mpsc::UnboundedReceiver<Noticed> {
        self.world.watch()
    }
}
