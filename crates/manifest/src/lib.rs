//! The manifest, `hafen.toml`: read, checked as a whole, and every problem shown at its line.
//!
//! No network, no database; files that the manifest names are read through a function the caller passes in, so that the
//! command line reads them from disk and the server from the request. Nothing here knows the API: the result is what the
//! author asked for, with every default made explicit.

#![recursion_limit = "256"]

mod check;
mod diagnostic;
mod image;
mod machine;
mod parse;
mod quantity;
mod reader;
mod schema;

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
