//! A machine's folder and process: made, seen, changed, stopped, removed. Starting is in `start`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use hafen_base::{Error, MachineId, Result};
use hafen_qemu::{Boot, Format, Net, Spec, Status, Vm, durable};

use super::error::{file, from_images, from_qemu};
use super::folder::{Folder, PowerRecord};
use super::{Parts, identity, missing};
use crate::ca::HostKey;
use crate::engine::{MachineConfig, Noticed, Power, Running, Sight};

/// A guest that was asked to stop gets this long before its power is cut.
const GRACE: Duration = Duration::from_secs(30);
/// For an agent's answer to a question.
const ANSWER: Duration = Duration::from_secs(3);
/// Of a serial log, the newest so many bytes are kept.
const SERIAL_LOG: u64 = 4 << 20;
/// QEMU takes whole mebibytes.
const MIB: u64 = 1 << 20;

impl Parts {
    /// A machine to be looked at, ended or removed: found by its id, even where its image is gone.
    pub fn vm(&self, id: MachineId) -> Result<Vm> {
        let folder = self.folder(id);
        if folder.exists() { self.bare(&folder, id) } else { Err(missing(id)) }
    }

    fn bare(&self, folder: &Folder, id: MachineId) -> Result<Vm> {
        Vm::at(&self.host, &folder.vm(), bare_spec(id)).map_err(from_qemu)
    }

    /// A machine to be started or changed: with everything that QEMU is told of it.
    pub async fn vm_of(&self, folder: &Folder, config: &MachineConfig) -> Result<Vm> {
        let spec = self.spec(folder, config).await?;
        Vm::at(&self.host, &folder.vm(), spec).map_err(from_qemu)
    }

    /// What QEMU is told of a machine.
    async fn spec(&self, folder: &Folder, config: &MachineConfig) -> Result<Spec> {
        let image = self.image(&config.image).await?;
        let boot = match (&image.kind, &config.firmware) {
            (hafen_images::Kind::Built { kernel, initrd, root }, _) => {
                Boot::Kernel { kernel: kernel.clone(), initrd: initrd.clone(), root: root.clone() }
            }
            (hafen_images::Kind::Cloud, firmware) => {
                Boot::Firmware { uefi: firmware.as_deref() == Some("uefi") }
            }
        };
        let seeded = config.user_data.is_some() || matches!(boot, Boot::Firmware { .. });
        if config.disk < image.virtual_size {
            return Err(Error::invalid(format!(
                "the disk of {} has {} MiB, its image needs {} MiB: give it a larger disk",
                config.name,
                config.disk / MIB,
                image.virtual_size.div_ceil(MIB)
            )));
        }
        Ok(Spec {
            name: config.name.clone(),
            uuid: identity::uuid(config.id),
            cpus: config.cpus,
            memory: config.memory.next_multiple_of(MIB),
            disk: config.disk.next_multiple_of(MIB),
            image: image.disk,
            image_format: match image.format {
                hafen_images::Format::Qcow2 => Format::Qcow2,
                hafen_images::Format::Raw => Format::Raw,
            },
            boot,
            net: Net::Tap,
            mac: config.mac.clone(),
            machine_id: identity::machine_id(config),
            seed: seeded.then(|| folder.seed()),
        })
    }

    pub async fn machine_create(&self, config: &MachineConfig) -> Result<()> {
        let folder = self.folder(config.id);
        if folder.exists() {
            let there = folder.config()?;
            if there.instance == config.instance && there.disk_instance == config.disk_instance {
                return Ok(());
            }
            return Err(Error::conflict("the machine exists as another instance"));
        }
        let image = self.image(&config.image).await?;
        self.images.hold(&image.digest).await.map_err(from_images)?;
        // Refuses what cannot work before anything is there.
        self.spec(&folder, config).await?;
        Folder::create(&self.machines, config, &HostKey::generate(&*self.random)?)?;
        self.configs().insert(config.id, config.clone());
        Ok(())
    }

    pub async fn machine_configure(&self, config: &MachineConfig) -> Result<()> {
        let folder = self.folder(config.id);
        if !folder.exists() {
            return Err(missing(config.id));
        }
        let before = folder.config()?.network.id;
        // The disk first: a description that is ahead of it would not boot.
        self.vm_of(&folder, config).await?.grow().await.map_err(from_qemu)?;
        folder.config_write(config)?;
        self.configs().insert(config.id, config.clone());
        if before != config.network.id {
            self.hosts_sync(before).await?;
        }
        self.hosts_sync(config.network.id).await
    }

    pub async fn machine_list(&self) -> Result<Vec<Sight>> {
        let (ids, _) = super::folder::list(&self.machines)?;
        let looks =
            futures::stream::iter(ids.into_iter().map(|id| async move { (id, self.machine_see(id).await) }));
        let seen: Vec<_> = looks.buffer_unordered(16).collect().await;
        let mut list = Vec::with_capacity(seen.len());
        for (id, sight) in seen {
            match sight {
                Ok(sight) => list.extend(sight),
                // One damaged folder must not blind the platform for all others.
                Err(error) => tracing::error!(machine = %id, "cannot be looked at: {error}"),
            }
        }
        Ok(list)
    }

