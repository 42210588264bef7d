//! Pure: what follows from what is wanted of an app's processes and what was seen of them.
//! (wanted, seen, now) → actions.
//!
//! Processes come in *sets*: every deployment places a set of its own, and the set that shall serve is the wanted one. All
//! others serve on until the wanted one carries enough, and drain then. A rollback is nothing special: another set is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hafen_base::Timestamp;

/// What shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The set that shall serve.
    pub set: i64,
    pub release: i64,
    pub replicas: u32,
    pub blue_green: bool,
    /// Whether this set comes as fast as it can: back to a release that served before, as who asks for that is in a hurry.
    pub urgent: bool,
    /// Whether a deployment brings this set into service: only then can it fail, or succeed.
    pub deploying: bool,
    pub migration: Migration,
    pub first_port: u16,
    /// Good answers in a row until a process serves.
    pub healthy_after: u32,
    /// Between two probes.
    pub interval: Duration,
    /// For a process to become healthy.
    pub patience: Duration,
    /// For requests in flight to end.
    pub drain: Duration,
}

/// The migration of the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migration {
    /// There is none, or it is done.
    Done,
    /// To be begun, or looked after: traffic waits for it.
    Due,
    /// With what it said last.
    Failed(String),
}

/// A machine that can take processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    /// Of its present boot.
    pub boot: String,
    /// Ports that other apps have there.
    pub taken: BTreeSet<u16>,
    /// Whether it was looked through in this boot: what does not belong there was ended.
    pub tidy: bool,
    /// Whether it takes new processes.
    pub takes: bool,
}

/// Which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub set: i64,
    pub index: u32,
}

impl Key {
    /// As it is called on its machine.
    pub fn id(self) -> String {
        format!("d{}-{}", self.set, self.index)
    }
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// A place is chosen.
    Placed,
    /// It was started, and is not known to be healthy.
    Started,
    /// It gets requests.
    Serving,
    /// It gets no new requests.
    Draining,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Started => "started",
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Placed, Self::Started, Self::Serving, Self::Draining]
            .into_iter()
            .find(|one| one.as_str() == text)
    }
}

/// What is known of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub key: Key,
    pub machine: String,
    /// The boot in which it was started; empty before.
    pub boot: String,
    pub port: u16,
    pub phase: Phase,
    /// When it entered this phase.
    pub since: Timestamp,
    /// Good answers in a row.
    pub good: u32,
    /// How often it ended and was started again since it was started on purpose.
    pub restarts: u32,
    /// Requests in flight, where that is known.
    pub in_flight: Option<u64>,
    /// Whether the balancer sends it requests, as far as anybody can tell.
    pub accepted: bool,
    /// Whether the balancer has heard of its phase.
    pub announced: bool,
}

/// What is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub hosts: Vec<Host>,
    pub processes: Vec<Process>,
}

/// Why a deployment fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Migration(String),
    /// It did not become healthy in time.
    Unhealthy(Key),
    /// It ends again and again.
    Ends(Key),
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// End what does not belong on a machine.
    Tidy(String),
    /// Begin the migration, or look after it.
    Migrate,
    Place {
        key: Key,
        machine: String,
        port: u16,
    },
    Start(Key),
    Probe(Key),
    Serve(Key),
    Drain(Key),
    /// End it and forget it.
    Stop(Key),
    /// Its machine is gone: there is nothing to end.
    Forget(Key),
    Succeed,
    Fail(Failure),
    /// There is no machine for it.
    NoMachine,
    /// Its migration failed: it cannot run.
    OnOldSchema,
    /// Look again after this time.
    Wait(Duration),
}

/// Starts that failed until a deployment gives up.
const MOST_RESTARTS: u32 = 3;
/// How long a process drains at least: until every edge has heard of it.
const LEAST_DRAIN: Duration = Duration::from_secs(1);
/// How long a process drains when nobody knows what is in flight.
const BLIND_DRAIN: Duration = Duration::from_secs(2);
/// So many at a time when nothing serves that could be pressed hard by it.
const MOST_AT_ONCE: usize = 16;

