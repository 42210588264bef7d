//! What spans sections: names that dangle, dependencies that run in circles, addresses given twice.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use crate::parse::{MAX_MACHINES, Places};
use crate::reader::{Reader, closest};
use crate::{Image, Manifest};

pub(crate) fn whole(reader: &mut Reader<'_>, manifest: &Manifest, places: &Places) {
    dangling(reader, places);
    dangling_of_apps(reader, places);
    cycles(reader, manifest, places);
    names(reader, manifest, places);
    addresses(reader, manifest, places);
    subnets(reader, places);
    room(reader, manifest, places);
    cloud_init(reader, manifest, places);
}

fn dangling(reader: &mut Reader<'_>, places: &Places) {
    for place in places.machines.values() {
        let pairs = [("image", &place.image, &places.images), ("network", &place.network, &places.networks)];
        for (kind, wanted, known) in pairs {
            let Some((wanted, span)) = wanted else { continue };
            if !known.contains_key(wanted) && !reader.is_full() {
                let help = suggest(kind, wanted, known.keys().map(String::as_str));
                reader.error("dangling_name", span.clone(), format!("there is no {kind} {wanted:?}"), help);
            }
        }
        for (wanted, span) in &place.depends_on {
            let target = wanted.strip_prefix("machine.");
            if !target.is_some_and(|target| places.machines.contains_key(target)) && !reader.is_full() {
                let near = closest(target.unwrap_or(wanted), places.machines.keys().map(String::as_str));
                let help = match near {
                    Some(near) => format!("did you mean \"machine.{near}\"?"),
                    None => "name a section, as \"machine.db\"".to_owned(),
                };
                reader.error("dangling_name", span.clone(), format!("there is no section {wanted:?}"), help);
            }
        }
    }
}

/// The machines that apps run on, and the images that build them.
fn dangling_of_apps(reader: &mut Reader<'_>, places: &Places) {
    for place in places.apps.values() {
        if let Some((wanted, span)) = &place.on
            && !places.machines.contains_key(wanted)
            && !reader.is_full()
        {
            let help = suggest("machine", wanted, places.machines.keys().map(String::as_str));
            let message = format!("there is no section [machine.{wanted}]");
            reader.error("dangling_name", span.clone(), message, help);
        }
        if let Some((wanted, span)) = &place.image
            && !places.images.contains_key(wanted)
            && !reader.is_full()
        {
            let help = suggest("image", wanted, places.images.keys().map(String::as_str));
            reader.error("dangling_name", span.clone(), format!("there is no image {wanted:?}"), help);
        }
    }
}

fn suggest<'n>(kind: &str, wanted: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    if let Some(near) = closest(wanted, known.clone()) {
        return format!("did you mean {near:?}?");
    }
    let all: Vec<&str> = known.collect();
    if all.is_empty() {
        format!("add a section [{kind}.{wanted}]")
    } else {
        format!("there is {}", all.join(", "))
    }
}

/// Depth first; a section met again on its own path closes a circle.
fn cycles(reader: &mut Reader<'_>, manifest: &Manifest, places: &Places) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Open,
        Done,
    }
    let mut marks: BTreeMap<&str, Mark> = BTreeMap::new();
    for start in manifest.machines.keys() {
        // An explicit stack: the depth comes from input.
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((name, next)) = path.last().copied() {
            if next == 0 {
                if marks.contains_key(name) {
                    path.pop();
                    continue;
                }
                marks.insert(name, Mark::Open);
            }
            let target = manifest.machines.get(name).and_then(|machine| machine.depends_on.get(next));
            let Some(target) = target else {
                marks.insert(name, Mark::Done);
                path.pop();
                continue;
            };
            if let Some(last) = path.last_mut() {
                last.1 += 1;
            }
            match marks.get(target.as_str()) {
                Some(Mark::Open) if !reader.is_full() => {
                    let from = path.iter().position(|(one, _)| one == target).unwrap_or(0);
                    let mut circle: Vec<&str> = path.iter().skip(from).map(|(one, _)| *one).collect();
                    circle.push(target);
                    let span = places
                        .machines
                        .get(name)
                        .and_then(|place| place.depends_on.get(next).map(|(_, span)| span.clone()))
                        .unwrap_or(0..0);
                    let shown = circle.join(" → ");
                    reader.error(
                        "cycle",
                        span,
                        format!("the dependencies run in a circle: {shown}"),
                        "remove one of them",
                    );
                }
                None if manifest.machines.contains_key(target) => path.push((target, 0)),
                Some(_) | None => {}
            }
        }
    }
}

