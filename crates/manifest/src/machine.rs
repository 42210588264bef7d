//! `[machine.NAME]`: one machine or a cluster of equal ones.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use toml::de::DeTable;

use crate::image::content;
use crate::parse::{MAX_MACHINES, MachinePlaces, ReadFile};
use crate::quantity::{parse_duration, parse_size};
use crate::reader::Reader;
use crate::{Health, Machine, Publish};

/// Bytes; as the API has it.
const MAX_USER_DATA: usize = 256 << 10;

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

/// `[machine.NAME]`; what spans sections is left in `place`.
pub(crate) fn machine<'t>(
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
    place.image.clone_from(&image);
    place.network.clone_from(&network);
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
    place.user_data = table.keys().find(|key| key.get_ref() == "user_data").map(toml::Spanned::span);
    let user_data = table.get("user_data").and_then(|value| {
        let inner = reader.table(value, "user_data", "{ source = \"cloud.yaml\" }")?;
        reader.keys(inner, "user_data", &["source", "content"]);
        let data = content(reader, inner, value.span(), read)?;
        if data.len() > MAX_USER_DATA {
            let message =
                format!("the user data has {} bytes; at most {MAX_USER_DATA} are taken", data.len());
            reader.error("too_large", value.span(), message, "put large files into the image");
        }
        Some(data)
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
            .map(|(name, _)| name.strip_prefix("machine.").unwrap_or(name).to_owned())
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
                place.publish.push((address, span));
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
    // A `tcp` of another type has been told already.
    let tcp = reader.boolean(table, "tcp").or_else(|| table.get("tcp").is_none().then_some(false))?;
    if http.is_some() == tcp {
        let help = "write health = { http = \"/\" } or health = { tcp = true }";
        reader.error("bad_health", span, "a health check has either `http` or `tcp = true`", help);
        return None;
    }
    let bound = (Duration::from_millis(100), Duration::from_secs(600), "between 100 ms and 10 min");
    Some(Health {
        http,
        port: reader
            .integer(table, "port", 1..=65535)
            .and_then(|n| u16::try_from(n).ok())
            .unwrap_or(default_port),
        interval: reader
            .quantity(table, "interval", "2s", parse_duration, bound)
            .unwrap_or(Duration::from_secs(2)),
        timeout: reader
            .quantity(table, "timeout", "1s", parse_duration, bound)
            .unwrap_or(Duration::from_secs(1)),
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
