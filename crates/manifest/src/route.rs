//! `[route."HOST"]`: which path of a host leads where.
//!
//! A share is written in percent, because that is how people move a monolith: what one path leaves over goes where the next shorter
//! path leads. Here this is worked out, so that what comes of it are plain weights for each path.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeString, DeTable};

use crate::parse::Places;
use crate::quantity::{parse_duration, parse_size};
use crate::reader::{Reader, Value, closest};
use crate::{Manifest, Route, Target};

/// As the API has them.
const MAX_PATHS: usize = 100;
const MAX_TARGETS: usize = 16;

const EXAMPLE: &str = "{ \"/\" = \"shop\" }";

/// Hundredths of a percent: all of a path's requests.
const WHOLE: u32 = 10_000;

/// Why this is no host, or what is meant.
pub(crate) fn host(text: &str) -> Result<(), &'static str> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if text.len() > 253 || !name.split('.').all(label) {
        return Err(
            "write a name in lower case, as \"shop.example.org\" or \"*.example.org\"; one in another script by its xn-- form",
        );
    }
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err("write a name, not an address: \"shop.localhost\" for this host");
    }
    Ok(())
}

/// A path as routes have it.
fn is_path(path: &str) -> bool {
    path == "/"
        || (path.len() <= 1024
            && path.strip_prefix('/').is_some_and(|rest| {
                rest.split('/').all(|part| {
                    !matches!(part, "" | "." | "..")
                        && part.bytes().all(|b| (0x21..0x7f).contains(&b) && !b"?#%\\\"<>".contains(&b))
                })
            }))
}

/// All of `[route]`; sections of apps and machines have been read.
pub(crate) fn routes<'t>(
    reader: &mut Reader<'t>,
    root: &DeTable<'t>,
    manifest: &Manifest,
    places: &mut Places,
) -> BTreeMap<String, Route> {
    let mut all = BTreeMap::new();
    let Some(value) = root.get("route") else { return all };
    let Some(table) = reader.table(value, "route", "a section [route.\"shop.example.org\"]") else {
        return all;
    };
    for (key, value) in table {
        let name = key.get_ref().to_string();
        if let Err(help) = host(&name) {
            reader.error("bad_host", key.span(), format!("{name:?} is no host"), help);
        }
        let Some(inner) = reader.table(value, &name, "a section [route.\"shop.example.org\"]") else {
            continue;
        };
        // TOML reads [route.shop.example.org] as tables within tables.
        let within = |(key, value): (&toml::Spanned<DeString<'_>>, &Value<'t>)| {
            value.get_ref().is_table() && closest(key.get_ref(), ROUTE_KEYS.iter().copied()).is_none()
        };
        if !name.contains('.') && inner.len() == 1 && inner.iter().all(within) {
            let help = "write the host in quotation marks: [route.\"shop.example.org\"]";
            reader.error(
                "bad_host",
                key.span(),
                format!("the host {name:?} is cut off at its first dot"),
                help,
            );
            continue;
        }
        if let Some(route) = route(reader, inner, key.span(), manifest, places) {
            all.insert(name, route);
        }
    }
    all
}

const ROUTE_KEYS: &[&str] = &["paths", "maintenance", "redirect_https", "hsts", "max_body", "rate"];

fn route<'t>(
    reader: &mut Reader<'t>,
    table: &DeTable<'t>,
    span: Range<usize>,
    manifest: &Manifest,
    places: &mut Places,
) -> Option<Route> {
    reader.keys(table, "a route", ROUTE_KEYS);
    let maintenance = reader.boolean(table, "maintenance").unwrap_or(false);
    let redirect_https = reader.boolean(table, "redirect_https").unwrap_or(true);
    let year = std::time::Duration::from_secs(365 * 24 * 3600);
    let bound = (std::time::Duration::ZERO, year * 2, "at most 730 days");
    let hsts = reader.quantity(table, "hsts", "365 days", parse_duration, bound).unwrap_or(year);
    let bound = (0, 1 << 40, "at most 1 TiB");
    let max_body = reader.quantity(table, "max_body", "10 MiB", parse_size, bound).unwrap_or(0);
    let rate = reader.integer(table, "rate", 0..=1_000_000).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let Some(value) = table.get("paths") else {
        let help = format!("write paths = {EXAMPLE}");
        reader.error("missing_key", span, "the route needs `paths`", help);
        return None;
    };
    let inner = reader.table(value, "paths", EXAMPLE)?;
    if !(1..=MAX_PATHS).contains(&inner.len()) {
        let message = format!("{} paths are given; it must be 1 to {MAX_PATHS}", inner.len());
        reader.error("out_of_range", value.span(), message, format!("write paths = {EXAMPLE}"));
    }
    let mut paths: BTreeMap<String, Vec<Share>> = BTreeMap::new();
    // By name, so that each path comes after all that are shorter.
    let sorted: BTreeMap<String, (&Value<'t>, Range<usize>)> =
        inner.iter().map(|(key, value)| (key.get_ref().to_string(), (value, key.span()))).collect();
    for (path, (value, span)) in sorted {
        if !is_path(&path) {
            let help = "write \"/\", or segments without an end, as \"/api/orders\"";
            reader.error("bad_path", span.clone(), format!("{path:?} is not a path of a route"), help);
            continue;
        }
        let (mut shares, left) = shares(reader, value, manifest, places);
        if left > 0 {
            match above(&path).find_map(|shorter| paths.get(shorter)) {
                Some(rest) => add_rest(&mut shares, rest, left),
                None if shares.is_empty() => {}
                None => {
                    let message =
                        format!("{} % of {path} lead nowhere: no shorter path takes them", left / 100);
                    let help = "add \"/\", or make the weights 100 together";
                    reader.error("weights", value.span(), message, help);
                }
            }
        }
        paths.insert(path, shares);
    }
    let paths = paths.into_iter().map(|(path, shares)| (path, weighted(shares))).collect();
    Some(Route { paths, maintenance, redirect_https, hsts, max_body, rate })
}

/// The shorter paths that take what this one takes, the longest first.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        if rest == "/" {
            return None;
        }
        rest = match rest.rfind('/') {
            Some(0) | None => "/",
            Some(at) => rest.get(..at)?,
        };
        Some(rest)
    })
}

