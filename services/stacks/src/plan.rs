//! A diff as the plan a person or a program reads, in the shape of OpenTofu's JSON (`format_version`, `resource_changes[]
//! .change.actions`, `before`, `after`, `after_unknown`, `replace_paths`, `resource_drift`). Pure.
//!
//! Unchanged resources are counted, not listed: a plan that adds one machine to 10,000 stays small.

use std::collections::{BTreeSet, HashMap, HashSet};

use hafen_client::wire::{Change, Machine, Plan, PlanAction, PlanCounts, ResourceChange, StackSource};
use serde_json::{Map, Value, json};

use crate::diff::{BUILT_ANEW, Diff, Input, Item, Verb, diff};
use crate::model::{Group, Reality, Wanted, address, fingerprint};
use crate::render;

/// The version of the format: a reader ignores unknown fields of a minor and refuses an unknown major.
pub const FORMAT_VERSION: &str = "1.0";

/// Everything a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub wanted: &'a Wanted,
    /// By the last apply that was accepted.
    pub before: Option<&'a Wanted>,
    /// By the last apply that succeeded.
    pub applied: Option<&'a Wanted>,
    pub owned: &'a BTreeSet<String>,
    pub reality: &'a Reality,
    pub destroy: bool,
    pub serial: i64,
}

impl<'a> Request<'a> {
    pub const fn input(&self) -> Input<'a> {
        Input {
            wanted: self.wanted,
            before: self.before,
            owned: self.owned,
            reality: self.reality,
            destroy: self.destroy,
        }
    }
}

/// Makes the plan.
pub fn plan(request: Request<'_>, source: StackSource) -> Plan {
    let diff = diff(request.input());
    Plan {
        format_version: FORMAT_VERSION.into(),
        project: request.wanted.project.clone(),
        destroy: request.destroy,
        serial: request.serial,
        reality: fingerprint(request.reality),
        resource_drift: drift(request.applied, request.before, request.reality),
        counts: counts(&diff),
        resource_changes: changes(&diff, request.wanted, request.reality),
        problems: diff.problems,
        warnings: diff.warnings,
        source,
    }
}

/// How many changes of each kind.
pub fn counts(diff: &Diff<'_>) -> PlanCounts {
    let mut counts = PlanCounts { unchanged: diff.unchanged, ..PlanCounts::default() };
    let verbs = diff
        .project
        .into_iter()
        .chain(diff.networks.iter().map(|item| item.verb))
        .chain(diff.images.iter().map(|item| item.verb))
        .chain(diff.machines.iter().map(|item| item.verb))
        .chain(diff.publications.iter().map(|item| item.verb))
        .chain(diff.apps.iter().map(|item| item.verb))
        .chain(diff.backends.iter().map(|item| item.verb))
        .chain(diff.routes.iter().map(|item| item.verb));
    for verb in verbs {
        match verb {
            Verb::Create => counts.create += 1,
            Verb::Update => counts.update += 1,
            Verb::Replace => counts.replace += 1,
            Verb::Delete => counts.delete += 1,
        }
    }
    counts
}

/// Replacements of machines make the new before the old goes; a published address is free only once the old is gone.
fn actions(verb: Verb, kind: &str) -> Vec<PlanAction> {
    match verb {
        Verb::Create => vec![PlanAction::Create],
        Verb::Update => vec![PlanAction::Update],
        Verb::Delete => vec![PlanAction::Delete],
        Verb::Replace if kind == "publication" => vec![PlanAction::Delete, PlanAction::Create],
        Verb::Replace => vec![PlanAction::Create, PlanAction::Delete],
    }
}

fn change<W, A>(
    kind: &str,
    item: &Item<'_, W, A>,
    before: Value,
    after: Value,
    unknown: &[&str],
) -> ResourceChange {
    let unknown = match item.verb {
        Verb::Delete => json!({}),
        _ => Value::Object(unknown.iter().map(|field| ((*field).to_owned(), Value::Bool(true))).collect()),
    };
    let replace_paths = match item.verb {
        Verb::Replace => item.fields.iter().map(|field| vec![(*field).to_owned()]).collect(),
        _ => Vec::new(),
    };
    let reason = item.reason.clone().or_else(|| match item.verb {
        Verb::Replace => Some(format!("{} cannot change in place", item.fields.join(", "))),
        _ => None,
    });
    ResourceChange {
        address: address(kind, item.name),
        kind: kind.to_owned(),
        name: item.name.to_owned(),
        change: Change {
            actions: actions(item.verb, kind),
            before_sensitive: sensitive(&before),
            after_sensitive: sensitive(&after),
            before,
            after,
            after_unknown: unknown,
            replace_paths,
        },
        action_reason: reason,
    }
}

/// User data may hold secrets: only its digest is shown, and that is marked.
fn sensitive(value: &Value) -> Value {
    match value.get("user_data") {
        Some(Value::String(_)) => json!({ "user_data": true }),
        _ => json!({}),
    }
}

