//! A plan, a drift and the end of an apply as a person reads them.

use std::collections::BTreeMap;

use hafen_client::wire::{Apply, Plan, PlanAction, ResourceChange};
use hafen_manifest::format_size;
use serde_json::Value;

use crate::output::{brief, line, paint};

pub fn print_end(apply: &Apply) {
    let count = |status: &str| apply.steps.iter().filter(|step| step.status == status).count();
    if apply.status == "succeeded" {
        line(&format!("\n{} {} steps done.", paint("1;32", "Applied:"), count("done")));
        return;
    }
    line(&format!("\n{} {}", paint("1;31", &format!("Apply {}:", apply.status)), brief(&apply.error)));
    let mut cut = false;
    for (status, title) in
        [("done", "Done"), ("failed", "Failed"), ("skipped", "Not done"), ("pending", "Not done")]
    {
        for step in apply.steps.iter().filter(|step| step.status == status) {
            line(&format!("  {title}: {} {}", step.address, step.action));
            if status == "failed" {
                line(&format!("      {}", brief(&step.message)));
                cut |= brief(&step.message) != step.message.trim_end();
            }
        }
    }
    if cut {
        line(&format!("All of it: hafen operation show {} -p {}", apply.id, apply.project));
    }
}

pub fn print_plan(plan: &Plan) {
    for text in plan_lines(plan) {
        line(&text);
    }
}

fn plan_lines(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    if !plan.resource_drift.is_empty() {
        lines.push("Reality left what was applied:".to_owned());
        for change in &plan.resource_drift {
            lines.extend(change_lines(change));
        }
        lines.push(String::new());
    }
    for change in &plan.resource_changes {
        lines.extend(change_lines(change));
    }
    let counts = &plan.counts;
    if counts.any() {
        lines.push(String::new());
        lines.push(format!(
            "Plan: {} to create, {} to change, {} to replace, {} to delete, {} unchanged.",
            counts.create, counts.update, counts.replace, counts.delete, counts.unchanged
        ));
    } else {
        lines.push(format!("No changes: {} resources are as wanted.", counts.unchanged));
    }
    lines.extend(plan.warnings.iter().map(|warning| format!("{} {warning}", paint("1;33", "warning:"))));
    lines.extend(plan.problems.iter().map(|problem| format!("{} {problem}", paint("1;31", "problem:"))));
    lines
}

pub fn print_change(change: &ResourceChange) {
    for text in change_lines(change) {
        line(&text);
    }
}

fn change_lines(resource: &ResourceChange) -> Vec<String> {
    let actions = &resource.change.actions;
    let has = |action: PlanAction| actions.contains(&action);
    let (mark, code, verb) = match (has(PlanAction::Create), has(PlanAction::Delete), has(PlanAction::Update))
    {
        (true, true, _) => ("-/+", "33", "is replaced"),
        (true, false, _) => ("+", "32", "is created"),
        (false, true, _) => ("-", "31", "is deleted"),
        (_, _, true) => ("~", "33", "changes"),
        _ => return Vec::new(),
    };
    let why =
        resource.action_reason.as_ref().map(|reason| format!(" ({})", brief(reason))).unwrap_or_default();
    let mut lines = vec![format!("{} {} {verb}{why}", paint(code, mark), paint("1", &resource.address))];
    let (before, after) = (flat(&resource.change.before), flat(&resource.change.after));
    if resource.change.after.is_null() {
        return lines;
    }
    let created = resource.change.before.is_null();
    for (path, new) in after.iter().filter(|(path, new)| !(created && is_plain(path, new))) {
        match before.get(path) {
            Some(old) if old == new => {}
            Some(old) => lines.push(format!("    {path}: {old} → {new}")),
            None => lines.push(format!("    {path}: {new}")),
        }
    }
    if !resource.change.before.is_null() {
        for (path, old) in before.iter().filter(|(path, _)| !after.contains_key(*path)) {
            lines.push(format!("    {path}: {old} → (none)"));
        }
    }
    lines
}

/// What need not be said of something new: its name stands above, and the rest is so unless the manifest says otherwise.
fn is_plain(path: &str, value: &str) -> bool {
    matches!(
        (path, value),
        ("name", _) | ("cordoned", "false") | ("state", "\"started\"") | ("start", "\"warm\"")
    )
}

/// A value as paths and short texts; sizes as people write them.
fn flat(value: &Value) -> BTreeMap<String, String> {
    fn walk(path: &str, value: &Value, all: &mut BTreeMap<String, String>) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| walk(&below(key), value, all)),
            Value::Null => {}
            Value::Number(bytes) if matches!(path.rsplit('.').next(), Some("memory" | "disk")) => {
                let text = bytes.as_u64().map_or_else(|| bytes.to_string(), format_size);
                all.insert(path.to_owned(), text);
            }
            other => {
                let text = other.to_string();
                let short: String = text.chars().take(80).collect();
                let more = if short.len() < text.len() { "…" } else { "" };
                all.insert(path.to_owned(), format!("{short}{more}"));
            }
        }
    }
    let mut all = BTreeMap::new();
    walk("", value, &mut all);
    all
}

#[cfg(test)]
mod tests {
    use hafen_client::wire::Change;
    use serde_json::json;

    use super::*;

    fn change(actions: Vec<PlanAction>, before: Value, after: Value) -> ResourceChange {
        ResourceChange {
            address: "machine.web-1".into(),
            kind: "machine".into(),
            name: "web-1".into(),
            change: Change {
                actions,
                before,
                after,
                after_unknown: json!({}),
                before_sensitive: json!({}),
                after_sensitive: json!({}),
                replace_paths: Vec::new(),
            },
            action_reason: None,
        }
    }

    #[test]
    fn sizes_are_read_by_people_and_what_is_always_so_is_left_out() {
        let new = json!({"name": "web-1", "cpus": 1, "memory": 536_870_912, "disk": 4_294_967_296_u64, "start": "warm",
            "cordoned": false, "state": "started", "metadata": {"memory": "much"}});
        let create = change(vec![PlanAction::Create], Value::Null, new);
        let expected = [
            "+ machine.web-1 is created",
            "    cpus: 1",
            "    disk: 4 GiB",
            "    memory: 512 MiB",
            "    metadata.memory: \"much\"",
        ];
        assert_eq!(change_lines(&create), expected);
        let update = change(
            vec![PlanAction::Update],
            json!({"quota": {"memory": 1_073_741_824}, "start": "cold"}),
            json!({"quota": {"memory": 1_000_000_000}, "start": "warm"}),
        );
        let expected = [
            "~ machine.web-1 changes",
            "    quota.memory: 1 GiB → 1000000000 B",
            "    start: \"cold\" → \"warm\"",
        ];
        assert_eq!(change_lines(&update), expected);
    }

    #[test]
    fn a_change_reads_like_a_sentence() {
        let update = change(vec![PlanAction::Update], json!({"a": {"b": 1}, "c": 2}), json!({"a": {"b": 3}}));
        assert_eq!(change_lines(&update), ["~ machine.web-1 changes", "    a.b: 1 → 3", "    c: 2 → (none)"]);
        let replace = change(vec![PlanAction::Create, PlanAction::Delete], json!({"a": 1}), json!({"a": 2}));
        assert_eq!(change_lines(&replace), ["-/+ machine.web-1 is replaced", "    a: 1 → 2"]);
        let delete = change(vec![PlanAction::Delete], json!({"a": 1}), Value::Null);
        assert_eq!(change_lines(&delete), ["- machine.web-1 is deleted"]);
        assert!(change_lines(&change(vec![PlanAction::NoOp], json!({}), json!({}))).is_empty());
    }
}