/// A backend with its share in hundredths of a percent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    backend: String,
    share: u32,
}

fn add(shares: &mut Vec<Share>, backend: &str, share: u32) {
    match shares.iter_mut().find(|one| one.backend == backend) {
        Some(one) => one.share += share,
        None => shares.push(Share { backend: backend.to_owned(), share }),
    }
}

/// Spreads what is left over the targets of another path, in their proportions; the last takes what rounding leaves.
fn add_rest(shares: &mut Vec<Share>, rest: &[Share], left: u32) {
    let whole: u32 = rest.iter().map(|one| one.share).sum();
    let mut given = 0;
    for (at, one) in rest.iter().enumerate() {
        let part = u64::from(one.share) * u64::from(left) / u64::from(whole.max(1));
        let part = u32::try_from(part).unwrap_or(0);
        let part = if at + 1 == rest.len() { left - given } else { part };
        given += part;
        add(shares, &one.backend, part);
    }
}

/// As whole percents where that is exact.
fn weighted(shares: Vec<Share>) -> Vec<Target> {
    let divisor = if shares.iter().all(|one| one.share.is_multiple_of(100)) { 100 } else { 1 };
    shares.into_iter().map(|one| Target { backend: one.backend, weight: one.share / divisor }).collect()
}

/// The targets of a path, and what is left of the whole.
fn shares<'t>(
    reader: &mut Reader<'t>,
    value: &Value<'t>,
    manifest: &Manifest,
    places: &mut Places,
) -> (Vec<Share>, u32) {
    let values: Vec<&Value<'t>> = match value.get_ref().as_array() {
        Some(array) => array.iter().collect(),
        None => vec![value],
    };
    if !(1..=MAX_TARGETS).contains(&values.len()) {
        let message = format!("{} targets are given; it must be 1 to {MAX_TARGETS}", values.len());
        reader.error("out_of_range", value.span(), message, "name an app, as \"shop\"");
        return (Vec::new(), 0);
    }
    let mut said = Vec::new();
    let mut unsaid = Vec::new();
    for value in values {
        match target(reader, value, manifest, places) {
            Some((backend, Some(percent))) => said.push((backend, percent * 100)),
            Some((backend, None)) => unsaid.push(backend),
            None => return (Vec::new(), 0),
        }
    }
    let sum: u32 = said.iter().map(|(_, share)| share).sum();
    if sum > WHOLE {
        let message = format!("the weights are {} % together; it must be at most 100", sum / 100);
        reader.error("weights", value.span(), message, "weights are percents of the path's requests");
        return (Vec::new(), 0);
    }
    let mut shares = Vec::new();
    for (backend, share) in said {
        add(&mut shares, &backend, share);
    }
    let mut left = WHOLE - sum;
    if !unsaid.is_empty() {
        let equal: Vec<Share> = unsaid.into_iter().map(|backend| Share { backend, share: 1 }).collect();
        add_rest(&mut shares, &equal, left);
        left = 0;
    }
    (shares, left)
}

