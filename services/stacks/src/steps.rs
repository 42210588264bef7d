//! A diff as steps with an order: what may run at once, what must wait for what. Pure.
//!
//! ```text
//! project → networks, images → machines (group after group, as `depends_on` says) → publications → what goes
//!                                                                                 → apps, backends → routes
//! ```
//! Nothing goes before what takes its place stands: machines leave only after the publications that led to them, networks and
//! images only after their machines.
//!
//! A cluster whose configuration changes is *rolled*: one machine more is made with the new configuration (the surge) and
//! must be healthy before the first old one is touched; then one after the other is replaced, each healthy before the
//! next; then the surge goes. At no time are there fewer healthy machines than before, and a configuration that does not
//! work costs nothing but the surge. Where another spare is at hand (a member is added, or one is down anyway) no surge is
//! made.

mod delivery;
mod work;

use std::collections::{BTreeSet, HashMap};

use hafen_client::wire::Machine;

use crate::diff::{Diff, Input, Item, Verb};
use crate::model::{Group, address, is_going, is_well};

pub use work::Work;

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    pub work: Work,
    pub name: String,
    /// `create`, `update`, `replace`, `delete`, `surge`, `wait`
    pub action: &'static str,
    /// Index of its group in `Wanted::groups`.
    pub group: Option<usize>,
    /// Steps that must be done before it begins.
    pub after: Vec<usize>,
}

impl Step {
    pub fn address(&self) -> String {
        address(self.work.kind(), &self.name)
    }

    /// Whether a reader of the apply sees it.
    pub const fn is_shown(&self) -> bool {
        !matches!(self.work, Work::Gate)
    }
}

struct Builder<'a> {
    input: Input<'a>,
    diff: &'a Diff<'a>,
    /// Addresses that an interrupted apply had begun: they are waited for, even if nothing is left to be changed.
    begun: &'a BTreeSet<String>,
    steps: Vec<Step>,
    networks: HashMap<&'a str, usize>,
    images: HashMap<&'a str, usize>,
    /// Gate of each wanted group, by its index.
    gates: Vec<usize>,
    project: Option<usize>,
}

/// Orders a diff. `begun` holds the addresses of unfinished steps of the same apply before a restart.
pub fn build<'a>(input: Input<'a>, diff: &'a Diff<'a>, begun: &'a BTreeSet<String>) -> Vec<Step> {
    let mut builder = Builder {
        input,
        diff,
        begun,
        steps: Vec::with_capacity(diff.machines.len() + 16),
        networks: HashMap::new(),
        images: HashMap::new(),
        gates: Vec::new(),
        project: None,
    };
    builder.foundations();
    builder.gates();
    let touching = builder.groups();
    let mut led_to = builder.publications();
    let builders = builder.delivery(&mut led_to);
    let gone = builder.machine_deletes(&touching, &led_to);
    builder.foundation_deletes(&touching, &gone, &builders);
    if diff.project == Some(Verb::Delete) {
        let all = (0..builder.steps.len()).collect();
        builder.push(Work::ProjectDelete, &input.wanted.project, "delete", None, all);
    }
    builder.steps
}

/// Steps that touch machines of the wanted groups.
#[derive(Default)]
struct Touching<'a> {
    /// What must stand before any machine of a group goes, by the group's index: what is added, replaced or waited for. Not
    /// what is only updated: a machine that does not start must not keep a cluster from shrinking.
    before_going: HashMap<usize, Vec<usize>>,
    /// Replacements that leave a network or an image behind.
    leaving: Vec<(usize, &'a Machine)>,
}

impl<'a> Builder<'a> {
    fn push(
        &mut self,
        work: Work,
        name: &str,
        action: &'static str,
        group: Option<usize>,
        after: Vec<usize>,
    ) -> usize {
        self.steps.push(Step { work, name: name.to_owned(), action, group, after });
        self.steps.len() - 1
    }

    fn begun(&self, kind: &str, name: &str) -> bool {
        !self.begun.is_empty() && self.begun.contains(&address(kind, name))
    }