/// `[machine.web]` with a count makes `web-1`; a section `[machine.web-1]` would too.
fn names(reader: &mut Reader<'_>, manifest: &Manifest, places: &Places) {
    let total: u64 = manifest.machines.values().map(|machine| u64::from(machine.count.unwrap_or(1))).sum();
    if total > MAX_MACHINES {
        let message =
            format!("the manifest asks for {total} machines; at most {MAX_MACHINES} fit into one project");
        let largest = manifest.machines.iter().max_by_key(|(_, machine)| machine.count.unwrap_or(1));
        let span =
            largest.and_then(|(name, _)| places.machines.get(name)).map_or(0..0, |place| place.name.clone());
        reader.error("too_many", span, message, "split it into several projects");
        return;
    }
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for section in manifest.machines.keys() {
        let span = places.machines.get(section).map_or(0..0, |place| place.name.clone());
        for name in manifest.members(section) {
            if name.len() > 63 {
                let message = format!("the machine name {name:?} would have {} characters", name.len());
                reader.error("bad_name", span.clone(), message, "at most 63 fit into a host name");
                break;
            }
            if let Some(other) = seen.insert(name.clone(), section) {
                let there = places.machines.get(other).map_or(0..0, |place| place.name.clone());
                let message = format!("two sections make a machine {name:?}");
                reader.clash("duplicate_name", span, message, "rename one of them", (there, "the other"));
                break;
            }
        }
    }
}

fn addresses(reader: &mut Reader<'_>, manifest: &Manifest, places: &Places) {
    let mut addresses: BTreeMap<(&str, &str), Range<usize>> = BTreeMap::new();
    let mut published = Vec::new();
    for (name, place) in &places.machines {
        if let (Some(machine), Some(span)) = (manifest.machines.get(name), &place.address)
            && let Some(address) = &machine.address
        {
            let key = (machine.network.as_str(), address.as_str());
            if let Some(other) = addresses.insert(key, span.clone()) {
                let message = format!("the address {address} is given twice");
                reader.clash(
                    "duplicate_address",
                    span.clone(),
                    message,
                    "take another address",
                    (other, "first here"),
                );
            }
            inside(reader, manifest, machine, address, span);
        }
        for (host, span) in &place.publish {
            published.push((*host, span));
        }
    }
    hosts(reader, &published);
}

/// A port of the host is given once; an unspecified address (`0.0.0.0`) takes the port on every address of its kind.
fn hosts(reader: &mut Reader<'_>, published: &[(SocketAddr, &Range<usize>)]) {
    let mut by_port: BTreeMap<(bool, u16), BTreeMap<IpAddr, &Range<usize>>> = BTreeMap::new();
    for (host, span) in published {
        let before = by_port.entry((host.is_ipv4(), host.port())).or_default();
        let any: IpAddr =
            if host.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let taken = if host.ip() == any {
            before.values().next()
        } else {
            before.get(&host.ip()).or_else(|| before.get(&any))
        };
        let taken = taken.map(|there| (*there).clone());
        match taken {
            Some(there) => {
                let message = format!("{host} is published twice");
                let there = (there, "first here");
                reader.clash("duplicate_address", (*span).clone(), message, "take another port", there);
            }
            None => {
                before.insert(host.ip(), span);
            }
        }
        if reader.is_full() {
            return;
        }
    }
}

fn inside(
    reader: &mut Reader<'_>,
    manifest: &Manifest,
    machine: &crate::Machine,
    address: &str,
    span: &Range<usize>,
) {
    let network = manifest.networks.get(&machine.network);
    let (Some(network), Ok(address)) = (network, address.parse::<Ipv4Addr>()) else { return };
    let Some(text) = &network.subnet else {
        let help = format!("write subnet = \"…\" in [network.{}]", machine.network);
        reader.error(
            "bad_address",
            span.clone(),
            "a fixed address needs a network with a fixed `subnet`",
            help,
        );
        return;
    };
    let Some((base, size)) = subnet(text) else { return };
    let offset = u32::from(address).checked_sub(base);
    if !offset.is_some_and(|offset| (10..size - 1).contains(&offset)) {
        let (first, last) = (Ipv4Addr::from(base + 10), Ipv4Addr::from(base + size - 2));
        let message = format!("{address} is not an address for a machine of {text}");
        reader.error("bad_address", span.clone(), message, format!("take one between {first} and {last}"));
    }
}

