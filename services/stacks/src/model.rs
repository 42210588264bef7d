//! What is wanted of a project, and what is there: the two sides every decision of this service looks at. Pure; imports
//! nothing of the modules above it, and does not know where either side was read from.
//!
//! The machines of a cluster differ in nothing but their name, so a cluster is held once, as a `Group`: 10,000 machines
//! with 100 kB of user data each must not become a gigabyte.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hafen_client::wire::{
    App, AppSpec, Backend, BackendPut, Health, Image, ImageCreate, Machine, MachineSpec, MachineState,
    Network, NetworkCreate, Project, Publication, PublicationPut, Quota, Route, RoutePut,
};
use sha2::{Digest as _, Sha256};

/// Everything a manifest asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    pub project: String,
    pub quota: QuotaWish,
    pub networks: Vec<NetworkCreate>,
    pub images: Vec<ImageCreate>,
    pub groups: Vec<Group>,
    /// By name, as `web-80`.
    pub publications: BTreeMap<String, PublicationPut>,
    pub apps: BTreeMap<String, AppSpec>,
    /// Clusters that a route leads to, as the edge takes them. Those of apps are written by who delivers them.
    pub backends: BTreeMap<String, BackendPut>,
    /// By host.
    pub routes: BTreeMap<String, RoutePut>,
    /// What the reader of the manifest has to say, without stopping.
    pub warnings: Vec<String>,
}

/// Limits asked for; what is absent is left as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaWish {
    pub machines: Option<i64>,
    pub cpus: Option<i64>,
    /// Bytes.
    pub memory: Option<i64>,
    /// Bytes.
    pub disk: Option<i64>,
}

impl QuotaWish {
    /// The limits as they will be where `now` is in force.
    pub fn over(self, now: Option<Quota>) -> Quota {
        let now = now.unwrap_or_default();
        Quota {
            machines: self.machines.unwrap_or(now.machines),
            cpus: self.cpus.unwrap_or(now.cpus),
            memory: self.memory.unwrap_or(now.memory),
            disk: self.disk.unwrap_or(now.disk),
        }
    }
}

/// Machines that differ only in their names.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub name: String,
    /// Names of its machines: `web-1` …, or the group's own name when it has no count.
    pub members: Vec<String>,
    pub spec: MachineSpec,
    pub metadata: BTreeMap<String, String>,
    pub health: Option<Health>,
    /// Groups that must be healthy before this one is touched.
    pub depends_on: Vec<String>,
}

impl Wanted {
    /// Nothing at all: what the end of a stack asks for.
    pub fn nothing(project: &str) -> Self {
        Self { project: project.to_owned(), ..Self::default() }
    }

    /// The addresses of everything in it. Not of the project: that is the stack's only if the stack made it.
    pub fn addresses(&self) -> BTreeSet<String> {
        let machines =
            self.groups.iter().flat_map(|group| &group.members).map(|name| address("machine", name));
        self.networks
            .iter()
            .map(|network| address("network", &network.name))
            .chain(self.images.iter().map(|image| address("image", &image.name)))
            .chain(machines)
            .chain(self.publications.keys().map(|name| address("publication", name)))
            .chain(self.apps.keys().map(|name| address("app", name)))
            .chain(self.backends.keys().map(|name| address("backend", name)))
            .chain(self.routes.keys().map(|host| address("route", host)))
            .collect()
    }

    pub fn network(&self, name: &str) -> Option<&NetworkCreate> {
        self.networks.iter().find(|network| network.name == name)
    }

    pub fn image(&self, name: &str) -> Option<&ImageCreate> {
        self.images.iter().find(|image| image.name == name)
    }

    /// Machines by name.
    pub fn machines(&self) -> HashMap<&str, &Group> {
        self.groups
            .iter()
            .flat_map(|group| group.members.iter().map(move |name| (name.as_str(), group)))
            .collect()
    }
}

/// `machine.web-1`
pub fn address(kind: &str, name: &str) -> String {
    format!("{kind}.{name}")
}