/// Decides.
#[must_use]
pub fn plan(wanted: &Wanted, seen: &Seen, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    let hosts: BTreeMap<&str, &Host> = seen.hosts.iter().map(|host| (host.name.as_str(), host)).collect();
    let mut here: Vec<&Process> = Vec::new();
    for process in &seen.processes {
        match hosts.get(process.machine.as_str()) {
            // Lost with its machine.
            None => actions.push(Action::Forget(process.key)),
            Some(host) if process.phase != Phase::Placed && host.boot != process.boot => {
                // Its machine began anew, and it did, too, or not: it is started once more, without what only lives in memory.
                actions.push(if process.key.set == wanted.set && process.phase != Phase::Draining {
                    Action::Start(process.key)
                } else {
                    Action::Stop(process.key)
                });
            }
            Some(_) => here.push(process),
        }
    }
    let is_other = !actions.is_empty();
    for host in seen.hosts.iter().filter(|host| !host.tidy) {
        actions.push(Action::Tidy(host.name.clone()));
    }
    // Nothing may stand on what is not so any more.
    if is_other {
        return actions;
    }

    let (mine, others): (Vec<&Process>, Vec<&Process>) =
        here.iter().copied().partition(|process| process.key.set == wanted.set);
    for process in &others {
        if matches!(process.phase, Phase::Placed | Phase::Started) {
            actions.push(Action::Stop(process.key));
        }
    }
    for process in here.iter().filter(|process| process.phase == Phase::Draining) {
        // Requests go to it for as long as the balancer has not heard.
        if !process.announced {
            continue;
        }
        let patience = if process.in_flight.is_some() { wanted.drain } else { BLIND_DRAIN.min(wanted.drain) };
        let drained = now.since(process.since);
        if (process.in_flight == Some(0) && drained >= LEAST_DRAIN) || drained >= patience {
            actions.push(Action::Stop(process.key));
        }
    }
    // A set of which nothing serves yet waits for its migration, whether a deployment brings it or somebody asked for more.
    let first = wanted.replicas > 0 && !mine.iter().any(|process| process.phase == Phase::Serving);
    match &wanted.migration {
        Migration::Failed(why) if wanted.deploying => {
            actions.push(Action::Fail(Failure::Migration(why.clone())));
            return actions;
        }
        Migration::Failed(_) if first => {
            actions.push(Action::OnOldSchema);
            return actions;
        }
        Migration::Due if first || (wanted.deploying && wanted.replicas > 0) => {
            let somewhere = seen.hosts.iter().any(|host| host.takes && host.tidy);
            actions.push(if somewhere { Action::Migrate } else { Action::NoMachine });
            actions.push(Action::Wait(wanted.interval));
            return actions;
        }
        _ => {}
    }

    let serving_before: usize = others.iter().filter(|process| process.phase == Phase::Serving).count();
    actions.extend(places(wanted, seen, &mine, &here, serving_before, now));
    if let Some(failure) = wanted.deploying.then(|| failure(wanted, &mine, now)).flatten() {
        actions.push(Action::Fail(failure));
        return actions;
    }
    let serving = admissions(wanted, &mine, now, &mut actions);
    drains(wanted, &mine, &others, serving, &mut actions);

    let replicas = usize::try_from(wanted.replicas).unwrap_or(usize::MAX);
    let settled = serving == replicas
        && mine.iter().filter(|process| process.phase != Phase::Draining).count() == replicas
        && serving_before == 0;
    let draining = here.iter().any(|process| process.phase == Phase::Draining);
    if settled && wanted.deploying {
        actions.push(Action::Succeed);
    }
    if !settled || draining {
        actions.push(Action::Wait(wanted.interval.min(Duration::from_secs(1))));
    }
    actions
}

/// Places for those that are missing, starts for those that have one.
fn places(
    wanted: &Wanted,
    seen: &Seen,
    mine: &[&Process],
    here: &[&Process],
    serving_before: usize,
    now: Timestamp,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let coming = mine.iter().filter(|one| matches!(one.phase, Phase::Placed | Phase::Started)).count();
    let replicas = usize::try_from(wanted.replicas).unwrap_or(usize::MAX);
    let whole = serving_before == 0 || wanted.blue_green || wanted.urgent;
    let at_once = if whole { MOST_AT_ONCE } else { replicas.div_ceil(4).max(1) };
    let mut room = at_once.saturating_sub(coming);
    // How many of this set, and of all, each machine has; and its ports.
    let mut load: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut ports: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
    // One that is not tidy may hold a port that nobody knows of, or let nobody in.
    for host in seen.hosts.iter().filter(|host| host.takes && host.tidy) {
        load.insert(&host.name, (0, host.taken.len()));
        ports.insert(&host.name, host.taken.clone());
    }
    for process in here {
        if let Some((of_set, of_all)) = load.get_mut(process.machine.as_str()) {
            *of_set += usize::from(process.key.set == wanted.set);
            *of_all += 1;
        }
        if let Some(taken) = ports.get_mut(process.machine.as_str()) {
            taken.insert(process.port);
        }
    }
    // One that drains keeps its name until it is gone.
    let there: BTreeSet<u32> = mine.iter().map(|process| process.key.index).collect();
    let present = mine.iter().filter(|process| process.phase != Phase::Draining).count();
    let missing = replicas.saturating_sub(present);
    for index in (0..).filter(|index| !there.contains(index)).take(missing) {
        if room == 0 {
            break;
        }
        let least = load.iter().min_by_key(|(name, (of_set, of_all))| (*of_set, *of_all, **name));
        let Some(machine) = least.map(|(name, _)| *name) else {
            actions.push(Action::NoMachine);
            break;
        };
        let taken = ports.entry(machine).or_default();
        let Some(port) = (wanted.first_port..=u16::MAX).find(|port| !taken.contains(port)) else {
            actions.push(Action::NoMachine);
            break;
        };
        taken.insert(port);
        if let Some((of_set, of_all)) = load.get_mut(machine) {
            *of_set += 1;
            *of_all += 1;
        }
        let key = Key { set: wanted.set, index };
        actions.push(Action::Place { key, machine: machine.to_owned(), port });
        room -= 1;
    }
    for process in mine.iter().filter(|one| one.phase == Phase::Placed) {
        // A machine that lets nobody in: another may.
        let late = !wanted.deploying && now.since(process.since) >= wanted.patience;
        actions.push(if late { Action::Stop(process.key) } else { Action::Start(process.key) });
    }
    actions
}

