//! What leads where: hosts, their paths, and the backends behind them. Swapped whole, so that a request sees one state of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::backend::Backend;
use crate::chance;
use crate::target;

/// A host as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPlan {
    /// In lower case; `*.example.org` for every name with one label more.
    pub host: String,
    pub project: String,
    /// Path, and backends with their weights.
    pub paths: Vec<(String, Vec<(String, u32)>)>,
    pub maintenance: bool,
    pub redirect_https: bool,
    pub hsts: u32,
    /// Largest body; 0 for no limit of the route's.
    pub max_body: u64,
    /// Requests a second from one address; 0 for no limit.
    pub rate: u32,
}

/// A host.
pub struct Host {
    pub plan: HostPlan,
    /// The longest first.
    paths: Vec<(String, Choice)>,
}

/// Backends that share a path.
struct Choice {
    targets: Vec<(u32, Arc<Backend>)>,
    total: u32,
}

impl Host {
    /// Largest body of a request, where the edge takes so much.
    pub fn body_most(&self, edge: u64) -> u64 {
        match self.plan.max_body {
            0 => edge,
            most => most.min(edge),
        }
    }

    /// The backend for a request: of the longest prefix that ends at the border of a segment, by weight.
    pub fn backend(&self, path: &str) -> Option<&Arc<Backend>> {
        let path = target::meaning(path);
        let choice = self.paths.iter().find(|(prefix, _)| covers(prefix, &path)).map(|(_, choice)| choice)?;
        if choice.targets.len() == 1 {
            return choice.targets.first().filter(|(weight, _)| *weight > 0).map(|(_, backend)| backend);
        }
        let mut at = chance::below(choice.total)?;
        choice.targets.iter().find_map(|(weight, backend)| {
            if at < *weight {
                Some(backend)
            } else {
                at -= weight;
                None
            }
        })
    }
}

