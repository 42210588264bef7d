//! Engines: drivers of what runs machines, behind one trait.
//!
//! An engine knows nothing of the API, the database or what is wanted; it is told one thing to do and says what it
//! sees. Every call may be repeated: after a crash, or when a reply was lost, the reconciler looks (`machine_see`) and
//! calls again. Decision 0006 maps each call to QEMU and to Incus.

pub mod qemu;
pub mod sim;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use async_trait::async_trait;
use hafen_base::{InstanceId, MachineId, NetworkId, PublicationId, Result};
use hafen_client::wire::{Egress, ImageSource};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Told how far a long call is: text for a person, and per cent where known.
pub type Progress = Arc<dyn Fn(String, Option<u8>) + Send + Sync>;

/// A two-way byte stream into a machine.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
pub type BoxDuplex = Box<dyn Duplex>;

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// For a person: hypervisor, version, accelerator and why that one.
    pub detail: String,
}

/// What an image is to be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRequest {
    pub source: ImageSource,
    /// The lock of an earlier build.
    pub lock: Option<String>,
}

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltImage {
    /// `sha256-…`
    pub digest: String,
    /// Empty for cloud images.
    pub lock: String,
    /// Bytes on disk.
    pub size: i64,
}

/// A network as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    pub id: NetworkId,
    pub project: String,
    pub name: String,
    /// Network address.
    pub subnet: Ipv4Addr,
    pub prefix: u8,
    /// The DNS domain of its machines, as `hello.internal`.
    pub domain: String,
    pub egress: Egress,
}

impl NetworkConfig {
    /// The first address of the subnet: router, DHCP and DNS.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet).wrapping_add(1))
    }
}

/// How a machine is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Resumed from a booted template where the engine can.
    Warm,
    Cold,
}

/// A machine as it should be: one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineConfig {
    pub id: MachineId,
    /// Changes with every configuration.
    pub instance: InstanceId,
    /// The instance whose creation made the disk: kept by a resize, renewed by a rebuild.
    pub disk_instance: InstanceId,
    pub project: String,
    pub name: String,
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
    /// Bytes.
    pub disk: u64,
    /// Digest of the image.
    pub image: String,
    /// `bios` or `uefi` for cloud images; none for built ones.
    pub firmware: Option<String>,
    pub network: NetworkConfig,
    pub address: Ipv4Addr,
    pub mac: String,
    /// For cloud-init, base 64.
    pub user_data: Option<String>,
    pub start: Start,
}

impl MachineConfig {
    /// The names of its SSH host certificate: the one in its network, and the one people use through the bastion.
    pub fn ssh_names(&self) -> Vec<String> {
        vec![self.fqdn(), format!("{}.{}.hafen", self.name, self.project)]
    }

    /// `web-1.hello.internal`
    pub fn fqdn(&self) -> String {
        format!("{}.{}", self.name, self.network.domain)
    }
}

/// What an engine sees of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    pub id: MachineId,
    /// The instance it was last configured as.
    pub instance: InstanceId,
    pub disk_instance: InstanceId,
    pub power: Power,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// Creation broke off; not usable.
    HalfMade,
    /// Stopped on purpose, or never started.
    Stopped,
    /// The hypervisor runs, the guest has not got its identity yet and nobody works on it.
    Starting,
    Running(Running),
    /// It ran, and ended without being told to.
    Dead(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Running {
    pub boot_id: String,
    /// SHA-256 fingerprint as OpenSSH prints it.
    pub host_key: String,
}

/// A published port as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationConfig {
    pub id: PublicationId,
    pub host: std::net::SocketAddr,
    /// The network its machines are in; none while there is no machine.
    pub network: Option<NetworkConfig>,
    pub backends: Vec<SocketAddrV4>,
}

/// Something an engine noticed by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noticed {
    /// This machine's reality changed: look.
    Machine(MachineId),
    /// What carries this network is gone: make it anew.
    Network(NetworkId),
    /// A destination outside was reached, or refused.
    Egress { network: NetworkId, destination: String, allowed: bool },
}

/// The driver of one kind of reality. All errors are the platform's own: no space is `NoSpace`, what may work later is
/// `Unavailable`, what never will is `Invalid` or `Conflict`; the message says what a person can do.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// `qemu`, `sim`
    fn name(&self) -> &'static str;

    async fn info(&self) -> EngineInfo;

    /// Builds or fetches an image, or finds that it is there already. Cancelled by dropping the future.
    async fn image_ensure(&self, request: &ImageRequest, progress: Progress) -> Result<BuiltImage>;

    /// Builds it again from its lock and compares. An error says what differs.
    async fn image_verify(&self, digest: &str, progress: Progress) -> Result<()>;

    /// Removes images (and what was derived from them) that are not in `keep`. Gives digests and bytes freed.
    async fn image_gc(&self, keep: &[String], dry_run: bool) -> Result<(Vec<String>, i64)>;

    /// Makes the network be so; changes egress in place.
    async fn network_ensure(&self, config: &NetworkConfig) -> Result<()>;

    /// Removes it; done when it was not there.
    async fn network_delete(&self, network: NetworkId) -> Result<()>;

    /// All machines it knows, half-made ones too.
    async fn machine_list(&self) -> Result<Vec<Sight>>;

    /// One machine; none when nothing of it exists.
    async fn machine_see(&self, id: MachineId) -> Result<Option<Sight>>;

    /// Makes the machine, stopped. Nothing changes when it exists as this instance.
    async fn machine_create(&self, config: &MachineConfig) -> Result<()>;

    /// Gives a stopped machine another configuration and keeps its disk (which may grow).
    async fn machine_configure(&self, config: &MachineConfig) -> Result<()>;

    /// Starts it and waits until it has its identity and answers. A running machine is left alone.
    async fn machine_start(&self, config: &MachineConfig) -> Result<Running>;

    /// Stops it: asks the guest first, ends it after a grace. A stopped or dead machine reads `Stopped` afterwards.
    async fn machine_stop(&self, id: MachineId) -> Result<()>;

    /// Ends and removes it with its disk and snapshots; done when it was not there.
    async fn machine_delete(&self, id: MachineId) -> Result<()>;

    /// The last lines of its serial console, oldest first.
    async fn machine_serial(&self, id: MachineId, lines: usize) -> Result<Vec<String>>;

    async fn machine_console(&self, id: MachineId) -> Result<BoxDuplex>;

    /// A connection to a TCP port of a machine, from inside its network.
    async fn dial(&self, network: NetworkId, to: SocketAddrV4) -> Result<BoxDuplex>;

    /// Keeps the disk's state under a name; the machine may run (then the guest's file systems are flushed first).
    async fn snapshot_create(&self, id: MachineId, name: &str) -> Result<()>;

    async fn snapshot_list(&self, id: MachineId) -> Result<Vec<String>>;

    /// Puts the disk back; the machine must be stopped.
    async fn snapshot_restore(&self, id: MachineId, name: &str) -> Result<()>;

    async fn snapshot_delete(&self, id: MachineId, name: &str) -> Result<()>;

    /// Makes the port be published over these backends.
    async fn publish(&self, config: &PublicationConfig) -> Result<()>;

    async fn unpublish(&self, id: PublicationId) -> Result<()>;

    /// What it notices from now on. Called once.
    fn watch(&self) -> mpsc::UnboundedReceiver<Noticed>;
}
