//! Sections of the manifest, one function each: shape and values. What spans sections is in `check`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use toml::de::DeTable;

use crate::check;
use crate::diagnostic::Diagnostic;
use crate::quantity::{parse_duration, parse_size};
use crate::reader::{Reader, Value};
use crate::{Egress, File, Health, Image, Machine, Manifest, Network, Publish, Quota};

/// Bytes of a manifest.
pub const MAX_MANIFEST: usize = 4 << 20;
/// Machines of a manifest, clusters expanded.
pub const MAX_MACHINES: u64 = 10_000;
/// Bytes of one file that a manifest names.
const MAX_SOURCE: usize = 8 << 20;

/// Reads a file that the manifest names, by the name it uses.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// Where names stand, for problems that are found later.
#[derive(Default)]
pub(crate) struct Places {
    pub networks: BTreeMap<String, Range<usize>>,
    pub images: BTreeMap<String, Range<usize>>,
    pub machines: BTreeMap<String, MachinePlaces>,
    pub subnets: Vec<(String, Range<usize>)>,
}

#[derive(Default)]
pub(crate) struct MachinePlaces {
    pub name: Range<usize>,
    pub image: Option<Range<usize>>,
    pub network: Option<Range<usize>>,
    pub address: Option<Range<usize>>,
    pub publish: Vec<(String, Range<usize>)>,
    pub depends_on: Vec<(String, Range<usize>)>,
}

/// Reads and checks a manifest.
///
/// # Errors
/// All problems found, at most 50, in the order of the text.
pub fn parse(text: &str, file: &str, read: ReadFile<'_>) -> Result<Manifest, Vec<Diagnostic>> {
    let mut reader = Reader { text, file, problems: Vec::new(), warnings: Vec::new() };
    if text.len() > MAX_MANIFEST {
        let message = format!("the manifest has {} bytes; at most {MAX_MANIFEST} are read", text.len());
        reader.error("too_large", 0..0, message, "split it into several projects");
        return Err(reader.problems);
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
        reader.error("syntax", span, message, "see toml.io for the syntax");
    }
    if !errors.is_empty() {
        return Err(reader.problems);
    }
    let mut places = Places::default();
    let manifest = root_table(&mut reader, root.get_ref(), read, &mut places);
    check::whole(&mut reader, &manifest, &places);
    let mut manifest = manifest;
    manifest.warnings = std::mem::take(&mut reader.warnings);
    if reader.problems.is_empty() {
        return Ok(manifest);
    }
    reader.problems.sort_by_key(|problem| problem.span.start);
    Err(reader.problems)
}

/// The files a manifest names, as far as it can be read.
pub fn source_names(text: &str) -> Vec<String> {
    let names = std::cell::RefCell::new(Vec::new());
    let collect = |name: &str| {
        names.borrow_mut().push(name.to_owned());
        Ok(Vec::new())
    };
    let _either = parse(text, "", &collect);
    let mut names = names.into_inner();
    names.sort();
    names.dedup();
    names
}

fn root_table<'t>(
    reader: &mut Reader<'t>,
    root: &DeTable<'t>,
    read: ReadFile<'_>,
    places: &mut Places,
) -> Manifest {
    reader.keys(root, "a manifest", &["project", "network", "image", "machine", "quota"]);
    let project = match reader.string(root, "project", "\"hello\"") {
        Some((name, span)) => {
            label(reader, "project", name, span);
            name.to_owned()
        }
        None => {
            if root.get("project").is_none() {
                reader.error("missing_key", 0..0, "`project` is missing", "begin with project = \"hello\"");
            }
            String::new()
        }
    };
    let mut manifest = Manifest {
        project,
        quota: None,
        networks: BTreeMap::new(),
        images: BTreeMap::new(),
        machines: BTreeMap::new(),
        warnings: Vec::new(),
    };
    if let Some(value) = root.get("quota")
        && let Some(table) = reader.table(value, "quota", "{ machines = 10 }")
    {
        manifest.quota = Some(quota(reader, table));
    }
    for (name, span, table) in section(reader, root, "network") {
        places.networks.insert(name.clone(), span);
        manifest.networks.insert(name, network(reader, table, places));
    }
    for (name, span, table) in section(reader, root, "image") {
        places.images.insert(name.clone(), span.clone());
        if let Some(image) = image(reader, table, span, read) {
            manifest.images.insert(name, image);
        }
    }
    for (name, span, table) in section(reader, root, "machine") {
        let mut place = MachinePlaces { name: span, ..MachinePlaces::default() };
        if let Some(machine) = machine(reader, table, read, &mut place) {
            manifest.machines.insert(name.clone(), machine);
        }
        places.machines.insert(name, place);
    }
    manifest
}