fn changes(diff: &Diff<'_>, wanted: &Wanted, reality: &Reality) -> Vec<ResourceChange> {
    let mut list = Vec::with_capacity(diff.machines.len() + 16);
    if let Some(verb) = diff.project {
        let name = wanted.project.as_str();
        let item: Item<'_, (), ()> =
            Item { name, verb, wanted: None, actual: None, fields: vec![], reason: None };
        let before = reality.project.as_ref().map_or(Value::Null, render::project_actual);
        let quota = wanted.quota.over(reality.project.as_ref().map(|found| found.quota));
        let after = if verb == Verb::Delete { Value::Null } else { render::project(name, Some(quota)) };
        list.push(change("project", &item, before, after, &[]));
    }
    for item in &diff.networks {
        let before = item.actual.map_or(Value::Null, render::network_actual);
        let after = item.wanted.map_or(Value::Null, render::network);
        let subnet = item.wanted.is_some_and(|wanted| wanted.subnet.is_none());
        let unknown: &[&str] = match (item.verb, subnet) {
            (Verb::Create, true) => &["id", "subnet"],
            (Verb::Create, false) => &["id"],
            _ => &[],
        };
        list.push(change("network", item, before, after, unknown));
    }
    for item in &diff.images {
        let before = item.actual.map_or(Value::Null, render::image_actual);
        let after = item.wanted.map_or(Value::Null, render::image);
        let unknown: &[&str] = if item.verb == Verb::Create { &["id", "digest"] } else { &["digest"] };
        list.push(change("image", item, before, after, unknown));
    }
    let shared: HashMap<&str, Map<String, Value>> =
        wanted.groups.iter().map(|group| (group.name.as_str(), render::group(group))).collect();
    for item in &diff.machines {
        list.push(machine_change(item, &shared));
    }
    for item in &diff.publications {
        let before = item.actual.map_or(Value::Null, render::publication_actual);
        let after = item.wanted.map_or(Value::Null, |wanted| render::publication(item.name, wanted));
        let unknown: &[&str] = if matches!(item.verb, Verb::Update) { &[] } else { &["id"] };
        list.push(change("publication", item, before, after, unknown));
    }
    for item in &diff.apps {
        let before = item.actual.map_or(Value::Null, render::app_actual);
        let after = item.wanted.map_or(Value::Null, |wanted| render::app(item.name, wanted));
        list.push(change("app", item, before, after, &[]));
    }
    for item in &diff.backends {
        let before = item.actual.map_or(Value::Null, render::backend_actual);
        let after = item.wanted.map_or(Value::Null, |wanted| render::backend(item.name, wanted));
        list.push(change("backend", item, before, after, &[]));
    }
    for item in &diff.routes {
        let before = item.actual.map_or(Value::Null, render::route_actual);
        let after = item.wanted.map_or(Value::Null, |wanted| render::route(item.name, wanted));
        list.push(change("route", item, before, after, &[]));
    }
    list
}

fn machine_change(
    item: &Item<'_, Group, Machine>,
    shared: &HashMap<&str, Map<String, Value>>,
) -> ResourceChange {
    let before = item.actual.map_or(Value::Null, render::machine_actual);
    let after = item
        .wanted
        .and_then(|group| shared.get(group.name.as_str()))
        .map_or(Value::Null, |shared| render::machine(item.name, shared));
    let unknown: &[&str] = match item.verb {
        Verb::Create => &["id", "instance_id", "image_digest"],
        Verb::Replace => &["instance_id", "image_digest"],
        Verb::Update | Verb::Delete => &[],
    };
    change("machine", item, before, after, unknown)
}

/// Where reality left what the last successful apply made. What an apply since then changed, and did not finish, is that
/// apply's doing and no drift.
pub fn drift(applied: Option<&Wanted>, accepted: Option<&Wanted>, reality: &Reality) -> Vec<ResourceChange> {
    let Some(applied) = applied else { return Vec::new() };
    let owned = applied.addresses();
    let input = Input { wanted: applied, before: Some(applied), owned: &owned, reality, destroy: false };
    let from_applied = diff(input);
    let mut list = changes(&from_applied, applied, reality);
    // A machine that merely waits for its image has not drifted: the image has.
    let waiting: HashSet<String> = from_applied
        .machines
        .iter()
        .filter(|item| {
            item.fields == ["image_digest"]
                && item.reason.as_ref().is_some_and(|reason| reason.ends_with(BUILT_ANEW))
        })
        .map(|item| address("machine", item.name))
        .collect();
    list.retain(|change| !waiting.contains(&change.address));
    if let Some(accepted) = accepted.filter(|accepted| *accepted != applied) {
        let still = accepted.addresses();
        let input =
            Input { wanted: accepted, before: Some(accepted), owned: &still, reality, destroy: false };
        let from_accepted: HashSet<String> =
            changes(&diff(input), accepted, reality).into_iter().map(|change| change.address).collect();
        list.retain(|change| from_accepted.contains(&change.address));
    }
    for change in &mut list {
        // A plan says how to come back; drift says how reality went.
        let actions = &mut change.change.actions;
        *actions = match actions.as_slice() {
            [PlanAction::Create] => vec![PlanAction::Delete],
            _ => vec![PlanAction::Update],
        };
        std::mem::swap(&mut change.change.before, &mut change.change.after);
        std::mem::swap(&mut change.change.before_sensitive, &mut change.change.after_sensitive);
        change.change.after_unknown = json!({});
        change.change.replace_paths.clear();
    }
    list
}
