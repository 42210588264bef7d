//! Backends: which of their endpoints takes the next request, and what is known of each.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::chance;
pub use crate::endpoint::{Endpoint, EndpointPlan, HealthPlan, InFlight, Place};
use crate::endpoint::{HEALTHY, UNHEALTHY};

/// What is known of an endpoint, for who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSeen {
    pub id: String,
    pub healthy: bool,
    pub ejected: bool,
    pub in_flight: i64,
    pub requests: u64,
    pub reason: String,
}

/// What answers under a name.
pub struct Backend {
    pub project: String,
    pub name: String,
    workers: usize,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    health: ArcSwap<Option<HealthPlan>>,
    /// Removed while requests were under way.
    leaving: Mutex<Vec<Arc<Endpoint>>>,
}

impl Backend {
    pub fn new(project: &str, name: &str, workers: usize) -> Self {
        Self {
            project: project.into(),
            name: name.into(),
            workers,
            endpoints: ArcSwap::default(),
            health: ArcSwap::default(),
            leaving: Mutex::default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.endpoints.load().is_empty()
    }

    pub fn health(&self) -> Option<HealthPlan> {
        HealthPlan::clone_of(&self.health.load())
    }

    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.load().to_vec()
    }

    /// Sets what answers from now on. An endpoint of the same id at the same place goes on with what is known of it; one that is
    /// no longer named gets no new requests, and keeps those it has.
    pub fn set(&self, plans: &[EndpointPlan], health: Option<HealthPlan>) {
        let known = self.endpoints.load();
        let next: Vec<Arc<Endpoint>> = plans
            .iter()
            .map(|plan| {
                let same = known.iter().find(|old| old.id == plan.id && old.place == plan.place);
                match same {
                    Some(old) => Arc::clone(old),
                    None => Arc::new(Endpoint::new(plan, self.workers)),
                }
            })
            .collect();
        let gone: Vec<_> =
            known.iter().filter(|old| !next.iter().any(|new| Arc::ptr_eq(old, new))).cloned().collect();
        // Who answers from now on is there before anybody stops: in between there are too many, never none.
        let drain = |draining: bool| {
            for (endpoint, _) in next.iter().zip(plans).filter(|(_, plan)| plan.draining == draining) {
                endpoint.set_draining(draining);
            }
        };
        drain(false);
        self.health.store(Arc::new(health));
        self.endpoints.store(Arc::new(next.clone()));
        drain(true);
        for endpoint in &gone {
            endpoint.set_draining(true);
        }
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|endpoint| endpoint.in_flight.load(Ordering::SeqCst) > 0);
        leaving.extend(gone.into_iter().filter(|endpoint| endpoint.in_flight.load(Ordering::SeqCst) > 0));
    }

    /// What is known of each endpoint.
    pub fn seen(&self) -> Vec<EndpointSeen> {
        let checked = self.health.load().is_some();
        let see = |endpoint: &Arc<Endpoint>| EndpointSeen {
            id: endpoint.id.clone(),
            healthy: !checked || endpoint.health.load(Ordering::Relaxed) == HEALTHY,
            ejected: endpoint.is_ejected(),
            in_flight: endpoint.in_flight.load(Ordering::SeqCst),
            requests: endpoint.requests.load(Ordering::Relaxed),
            reason: endpoint.reason.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        self.endpoints.load().iter().map(see).collect()
    }

    /// The endpoint for the next request, begun there: the one with less to do of two by chance, among those that are best off. `not` were
    /// tried already.
    pub fn choose(&self, not: &[Arc<Endpoint>]) -> Option<InFlight> {
        loop {
            let endpoints = self.endpoints.load_full();
            let begun = self.choose_of(&endpoints, not);
            // A list that was replaced while it was looked through holds only those that drain by now: look at the new one.
            if begun.is_some() || Arc::ptr_eq(&endpoints, &self.endpoints.load_full()) {
                return begun;
            }
        }
    }

    fn choose_of(&self, endpoints: &[Arc<Endpoint>], not: &[Arc<Endpoint>]) -> Option<InFlight> {
        if let ([only], true) = (endpoints, not.is_empty()) {
            return if self.usable(only, WORST) { only.begin() } else { None };
        }
        // Those that are healthy; else those of which nothing is known yet; else those that were left out by mere experience; else any.
        for level in 0..=WORST {
            let fit: Vec<&Arc<Endpoint>> = endpoints
                .iter()
                .filter(|endpoint| {
                    self.usable(endpoint, level) && !not.iter().any(|other| Arc::ptr_eq(other, endpoint))
                })
                .collect();
            let count = u32::try_from(fit.len()).unwrap_or(0);
            let pick = |at: Option<u32>| at.and_then(|at| fit.get(at as usize)).copied();
            let (Some(one), Some(other)) = (pick(chance::below(count)), pick(chance::below(count))) else {
                continue;
            };
            let busy = |endpoint: &Arc<Endpoint>| endpoint.in_flight.load(Ordering::Relaxed);
            let better = if busy(other) < busy(one) { other } else { one };
            if let Some(begun) = better.begin() {
                return Some(begun);
            }
            // It began to drain just now.
            if let Some(begun) = fit.iter().find_map(|endpoint| endpoint.begin()) {
                return Some(begun);
            }
        }
        None
    }

    fn usable(&self, endpoint: &Endpoint, level: u8) -> bool {
        if endpoint.is_draining() {
            return false;
        }
        let health = match (self.health.load().is_some(), endpoint.health.load(Ordering::Relaxed)) {
            (false, _) => HEALTHY,
            (true, health) => health,
        };
        match level {
            0 => health == HEALTHY && !endpoint.is_ejected(),
            1 => health != UNHEALTHY && !endpoint.is_ejected(),
            2 => health != UNHEALTHY,
            // None is well, by its answers to checks: more often a host too busy to answer in time than all of them dead at
            // once. A request is better tried than refused.
            _ => true,
        }
    }
}