/// Whether a prefix covers a path, at the borders of segments.
pub fn covers(prefix: &str, path: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// All hosts at one moment.
type Hosts = HashMap<Box<str>, Arc<Host>>;

/// The table: hosts that are swapped, and backends that live on while hosts change.
#[derive(Default)]
pub struct Table {
    hosts: ArcSwap<Hosts>,
    backends: Mutex<HashMap<(String, String), Arc<Backend>>>,
    workers: usize,
}

impl Table {
    pub fn new(workers: usize) -> Self {
        Self { workers: workers.max(1), ..Self::default() }
    }

    /// The host of this name, or the one with a star that covers it.
    pub fn host(&self, name: &str) -> Option<Arc<Host>> {
        let hosts = self.hosts.load();
        if let Some(host) = hosts.get(name) {
            return Some(Arc::clone(host));
        }
        let (_, rest) = name.split_once('.')?;
        hosts.get(format!("*.{rest}").as_str()).cloned()
    }

    /// Sets all hosts.
    pub fn hosts_set(&self, plans: Vec<HostPlan>) {
        let hosts = plans.into_iter().map(|plan| (plan.host.clone().into(), self.build(plan))).collect();
        self.hosts.store(Arc::new(hosts));
    }

    /// Sets some hosts, and removes some; the others stay.
    pub fn hosts_change(&self, set: Vec<HostPlan>, removed: &[String]) {
        let set: Vec<(Box<str>, Arc<Host>)> =
            set.into_iter().map(|plan| (plan.host.clone().into(), self.build(plan))).collect();
        self.hosts.rcu(|hosts| {
            let mut hosts = Hosts::clone(hosts);
            for name in removed {
                hosts.remove(name.as_str());
            }
            hosts.extend(set.iter().cloned());
            hosts
        });
    }

    fn build(&self, plan: HostPlan) -> Arc<Host> {
        let mut paths: Vec<(String, Choice)> = plan
            .paths
            .iter()
            .map(|(path, targets)| {
                let targets: Vec<(u32, Arc<Backend>)> = targets
                    .iter()
                    .map(|(name, weight)| (*weight, self.backend(&plan.project, name)))
                    .collect();
                let total = targets.iter().fold(0, |sum: u32, (weight, _)| sum.saturating_add(*weight));
                (path.clone(), Choice { targets, total })
            })
            .collect();
        paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.trim_end_matches('/').len()));
        Arc::new(Host { plan, paths })
    }

    /// The backend of this name; without endpoints while nobody said any.
    pub fn backend(&self, project: &str, name: &str) -> Arc<Backend> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (project.to_owned(), name.to_owned());
        Arc::clone(backends.entry(key).or_insert_with(|| Arc::new(Backend::new(project, name, self.workers))))
    }

    /// The backend of this name, if there is one.
    pub fn backend_known(&self, project: &str, name: &str) -> Option<Arc<Backend>> {
        let backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.get(&(project.to_owned(), name.to_owned())).cloned()
    }

    /// Every backend.
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Forgets backends that nothing leads to and that have no endpoints.
    pub fn backends_tidy(&self) {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.retain(|_, backend| Arc::strong_count(backend) > 1 || !backend.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(host: &str, paths: &[(&str, &[(&str, u32)])]) -> HostPlan {
        let targets = |targets: &[(&str, u32)]| {
            targets.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
        };
        HostPlan {
            host: host.into(),
            project: "p".into(),
            paths: paths.iter().map(|(path, list)| ((*path).to_owned(), targets(list))).collect(),
            maintenance: false,
            redirect_https: false,
            hsts: 0,
            max_body: 0,
            rate: 0,
        }
    }

    #[test]
    fn the_longest_prefix_wins_at_the_border_of_a_segment() {
        let table = Table::new(1);
        table.hosts_set(vec![plan(
            "a.example",
            &[
                ("/", &[("root", 1)]),
                ("/api", &[("api", 1)]),
                ("/api/orders/", &[("orders", 1)]),
                ("/off", &[("x", 0)]),
            ],
        )]);
        let host = table.host("a.example").unwrap();
        for (path, backend) in [
            ("/", "root"),
            ("/apix", "root"),
            ("/api", "api"),
            ("/api/", "api"),
            ("/api/x", "api"),
            ("/api/orders", "orders"),
            ("/api/orders/7", "orders"),
            ("/api/ordersx", "api"),
            ("/%61pi/x", "api"),
        ] {
            assert_eq!(host.backend(path).unwrap().name, backend, "{path}");
        }
        assert!(host.backend("/off").is_none());
        table.hosts_set(vec![plan("b.example", &[("/only", &[("x", 1)])])]);
        assert!(table.host("a.example").is_none());
        assert!(table.host("b.example").unwrap().backend("/other").is_none());
    }

    #[test]
    fn a_star_covers_one_label() {
        let table = Table::new(1);
        table.hosts_set(vec![
            plan("*.a.example", &[("/", &[("star", 1)])]),
            plan("b.a.example", &[("/", &[("b", 1)])]),
        ]);
        let backend =
            |name: &str| table.host(name).and_then(|host| host.backend("/").map(|b| b.name.clone()));
        assert_eq!(backend("x.a.example").as_deref(), Some("star"));
        assert_eq!(backend("b.a.example").as_deref(), Some("b"));
        assert_eq!((backend("a.example"), backend("x.y.a.example")), (None, None));
    }

    #[test]
    fn weights_are_kept() {
        let table = Table::new(1);
        table.hosts_set(vec![plan("a.example", &[("/", &[("old", 80), ("new", 20), ("off", 0)])])]);
        let host = table.host("a.example").unwrap();
        let mut seen: HashMap<String, u32> = HashMap::new();
        for _ in 0..10_000 {
            *seen.entry(host.backend("/").unwrap().name.clone()).or_default() += 1;
        }
        assert!((1800..2200).contains(&seen["new"]) && !seen.contains_key("off"), "{seen:?}");
    }

    #[test]
    fn a_backend_outlives_a_change_of_hosts() {
        let table = Table::new(1);
        table.hosts_set(vec![plan("a.example", &[("/", &[("x", 1)])])]);
        let before = table.backend("p", "x");
        table.hosts_change(vec![plan("b.example", &[("/", &[("x", 1)])])], &["a.example".into()]);
        assert!(table.host("a.example").is_none());
        assert!(Arc::ptr_eq(&before, table.host("b.example").unwrap().backend("/").unwrap()));
    }
}
