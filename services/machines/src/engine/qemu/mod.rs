//! The engine of this host: QEMU machines, networks in namespaces, images in a store.
//!
//! A thin layer: `hafen-qemu`, `hafen-netns` and `hafen-images` do the work and know nothing of each other; here they are
//! put together, told who is who, and asked again after a crash. All that must survive one stands on disk (`folder`) or in
//! processes that outlive the platform (QEMU, the holders of networks); what is in memory here can be thrown away.

mod error;
mod folder;
mod host;
mod identity;
mod image;
mod machine;
mod network;
mod seed;
mod start;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hafen_base::{Clock, Error, MachineId, NetworkId, PublicationId, Random, Result};
use hafen_qemu::Host;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use self::error::{from_images, from_netns, from_qemu};
use super::{
    BoxDuplex, BuiltImage, Engine, EngineInfo, ImageRequest, MachineConfig, NetworkConfig, Noticed, Progress,
    PublicationConfig, Running, Sight,
};
use crate::ca::SshCa;

pub use host::{Requirement, requirements};

/// What the engine is given.
pub struct QemuConfig {
    /// The home of this platform: `machines/` and `networks/` come to lie in it.
    pub home: PathBuf,
    /// Images and templates, shared by all homes of this user.
    pub cache: PathBuf,
    /// Runs the holder of a network whose folder is appended: the platform's own binary.
    pub holder: Vec<OsString>,
    pub ca: Arc<SshCa>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

/// The engine.
pub struct Qemu(Arc<Parts>);

struct Parts {
    host: Host,
    machines: PathBuf,
    templates: PathBuf,
    images: hafen_images::Store,
    networks: hafen_netns::Networks,
    /// Where machines are bounded by control groups; none where this host allows none.
    limits: Option<hafen_qemu::cgroup::Parent>,
    ca: Arc<SshCa>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    notices: mpsc::UnboundedSender<Noticed>,
    noticed: Mutex<Option<mpsc::UnboundedReceiver<Noticed>>>,
    /// What stands in the machines' folders, so that names need not be read from disk.
    configs: Mutex<BTreeMap<MachineId, MachineConfig>>,
    /// Where each published port is held.
    publications: Mutex<HashMap<PublicationId, NetworkId>>,
    /// Templates in use, by key. Held while one is made: several at once would only make each other late.
    templates_open: tokio::sync::Mutex<HashMap<String, hafen_qemu::Template>>,
    /// Images made a moment ago, which a collection must not take for waste: nobody may have written them down yet.
    fresh: Mutex<HashMap<String, Instant>>,
    /// More guests starting at once than processors only makes all of them late.
    starts: Semaphore,
}

impl Qemu {
    /// Finds out what this host can do and which machines there are. Starts nothing.
    ///
    /// # Errors
    /// Unavailable when a program is missing or a folder cannot be used, with what mends it.
    pub async fn open(config: QemuConfig) -> Result<Self> {
        let machines = config.home.join("machines");
        folder::make_closed_passage(&machines)?;
        let templates = config.cache.join("templates");
        host::make_open(&config.cache)?;
        host::make_open(&config.cache.join("images"))?;
        host::make_open(&templates)?;
        for place in [&machines, &templates] {
            host::passable(place)?;
        }
        let host = host::detect(&config.cache).await?;
        let images =
            hafen_images::Store::open(&config.cache.join("images"), &config.home).map_err(from_images)?;
        let networks = hafen_netns::Networks::new(&config.home.join("networks"), config.holder);
        let (notices, noticed) = mpsc::unbounded_channel();
        let (ids, ruins) = folder::list(&machines)?;
        for ruin in ruins {
            hafen_qemu::durable::remove_tree(&ruin).map_err(from_qemu)?;
        }
        let mut configs = BTreeMap::new();
        for id in ids {
            match folder::Folder::of(&machines, id).config() {
                Ok(config) => {
                    configs.insert(id, config);
                }
                // Its row says the same when its turn comes.
                Err(error) => tracing::error!(machine = %id, "{error}"),
            }
        }
        let processors = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        Ok(Self(Arc::new(Parts {
            limits: host::limits(),
            host,
            machines,
            templates,
            images,
            networks,
            ca: config.ca,
            clock: config.clock,
            random: config.random,
            notices,
            noticed: Mutex::new(Some(noticed)),
            configs: Mutex::new(configs),
            publications: Mutex::default(),
            templates_open: tokio::sync::Mutex::default(),
            fresh: Mutex::default(),
            starts: Semaphore::new(processors),
        })))
    }
}

impl Parts {
    fn configs(&self) -> MutexGuard<'_, BTreeMap<MachineId, MachineConfig>> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publications(&self) -> MutexGuard<'_, HashMap<PublicationId, NetworkId>> {
        self.publications.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, id: MachineId) -> folder::Folder {
        folder::Folder::of(&self.machines, id)
    }
}

#[async_trait]
impl Engine for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    async fn info(&self) -> EngineInfo {
        EngineInfo { detail: host::describe(&self.0.host) }
    }