fn failure(wanted: &Wanted, mine: &[&Process], now: Timestamp) -> Option<Failure> {
    mine.iter().find_map(|process| {
        let is_waited_for = match process.phase {
            Phase::Started if process.restarts >= MOST_RESTARTS => return Some(Failure::Ends(process.key)),
            Phase::Placed => true,
            Phase::Started => process.good < wanted.healthy_after,
            // The balancer does not find it well, whatever it answered here.
            Phase::Serving => !process.accepted,
            Phase::Draining => false,
        };
        let late = is_waited_for && now.since(process.since) >= wanted.patience;
        late.then_some(Failure::Unhealthy(process.key))
    })
}

/// Lets in who is healthy, asks who may be; gives how many of the wanted set get requests already.
fn admissions(wanted: &Wanted, mine: &[&Process], now: Timestamp, actions: &mut Vec<Action>) -> usize {
    let is_good = |process: &Process| process.good >= wanted.healthy_after;
    let replicas = usize::try_from(wanted.replicas).unwrap_or(usize::MAX);
    let good = mine
        .iter()
        .filter(|one| one.phase == Phase::Serving || (one.phase == Phase::Started && is_good(one)))
        .count();
    // Blue and green change places at once, and only whole.
    let held_back = wanted.blue_green && wanted.deploying && good < replicas;
    for process in mine.iter().filter(|process| process.phase == Phase::Started) {
        if is_good(process) && !held_back {
            actions.push(Action::Serve(process.key));
        } else {
            // A process that never gets well outside of a deployment is given another place in the end.
            let late = !wanted.deploying && !is_good(process) && now.since(process.since) >= wanted.patience;
            actions.push(if late { Action::Stop(process.key) } else { Action::Probe(process.key) });
        }
    }
    // Nobody drains for one that was let in only now: the balancer has to see for itself that it is well.
    mine.iter().filter(|process| process.phase == Phase::Serving && process.accepted).count()
}

/// Whoever serves beyond what is wanted drains: other sets first.
fn drains(
    wanted: &Wanted,
    mine: &[&Process],
    others: &[&Process],
    serving: usize,
    actions: &mut Vec<Action>,
) {
    let replicas = usize::try_from(wanted.replicas).unwrap_or(usize::MAX);
    let mut old: Vec<&&Process> = others.iter().filter(|one| one.phase == Phase::Serving).collect();
    old.sort_by_key(|process| process.key);
    let spare = (serving + old.len()).saturating_sub(replicas).min(old.len());
    let waits = wanted.blue_green && wanted.deploying && serving < replicas;
    if !waits {
        actions.extend(old.iter().rev().take(spare).map(|process| Action::Drain(process.key)));
    }
    let mut own: Vec<&&Process> = mine.iter().filter(|one| one.phase != Phase::Draining).collect();
    own.sort_by_key(|process| process.key);
    let over = own.len().saturating_sub(replicas);
    for process in own.iter().rev().take(over) {
        actions.retain(|action| !matches!(action, Action::Start(key) | Action::Probe(key) | Action::Serve(key) if *key == process.key));
        let serves = process.phase == Phase::Serving;
        actions.push(if serves { Action::Drain(process.key) } else { Action::Stop(process.key) });
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