    fn foundations(&mut self) {
        if matches!(self.diff.project, Some(Verb::Create | Verb::Update)) {
            let action = if self.diff.project == Some(Verb::Create) { "create" } else { "update" };
            self.project =
                Some(self.push(Work::ProjectPut, &self.input.wanted.project, action, None, vec![]));
        }
        let first: Vec<usize> = self.project.into_iter().collect();
        for wanted in &self.input.wanted.networks {
            let name = wanted.name.as_str();
            let verb = self.diff.networks.iter().find(|item| item.name == name).map(|item| item.verb);
            let state = self.input.reality.network(name).map_or("", |network| network.state.as_str());
            let (work, action) = match verb {
                Some(Verb::Create) => (Work::NetworkCreate, "create"),
                Some(_) => (Work::NetworkUpdate, "update"),
                None if state != "ready" || self.begun("network", name) => (Work::NetworkWait, "wait"),
                None => continue,
            };
            let step = self.push(work, name, action, None, first.clone());
            self.networks.insert(name, step);
        }
        for wanted in &self.input.wanted.images {
            let name = wanted.name.as_str();
            let verb = self.diff.images.iter().find(|item| item.name == name).map(|item| item.verb);
            let ready =
                self.input.reality.image(name).is_some_and(|image| {
                    image.state == "ready" && image.observed_generation >= image.generation
                });
            let (work, action) = match verb {
                Some(Verb::Create) => (Work::ImageMake, "create"),
                Some(_) => (Work::ImageMake, "update"),
                None if !ready => (Work::ImageWait, "wait"),
                None => continue,
            };
            let step = self.push(work, name, action, None, first.clone());
            self.images.insert(name, step);
        }
    }

    fn gates(&mut self) {
        for group in &self.input.wanted.groups {
            let gate = self.push(Work::Gate, &group.name, "wait", None, vec![]);
            self.gates.push(gate);
        }
    }

    fn gate_of(&self, group: &str) -> Option<usize> {
        let index = self.input.wanted.groups.iter().position(|other| other.name == group)?;
        self.gates.get(index).copied()
    }

    /// What every machine of the group waits for.
    fn base(&self, group: &Group) -> Vec<usize> {
        self.project
            .into_iter()
            .chain(self.networks.get(group.spec.network.as_str()).copied())
            .chain(self.images.get(group.spec.image.as_str()).copied())
            .chain(group.depends_on.iter().filter_map(|name| self.gate_of(name)))
            .collect()
    }