    pub async fn machine_see(&self, id: MachineId) -> Result<Option<Sight>> {
        let folder = self.folder(id);
        if !folder.exists() {
            return Ok(None);
        }
        let config = folder.config()?;
        let power = self.power(&folder, &config).await?;
        Ok(Some(Sight { id, instance: config.instance, disk_instance: config.disk_instance, power }))
    }

    /// From what was last done and what the kernel says to what it is.
    async fn power(&self, folder: &Folder, config: &MachineConfig) -> Result<Power> {
        let vm = self.bare(folder, config.id)?;
        let record = folder.power()?;
        let status = vm.status().await;
        // Every look cuts what a guest wrote to its console: nothing else bounds it.
        if let Err(error) = vm.serial_trim(SERIAL_LOG) {
            tracing::warn!(machine = config.name, "its serial log cannot be cut: {error}");
        }
        Ok(match (record, status) {
            (PowerRecord::Stopped | PowerRecord::Starting { .. }, Status::Stopped) => Power::Stopped,
            (PowerRecord::Running { .. }, Status::Stopped) => Power::Dead(last_words(&vm)),
            (_, Status::Halted { state, .. }) if is_lost(&state) => {
                Power::Dead(format!("QEMU stopped executing it: {state}"))
            }
            (PowerRecord::Stopped, _) => Power::Starting,
            (PowerRecord::Starting { network, boot_id }, _) => {
                // The platform may have been killed between the guest's word and its record.
                match vm.facts(ANSWER).await {
                    Ok(facts) if facts.has_identity && facts.boot_id == boot_id => {
                        let host_key = folder.key()?.fingerprint;
                        let record = PowerRecord::Running {
                            boot_id: boot_id.clone(),
                            host_key: host_key.clone(),
                            network,
                        };
                        folder.power_write(&record)?;
                        Power::Running(Running { boot_id, host_key })
                    }
                    _ => Power::Starting,
                }
            }
            (PowerRecord::Running { boot_id, host_key, network }, _) => {
                match self.network_life(config.network.id).await {
                    Some(life) if life != network => Power::Dead(
                        "its network was made anew, and its interface went with the old one".into(),
                    ),
                    _ => Power::Running(Running { boot_id, host_key }),
                }
            }
        })
    }

    pub async fn machine_stop(&self, id: MachineId) -> Result<()> {
        let folder = self.folder(id);
        if !folder.exists() {
            return Err(missing(id));
        }
        // Without its image nobody can tell whether an agent is inside: then the power button is all there is.
        let vm = match self.vm_of(&folder, &folder.config()?).await {
            Ok(vm) => vm,
            Err(_) => self.bare(&folder, id)?,
        };
        match folder.power()? {
            PowerRecord::Running { .. } => {
                vm.shutdown(GRACE).await.map_err(from_qemu)?;
            }
            // Nobody is at home in a guest without identity.
            _ => vm.kill().await.map_err(from_qemu)?,
        }
        folder.power_write(&PowerRecord::Stopped)
    }

    pub async fn machine_delete(&self, id: MachineId) -> Result<()> {
        let folder = self.folder(id);
        let config = self.configs().get(&id).cloned();
        if folder.exists() {
            self.bare(&folder, id)?.delete().await.map_err(from_qemu)?;
            let gone = folder.retire()?;
            sweep(gone).await?;
        }
        self.configs().remove(&id);
        if let Some(config) = config
            && let Some(network) = self.network_running(config.network.id).await?
        {
            // What is left there is only a name and an interface without a machine; the next change of names mends it.
            if let Err(error) = network.tap_delete(&id.to_string()).await {
                tracing::warn!(machine = %id, "its interface was not removed: {error}");
            }
            self.hosts_sync(config.network.id).await?;
        }
        Ok(())
    }

    /// Tells when a machine's process ends.
    pub fn watch_end(self: &Arc<Self>, id: MachineId) {
        let Ok(vm) = self.vm(id) else { return };
        let notices = self.notices.clone();
        tokio::spawn(async move {
            match vm.wait_exit().await {
                // Nobody listens any more when the platform stops.
                Ok(()) => drop(notices.send(Noticed::Machine(id))),
                Err(error) => tracing::warn!(machine = %id, "its end cannot be watched: {error}"),
            }
        });
    }
}

/// Enough to find a machine's process.
fn bare_spec(id: MachineId) -> Spec {
    Spec {
        name: id.to_string(),
        uuid: identity::uuid(id),
        cpus: 1,
        memory: 64 * MIB,
        disk: MIB,
        image: "/".into(),
        image_format: Format::Raw,
        boot: Boot::Firmware { uefi: false },
        net: Net::None,
        mac: "52:54:00:00:00:01".into(),
        machine_id: "0".repeat(32),
        seed: None,
    }
}

/// Words of QEMU for a guest that will not go on by itself.
fn is_lost(state: &str) -> bool {
    matches!(state, "internal-error" | "guest-panicked" | "shutdown")
}

fn last_words(vm: &Vm) -> String {
    let tail = vm.serial_tail(3).unwrap_or_default();
    match tail.last() {
        Some(line) if !line.trim().is_empty() => {
            format!("its QEMU ended; the console's last line: {}", line.trim())
        }
        _ => "its QEMU ended".into(),
    }
}

async fn sweep(path: PathBuf) -> Result<()> {
    let place = path.clone();
    let removed = tokio::task::spawn_blocking(move || durable::remove_tree(&path)).await;
    removed.map_err(|error| file("remove", &place, error.into()))?.map_err(from_qemu)
}