type Entry<'v, 't> = (String, Range<usize>, &'v DeTable<'t>);

fn section<'v, 't>(reader: &mut Reader<'t>, root: &'v DeTable<'t>, kind: &str) -> Vec<Entry<'v, 't>> {
    let Some(value) = root.get(kind) else { return Vec::new() };
    let Some(table) = reader.table(value, kind, &format!("a section [{kind}.NAME]")) else {
        return Vec::new();
    };
    let mut entries = Vec::new();
    for (key, value) in table {
        let name = key.get_ref().to_string();
        label(reader, kind, &name, key.span());
        if let Some(inner) = reader.table(value, &name, &format!("a section [{kind}.{name}]")) {
            entries.push((name, key.span(), inner));
        }
    }
    entries
}

/// RFC 1123: names become host names.
fn label(reader: &mut Reader<'_>, what: &str, name: &str, span: Range<usize>) {
    let good = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !good {
        reader.error(
            "bad_name",
            span,
            format!("{name:?} cannot be the name of a {what}"),
            "use 1 to 63 characters of a-z, 0-9 and '-', and neither start nor end with '-'",
        );
    }
}

fn quota<'t>(reader: &mut Reader<'t>, table: &DeTable<'t>) -> Quota {
    reader.keys(table, "a quota", &["machines", "cpus", "memory", "disk"]);
    let all = (0, u64::MAX >> 14, "less than 1 PiB");
    Quota {
        machines: reader.integer(table, "machines", 0..=1_000_000),
        cpus: reader.integer(table, "cpus", 0..=1_000_000),
        memory: reader.quantity(table, "memory", "64 GiB", parse_size, all),
        disk: reader.quantity(table, "disk", "1 TiB", parse_size, all),
    }
}

fn network<'t>(reader: &mut Reader<'t>, table: &DeTable<'t>, places: &mut Places) -> Network {
    reader.keys(table, "a network", &["egress", "subnet"]);
    let egress = match table.get("egress") {
        None => Egress::None,
        Some(value) => egress(reader, value),
    };
    let subnet = reader.string(table, "subnet", "\"10.40.0.0/24\"").map(|(text, span)| {
        if check::subnet(text).is_none() {
            reader.error(
                "bad_subnet",
                span.clone(),
                format!("{text:?} is not a private IPv4 network of /12 to /28 whose host bits are zero"),
                "write subnet = \"10.40.0.0/24\"",
            );
        }
        places.subnets.push((text.to_owned(), span));
        text.to_owned()
    });
    Network { egress, subnet }
}

fn egress<'t>(reader: &mut Reader<'t>, value: &Value<'t>) -> Egress {
    match (value.get_ref().as_str(), value.get_ref().as_table()) {
        (Some("none"), _) => Egress::None,
        (Some("logged"), _) => Egress::Logged,
        (_, Some(table)) => {
            reader.keys(table, "egress", &["allow"]);
            let entries = reader.strings(table, "allow", "[\"mirror.example.org:443\"]");
            for (entry, span) in &entries {
                if !is_host_port(entry) {
                    let help = "write host:port, as \"mirror.example.org:443\"";
                    reader.error(
                        "bad_destination",
                        span.clone(),
                        format!("{entry:?} is not a destination"),
                        help,
                    );
                }
            }
            Egress::Allow(entries.into_iter().map(|(entry, _)| entry).collect())
        }
        _ => {
            let help = "write \"none\", \"logged\" or { allow = [\"host:port\"] }";
            reader.error("unknown_value", value.span(), "`egress` does not know this", help);
            Egress::None
        }
    }
}

fn is_host_port(entry: &str) -> bool {
    entry.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok_and(|port| port > 0)
            && (1..=253).contains(&host.len())
            && host.split('.').all(|part| {
                (1..=63).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
    })
}

