//! What a holder holds, and how each request changes it.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::link::Link;
use super::names::Names;
use super::publish::Published;
use super::records::Records;
use super::{bridge, firewall, nflog};
use crate::config::{MAX_MACHINES, check_id};
use crate::folder::{self, CONFIG, HOSTS};
use crate::wire::Status;
use crate::{Config, Egress, Error, HostEntry, Result, TapConfig};

/// How many ports one network may publish.
const MAX_PUBLICATIONS: usize = 256;

pub(super) struct Tap {
    pub config: TapConfig,
    /// Never used twice in the life of a holder: rules for a vanished tap fit no other.
    pub interface: String,
}

pub(super) struct State {
    folder: PathBuf,
    pub generation: String,
    pub config: Config,
    hosts: Vec<HostEntry>,
    taps: Vec<Tap>,
    made: u64,
    names: Names,
    pub publications: HashMap<String, Published>,
    degraded: Vec<String>,
    /// Why dnsmasq does not run.
    nameless: Option<String>,
    /// Whether addresses of cards are checked at all.
    pins: bool,
    link: Link,
    host: Vec<Ipv4Addr>,
    pub records: Arc<Records>,
    log: tokio::task::JoinHandle<()>,
}

impl State {
    /// Builds the network in the fresh namespace that this process is in.
    pub(super) async fn build(folder: &Path, generation: String, mut link: Link) -> Result<Self> {
        let missing = || Error::NotFound { what: format!("{}/{CONFIG}", folder.display()) };
        let config: Config = folder::read_json(&folder.join(CONFIG))?.ok_or_else(missing)?;
        config.check()?;
        // What no longer fits is left out: names are set again by whoever ensures the network.
        let mut hosts: Vec<HostEntry> = folder::read_json(&folder.join(HOSTS))?.unwrap_or_default();
        hosts.retain(|host| host.check(&config).is_ok());

        let mut degraded = Vec::new();
        let records = Arc::new(Records::default());
        let log = nflog::start(records.clone())?;
        // Rules before there is anything they could come too late for.
        let host = link.addresses().await?;
        firewall::load_gateway(&config, &host).await?;
        let refused = firewall::load_cards().await;
        let pins = refused.is_none();
        degraded.extend(refused);
        degraded.extend(bridge::make(&config).await?);
        let (mut names, as_root) = Names::make(folder, records.clone())?;
        degraded.extend(as_root);
        names.set(&config, &hosts).await?;
        names.start(&config).await?;
        if config.egress != Egress::None {
            link.open().await?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            generation,
            config,
            hosts,
            taps: Vec::new(),
            made: 0,
            names,
            publications: HashMap::new(),
            degraded,
            nameless: None,
            pins,
            link,
            host,
            records,
            log,
        })
    }

    pub(super) async fn configure(&mut self, config: Config) -> Result<()> {
        config.check()?;
        let fixed = Config { egress: config.egress.clone(), ..self.config.clone() };
        if fixed != config {
            return Err(Error::invalid("only the egress of a running network can be changed"));
        }
        if config == self.config {
            return Ok(());
        }
        // What was allowed before ends: its connections run through pasta.
        self.link.close().await;
        folder::write_json(&self.folder.join(CONFIG), &config)?;
        firewall::load_gateway(&config, &self.host).await?;
        // From here on this is what holds: should the rest fail, it is tried again by `tend`.
        self.config = config;
        self.names.start(&self.config).await?;
        if self.config.egress != Egress::None {
            self.link.open().await?;
        }
        Ok(())
    }

    pub(super) async fn hosts_set(&mut self, hosts: Vec<HostEntry>) -> Result<()> {
        if hosts.len() > MAX_MACHINES {
            let message =
                format!("{} names in network {}; at most {MAX_MACHINES}", hosts.len(), self.config.id);
            return Err(Error::TooMany { message });
        }
        let (mut addresses, mut macs) = (HashSet::new(), HashSet::new());
        for host in &hosts {
            host.check(&self.config)?;
            if !addresses.insert(host.address) || !macs.insert(host.mac) {
                let message =
                    format!("{} and {} of {} belong to another name", host.address, host.mac, host.name);
                return Err(Error::Invalid { message });
            }
        }
        if hosts == self.hosts {
            return Ok(());
        }
        folder::write_json(&self.folder.join(HOSTS), &hosts)?;
        self.names.set(&self.config, &hosts).await?;
        self.hosts = hosts;
        Ok(())
    }

    pub(super) async fn tap(&mut self, tap: TapConfig) -> Result<OwnedFd> {
        tap.check(&self.config)?;
        self.tap_delete(&tap.machine).await?;
        // Taps of machines that ended took themselves away.
        let interfaces = bridge::interfaces()?;
        self.taps.retain(|tap| interfaces.contains(&tap.interface));
        if self.taps.len() >= MAX_MACHINES {
            let message = format!("{MAX_MACHINES} taps in network {}; no more", self.config.id);
            return Err(Error::TooMany { message });
        }
        let other = |held: &&Tap| held.config.address == tap.address || held.config.mac == tap.mac;
        if let Some(held) = self.taps.iter().find(other) {
            let (machine, held) = (&tap.machine, &held.config);
            let message =
                format!("{machine} cannot have {} and {}: {} has them", tap.address, tap.mac, held.machine);
            return Err(Error::invalid(message));
        }
        self.made += 1;
        let interface = format!("tap{}", self.made);
        self.taps.push(Tap { config: tap.clone(), interface: interface.clone() });
        // At once: a card that is not pinned yet gets nothing through.
        let (attached, pinned) = tokio::join!(bridge::attach(&interface, &tap), self.pin());
        if attached.is_err() {
            self.taps.pop();
        }
        pinned.and(attached)
    }

    pub(super) async fn tap_delete(&mut self, machine: &str) -> Result<()> {
        check_id("machine id", machine)?;
        let Some(at) = self.taps.iter().position(|tap| tap.config.machine == machine) else { return Ok(()) };
        let tap = self.taps.swap_remove(at);
        bridge::detach(&tap.interface).await?;
        self.pin().await
    }

    async fn pin(&self) -> Result<()> {
        if self.pins { firewall::pin(&self.taps).await } else { Ok(()) }
    }

    /// Room for one more publication named `id`.
    pub(super) fn may_publish(&self, id: &str) -> Result<()> {
        check_id("publication id", id)?;
        if self.publications.contains_key(id) {
            return Err(Error::invalid(format!("{id} is published already")));
        }
        if self.publications.len() >= MAX_PUBLICATIONS {
            let message = format!("{MAX_PUBLICATIONS} publications in network {}; no more", self.config.id);
            return Err(Error::TooMany { message });
        }
        Ok(())
    }

    pub(super) async fn status(&self) -> Result<Status> {
        let interfaces = bridge::interfaces()?;
        let alive = self.taps.iter().filter(|tap| interfaces.contains(&tap.interface));
        Ok(Status {
            generation: self.generation.clone(),
            pid: std::process::id(),
            config: self.config.clone(),
            taps: alive.map(|tap| tap.config.clone()).collect(),
            hosts: self.hosts.len(),
            spoofed_packets: if self.pins { firewall::spoofed().await? } else { 0 },
            degraded: self.trouble(),
        })
    }

    fn trouble(&self) -> Vec<String> {
        let mut all = self.degraded.clone();
        all.extend(self.nameless.clone());
        if self.config.egress != Egress::None {
            all.extend(self.link.trouble());
        }
        if self.log.is_finished() {
            all.push("destinations are not recorded: the firewall's log broke".into());
        }
        all
    }

    /// Keeps up with what changes by itself: dnsmasq that ended, addresses of this host.
    pub(super) async fn tend(&mut self) -> Result<()> {
        if let Some(host) = self.link.new_addresses() {
            firewall::set_host(&host).await?;
            self.host = host;
        }
        if self.names.has_ended() {
            let started = self.names.start(&self.config).await;
            self.nameless =
                started.as_ref().err().map(|error| format!("names and leases do not work: {error}"));
            return started;
        }
        Ok(())
    }
}