/// Addresses of a subnet that are not for machines: the network, the gateway and a few of the platform's, the broadcast.
const RESERVED: u32 = 11;

/// A subnet given by hand must hold the machines of its network. One that the platform chooses holds any manifest.
fn room(reader: &mut Reader<'_>, manifest: &Manifest, places: &Places) {
    let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
    for machine in manifest.machines.values() {
        *wanted.entry(machine.network.as_str()).or_default() += u64::from(machine.count.unwrap_or(1));
    }
    if wanted.values().sum::<u64>() > MAX_MACHINES {
        // Told by the number of machines, which no subnet mends.
        return;
    }
    for (name, wanted) in wanted {
        let Some(text) = manifest.networks.get(name).and_then(|network| network.subnet.as_ref()) else {
            continue;
        };
        let Some((_, size)) = subnet(text) else { continue };
        let room = u64::from(size - RESERVED);
        if let Some(span) = places.network_subnets.get(name).filter(|_| wanted > room) {
            let prefix =
                (12..=28).rev().find(|prefix| (1_u64 << (32 - prefix)) >= wanted + u64::from(RESERVED));
            let help = match prefix {
                Some(prefix) => {
                    format!("take a /{prefix}, or remove `subnet`: the platform chooses one with room")
                }
                None => "spread the machines over several networks".to_owned(),
            };
            let message =
                format!("{text} has room for {room} machines, and {wanted} are in network {name:?}");
            reader.error("small_subnet", span.clone(), message, help);
        }
    }
}

/// User data is read by cloud-init, and an image built here has only the packages it names.
fn cloud_init(reader: &mut Reader<'_>, manifest: &Manifest, places: &Places) {
    for (name, machine) in &manifest.machines {
        let Some(span) = places.machines.get(name).and_then(|place| place.user_data.clone()) else {
            continue;
        };
        let Some(Image::Debian { packages, .. }) = manifest.images.get(&machine.image) else { continue };
        if packages.iter().any(|package| package == "cloud-init") || reader.is_full() {
            continue;
        }
        // A long list is not repeated; the others stay, and this one comes to them.
        let mut shown: Vec<String> = packages.iter().take(4).map(|package| format!("{package:?}")).collect();
        if packages.len() > shown.len() {
            shown.push("…".to_owned());
        }
        shown.push("\"cloud-init\"".to_owned());
        let image = &machine.image;
        let message = format!("`user_data` is read by cloud-init, and image {image:?} does not have it");
        let help = format!("write packages = [{}] in [image.{image}]", shown.join(", "));
        match places.images.get(image) {
            Some(there) => reader.clash("no_cloud_init", span, message, help, (there.clone(), "this image")),
            None => reader.error("no_cloud_init", span, message, help),
        }
    }
}

fn subnets(reader: &mut Reader<'_>, places: &Places) {
    let mut known: Vec<_> = places
        .subnets
        .iter()
        .filter_map(|(text, span)| subnet(text).map(|(base, size)| (base, size, text, span)))
        .collect();
    known.sort_by_key(|(base, size, _, span)| (*base, u32::MAX - size, span.start));
    // Aligned blocks are either apart or one within the other, so the one that reaches furthest is enough to look at.
    let mut widest: Option<(u32, &String, &Range<usize>)> = None;
    for (base, size, text, span) in known {
        if let Some((_, other, there)) = widest.filter(|(end, ..)| base < *end) {
            // The later one in the text is the one to mark.
            let ((text, span), (other, there)) = if span.start < there.start {
                ((other, there), (text, span))
            } else {
                ((text, span), (other, there))
            };
            let message = format!("the subnet {text} overlaps {other}");
            let help = "take another subnet";
            let there = (there.clone(), "this one");
            reader.clash("overlapping_subnet", span.clone(), message, help, there);
        } else {
            widest = Some((base + size, text, span));
        }
    }
}

/// First address and number of addresses of a private IPv4 network of /12 to /28.
pub(crate) fn subnet(text: &str) -> Option<(u32, u32)> {
    let (address, prefix) = text.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let prefix: u32 = prefix.parse().ok()?;
    if !(12..=28).contains(&prefix) || !address.is_private() {
        return None;
    }
    let size = 1_u32 << (32 - prefix);
    let base = u32::from(address);
    (base & (size - 1) == 0).then_some((base, size))
}