/// A backend and its percents, if said.
fn target<'t>(
    reader: &mut Reader<'t>,
    value: &Value<'t>,
    manifest: &Manifest,
    places: &mut Places,
) -> Option<(String, Option<u32>)> {
    if let Some(name) = value.get_ref().as_str() {
        // An app is nearer to what is meant than the machines that it may share its name with.
        if !places.apps.contains_key(name) && places.machines.contains_key(name) {
            machines(reader, name, None, value.span(), manifest, places);
        } else if !places.apps.contains_key(name) {
            let known = places.apps.keys().chain(places.machines.keys()).map(String::as_str);
            let help = match closest(name, known) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("add a section [app.{name}]"),
            };
            let message = format!("there is neither an app nor a cluster {name:?}");
            reader.error("dangling_name", value.span(), message, help);
        }
        return Some((name.to_owned(), None));
    }
    let Some(table) = value.get_ref().as_table() else {
        reader.wrong_type(value, "a path", "a name, a table, or an array of them", "\"shop\"");
        return None;
    };
    reader.keys(table, "a target", &["app", "machines", "port", "weight"]);
    let weight = reader.integer(table, "weight", 0..=100).and_then(|n| u32::try_from(n).ok());
    if table.contains_key("weight") && weight.is_none() {
        return None;
    }
    let port = reader.integer(table, "port", 1..=65535).and_then(|n| u16::try_from(n).ok());
    let app = reader.string(table, "app", "\"shop\"");
    let cluster = reader.string(table, "machines", "\"legacy\"");
    match (app, cluster) {
        (Some((name, span)), None) => {
            if !places.apps.contains_key(name) {
                let help = match closest(name, places.apps.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("add a section [app.{name}]"),
                };
                reader.error("dangling_name", span, format!("there is no app {name:?}"), help);
            }
            if let Some(port) = table.get("port") {
                let help = "remove it; the app's own `port` counts";
                reader.error("unknown_key", port.span(), "an app has its port in its section", help);
            }
            Some((name.to_owned(), weight))
        }
        (None, Some((name, span))) => {
            if places.machines.contains_key(name) {
                machines(reader, name, port, span, manifest, places);
            } else {
                let help = match closest(name, places.machines.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("add a section [machine.{name}]"),
                };
                reader.error("dangling_name", span, format!("there is no cluster {name:?}"), help);
            }
            Some((name.to_owned(), weight))
        }
        (None, None) if table.contains_key("app") || table.contains_key("machines") => None,
        _ => {
            let help = "write { app = \"shop\" } or { machines = \"legacy\" }";
            reader.error("missing_key", value.span(), "a target is either an `app` or `machines`", help);
            None
        }
    }
}

/// Notes that a cluster is led to, at one port.
fn machines(
    reader: &mut Reader<'_>,
    name: &str,
    port: Option<u16>,
    span: Range<usize>,
    manifest: &Manifest,
    places: &mut Places,
) {
    if let Some(app) = places.apps.get(name) {
        let message =
            format!("an app and a cluster are both called {name:?}, and both are led to by that name");
        let there = (app.name.clone(), "the app");
        reader.clash("duplicate_name", span, message, "give one of them another name", there);
        return;
    }
    let section = manifest.machines.get(name);
    let usual = section
        .and_then(|machine| {
            let health = machine.health.as_ref().map(|health| health.port);
            machine.publish.first().map(|publish| publish.port).or(health)
        })
        .unwrap_or(80);
    let port = port.unwrap_or(usual);
    match places.clusters.get(name) {
        Some((other, there)) if *other != port => {
            let message = format!("the cluster {name:?} is led to at port {port}, and at {other} elsewhere");
            let there = (there.clone(), "the other port");
            reader.clash("two_ports", span, message, "a cluster is led to at one port", there);
        }
        Some(_) => {}
        None => {
            places.clusters.insert(name.to_owned(), (port, span));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_goes_up() {
        assert_eq!(above("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(above("/a").collect::<Vec<_>>(), ["/"]);
        assert_eq!(above("/").count(), 0);
        let share = |backend: &str, share| Share { backend: backend.into(), share };
        let mut shares = vec![share("a", 1000)];
        add_rest(&mut shares, &[share("b", 3333), share("a", 3333), share("c", 3334)], 9000);
        assert_eq!(shares.iter().map(|one| one.share).sum::<u32>(), WHOLE);
        assert_eq!(shares, [share("a", 3999), share("b", 2999), share("c", 3002)]);
        let targets = weighted(vec![share("a", 2000), share("b", 8000)]);
        assert_eq!(targets.iter().map(|one| one.weight).collect::<Vec<_>>(), [20, 80]);
    }

    #[test]
    fn hosts_and_paths() {
        for good in ["localhost", "shop.example.org", "*.example.org", "xn--grn-goa.example", "a-1.b"] {
            assert!(host(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "Shop.example.org",
            "a..b",
            "-a.b",
            "127.0.0.1",
            "a_b.c",
            "*",
            "a.*.b",
            "a/b",
            "größe.de",
            "a.b.",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
        for good in ["/", "/api", "/api/orders", "/~a/b;c=1"] {
            assert!(is_path(good), "{good}");
        }
        for bad in ["", "api", "/api/", "//", "/a//b", "/a/../b", "/.", "/a?b", "/a#b", "/%61", "/a b", "/ü"]
        {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
