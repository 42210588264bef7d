//! Starting a machine: its interface, its place, its identity, and the shorter of two ways up.
//!
//! A machine's first start resumes from a template, when it can; from then on it boots from its own disk. Whatever breaks
//! off in the middle leaves a process without identity, which the next start ends before it begins anew.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use hafen_base::{Error, Result};
use hafen_qemu::{Facts, Launch, Template, User, Vm};
use tokio::io::AsyncReadExt as _;

use super::error::{file, from_netns, from_qemu};
use super::folder::{Folder, PowerRecord};
use super::{Parts, identity, seed};
use crate::ca::HostKey;
use crate::engine::{MachineConfig, Power, Running, Start};

/// A template is a boot under emulation, perhaps behind another one.
const TEMPLATE: Duration = Duration::from_secs(240);
/// From a guest's word that it is itself to sshd's greeting.
const SSHD: Duration = Duration::from_secs(60);
/// Each holds its memory: a few hundred mebibytes.
const KEPT: usize = 4;
const RESUME: Duration = Duration::from_secs(60);
const BOOT: Duration = Duration::from_secs(240);

impl Parts {
    pub async fn machine_start(&self, config: &MachineConfig) -> Result<Running> {
        let folder = self.folder(config.id);
        match self.machine_see(config.id).await? {
            None => return Err(super::missing(config.id)),
            Some(sight) => {
                if let Power::Running(running) = sight.power {
                    return Ok(running);
                }
            }
        }
        let _turn = self.starts.acquire().await.map_err(Error::internal)?;
        let vm = self.vm_of(&folder, config).await?;
        vm.kill().await.map_err(from_qemu)?;
        let key = folder.key()?;
        let boot_id = identity::random_uuid(&*self.random);
        let (network, tap) = self.tap(config).await?;
        folder.power_write(&PowerRecord::Starting { network: network.clone(), boot_id: boot_id.clone() })?;
        let launch = self.launch(config, tap);
        let boot = async {
            if config.firmware.is_some() {
                return self.boot_foreign(&folder, config, &key, &vm, launch).await;
            }
            let facts = self.boot_own(&folder, config, &key, &vm, launch, &boot_id).await?;
            if facts.boot_id == boot_id {
                return Ok(());
            }
            Err(Error::unavailable(format!("{} did not take its identity", config.name)))
        };
        // Its name is needed once it runs, not before: both at once.
        let (booted, named) = tokio::join!(boot, self.hosts_sync(config.network.id));
        booted.and(named)?;
        // A foreign image was told it by its seed, and does not say whether it took it.
        let host_key = key.fingerprint;
        let record = PowerRecord::Running { boot_id: boot_id.clone(), host_key: host_key.clone(), network };
        folder.power_write(&record)?;
        Ok(Running { boot_id, host_key })
    }

    fn launch(&self, config: &MachineConfig, tap: OwnedFd) -> Launch {
        let user = rustix::process::geteuid().is_root().then(|| identity::user(config.id));
        Launch {
            user,
            groups: self.host.groups(),
            limits: self.limits.clone(),
            tap: Some(tap),
            ..Launch::default()
        }
    }

    /// An image of this platform: the agent in it takes the identity.
    async fn boot_own(
        &self,
        folder: &Folder,
        config: &MachineConfig,
        key: &HostKey,
        vm: &Vm,
        launch: Launch,
        boot_id: &str,
    ) -> Result<Facts> {
        let who = || identity::of(config, key, boot_id, &self.ca, &*self.clock, &*self.random);
        // cloud-init decides at boot whether it has work: a resumed guest has that behind it.
        if config.user_data.is_some() {
            seed::write(folder, config, None)?;
            give(&folder.seed(), launch.user)?;
        }
        if config.user_data.is_some() || config.start == Start::Cold || vm.is_born() {
            let facts = vm.cold_boot(Some(&who()?), launch, BOOT).await.map_err(from_qemu)?;
            self.sshd_awaited(config).await;
            return Ok(facts);
        }
        let template = self.template(vm, &config.image).await?;
        vm.resume(&template, &who()?, launch, RESUME).await.map_err(from_qemu)
    }

    /// A guest that boots has its identity before sshd starts; who waited for the machine connects at once. One whose sshd
    /// never comes (its owner may have switched it off) is started all the same.
    async fn sshd_awaited(&self, config: &MachineConfig) {
        let greeted = async {
            let port = SocketAddrV4::new(config.address, 22);
            loop {
                if let Ok(mut stream) = self.dial(config.network.id, port).await {
                    let mut greeting = [0_u8; 4];
                    if stream.read_exact(&mut greeting).await.is_ok() && greeting == *b"SSH-" {
                        return;
                    }
                }
                self.clock.sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(SSHD, greeted).await.is_err() {
            tracing::warn!(machine = config.name, "it is up, but its sshd does not answer");
        }
    }

    /// The template for machines like this one. The handle is kept: it holds the memory that all of them map, which a new
    /// one would have to read again.
    async fn template(&self, vm: &Vm, image: &str) -> Result<Template> {
        let key = Template::key_for(&self.host, &vm.spec, image);
        let mut kept = self.templates_open.lock().await;
        if let Some(template) = kept.get(&key)
            && Template::open(&self.templates, &key)
                .map_err(from_qemu)?
                .is_some_and(|there| there.dir == template.dir)
        {
            return Ok(template.clone());
        }
        let user = rustix::process::geteuid().is_root().then_some(identity::TEMPLATE_USER);
        let made = Template::ensure(&self.host, &vm.spec, image, &self.templates, user, TEMPLATE).await;
        let template = made.map_err(from_qemu)?;
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, template.clone());
        Ok(template)
    }

    /// A foreign image: cloud-init in it takes what the seed says; nothing in it answers the platform, so that it counts as
    /// started when its processor runs. Whether it serves is a health check's matter.
    async fn boot_foreign(
        &self,
        folder: &Folder,
        config: &MachineConfig,
        key: &HostKey,
        vm: &Vm,
        launch: Launch,
    ) -> Result<()> {
        let now = self.clock.now();
        let access = seed::Access {
            certificate: self.ca.sign_host(&key.public_key, &config.ssh_names(), now, &*self.random)?,
            user_ca: self.ca.user_public()?,
            key,
        };
        seed::write(folder, config, Some(&access))?;
        give(&folder.seed(), launch.user)?;
        vm.cold_boot(None, launch, BOOT).await.map_err(from_qemu)?;
        Ok(())
    }

    /// The machine's interface in its network, and the network's present life.
    async fn tap(&self, config: &MachineConfig) -> Result<(String, OwnedFd)> {
        let network = self.network(config.network.id).await?;
        let tap = network
            .tap(&hafen_netns::TapConfig {
                machine: config.id.to_string(),
                mac: config.mac.parse().map_err(from_netns)?,
                address: config.address,
            })
            .await
            .map_err(from_netns)?;
        Ok((network.generation().to_owned(), tap))
    }
}

/// Lets the user that QEMU runs as have a file.
fn give(path: &Path, user: Option<User>) -> Result<()> {
    let Some(User { uid, gid }) = user else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(|error| file("give away", path, error))
}