/// What the machines service says is there.
#[derive(Debug, Clone, Default)]
pub struct Reality {
    pub project: Option<Project>,
    pub networks: Vec<Network>,
    pub images: Vec<Image>,
    pub machines: Vec<Machine>,
    pub publications: Vec<Publication>,
    pub apps: Vec<App>,
    pub backends: Vec<Backend>,
    pub routes: Vec<Route>,
    /// Names of the project's secrets.
    pub secrets: BTreeSet<String>,
}

impl Reality {
    pub fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.name == name)
    }

    pub fn image(&self, name: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.name == name)
    }

    pub fn publication(&self, name: &str) -> Option<&Publication> {
        self.publications.iter().find(|publication| publication.name == name)
    }

    pub fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.name == name)
    }

    pub fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.name == name)
    }

    pub fn route(&self, host: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.host == host)
    }

    /// Machines by name.
    pub fn machines(&self) -> HashMap<&str, &Machine> {
        self.machines.iter().map(|machine| (machine.name.as_str(), machine)).collect()
    }
}

/// A machine that is on its way out, or gone: a plan must not count on it.
pub const fn is_going(machine: &Machine) -> bool {
    matches!(machine.state, MachineState::Destroying | MachineState::Destroyed)
}

/// A machine that stands where it should, seen at its newest generation.
pub const fn is_well(machine: &Machine) -> bool {
    matches!(machine.state, MachineState::Started)
        && machine.healthy
        && machine.observed_generation >= machine.generation
}

/// States as coarse as a person would call them. Health that flaps, or a machine that self-healing restarts, must not
/// refuse a plan that a person has just read; a machine stopped or failed must.
const fn state_class(state: MachineState) -> &'static str {
    match state {
        MachineState::Creating | MachineState::Starting | MachineState::Started | MachineState::Updating => {
            "live"
        }
        MachineState::Stopping | MachineState::Stopped => "stopped",
        MachineState::Destroying | MachineState::Destroyed => "gone",
        MachineState::Failed => "failed",
    }
}

/// Fingerprint of everything in the project that a plan depends on: `sha256-…`.
pub fn fingerprint(reality: &Reality) -> String {
    let mut lines: Vec<String> = Vec::with_capacity(reality.machines.len() + 16);
    if let Some(project) = &reality.project {
        let quota = project.quota;
        let limits = format!("{} {} {} {}", quota.machines, quota.cpus, quota.memory, quota.disk);
        lines.push(format!("project.{} {limits}", project.name));
    }
    for network in &reality.networks {
        let class = if network.state == "creating" { "ready" } else { &network.state };
        lines.push(format!("network.{} {} {} {class}", network.name, network.id, network.generation));
    }
    for image in &reality.images {
        let class = if image.state == "ready" { "building" } else { &image.state };
        lines
            .push(format!("image.{} {} {} {class} {}", image.name, image.id, image.generation, image.digest));
    }
    for machine in &reality.machines {
        let digest = machine.image_digest.as_deref().unwrap_or("");
        let class = state_class(machine.state);
        lines.push(format!(
            "machine.{} {} {} {} {class} {digest}",
            machine.name, machine.id, machine.instance_id, machine.generation
        ));
    }
    for publication in &reality.publications {
        let class = if publication.state == "creating" { "ready" } else { &publication.state };
        let id = publication.id;
        lines.push(format!("publication.{} {id} {} {class}", publication.name, publication.generation));
    }
    for app in &reality.apps {
        // Not its releases: they come and go without anybody's plan.
        let class = if app.state == "destroying" { "gone" } else { "live" };
        lines.push(format!("app.{} {} {} {class}", app.name, app.created_at.micros(), app.generation));
    }
    // Backends of apps change with each of their processes.
    for backend in reality.backends.iter().filter(|backend| reality.app(&backend.name).is_none()) {
        lines.push(format!("backend.{} {}", backend.name, backend.generation));
    }
    for route in &reality.routes {
        lines.push(format!("route.{} {} {}", route.host, route.created_at.micros(), route.generation));
    }
    lines.sort_unstable();
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line.as_bytes());
        hash.update(b"\n");
    }
    format!("sha256-{}", hex(&hash.finalize()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// `sha256-…` of a text that is too long, or too private, to be shown.
pub(crate) fn digest_of(text: &str) -> String {
    format!("sha256-{}", hex(&Sha256::digest(text.as_bytes())))
}
