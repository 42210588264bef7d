//! One endpoint of a backend: what is known of it, and the connections to it that wait for their next request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::grpc::Line;
use crate::upstream::Upstream;

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Of this host.
    Address(SocketAddr),
    /// A port of a machine, reached through its network.
    Machine { project: String, machine: String, port: u16 },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Machine { machine, port, .. } => write!(f, "{machine}:{port}"),
        }
    }
}

/// An endpoint as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointPlan {
    pub id: String,
    pub place: Place,
    pub draining: bool,
}

/// How endpoints are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthPlan {
    pub path: String,
    pub interval: Duration,
    pub healthy_after: u32,
    pub unhealthy_after: u32,
    pub timeout: Duration,
}

/// Failures in a row after which an endpoint is left out for a while.
pub(crate) const FAILURES: u32 = 5;
/// For how long at first; the double each time, up to the last.
const EJECTED: Duration = Duration::from_secs(5);
const EJECTED_MOST: Duration = Duration::from_secs(60);
/// Connections that wait for their next request, of one endpoint and worker.
const IDLE_MOST: usize = 128;

const UNKNOWN: u8 = 0;
pub(crate) const HEALTHY: u8 = 1;
pub(crate) const UNHEALTHY: u8 = 2;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn moment() -> u64 {
    u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX)
}

pub struct Endpoint {
    pub id: String,
    pub place: Place,
    draining: AtomicBool,
    pub(crate) health: AtomicU8,
    /// Good (above 0) or bad (below) checks in a row.
    row: AtomicI64,
    failures: AtomicU32,
    ejections: AtomicU32,
    ejected_until: AtomicU64,
    pub(crate) in_flight: AtomicI64,
    pub(crate) requests: AtomicU64,
    pub(crate) reason: Mutex<String>,
    /// By worker: a connection is driven by the thread that opened it.
    idle: Box<[Mutex<Vec<Upstream>>]>,
    /// Connections that speak HTTP/2, for gRPC.
    pub h2: Box<[Mutex<Option<Line>>]>,
    /// Rings when it begins to drain.
    pub drains: Notify,
}

/// A request under way at an endpoint; over when dropped.
pub struct InFlight(pub Arc<Endpoint>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Endpoint {
    pub(crate) fn new(plan: &EndpointPlan, workers: usize) -> Self {
        Self {
            id: plan.id.clone(),
            place: plan.place.clone(),
            draining: AtomicBool::new(plan.draining),
            health: AtomicU8::new(UNKNOWN),
            row: AtomicI64::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            requests: AtomicU64::new(0),
            reason: Mutex::default(),
            idle: (0..workers).map(|_| Mutex::default()).collect(),
            h2: (0..workers).map(|_| Mutex::default()).collect(),
            drains: Notify::new(),
        }
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    pub(crate) fn set_draining(&self, draining: bool) {
        if self.draining.swap(draining, Ordering::SeqCst) != draining && draining {
            self.idle_close();
            self.drains.notify_waiters();
        }
    }

    pub(crate) fn is_ejected(&self) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && until > moment()
    }

    /// Begins a request, unless it drains by now: whoever waits for nothing to be under way must not overlook this one.
    pub fn begin(self: &Arc<Self>) -> Option<InFlight> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let begun = InFlight(Arc::clone(self));
        if self.is_draining() {
            return None;
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        Some(begun)
    }

    /// A request was answered.
    pub fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
        }
    }

    /// A request could not be answered.
    pub fn failed(&self, why: &str) {
        self.say(why);
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            self.failures.store(0, Ordering::Relaxed);
            let times = self.ejections.fetch_add(1, Ordering::Relaxed).min(8);
            let time = EJECTED.saturating_mul(1 << times).min(EJECTED_MOST);
            let until = moment() + u64::try_from(time.as_millis()).unwrap_or(0);
            self.ejected_until.store(until, Ordering::Relaxed);
            self.idle_close();
        }
    }

    /// What a check found.
    pub fn checked(&self, plan: &HealthPlan, outcome: Result<(), String>) {
        let before = self.row.load(Ordering::Relaxed);
        let row = match &outcome {
            Ok(()) => before.max(0) + 1,
            Err(_) => before.min(0) - 1,
        };
        self.row.store(row, Ordering::Relaxed);
        match outcome {
            Ok(()) if row >= i64::from(plan.healthy_after) => {
                self.say("");
                self.health.store(HEALTHY, Ordering::Relaxed);
            }
            Ok(()) => {}
            Err(why) => {
                self.say(&why);
                let unknown = self.health.load(Ordering::Relaxed) == UNKNOWN;
                if unknown || -row >= i64::from(plan.unhealthy_after) {
                    self.health.store(UNHEALTHY, Ordering::Relaxed);
                }
            }
        }
    }

    fn say(&self, why: &str) {
        let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        why.clone_into(&mut reason);
    }

    /// A connection that waits for a request, the one used last first.
    pub fn idle_take(&self, worker: usize, longest: Duration) -> Option<Upstream> {
        let pool = self.idle.get(worker)?;
        loop {
            let mut upstream = pool.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if upstream.since.elapsed() < longest && !upstream.is_stale() {
                return Some(upstream);
            }
        }
    }

    pub fn idle_put(&self, worker: usize, mut upstream: Upstream) {
        if self.is_draining() || self.is_ejected() {
            return;
        }
        if let Some(pool) = self.idle.get(worker) {
            upstream.since = Instant::now();
            let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
            if pool.len() < IDLE_MOST {
                pool.push(upstream);
            }
        }
        // It began to drain in between: nothing may be left.
        if self.is_draining() {
            self.idle_close();
        }
    }

    fn idle_close(&self) {
        for pool in &*self.idle {
            let gone = std::mem::take(&mut *pool.lock().unwrap_or_else(PoisonError::into_inner));
            drop(gone);
        }
        for slot in &*self.h2 {
            drop(slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }

    /// Closes connections that waited for longer.
    pub fn idle_sweep(&self, longest: Duration) {
        for pool in &*self.idle {
            let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
            pool.retain(|upstream| upstream.since.elapsed() < longest);
            if pool.is_empty() {
                pool.shrink_to_fit();
            }
        }
    }
}