fn image<'t>(
    reader: &mut Reader<'t>,
    table: &DeTable<'t>,
    span: Range<usize>,
    read: ReadFile<'_>,
) -> Option<Image> {
    let built = ["distribution", "release", "packages", "files"];
    let cloud = ["url", "file", "sha256", "firmware"];
    if cloud.iter().any(|key| table.contains_key(*key)) {
        reader.keys(table, "a cloud image", &cloud);
        let url = reader.string(table, "url", "\"https://…\"");
        let path = reader.string(table, "file", "\"/srv/image.qcow2\"");
        let location = match (url, path) {
            (Some((url, span)), None) => {
                if !url.starts_with("https://") {
                    reader.error(
                        "bad_url",
                        span,
                        format!("{url:?} is not an https:// URL"),
                        "write url = \"https://…\"",
                    );
                }
                url.to_owned()
            }
            (None, Some((path, span))) => {
                if !path.starts_with('/') {
                    let help = "write file = \"/srv/image.qcow2\": a path on the platform's host";
                    reader.error("bad_path", span, format!("{path:?} is not an absolute path"), help);
                }
                path.to_owned()
            }
            (Some((_, span)), Some(_)) => {
                reader.error(
                    "two_sources",
                    span,
                    "an image has either `url` or `file`",
                    "remove one of them",
                );
                return None;
            }
            (None, None) => {
                reader.error(
                    "missing_key",
                    span,
                    "a cloud image needs `url` or `file`",
                    "write url = \"https://…\"",
                );
                return None;
            }
        };
        let Some((sha256, at)) = reader.string(table, "sha256", "\"64 hexadecimal digits\"") else {
            if table.get("sha256").is_none() {
                let help =
                    "write sha256 = \"…\" (sha256sum of the file): an image that may change is no image";
                reader.error("missing_key", span, "a cloud image needs its `sha256`", help);
            }
            return None;
        };
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            let help = "it is 64 hexadecimal digits, as sha256sum prints them";
            reader.error("bad_digest", at, format!("{sha256:?} is not a SHA-256"), help);
        }
        let firmware = reader.one_of(table, "firmware", &["bios", "uefi"]).unwrap_or_else(|| "bios".into());
        return Some(Image::Cloud { location, sha256: sha256.to_lowercase(), firmware });
    }
    reader.keys(table, "an image", &[&built[..], &cloud[..]].concat());
    reader.one_of(table, "distribution", &["debian"]);
    for key in ["distribution", "release"] {
        if table.get(key).is_none() {
            let help = "write distribution = \"debian\" and release = \"trixie\"";
            reader.error("missing_key", span.clone(), format!("the image needs `{key}`"), help);
        }
    }
    let release = reader.one_of(table, "release", &["trixie", "bookworm"]).unwrap_or_default();
    let packages = reader.strings(table, "packages", "[\"nginx-light\"]");
    for (package, span) in &packages {
        // Debian Policy 5.6.1.
        let good = package.len() >= 2
            && package.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
            && package.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if !good {
            let help = "a package name has lower case letters, digits, '+', '-' and '.'";
            reader.error(
                "bad_package",
                span.clone(),
                format!("{package:?} is not the name of a Debian package"),
                help,
            );
        }
    }
    let mut files = BTreeMap::new();
    if let Some(value) = table.get("files")
        && let Some(table) = reader.table(value, "files", "{ \"/etc/motd\" = { source = \"motd\" } }")
    {
        for (key, value) in table {
            let path = key.get_ref().to_string();
            let inside = path.starts_with('/')
                && path.len() < 1024
                && !path.chars().any(char::is_control)
                && path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
            if !inside {
                let help = "write an absolute path without '.' and '..', as \"/etc/motd\"";
                reader.error("bad_path", key.span(), format!("{path:?} is not a path in the image"), help);
            }
            if let Some(inner) = reader.table(value, &path, "{ source = \"motd\" }") {
                reader.keys(inner, "a file", &["source", "content", "mode"]);
                let mode = match reader.string(inner, "mode", "\"0644\"") {
                    Some((mode, span)) if u32::from_str_radix(mode, 8).map_or(true, |mode| mode > 0o7777) => {
                        reader.error(
                            "bad_mode",
                            span,
                            format!("{mode:?} is not a mode"),
                            "write it octal, as \"0644\"",
                        );
                        "0644".to_owned()
                    }
                    Some((mode, _)) => mode.to_owned(),
                    None => "0644".to_owned(),
                };
                if let Some(content) = content(reader, inner, value.span(), read) {
                    files.insert(path, File { content, mode });
                }
            }
        }
    }
    let packages = packages.into_iter().map(|(package, _)| package).collect();
    Some(Image::Debian { release, packages, files })
}