    async fn image_ensure(&self, request: &ImageRequest, progress: Progress) -> Result<BuiltImage> {
        self.0.image_ensure(request, progress).await
    }

    async fn image_verify(&self, digest: &str, progress: Progress) -> Result<()> {
        self.0.image_verify(digest, progress).await
    }

    async fn image_gc(&self, keep: &[String], dry_run: bool) -> Result<(Vec<String>, i64)> {
        self.0.image_gc(keep, dry_run).await
    }

    async fn network_ensure(&self, config: &NetworkConfig) -> Result<()> {
        self.0.network_ensure(config).await
    }

    async fn network_delete(&self, network: NetworkId) -> Result<()> {
        self.0.networks.delete(&network.to_string()).await.map_err(from_netns)
    }

    async fn machine_list(&self) -> Result<Vec<Sight>> {
        self.0.machine_list().await
    }

    async fn machine_see(&self, id: MachineId) -> Result<Option<Sight>> {
        self.0.machine_see(id).await
    }

    async fn machine_create(&self, config: &MachineConfig) -> Result<()> {
        self.0.machine_create(config).await
    }

    async fn machine_configure(&self, config: &MachineConfig) -> Result<()> {
        self.0.machine_configure(config).await
    }

    async fn machine_start(&self, config: &MachineConfig) -> Result<Running> {
        let running = self.0.machine_start(config).await?;
        self.0.watch_end(config.id);
        Ok(running)
    }

    async fn machine_stop(&self, id: MachineId) -> Result<()> {
        self.0.machine_stop(id).await
    }

    async fn machine_delete(&self, id: MachineId) -> Result<()> {
        self.0.machine_delete(id).await
    }

    async fn machine_serial(&self, id: MachineId, lines: usize) -> Result<Vec<String>> {
        self.0.vm(id)?.serial_tail(lines).map_err(from_qemu)
    }

    async fn machine_console(&self, id: MachineId) -> Result<BoxDuplex> {
        Ok(Box::new(self.0.vm(id)?.console().await.map_err(from_qemu)?))
    }

    async fn dial(&self, network: NetworkId, to: SocketAddrV4) -> Result<BoxDuplex> {
        Ok(Box::new(self.0.dial(network, to).await?))
    }

    async fn snapshot_create(&self, id: MachineId, name: &str) -> Result<()> {
        self.0.vm(id)?.snapshot_create(name).await.map_err(from_qemu)
    }

    async fn snapshot_list(&self, id: MachineId) -> Result<Vec<String>> {
        let list = self.0.vm(id)?.snapshot_list().await.map_err(from_qemu)?;
        Ok(list.into_iter().map(|snapshot| snapshot.name).collect())
    }

    async fn snapshot_restore(&self, id: MachineId, name: &str) -> Result<()> {
        self.0.vm(id)?.snapshot_restore(name).await.map_err(from_qemu)
    }

    async fn snapshot_delete(&self, id: MachineId, name: &str) -> Result<()> {
        self.0.vm(id)?.snapshot_delete(name).await.map_err(from_qemu)
    }

    async fn publish(&self, config: &PublicationConfig) -> Result<()> {
        self.0.publish(config).await
    }

    async fn unpublish(&self, id: PublicationId) -> Result<()> {
        self.0.unpublish(id).await
    }

    fn watch(&self) -> mpsc::UnboundedReceiver<Noticed> {
        let receiver = self.0.noticed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ids: Vec<_> = self.0.configs().keys().copied().collect();
        for id in ids {
            self.0.watch_end(id);
        }
        self.0.watch_networks();
        receiver.unwrap_or_else(|| mpsc::unbounded_channel().1)
    }
}

/// Carries one network until told to stop: what a process started as [`QemuConfig::holder`] does. Call it before the
/// process has threads.
///
/// # Errors
/// Unavailable when the network cannot be made, with what is missing.
pub fn carry_network(folder: &Path) -> Result<()> {
    hafen_netns::holder::run(folder).map_err(from_netns)
}

fn missing(id: MachineId) -> Error {
    Error::not_found(format!("machine {id} on this host"))
}
