//! `hafen.toml` as what is wanted: the one place that knows both the manifest and the wire types.
//!
//! The platform reads the manifest itself, though the command line has done so already: a request is not to be trusted, and
//! its errors must be the same whoever sends it.

mod delivery;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::{Error, FieldProblem, Result};
use hafen_client::wire::{
    Egress, Health, ImageCreate, ImageFile, ImageSource, MachineSpec, NetworkCreate, PublicationPut,
    StackSource,
};
use hafen_manifest::{Diagnostic, Image, Machine, Manifest};

use crate::model::{Group, QuotaWish, Wanted, digest_of};

/// Reads a manifest with the files it names.
///
/// # Errors
/// Invalid, with every problem at its line.
pub fn read_manifest(source: &StackSource) -> Result<Wanted> {
    let file = |name: &str| -> Result<Vec<u8>, String> {
        let content = source.sources.get(name).ok_or("it was not sent along with the manifest")?;
        STANDARD.decode(content).map_err(|_| "it was not sent as base 64".to_owned())
    };
    match hafen_manifest::parse(&source.manifest, &source.file, &file) {
        Ok(manifest) => Ok(wanted(&manifest, &source.locks)),
        Err(problems) => Err(refused(&problems, &source.manifest)),
    }
}

fn refused(problems: &[Diagnostic], text: &str) -> Error {
    let fields: Vec<FieldProblem> = problems
        .iter()
        .map(|problem| FieldProblem {
            pointer: String::new(),
            message: problem.message.clone(),
            help: problem.help.clone(),
            file: problem.file.clone(),
            line: problem.line,
            column: problem.column,
            rendered: hafen_manifest::render(std::slice::from_ref(problem), text, false),
        })
        .collect();
    let message = match problems {
        [] => "the manifest is wrong".to_owned(),
        [only] => format!("{}:{}:{}: {}", only.file, only.line, only.column, only.message),
        [first, more @ ..] => format!(
            "{}:{}:{}: {} (and {} more)",
            first.file,
            first.line,
            first.column,
            first.message,
            more.len()
        ),
    };
    Error::invalid(message).with_code("manifest_invalid").with_fields(fields)
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn wanted(manifest: &Manifest, locks: &BTreeMap<String, String>) -> Wanted {
    let quota = manifest.quota.unwrap_or_default();
    Wanted {
        project: manifest.project.clone(),
        quota: QuotaWish {
            machines: quota.machines.map(number),
            cpus: quota.cpus.map(number),
            memory: quota.memory.map(number),
            disk: quota.disk.map(number),
        },
        networks: manifest
            .networks
            .iter()
            .map(|(name, network)| NetworkCreate {
                name: name.clone(),
                egress: match &network.egress {
                    hafen_manifest::Egress::None => Egress::None,
                    hafen_manifest::Egress::Logged => Egress::Logged,
                    hafen_manifest::Egress::Allow(hosts) => Egress::Allow(hosts.clone()),
                },
                subnet: network.subnet.clone(),
            })
            .collect(),
        images: manifest
            .images
            .iter()
            .map(|(name, image)| ImageCreate {
                name: name.clone(),
                source: image_source(image),
                lock: locks.get(name).filter(|lock| !lock.is_empty()).cloned(),
            })
            .collect(),
        groups: manifest
            .machines
            .iter()
            .map(|(name, machine)| group(name, manifest.members(name), machine))
            .collect(),
        publications: publications(manifest),
        apps: delivery::apps(manifest),
        backends: delivery::backends(manifest),
        routes: delivery::routes(manifest),
        warnings: manifest
            .warnings
            .iter()
            .map(|warning| {
                format!("{}:{}:{}: {}", warning.file, warning.line, warning.column, warning.message)
            })
            .collect(),
    }
}

fn image_source(image: &Image) -> ImageSource {
    match image {
        Image::Debian { release, packages, files } => ImageSource::Debian {
            release: release.clone(),
            packages: packages.clone(),
            files: files
                .iter()
                .map(|(path, file)| {
                    let content = STANDARD.encode(&file.content);
                    (path.clone(), ImageFile { content, mode: file.mode.clone() })
                })
                .collect(),
        },
        Image::Cloud { location, sha256, firmware } => ImageSource::Cloud {
            location: location.clone(),
            sha256: sha256.clone(),
            firmware: firmware.clone(),
        },
    }
}

fn group(name: &str, members: Vec<String>, machine: &Machine) -> Group {
    let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Group {
        name: name.to_owned(),
        members,
        spec: MachineSpec {
            image: machine.image.clone(),
            cpus: i64::from(machine.cpus),
            memory: number(machine.memory),
            disk: number(machine.disk),
            network: machine.network.clone(),
            address: machine.address.clone(),
            user_data: machine.user_data.as_ref().map(|data| STANDARD.encode(data)),
            start: machine.start.clone(),
        },
        metadata: machine.metadata.clone(),
        health: machine.health.as_ref().map(|health| Health {
            http: health.http.clone(),
            tcp: health.http.is_none(),
            port: health.port,
            interval_ms: millis(health.interval),
            timeout_ms: millis(health.timeout),
            healthy_after: i64::from(health.healthy_after),
        }),
        depends_on: machine.depends_on.clone(),
    }
}

/// Publications by name: `web-80`, and where that is taken `web-80-8082` after the port on the host. Names must not depend
/// on the order in which a section publishes, or a line added above another would move both.
fn publications(manifest: &Manifest) -> BTreeMap<String, PublicationPut> {
    let mut all = BTreeMap::new();
    for (section, machine) in &manifest.machines {
        let mut wishes: Vec<_> = machine.publish.iter().collect();
        wishes.sort_by(|left, right| (left.port, &left.host).cmp(&(right.port, &right.host)));
        let mut seen = BTreeSet::new();
        for wish in wishes {
            let host_port = wish.host.rsplit(':').next().unwrap_or("");
            let first = seen.insert(wish.port);
            let plain = if first {
                format!("{section}-{}", wish.port)
            } else {
                format!("{section}-{}-{host_port}", wish.port)
            };
            let taken = all.contains_key(&plain) || plain.len() > 63;
            let name = if taken { shortened(&plain, &wish.host) } else { plain };
            let put = PublicationPut { host: wish.host.clone(), group: section.clone(), port: wish.port };
            all.insert(name, put);
        }
    }
    all
}

/// A name that fits and is nobody else's: a published address is unique, so its digest is.
fn shortened(name: &str, host: &str) -> String {
    let stem: String = name.chars().take(50).collect();
    let digest: String = digest_of(host).chars().skip("sha256-".len()).take(10).collect();
    format!("{}-{digest}", stem.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = r#"
project = "hello"

[network.backend]

[image.web]
distribution = "debian"
release = "trixie"
packages = ["nginx-light"]
files."/etc/nginx/conf.d/hello.conf" = { source = "hello.conf" }

[machine.web]
count = 2
image = "web"
cpus = 1
memory = "512 MiB"
disk = "4 GiB"
network = "backend"
publish = [{ host = "127.0.0.1:8081", port = 80 }, { host = "127.0.0.1:8082", port = 80 }]
health = { http = "/", interval = "2s" }
metadata = { team = "shop" }
"#;

    fn source(manifest: &str) -> StackSource {
        StackSource {
            manifest: manifest.into(),
            file: "hafen.toml".into(),
            sources: [("hello.conf".to_owned(), STANDARD.encode("server {}"))].into(),
            locks: [("web".to_owned(), "lock".to_owned())].into(),
        }
    }

    #[test]
    fn the_hello_example_is_read() {
        let wanted = read_manifest(&source(HELLO)).unwrap();
        assert_eq!(wanted.project, "hello");
        let group = &wanted.groups[0];
        assert_eq!(group.members, ["web-1", "web-2"]);
        assert_eq!((group.spec.memory, group.spec.disk), (512 << 20, 4 << 30));
        assert_eq!(group.health.as_ref().unwrap().interval_ms, 2000);
        assert_eq!(wanted.images[0].lock.as_deref(), Some("lock"));
        let ImageSource::Debian { files, .. } = &wanted.images[0].source else { panic!("a Debian image") };
        assert_eq!(files["/etc/nginx/conf.d/hello.conf"].content, STANDARD.encode("server {}"));
        let published: Vec<_> =
            wanted.publications.iter().map(|(name, put)| (name.as_str(), put.host.as_str())).collect();
        assert_eq!(published, [("web-80", "127.0.0.1:8081"), ("web-80-8082", "127.0.0.1:8082")]);
    }

    #[test]
    fn problems_keep_their_place() {
        let error = read_manifest(&source(&HELLO.replace("cpus = 1", "cpus = 0\nnonsense = 7"))).unwrap_err();
        assert_eq!(error.code(), "manifest_invalid");
        assert!(error.fields().len() >= 2, "{error:?}");
        let first = &error.fields()[0];
        assert!(first.line > 1 && first.column > 0 && first.rendered.contains("hafen.toml:"), "{first:?}");
        let mut without = source(HELLO);
        without.sources.clear();
        let error = read_manifest(&without).unwrap_err();
        assert!(
            error.message().contains("hello.conf") || error.fields()[0].message.contains("hello.conf"),
            "{error:?}"
        );
    }

    #[test]
    fn a_name_too_long_is_shortened_and_stays_unique() {
        let long = format!("{}-80", "a".repeat(63));
        let (one, other) = (shortened(&long, "127.0.0.1:1"), shortened(&long, "127.0.0.1:2"));
        assert!(one.len() <= 63 && one != other, "{one} {other}");
    }
}
