//! Pure rules: what a host, a path, a backend may be, and who issues a host's certificate.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use hafen_base::{Error, FieldProblem, Result, check_label};
use hafen_client::wire::{BackendHealth, BackendPut, EndpointPut, EndpointState, RoutePut};
use hafen_proxy::{EndpointPlan, HealthPlan, HostPlan, Place};

/// A host is nobody else's for so long after it was given back: its name leads here for a while yet, and whoever took it would get
/// what is meant for who had it.
pub const HELD: Duration = Duration::from_secs(30 * 24 * 3600);
pub const MAX_PATHS: usize = 100;
pub const MAX_TARGETS: usize = 16;
pub const MAX_ENDPOINTS: usize = 256;

/// Collects what is wrong, so that all of it is told at once.
#[derive(Default)]
struct Problems(Vec<FieldProblem>);

impl Problems {
    fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldProblem {
            pointer: pointer.into(),
            message: message.into(),
            ..FieldProblem::default()
        });
    }

    fn label(&mut self, pointer: String, what: &str, name: &str) {
        if let Err(message) = check_label(what, name) {
            self.add(pointer, message);
        }
    }

    fn within(&mut self, pointer: &str, value: i64, least: i64, most: i64) {
        if !(least..=most).contains(&value) {
            self.add(pointer, format!("it is between {least} and {most}"));
        }
    }

    fn finish(self) -> Result<()> {
        let Some(first) = self.0.first() else { return Ok(()) };
        let message = format!("{}: {}", first.pointer, first.message);
        Err(Error::invalid(message).with_fields(self.0))
    }
}

/// A host as routes are for: a name in lower case, or `*.` and a name for everything with one label more.
///
/// # Errors
/// Says what a host looks like.
pub fn check_host(host: &str) -> Result<()> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let labels = name.split('.').all(|label| check_label("host", label).is_ok());
    let number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if host.len() <= 253 && labels && !number && (host == name || name.contains('.')) {
        // Below it names are given out to all comers, as below co.uk or github.io: one who had the star had everybody's.
        if host != name && psl::suffix_str(name) == Some(name) {
            return Err(Error::invalid(format!(
                "anybody can have names below {name} (it is a public suffix), so that a star over it is nobody's: name hosts below \
                 a domain of your own"
            )));
        }
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{host:?} is no host: a name in lower case as shop.example.org, or *.example.org for all names below one"
    )))
}

/// # Errors
/// Says everything that is wrong with it.
pub fn check_route(body: &RoutePut) -> Result<()> {
    let mut problems = Problems::default();
    if !(1..=MAX_PATHS).contains(&body.paths.len()) {
        problems.add("/paths", format!("a host has 1 to {MAX_PATHS} paths"));
    }
    problems.within("/hsts", body.hsts.into(), 0, 63_072_000);
    problems.within("/rate", body.rate.into(), 0, 1_000_000);
    problems.within("/max_body", body.max_body, 0, 1 << 40);
    let mut meanings = BTreeSet::new();
    for (path, targets) in &body.paths {
        let at = format!("/paths/{}", path.replace('~', "~0").replace('/', "~1"));
        if !is_path(path) {
            problems.add(
                &at,
                "a path begins with '/', has at most 512 plain characters, no '%', '?' or '#', and no '..'",
            );
        }
        if !meanings.insert(path.trim_end_matches('/')) {
            problems.add(&at, "the same path stands here with and without '/' at its end");
        }
        if !(1..=MAX_TARGETS).contains(&targets.len()) {
            problems.add(&at, format!("a path leads to 1 to {MAX_TARGETS} backends"));
        }
        let mut names = BTreeSet::new();
        for (number, target) in targets.iter().enumerate() {
            problems.label(format!("{at}/{number}/backend"), "backend", &target.backend);
            problems.within(&format!("{at}/{number}/weight"), target.weight.into(), 0, 10_000);
            if !names.insert(&target.backend) {
                problems.add(format!("{at}/{number}/backend"), "this backend stands here twice");
            }
        }
        if !targets.is_empty() && targets.iter().all(|target| target.weight == 0) {
            problems.add(&at, "every weight is 0, so that nothing would take a request");
        }
    }
    problems.finish()
}

fn is_path(path: &str) -> bool {
    let plain =
        |byte: u8| (0x21..=0x7e).contains(&byte) && !matches!(byte, b'%' | b'?' | b'#' | b'\\' | b'"');
    path.starts_with('/')
        && path.len() <= 512
        && path.bytes().all(plain)
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
        && !path.contains("//")
}