/// `{ source = "file" }` or `{ content = "text" }`.
fn content<'t>(
    reader: &mut Reader<'t>,
    table: &DeTable<'t>,
    span: Range<usize>,
    read: ReadFile<'_>,
) -> Option<Vec<u8>> {
    let text = reader.string(table, "content", "\"…\"").map(|(text, _)| text.as_bytes().to_vec());
    let Some((name, at)) = reader.string(table, "source", "\"hello.conf\"") else {
        if text.is_none() {
            let help = "write source = \"FILE\" or content = \"…\"";
            reader.error("missing_key", span, "neither `source` nor `content` is given", help);
        }
        return text;
    };
    if text.is_some() {
        reader.error("two_sources", at, "either `source` or `content`, not both", "remove one of them");
        return None;
    }
    // Confined to the manifest's folder: a manifest from elsewhere must not read the reader's files.
    let confined = !name.starts_with('/')
        && !name.is_empty()
        && !name.chars().any(char::is_control)
        && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !confined {
        let help = "name a file in the manifest's folder or below it, without '.' and '..'";
        reader.error("bad_path", at, format!("{name:?} does not lie beside the manifest"), help);
        return None;
    }
    match read(name) {
        Ok(bytes) if bytes.len() <= MAX_SOURCE => Some(bytes),
        Ok(bytes) => {
            let message = format!("{name:?} has {} bytes; at most {MAX_SOURCE} are taken", bytes.len());
            reader.error(
                "too_large",
                at,
                message,
                "put large files into a package or fetch them at run time",
            );
            None
        }
        Err(why) => {
            reader.error(
                "no_file",
                at,
                format!("{name:?} cannot be read: {why}"),
                "put the file beside the manifest",
            );
            None
        }
    }
}

const MACHINE_KEYS: &[&str] = &[
    "count",
    "image",
    "cpus",
    "memory",
    "disk",
    "network",
    "address",
    "user_data",
    "publish",
    "health",
    "start",
    "metadata",
    "depends_on",
];

fn machine<'t>(
    reader: &mut Reader<'t>,
    table: &DeTable<'t>,
    read: ReadFile<'_>,
    place: &mut MachinePlaces,
) -> Option<Machine> {
    reader.keys(table, "a machine", MACHINE_KEYS);
    let count = reader.integer(table, "count", 0..=MAX_MACHINES).and_then(|n| u32::try_from(n).ok());
    let named = |reader: &mut Reader<'t>, key: &str, example: &str| -> Option<(String, Range<usize>)> {
        if table.get(key).is_none() {
            let help = format!("write {key} = {example}");
            reader.error("missing_key", place.name.clone(), format!("the machine needs `{key}`"), help);
        }
        reader.string(table, key, example).map(|(name, span)| (name.to_owned(), span))
    };
    let image = named(reader, "image", "\"web\"");
    let network = named(reader, "network", "\"backend\"");
    place.image = image.as_ref().map(|(_, span)| span.clone());
    place.network = network.as_ref().map(|(_, span)| span.clone());
    let cpus = reader.integer(table, "cpus", 1..=256).unwrap_or(1);
    let memory = (128 << 20, 16 << 40, "between 128 MiB and 16 TiB");
    let memory = reader.quantity(table, "memory", "512 MiB", parse_size, memory).unwrap_or(512 << 20);
    let disk = (1 << 30, 1 << 50, "between 1 GiB and 1024 TiB");
    let disk = reader.quantity(table, "disk", "4 GiB", parse_size, disk).unwrap_or(4 << 30);
    let address = reader.string(table, "address", "\"10.40.0.7\"").map(|(text, span)| {
        if text.parse::<std::net::Ipv4Addr>().is_err() {
            let help = "write address = \"10.40.0.7\"";
            reader.error("bad_address", span.clone(), format!("{text:?} is not an IPv4 address"), help);
        } else if count.is_some() {
            let help = "remove `address`, or write a [machine.NAME] without `count` for each";
            reader.error(
                "address_of_cluster",
                span.clone(),
                "the machines of a cluster cannot share an address",
                help,
            );
        }
        place.address = Some(span);
        text.to_owned()
    });
    let user_data = table.get("user_data").and_then(|value| {
        let inner = reader.table(value, "user_data", "{ source = \"cloud.yaml\" }")?;
        reader.keys(inner, "user_data", &["source", "content"]);
        content(reader, inner, value.span(), read)
    });
    let publish = publish(reader, table, place);
    let port = publish.first().map_or(80, |publish| publish.port);
    let health = table.get("health").and_then(|value| {
        let inner = reader.table(value, "health", "{ http = \"/\" }")?;
        health(reader, inner, value.span(), port)
    });
    let start = reader.one_of(table, "start", &["warm", "cold"]).unwrap_or_else(|| "warm".into());
    place.depends_on = reader.strings(table, "depends_on", "[\"machine.db\"]");
    let metadata = metadata(reader, table);
    Some(Machine {
        count,
        image: image?.0,
        cpus: u32::try_from(cpus).unwrap_or(1),
        memory,
        disk,
        network: network?.0,
        address,
        user_data,
        publish,
        health,
        start,
        metadata,
        depends_on: place
            .depends_on
            .iter()
            .map(|(name, _)| name.trim_start_matches("machine.").to_owned())
            .collect(),
    })
}

