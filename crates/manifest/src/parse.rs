//! Sections of the manifest, one function each: shape and values. What spans sections is in `check`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use toml::de::DeTable;

use crate::app::app;
use crate::check;
use crate::diagnostic::Diagnostic;
use crate::image::image;
use crate::machine::machine;
use crate::quantity::parse_size;
use crate::reader::{Reader, Value};
use crate::route::routes;
use crate::{Egress, Manifest, Network, Quota};

/// Bytes of a manifest.
pub const MAX_MANIFEST: usize = 4 << 20;
/// Machines of a manifest, clusters expanded.
pub const MAX_MACHINES: u64 = 10_000;

/// Reads a file that the manifest names, by the name it uses.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// Where names stand, for problems that are found later.
#[derive(Default)]
pub(crate) struct Places {
    pub networks: BTreeMap<String, Range<usize>>,
    pub images: BTreeMap<String, Range<usize>>,
    pub machines: BTreeMap<String, MachinePlaces>,
    pub subnets: Vec<(String, Range<usize>)>,
    /// By the network's name.
    pub network_subnets: BTreeMap<String, Range<usize>>,
    pub apps: BTreeMap<String, AppPlaces>,
    /// Clusters that a route leads to: the port, and where it says so first.
    pub clusters: BTreeMap<String, (u16, Range<usize>)>,
}

#[derive(Default)]
pub(crate) struct AppPlaces {
    pub name: Range<usize>,
    pub on: Option<(String, Range<usize>)>,
    pub image: Option<(String, Range<usize>)>,
}

#[derive(Default)]
pub(crate) struct MachinePlaces {
    pub name: Range<usize>,
    pub image: Option<(String, Range<usize>)>,
    pub network: Option<(String, Range<usize>)>,
    pub address: Option<Range<usize>>,
    pub user_data: Option<Range<usize>>,
    pub publish: Vec<(SocketAddr, Range<usize>)>,
    pub depends_on: Vec<(String, Range<usize>)>,
}

/// Reads and checks a manifest.
///
/// # Errors
/// All problems found, at most 50, in the order of the text.
pub fn parse(text: &str, file: &str, read: ReadFile<'_>) -> Result<Manifest, Vec<Diagnostic>> {
    let mut reader = Reader { text, file, problems: Vec::new(), warnings: Vec::new(), taken: 0 };
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
    reader.keys(root, "a manifest", &["project", "network", "image", "machine", "app", "route", "quota"]);
    let project = reader.string(root, "project", "\"hello\"").map(|(name, span)| {
        label(reader, "project", name, span);
        name.to_owned()
    });
    if root.get("project").is_none() {
        reader.error("missing_key", 0..0, "`project` is missing", "begin with project = \"hello\"");
    }
    let project = project.unwrap_or_default();
    let mut manifest = Manifest {
        project,
        quota: None,
        networks: BTreeMap::new(),
        images: BTreeMap::new(),
        machines: BTreeMap::new(),
        apps: BTreeMap::new(),
        routes: BTreeMap::new(),
        clusters: BTreeMap::new(),
        warnings: Vec::new(),
    };
    if let Some(value) = root.get("quota")
        && let Some(table) = reader.table(value, "quota", "{ machines = 10 }")
    {
        manifest.quota = Some(quota(reader, table));
    }
    for (name, span, table) in section(reader, root, "network") {
        places.networks.insert(name.clone(), span);
        let before = places.subnets.len();
        let network = network(reader, table, places);
        if let Some((_, span)) = places.subnets.get(before) {
            places.network_subnets.insert(name.clone(), span.clone());
        }
        manifest.networks.insert(name, network);
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
    for (name, span, table) in section(reader, root, "app") {
        let mut place = AppPlaces { name: span, ..AppPlaces::default() };
        if let Some(app) = app(reader, table, &mut place) {
            manifest.apps.insert(name.clone(), app);
        }
        places.apps.insert(name, place);
    }
    manifest.routes = routes(reader, root, &manifest, places);
    manifest.clusters = places.clusters.iter().map(|(name, (port, _))| (name.clone(), *port)).collect();
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
pub(crate) fn label(reader: &mut Reader<'_>, what: &str, name: &str, span: Range<usize>) {
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
    let all = (0, 1_000_000_000_000_000, "at most 1000 TB");
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
            if table.get("allow").is_none() {
                let help = "write egress = { allow = [\"mirror.example.org:443\"] }";
                reader.error("missing_key", value.span(), "this `egress` lacks `allow`", help);
            }
            let entries = reader.strings(table, "allow", "[\"mirror.example.org:443\"]");
            if table.contains_key("allow") && !(1..=256).contains(&entries.len()) {
                let message = format!("{} destinations are named; it must be 1 to 256", entries.len());
                reader.error(
                    "out_of_range",
                    value.span(),
                    message,
                    "for no destination write egress = \"none\"",
                );
            }
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
        port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
            && (1..=253).contains(&host.len())
            && host.split('.').all(|part| {
                (1..=63).contains(&part.len())
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                    && !part.starts_with('-')
                    && !part.ends_with('-')
            })
    })
}