    fn groups(&mut self) -> Touching<'a> {
        let mut touching = Touching::default();
        let mut by_group: HashMap<&str, Vec<&'a Item<'a, Group, Machine>>> = HashMap::new();
        let mut going: HashMap<&str, Vec<&'a Machine>> = HashMap::new();
        for item in &self.diff.machines {
            match (item.wanted, item.actual) {
                (Some(group), _) => by_group.entry(group.name.as_str()).or_default().push(item),
                (None, Some(found)) => {
                    if let Some(group) = &found.group {
                        going.entry(group.as_str()).or_default().push(found);
                    }
                }
                (None, None) => {}
            }
        }
        let actual = self.input.reality.machines();
        for (index, group) in self.input.wanted.groups.iter().enumerate() {
            let items = by_group.remove(group.name.as_str()).unwrap_or_default();
            let spare = going.remove(group.name.as_str()).unwrap_or_default();
            self.group(index, group, &items, &spare, &actual, &mut touching);
        }
        touching
    }

    fn group(
        &mut self,
        index: usize,
        group: &'a Group,
        items: &[&'a Item<'a, Group, Machine>],
        going: &[&'a Machine],
        actual: &HashMap<&'a str, &'a Machine>,
        touching: &mut Touching<'a>,
    ) {
        let base = self.base(group);
        let mut joined = base.clone();
        let mut spares = Vec::new();
        let mut before_going = Vec::new();
        let mut replace: Vec<&Item<'_, Group, Machine>> = Vec::new();
        for item in items {
            let (work, action) = match item.verb {
                Verb::Create => (Work::MachineCreate, "create"),
                Verb::Replace => {
                    replace.push(item);
                    continue;
                }
                Verb::Update | Verb::Delete => (Work::MachineUpdate, "update"),
            };
            let step = self.push(work, item.name, action, Some(index), base.clone());
            if item.verb == Verb::Create {
                before_going.push(step);
            }
            spares.push(step);
        }
        let additions = items.iter().any(|item| item.verb == Verb::Create);
        let waits = self.waits(index, group, items, actual, !replace.is_empty());
        let waited = !waits.is_empty();
        before_going.extend(&waits);
        spares.extend(waits);
        if !replace.is_empty() {
            // What is down anyway goes first: it costs nothing, and shows whether the new configuration works.
            replace.sort_by_key(|item| item.actual.is_some_and(is_well));
            let all_well = replace.first().and_then(|item| item.actual).is_some_and(is_well);
            let mut surge = None;
            if let Some(spare) = going.iter().find(|machine| is_spare(group, machine, self)) {
                // Left over from a roll that was interrupted.
                spares.push(self.push(Work::MachineWait, &spare.name, "wait", Some(index), base.clone()));
            } else if all_well && !additions && !waited {
                let name = surge_name(group, actual.keys().copied());
                let step = self.push(Work::Surge, &name, "surge", Some(index), base.clone());
                spares.push(step);
                surge = Some((name, step));
            }
            let mut before = base;
            before.extend(&spares);
            let mut replaced = Vec::new();
            for item in replace {
                let step = self.push(Work::MachineReplace, item.name, "replace", Some(index), before.clone());
                before = vec![step];
                replaced.push(step);
                if let Some(found) = item.actual {
                    touching.leaving.push((step, found));
                }
            }
            if let Some((name, step)) = surge {
                let mut after = replaced.clone();
                after.push(step);
                self.push(Work::SurgeEnd, &name, "delete", Some(index), after);
            }
            joined.extend(&replaced);
            before_going.extend(replaced);
        }
        touching.before_going.insert(index, before_going);
        joined.extend(&spares);
        if let Some(gate) = self.gates.get(index).copied().and_then(|gate| self.steps.get_mut(gate)) {
            gate.after = joined;
        }
    }

    /// Members that need no change but do not stand yet: those an apply had begun before a restart, and, before a roll,
    /// those that are down.
    fn waits(
        &mut self,
        index: usize,
        group: &'a Group,
        items: &[&'a Item<'a, Group, Machine>],
        actual: &HashMap<&'a str, &'a Machine>,
        rolls: bool,
    ) -> Vec<usize> {
        let changed: std::collections::HashSet<&str> = items.iter().map(|item| item.name).collect();
        let base = self.base(group);
        let mut waits = Vec::new();
        for name in &group.members {
            if changed.contains(name.as_str()) {
                continue;
            }
            let Some(found) = actual.get(name.as_str()) else { continue };
            let moving = !found.state.is_settled() || found.observed_generation < found.generation;
            if moving || ((rolls || self.begun("machine", name)) && !is_well(found)) {
                waits.push(self.push(Work::MachineWait, name, "wait", Some(index), base.clone()));
            }
        }
        waits
    }

    /// Gives, for each group, the steps that lead traffic away from it.
    fn publications(&mut self) -> HashMap<&'a str, Vec<usize>> {
        let mut led_to: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut deletes = Vec::new();
        for item in self.diff.publications.iter().filter(|item| item.verb == Verb::Delete) {
            let Some(found) = item.actual else { continue };
            // An address that moves to another publication is given up only once that one's machines stand.
            let heir = self
                .input
                .wanted
                .publications
                .iter()
                .find(|(name, wanted)| wanted.host == found.host && name.as_str() != item.name);
            let after = heir.and_then(|(_, wanted)| self.gate_of(&wanted.group)).into_iter().collect();
            let step = self.push(Work::PublicationDelete, item.name, "delete", None, after);
            deletes.push(step);
            led_to.entry(found.group.as_str()).or_default().push(step);
        }
        let changed: HashMap<&str, &Item<'_, _, _>> =
            self.diff.publications.iter().map(|item| (item.name, item)).collect();
        for (name, wanted) in &self.input.wanted.publications {
            let item = changed.get(name.as_str());
            let found = self.input.reality.publication(name);
            let (work, action) = match item.map(|item| item.verb) {
                Some(Verb::Create) => (Work::PublicationPut, "create"),
                Some(Verb::Replace) => (Work::PublicationReplace, "replace"),
                Some(_) => (Work::PublicationPut, "update"),
                None if found.is_some_and(|found| found.state != "ready") => (Work::PublicationWait, "wait"),
                None => continue,
            };
            let mut after: Vec<usize> = self.project.into_iter().chain(self.gate_of(&wanted.group)).collect();
            after.extend(&deletes);
            let step = self.push(work, name, action, None, after);
            if let Some(found) = item.and_then(|item| item.actual) {
                led_to.entry(found.group.as_str()).or_default().push(step);
            }
        }
        led_to
    }

    fn machine_deletes(
        &mut self,
        touching: &Touching<'a>,
        led_to: &HashMap<&'a str, Vec<usize>>,
    ) -> Vec<(usize, &'a Machine)> {
        let index_of: HashMap<&str, usize> =
            self.input.wanted.groups.iter().enumerate().map(|(i, group)| (group.name.as_str(), i)).collect();
        let mut gone: Vec<(usize, &Machine)> = Vec::new();
        let mut by_group: HashMap<&str, Vec<usize>> = HashMap::new();
        for item in self.diff.machines.iter().filter(|item| item.verb == Verb::Delete) {
            let Some(found) = item.actual else { continue };
            let group = found.group.as_deref().unwrap_or("");
            let mut after: Vec<usize> = led_to.get(group).cloned().unwrap_or_default();
            if let Some(held) = index_of.get(group).and_then(|index| touching.before_going.get(index)) {
                after.extend(held);
            }
            let step = self.push(Work::MachineDelete, item.name, "delete", None, after);
            by_group.entry(group).or_default().push(step);
            gone.push((step, found));
        }
        self.reversed_dependencies(&by_group);
        gone
    }

    /// Groups go in the reverse of the order they came in: first what depends, then what it depends on.
    fn reversed_dependencies(&mut self, by_group: &HashMap<&'a str, Vec<usize>>) {
        let Some(before) = self.input.before else { return };
        for group in &before.groups {
            let Some(dependents) = by_group.get(group.name.as_str()) else { continue };
            let targets: Vec<usize> = group
                .depends_on
                .iter()
                .filter_map(|name| by_group.get(name.as_str()))
                .flatten()
                .copied()
                .collect();
            if targets.is_empty() {
                continue;
            }
            let gate = self.push(Work::Gate, &group.name, "wait", None, dependents.clone());
            for target in targets {
                if let Some(step) = self.steps.get_mut(target) {
                    step.after.push(gate);
                }
            }
        }
    }

    fn foundation_deletes(
        &mut self,
        touching: &Touching<'a>,
        gone: &[(usize, &'a Machine)],
        builders: &[(&'a str, usize)],
    ) {
        let users = |uses: &dyn Fn(&Machine) -> bool| -> Vec<usize> {
            gone.iter()
                .chain(&touching.leaving)
                .filter(|(_, found)| uses(found))
                .map(|(step, _)| *step)
                .collect()
        };
        for item in self.diff.networks.iter().filter(|item| item.verb == Verb::Delete) {
            let after = users(&|found| found.spec.network == item.name);
            self.push(Work::NetworkDelete, item.name, "delete", None, after);
        }
        for item in self.diff.images.iter().filter(|item| item.verb == Verb::Delete) {
            let mut after = users(&|found| found.spec.image == item.name);
            after.extend(builders.iter().filter(|(image, _)| *image == item.name).map(|(_, step)| *step));
            self.push(Work::ImageDelete, item.name, "delete", None, after);
        }
    }
}

/// A machine on its way out that runs the new configuration already.
fn is_spare(group: &Group, machine: &Machine, builder: &Builder<'_>) -> bool {
    let spec = hafen_client::wire::MachineSpec { address: None, ..group.spec.clone() };
    let image_moves = builder.images.contains_key(group.spec.image.as_str());
    let digest = builder.input.reality.image(&group.spec.image).map(|image| image.digest.as_str());
    let current = machine.image_digest.is_none() || machine.image_digest.as_deref() == digest;
    machine.spec == spec && current && !image_moves && !is_going(machine) && !crate::diff::must_start(machine)
}

/// The next free number of a cluster, `NAME-surge` for a machine without count.
pub fn surge_name<'n>(group: &'n Group, taken: impl Iterator<Item = &'n str>) -> String {
    if group.members.iter().all(|name| *name == group.name) {
        let stem: String = group.name.chars().take(57).collect();
        return format!("{}-surge", stem.trim_end_matches('-'));
    }
    let number = |name: &str| -> Option<u64> {
        name.strip_prefix(group.name.as_str())?.strip_prefix('-')?.parse().ok()
    };
    let highest = taken.chain(group.members.iter().map(String::as_str)).filter_map(number).max().unwrap_or(0);
    format!("{}-{}", group.name, highest.saturating_add(1))
}
