//! What the tests want, as a short form that becomes a `Wanted`, and travels through the service as JSON in place of TOML.

use std::collections::BTreeMap;

use hafen_base::{Error, Result};
use hafen_client::wire::{
    AppSpec, BackendPut, Egress, Health, ImageCreate, ImageSource, MachineSpec, NetworkCreate,
    PublicationPut, RoutePut, StackSource,
};
use hafen_stacks::model::{Group, QuotaWish, Wanted};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Machines.
    pub quota: Option<i64>,
    pub networks: BTreeMap<String, Egress>,
    /// Name and a package that tells versions apart.
    pub images: BTreeMap<String, String>,
    pub groups: BTreeMap<String, GroupForm>,
    /// Name, host, group.
    pub publications: BTreeMap<String, (String, String)>,
    pub apps: BTreeMap<String, AppSpec>,
    pub backends: BTreeMap<String, BackendPut>,
    pub routes: BTreeMap<String, RoutePut>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupForm {
    pub count: Option<u32>,
    pub image: String,
    pub network: String,
    pub cpus: i64,
    pub user_data: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub health: bool,
    pub depends_on: Vec<String>,
}

pub fn group(count: impl Into<Option<u32>>) -> GroupForm {
    GroupForm {
        count: count.into(),
        image: "web".into(),
        network: "backend".into(),
        cpus: 1,
        user_data: None,
        metadata: BTreeMap::new(),
        health: true,
        depends_on: Vec::new(),
    }
}

/// The hello example: a network, an image, a published cluster of `count`.
pub fn hello(count: u32) -> Manifest {
    Manifest {
        networks: [("backend".to_owned(), Egress::None)].into(),
        images: [("web".to_owned(), "nginx-light".to_owned())].into(),
        groups: [("web".to_owned(), group(count))].into(),
        publications: [("web-80".to_owned(), ("127.0.0.1:8081".to_owned(), "web".to_owned()))].into(),
        ..Manifest::default()
    }
}

impl Manifest {
    pub fn group(&mut self, name: &str) -> &mut GroupForm {
        self.groups.get_mut(name).unwrap()
    }

    pub fn source(&self) -> StackSource {
        StackSource {
            manifest: serde_json::to_string(self).unwrap(),
            file: "hafen.toml".into(),
            ..StackSource::default()
        }
    }

    pub fn wanted(&self) -> Wanted {
        let images = self.images.iter().map(|(name, package)| ImageCreate {
            name: name.clone(),
            source: ImageSource::Debian {
                release: "trixie".into(),
                packages: vec![package.clone()],
                files: BTreeMap::new(),
            },
            lock: None,
        });
        let networks = self.networks.iter().map(|(name, egress)| NetworkCreate {
            name: name.clone(),
            egress: egress.clone(),
            subnet: None,
        });
        let groups = self.groups.iter().map(|(name, form)| Group {
            name: name.clone(),
            members: match form.count {
                None => vec![name.clone()],
                Some(count) => (1..=count).map(|index| format!("{name}-{index}")).collect(),
            },
            spec: MachineSpec {
                image: form.image.clone(),
                cpus: form.cpus,
                memory: 512 << 20,
                disk: 4 << 30,
                network: form.network.clone(),
                address: None,
                user_data: form.user_data.clone(),
                start: "warm".into(),
            },
            metadata: form.metadata.clone(),
            health: form.health.then(|| Health {
                http: Some("/".into()),
                tcp: false,
                port: 80,
                interval_ms: 2000,
                timeout_ms: 1000,
                healthy_after: 1,
            }),
            depends_on: form.depends_on.clone(),
        });
        let publications = self.publications.iter().map(|(name, (host, group))| {
            (name.clone(), PublicationPut { host: host.clone(), group: group.clone(), port: 80 })
        });
        Wanted {
            project: "hello".into(),
            quota: QuotaWish { machines: self.quota, ..QuotaWish::default() },
            networks: networks.collect(),
            images: images.collect(),
            groups: groups.collect(),
            publications: publications.collect(),
            apps: self.apps.clone(),
            backends: self.backends.clone(),
            routes: self.routes.clone(),
            warnings: Vec::new(),
        }
    }
}

/// Stands in for the reader of `hafen.toml`.
pub fn read(source: &StackSource) -> Result<Wanted> {
    let manifest: Manifest = serde_json::from_str(&source.manifest)
        .map_err(|error| Error::invalid(format!("hafen.toml: {error}")))?;
    Ok(manifest.wanted())
}
