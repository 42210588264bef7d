//! Whether what is wanted fits the project's quota, at the end and on the way there. Pure.

use std::collections::HashMap;

use hafen_client::wire::{MachineSpec, Usage};

use super::{Diff, Input, Verb};
use crate::model::Group;

pub(super) fn quota<'a>(input: Input<'a>, diff: &mut Diff<'a>) {
    let found = input.reality.project.as_ref();
    let limit = input.wanted.quota.over(found.map(|project| project.quota));
    let mut end = found.map(|project| project.usage).unwrap_or_default();
    let mut peak = end;
    let mut rolling: HashMap<&str, &Group> = HashMap::new();
    for item in &diff.machines {
        let old = item.actual.map(|machine| &machine.spec);
        let new = item.wanted.map(|group| &group.spec);
        let sign = |spec: Option<&MachineSpec>| {
            spec.map_or(Usage::default(), |spec| Usage {
                machines: 1,
                cpus: spec.cpus,
                memory: spec.memory,
                disk: spec.disk,
            })
        };
        match item.verb {
            Verb::Update => {}
            Verb::Create => {
                add(&mut end, sign(new), 1);
                add(&mut peak, sign(new), 1);
            }
            Verb::Delete => add(&mut end, sign(old), -1),
            Verb::Replace => {
                add(&mut end, sign(new), 1);
                add(&mut end, sign(old), -1);
                add(&mut peak, sign(new), 1);
                add(&mut peak, sign(old), -1);
                if let Some(group) = item.wanted {
                    rolling.insert(&group.name, group);
                }
            }
        }
    }
    for group in rolling.values() {
        let spec = &group.spec;
        add(&mut peak, Usage { machines: 1, cpus: spec.cpus, memory: spec.memory, disk: spec.disk }, 1);
    }
    // Nothing that grows: a project that is over its quota may always shrink.
    if diff.machines.iter().all(|item| matches!(item.verb, Verb::Delete | Verb::Update)) {
        return;
    }
    for (what, limit, end, peak) in [
        ("machines", limit.machines, end.machines, peak.machines),
        ("cpus", limit.cpus, end.cpus, peak.cpus),
        ("bytes of memory", limit.memory, end.memory, peak.memory),
        ("bytes of disk", limit.disk, end.disk, peak.disk),
    ] {
        if end > limit {
            diff.problems.push(format!(
                "quota of project {}: {end} {what} are wanted, {limit} are allowed: raise the quota or ask for less",
                input.wanted.project
            ));
        } else if peak > limit {
            diff.warnings.push(format!(
                "quota of project {}: on the way up to {peak} {what} may be needed at once and {limit} are allowed; the \
                 apply then waits for what goes, and fails where nothing does",
                input.wanted.project
            ));
        }
    }
}

const fn add(sum: &mut Usage, more: Usage, times: i64) {
    sum.machines += times * more.machines;
    sum.cpus = sum.cpus.saturating_add(times.saturating_mul(more.cpus));
    sum.memory = sum.memory.saturating_add(times.saturating_mul(more.memory));
    sum.disk = sum.disk.saturating_add(times.saturating_mul(more.disk));
}