const WORST: u8 = 3;

impl HealthPlan {
    fn clone_of(plan: &Arc<Option<Self>>) -> Option<Self> {
        Option::clone(plan)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::endpoint::FAILURES;

    fn plan(id: &str, port: u16, draining: bool) -> EndpointPlan {
        EndpointPlan {
            id: id.into(),
            place: Place::Address(SocketAddr::from(([127, 0, 0, 1], port))),
            draining,
        }
    }

    fn health() -> HealthPlan {
        HealthPlan {
            path: "/".into(),
            interval: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 2,
            timeout: Duration::from_secs(1),
        }
    }

    fn chosen(backend: &Backend) -> Option<String> {
        backend.choose(&[]).map(|begun| begun.0.id.clone())
    }

    #[test]
    fn draining_takes_nothing_new_and_keeps_what_it_has() {
        let backend = Backend::new("p", "b", 1);
        assert!(chosen(&backend).is_none());
        backend.set(&[plan("a", 1, false)], None);
        let begun = backend.choose(&[]).unwrap();
        backend.set(&[plan("a", 1, true), plan("b", 2, false)], None);
        for _ in 0..20 {
            assert_eq!(chosen(&backend).as_deref(), Some("b"));
        }
        assert_eq!(backend.seen()[0].in_flight, 1);
        drop(begun);
        assert_eq!(backend.seen()[0].in_flight, 0);
        // The same id elsewhere is another endpoint.
        backend.set(&[plan("b", 3, false)], None);
        assert_eq!(backend.seen()[0].requests, 0);
    }

    #[test]
    fn there_is_always_one_while_all_are_replaced() {
        let backend = Arc::new(Backend::new("p", "b", 1));
        let plans = |turn: bool| [plan("a", 1, turn), plan("b", 2, !turn)];
        backend.set(&plans(false), None);
        let stop = Arc::new(AtomicBool::new(false));
        let asking = std::thread::spawn({
            let (backend, stop) = (Arc::clone(&backend), Arc::clone(&stop));
            move || {
                let mut without = 0;
                while !stop.load(Ordering::Relaxed) {
                    without += u32::from(backend.choose(&[]).is_none());
                }
                without
            }
        });
        for turn in 0..100_000 {
            backend.set(&plans(turn % 2 == 0), None);
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(asking.join().unwrap(), 0);
    }

    #[test]
    fn the_checked_and_healthy_come_first() {
        let backend = Backend::new("p", "b", 1);
        backend.set(&[plan("a", 1, false), plan("b", 2, false)], Some(health()));
        assert!(chosen(&backend).is_some(), "nothing is known yet");
        let [a, b] = backend.endpoints().try_into().ok().unwrap();
        a.checked(&health(), Ok(()));
        assert!(!backend.seen()[0].healthy, "twice in a row");
        a.checked(&health(), Ok(()));
        b.checked(&health(), Err("refused".into()));
        for _ in 0..20 {
            assert_eq!(chosen(&backend).as_deref(), Some("a"));
        }
        assert_eq!(backend.seen()[1].reason, "refused");
        a.checked(&health(), Err("x".into()));
        assert_eq!(chosen(&backend).as_deref(), Some("a"), "once is not enough");
        a.checked(&health(), Err("x".into()));
        assert!(backend.seen().iter().all(|one| !one.healthy));
        assert!(chosen(&backend).is_some(), "none is well: any is better than none");
    }

    #[test]
    fn who_fails_in_a_row_is_left_out_while_there_are_others() {
        let backend = Backend::new("p", "b", 1);
        backend.set(&[plan("a", 1, false), plan("b", 2, false)], None);
        let [a, b] = backend.endpoints().try_into().ok().unwrap();
        for _ in 0..FAILURES {
            a.failed("refused");
        }
        for _ in 0..20 {
            assert_eq!(chosen(&backend).as_deref(), Some("b"));
        }
        assert!(backend.seen()[0].ejected);
        for _ in 0..FAILURES {
            b.failed("refused");
        }
        assert!(chosen(&backend).is_some(), "all of them: better to try than to refuse");
    }

    #[test]
    fn who_has_less_to_do_gets_more() {
        let backend = Backend::new("p", "b", 1);
        backend.set(&[plan("a", 1, false), plan("b", 2, false)], None);
        let [a, _] = backend.endpoints().try_into().ok().unwrap();
        let _busy: Vec<InFlight> = (0..50).map(|_| a.begin().unwrap()).collect();
        let to_b = (0..200).filter(|_| chosen(&backend).as_deref() == Some("b")).count();
        assert!(to_b > 120, "{to_b}");
        let not = [a];
        assert_eq!(backend.choose(&not).unwrap().0.id, "b");
    }
}