/// # Errors
/// Says everything that is wrong with it. `addresses` tells whether places of this host may be named.
pub fn check_backend(name: &str, body: &BackendPut, addresses: bool) -> Result<()> {
    let mut problems = Problems::default();
    problems.label("/name".into(), "backend", name);
    if let Some(health) = &body.health {
        let good = health.path.starts_with('/')
            && health.path.len() <= 1024
            && health.path.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        if !good {
            problems.add("/health/path", "a path begins with '/' and has at most 1024 plain characters");
        }
        problems.within("/health/interval_ms", health.interval_ms.into(), 100, 3_600_000);
        problems.within("/health/healthy_after", health.healthy_after.into(), 1, 100);
        problems.within("/health/unhealthy_after", health.unhealthy_after.into(), 1, 100);
        problems.within("/health/timeout_ms", health.timeout_ms.into(), 10, 60_000);
    }
    if body.endpoints.len() > MAX_ENDPOINTS {
        problems.add("/endpoints", format!("a backend has at most {MAX_ENDPOINTS} endpoints"));
    }
    if body.generation.is_some_and(|generation| !(0..=9_007_199_254_740_991).contains(&generation)) {
        problems.add("/generation", "it is between 0 and 9007199254740991");
    }
    let mut ids = BTreeSet::new();
    let mut forbidden = false;
    for (number, endpoint) in body.endpoints.iter().enumerate() {
        let at = format!("/endpoints/{number}");
        if !is_id(&endpoint.id) {
            problems.add(format!("{at}/id"), "an id has 1 to 128 of a-z, A-Z, 0-9, '.', '_' and '-'");
        }
        if !ids.insert(&endpoint.id) {
            problems.add(format!("{at}/id"), "this id stands here twice");
        }
        match (&endpoint.machine, endpoint.port, &endpoint.address) {
            (Some(machine), Some(port), None) => {
                problems.label(format!("{at}/machine"), "machine", machine);
                if port == 0 {
                    problems.add(format!("{at}/port"), "a port is between 1 and 65535");
                }
            }
            (None, None, Some(address)) => {
                if address.parse::<SocketAddr>().is_err() {
                    problems.add(format!("{at}/address"), "an address is as 127.0.0.1:8080 or [::1]:8080");
                }
                forbidden |= !addresses;
            }
            _ => problems.add(&at, "an endpoint is either a `machine` with a `port`, or an `address`"),
        }
    }
    problems.finish()?;
    if forbidden {
        return Err(Error::new(
            hafen_base::ErrorKind::Forbidden,
            "an `address` leads to the platform's own host: only who answers for the platform may name one; name a `machine`",
        ));
    }
    Ok(())
}

fn is_id(id: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && ends(id.bytes().next())
        && ends(id.bytes().last())
}

/// Who issues the certificate of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issuer {
    /// The authority that was configured.
    Acme,
    /// The platform's own.
    Internal,
}

impl Issuer {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acme => "acme",
            Self::Internal => "internal",
        }
    }
}

/// Names that no public authority issues for are the platform's own to issue; all are where none is configured.
pub fn issuer(host: &str, acme: bool) -> Issuer {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or(name);
    let inside = !name.contains('.')
        || ["localhost", "internal", "hafen", "test", "local", "lan", "invalid"].contains(&last);
    if acme && !inside { Issuer::Acme } else { Issuer::Internal }
}

/// A route as the data plane takes it.
pub fn host_plan(project: &str, host: &str, body: &RoutePut) -> HostPlan {
    let targets = |targets: &[hafen_client::wire::RouteTarget]| {
        targets.iter().map(|target| (target.backend.clone(), target.weight)).collect()
    };
    HostPlan {
        host: host.to_owned(),
        project: project.to_owned(),
        paths: body.paths.iter().map(|(path, list)| (path.clone(), targets(list))).collect(),
        maintenance: body.maintenance,
        redirect_https: body.redirect_https,
        hsts: body.hsts,
        max_body: u64::try_from(body.max_body).unwrap_or(0),
        rate: body.rate,
    }
}

/// A backend as the data plane takes it.
pub fn backend_plan(project: &str, body: &BackendPut) -> (Vec<EndpointPlan>, Option<HealthPlan>) {
    let health = |health: &BackendHealth| HealthPlan {
        path: health.path.clone(),
        interval: Duration::from_millis(health.interval_ms.into()),
        healthy_after: health.healthy_after,
        unhealthy_after: health.unhealthy_after,
        timeout: Duration::from_millis(health.timeout_ms.into()),
    };
    let endpoints = body.endpoints.iter().filter_map(|endpoint| {
        Some(EndpointPlan {
            id: endpoint.id.clone(),
            place: place(project, endpoint)?,
            draining: endpoint.state == EndpointState::Draining,
        })
    });
    (endpoints.collect(), body.health.as_ref().map(health))
}