fn publish<'t>(reader: &mut Reader<'t>, table: &DeTable<'t>, place: &mut MachinePlaces) -> Vec<Publish> {
    let example = "[{ host = \"127.0.0.1:8081\", port = 80 }]";
    let mut all = Vec::new();
    for value in reader.array(table, "publish", example) {
        let Some(inner) = reader.table(value, "publish", example) else { continue };
        reader.keys(inner, "publish", &["host", "port"]);
        let port = reader.integer(inner, "port", 1..=65535).and_then(|port| u16::try_from(port).ok());
        let host = reader.string(inner, "host", "\"127.0.0.1:8081\"");
        for key in ["host", "port"] {
            if inner.get(key).is_none() {
                reader.error(
                    "missing_key",
                    value.span(),
                    format!("publish needs `{key}`"),
                    format!("write {example}"),
                );
            }
        }
        let (Some((host, span)), Some(port)) = (host, port) else { continue };
        match host.parse::<std::net::SocketAddr>() {
            Ok(address) if address.port() > 0 => {
                if !address.ip().is_loopback() {
                    let message = format!("{host} is reached from outside this host, without TLS");
                    reader.warn(
                        "published_widely",
                        span.clone(),
                        message,
                        "use 127.0.0.1 unless that is meant",
                    );
                }
                place.publish.push((address.to_string(), span));
                all.push(Publish { host: address.to_string(), port });
            }
            _ => {
                let help = "write host = \"127.0.0.1:8081\": an address of this host and a port";
                reader.error("bad_address", span, format!("{host:?} is not an address and a port"), help);
            }
        }
    }
    all
}

fn health<'t>(
    reader: &mut Reader<'t>,
    table: &DeTable<'t>,
    span: Range<usize>,
    default_port: u16,
) -> Option<Health> {
    reader.keys(table, "health", &["http", "tcp", "port", "interval", "timeout", "healthy_after"]);
    let http = reader.string(table, "http", "\"/\"").map(|(path, span)| {
        if !path.starts_with('/') || path.len() > 1024 || !path.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            let help = "write a path that starts with '/', without spaces";
            reader.error("bad_path", span, format!("{path:?} is not a path"), help);
        }
        path.to_owned()
    });
    let tcp = reader.boolean(table, "tcp").unwrap_or(false);
    if http.is_some() == tcp {
        let help = "write health = { http = \"/\" } or health = { tcp = true }";
        reader.error("bad_health", span, "a health check has either `http` or `tcp = true`", help);
        return None;
    }
    let bound = (Duration::from_millis(100), Duration::from_secs(600), "between 100 ms and 10 min");
    let two = Duration::from_secs(2);
    Some(Health {
        http,
        port: reader
            .integer(table, "port", 1..=65535)
            .and_then(|n| u16::try_from(n).ok())
            .unwrap_or(default_port),
        interval: reader.quantity(table, "interval", "2s", parse_duration, bound).unwrap_or(two),
        timeout: reader.quantity(table, "timeout", "2s", parse_duration, bound).unwrap_or(two),
        healthy_after: reader
            .integer(table, "healthy_after", 1..=100)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(1),
    })
}

fn metadata<'t>(reader: &mut Reader<'t>, table: &DeTable<'t>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let Some(value) = table.get("metadata") else { return all };
    let Some(inner) = reader.table(value, "metadata", "{ team = \"shop\" }") else { return all };
    if inner.len() > 64 {
        reader.error(
            "too_many",
            value.span(),
            "a machine has at most 64 metadata entries",
            "keep what is needed",
        );
    }
    for (key, value) in inner {
        let name = key.get_ref().to_string();
        let good = (1..=63).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
        if !good {
            let help = "use 1 to 63 characters of a-z, A-Z, 0-9, '.', '_', '-', '/'";
            reader.error("bad_name", key.span(), format!("{name:?} cannot be a metadata key"), help);
        }
        match value.get_ref().as_str() {
            Some(text) if text.len() <= 1024 && !text.chars().any(char::is_control) => {
                all.insert(name, text.to_owned());
            }
            Some(_) => {
                let help = "at most 1024 bytes, no control characters";
                reader.error("bad_metadata", value.span(), "this cannot be a metadata value", help);
            }
            None => reader.wrong_type(value, &name, "a string", "\"shop\""),
        }
    }
    all
}
