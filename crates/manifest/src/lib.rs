//! The manifest, `hafen.toml`: read, checked as a whole, and every problem shown at its line.
//!
//! No network, no database; files that the manifest names are read through a function the caller passes in, so that the
//! command line reads them from disk and the server from the request. Nothing here knows the API: the result is what the
//! author asked for, with every default made explicit.

#![recursion_limit = "256"]

mod app;
mod check;
mod diagnostic;
mod image;
mod machine;
mod parse;
mod quantity;
mod reader;
mod route;
mod schema;
mod schema_of_delivery;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

pub use diagnostic::{Diagnostic, Severity, render};
pub use parse::{MAX_MACHINES, MAX_MANIFEST, parse, source_names};
pub use quantity::{format_size, parse_duration, parse_size};
pub use schema::schema;

/// A checked manifest. Maps are by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    pub project: String,
    pub quota: Option<Quota>,
    pub networks: BTreeMap<String, Network>,
    pub images: BTreeMap<String, Image>,
    pub machines: BTreeMap<String, Machine>,
    pub apps: BTreeMap<String, App>,
    /// By host.
    pub routes: BTreeMap<String, Route>,
    /// Clusters that a route leads to, each with the port it is reached at.
    pub clusters: BTreeMap<String, u16>,
    /// What to know, without stopping.
    #[serde(skip)]
    pub warnings: Vec<Diagnostic>,
}

/// Hard limits; what is absent is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct Quota {
    pub machines: Option<u64>,
    pub cpus: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes.
    pub disk: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    pub egress: Egress,
    /// As `10.40.0.0/24`; chosen by the platform when absent.
    pub subnet: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Egress {
    None,
    Logged,
    /// `host:port`
    Allow(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Image {
    Debian { release: String, packages: Vec<String>, files: BTreeMap<String, File> },
    Cloud { location: String, sha256: String, firmware: String },
}

#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct File {
    pub content: Vec<u8>,
    /// As `0644`.
    pub mode: String,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({} bytes, {})", self.content.len(), self.mode)
    }
}

/// A `[machine.NAME]`: one machine, or a cluster of equal ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// None: one machine of the section's name. Some, even 1: `NAME-1` to `NAME-count`.
    pub count: Option<u32>,
    pub image: String,
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
    /// Bytes.
    pub disk: u64,
    pub network: String,
    pub address: Option<String>,
    pub user_data: Option<Vec<u8>>,
    pub publish: Vec<Publish>,
    pub health: Option<Health>,
    /// `warm` or `cold`.
    pub start: String,
    pub metadata: BTreeMap<String, String>,
    /// Sections that must be healthy first.
    pub depends_on: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Publish {
    /// `127.0.0.1:8081`
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Path; none: connect only.
    pub http: Option<String>,
    pub port: u16,
    pub interval: Duration,
    pub timeout: Duration,
    pub healthy_after: u32,
}

/// A `[app.NAME]`. Exactly one of `run` and `static_files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct App {
    pub source: AppSource,
    pub build: Option<Build>,
    /// Name of a machine section.
    pub on: String,
    pub run: Option<String>,
    #[serde(rename = "static")]
    pub static_files: Option<String>,
    pub port: u16,
    pub replicas: u32,
    pub health: Option<AppHealth>,
    /// `rolling` or `blue-green`.
    pub strategy: String,
    pub migrate: Option<String>,
    pub env: BTreeMap<String, Env>,
    pub preview: Option<Preview>,
}

/// Exactly one of `repository` and `git`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppSource {
    pub repository: Option<String>,
    pub git: Option<String>,
    pub branch: String,
    /// Name of the secret that opens it; with `git` only.
    pub token: Option<String>,
    /// With `token` only.
    pub username: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Build {
    /// Name of an image section.
    pub image: String,
    pub run: Vec<String>,
    /// `.` for all of the source.
    pub output: String,
    pub cache: Vec<String>,
    pub env: BTreeMap<String, Env>,
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppHealth {
    pub path: String,
    pub healthy_after: u32,
    pub interval: Duration,
    pub timeout: Duration,
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Env {
    Text(String),
    /// Name of a secret of the project.
    Secret(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preview {
    pub branches: Vec<String>,
    pub expires: Duration,
    pub domain: Option<String>,
}

/// A `[route."HOST"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// What a path leads to, remainders worked out: the weights of a path are relative to one another.
    pub paths: BTreeMap<String, Vec<Target>>,
    pub maintenance: bool,
    pub redirect_https: bool,
    pub hsts: Duration,
    /// Bytes; 0 for no limit.
    pub max_body: u64,
    /// Requests a second; 0 for no limit.
    pub rate: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Name of an app, or of a machine section in `Manifest::clusters`.
    pub backend: String,
    pub weight: u32,
}

/// One machine of a section, by its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'m> {
    pub name: String,
    pub section: &'m str,
    /// Shared by the whole section: 10,000 machines must not hold their user data 10,000 times.
    pub machine: &'m Machine,
}

impl Manifest {
    /// All machines, clusters expanded: sections by name, in each `NAME-1` before `NAME-2` before `NAME-10`.
    pub fn machines(&self) -> Vec<Member<'_>> {
        let expand = |(section, machine)| {
            let members = self.members(section);
            members.into_iter().map(move |name| Member { name, section, machine })
        };
        self.machines.iter().map(|(section, machine)| (section.as_str(), machine)).flat_map(expand).collect()
    }

    /// Names of the machines of a section.
    pub fn members(&self, section: &str) -> Vec<String> {
        match self.machines.get(section).map(|machine| machine.count) {
            None => Vec::new(),
            Some(None) => vec![section.to_owned()],
            Some(Some(count)) => (1..=count).map(|index| format!("{section}-{index}")).collect(),
        }
    }
}