fn place(project: &str, endpoint: &EndpointPut) -> Option<Place> {
    match (&endpoint.machine, endpoint.port, &endpoint.address) {
        (Some(machine), Some(port), _) => {
            Some(Place::Machine { project: project.to_owned(), machine: machine.clone(), port })
        }
        (_, _, Some(address)) => address.parse().ok().map(Place::Address),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hosts() {
        for good in [
            "shop.example.org",
            "*.example.org",
            "*.shop.co.uk",
            "*.me.github.io",
            "*.web.internal",
            "localhost",
            "a.localhost",
            "xn--mnchen-3ya.de",
            "1.a",
        ] {
            assert!(check_host(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "Shop.example.org",
            "a..b",
            "*.co.uk",
            "*.github.io",
            "*.org",
            "*",
            "a.*.b",
            "127.0.0.1",
            "a.b.",
            "-a.b",
            "a_b.c",
            "ä.de",
            "a b",
            "a/b",
        ] {
            assert!(check_host(bad).is_err(), "{bad}");
        }
        assert!(check_host(&format!("{}.de", ["a"; 130].join("."))).is_err());
    }

    #[test]
    fn routes() {
        let check = |value| {
            let body: RoutePut = serde_json::from_value(value).unwrap();
            check_route(&body).map_err(|error| error.to_string())
        };
        assert_eq!(
            check(
                json!({ "paths": { "/": [{ "backend": "a", "weight": 80 }, { "backend": "b", "weight": 20 }] } })
            ),
            Ok(())
        );
        for (bad, why) in [
            (json!({ "paths": {} }), "1 to 100 paths"),
            (json!({ "paths": { "/": [] } }), "1 to 16 backends"),
            (json!({ "paths": { "a": [{ "backend": "a" }] } }), "begins with '/'"),
            (json!({ "paths": { "/a/../b": [{ "backend": "a" }] } }), "begins with '/'"),
            (json!({ "paths": { "/%61": [{ "backend": "a" }] } }), "begins with '/'"),
            (
                json!({ "paths": { "/a": [{ "backend": "a" }], "/a/": [{ "backend": "a" }] } }),
                "with and without",
            ),
            (json!({ "paths": { "/": [{ "backend": "A" }] } }), "backend name"),
            (json!({ "paths": { "/": [{ "backend": "a", "weight": 0 }] } }), "every weight is 0"),
            (json!({ "paths": { "/": [{ "backend": "a" }, { "backend": "a" }] } }), "twice"),
            (json!({ "paths": { "/": [{ "backend": "a", "weight": 10001 }] } }), "between"),
            (json!({ "paths": { "/": [{ "backend": "a" }] }, "hsts": 99_999_999 }), "between"),
        ] {
            let got = check(bad.clone());
            assert!(got.as_ref().is_err_and(|error| error.contains(why)), "{bad}: {got:?}");
        }
    }

    #[test]
    fn backends() {
        let check = |endpoints, addresses| {
            let body: BackendPut = serde_json::from_value(json!({ "endpoints": endpoints })).unwrap();
            check_backend("web", &body, addresses).map_err(|error| error.to_string())
        };
        assert_eq!(check(json!([{ "id": "a", "machine": "web-1", "port": 80 }]), false), Ok(()));
        assert_eq!(check(json!([{ "id": "a", "address": "127.0.0.1:80" }]), true), Ok(()));
        for (bad, why) in [
            (json!([{ "id": "a", "address": "127.0.0.1:80" }]), "answers for the platform"),
            (json!([{ "id": "a", "address": "localhost:80" }]), "127.0.0.1:8080"),
            (json!([{ "id": "a", "machine": "web-1" }]), "either"),
            (json!([{ "id": "a", "machine": "web-1", "port": 80, "address": "127.0.0.1:80" }]), "either"),
            (json!([{ "id": "a", "machine": "Web", "port": 80 }]), "machine name"),
            (json!([{ "id": "-", "machine": "web-1", "port": 80 }]), "an id has"),
            (
                json!([{ "id": "a", "machine": "web-1", "port": 80 }, { "id": "a", "machine": "web-2", "port": 80 }]),
                "twice",
            ),
        ] {
            let got = check(bad.clone(), false);
            assert!(got.as_ref().is_err_and(|error| error.contains(why)), "{bad}: {got:?}");
        }
    }

    #[test]
    fn issuers() {
        for (host, who) in [
            ("shop.example.org", Issuer::Acme),
            ("*.example.org", Issuer::Acme),
            ("shop.localhost", Issuer::Internal),
            ("localhost", Issuer::Internal),
            ("web.hello.internal", Issuer::Internal),
            ("intranet", Issuer::Internal),
        ] {
            assert_eq!(issuer(host, true), who, "{host}");
            assert_eq!(issuer(host, false), Issuer::Internal, "{host}");
        }
    }
}
