//! The part of a diff that is about apps, the backends of clusters, routes, and the secrets that apps name. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use hafen_client::wire::{AppSpec, Backend, BackendPut, EndpointState, Route, RoutePut};

use super::{Diff, Input, Item, Verb, adopted, owns, unwanted};

pub(super) fn apps<'a>(input: Input<'a>, diff: &mut Diff<'a>) {
    for (name, wanted) in &input.wanted.apps {
        let mut item = new(name, wanted);
        let Some(found) = input.reality.app(name).filter(|found| found.state != "destroying") else {
            diff.apps.push(item);
            continue;
        };
        adopted(diff, input, "app", name);
        item.actual = Some(found);
        item.verb = Verb::Update;
        item.fields = fields_of_app(wanted, &found.spec);
        if item.fields.is_empty() {
            diff.unchanged += 1;
        } else {
            diff.apps.push(item);
        }
    }
    for found in &input.reality.apps {
        let name = found.name.as_str();
        if !input.wanted.apps.contains_key(name) && owns(input, "app", name) {
            diff.apps.push(unwanted(name, found));
        }
    }
}

fn new<'a, W, A>(name: &'a str, wanted: &'a W) -> Item<'a, W, A> {
    Item { name, verb: Verb::Create, wanted: Some(wanted), actual: None, fields: Vec::new(), reason: None }
}

fn differing(fields: &[(bool, &'static str)]) -> Vec<&'static str> {
    fields.iter().filter(|(differs, _)| *differs).map(|(_, field)| *field).collect()
}

fn fields_of_app(new: &AppSpec, old: &AppSpec) -> Vec<&'static str> {
    differing(&[
        (new.source != old.source, "source"),
        (new.build != old.build, "build"),
        (new.on != old.on, "on"),
        (new.run != old.run, "run"),
        (new.static_files != old.static_files, "static"),
        (new.port != old.port, "port"),
        (new.replicas != old.replicas, "replicas"),
        (new.health != old.health, "health"),
        (new.strategy != old.strategy, "strategy"),
        (new.migrate != old.migrate, "migrate"),
        (new.env != old.env, "env"),
        (new.preview != old.preview, "preview"),
    ])
}

pub(super) fn backends<'a>(input: Input<'a>, diff: &mut Diff<'a>) {
    for (name, wanted) in &input.wanted.backends {
        let mut item = new(name, wanted);
        let Some(found) = input.reality.backend(name) else {
            diff.backends.push(item);
            continue;
        };
        if !owns(input, "backend", name) && input.reality.app(name).is_some() && !owns(input, "app", name) {
            diff.problems.push(format!(
                "backend.{name}: an app of this name, which this stack did not make, is led to by it: give the cluster \
                 another name, or delete that app first"
            ));
        }
        if input.reality.app(name).is_none() {
            adopted(diff, input, "backend", name);
        }
        item.actual = Some(found);
        item.verb = Verb::Update;
        item.fields = differing(&[
            (wanted.health != found.health, "health"),
            (!same_endpoints(wanted, found), "endpoints"),
        ]);
        if item.fields.is_empty() {
            diff.unchanged += 1;
        } else {
            diff.backends.push(item);
        }
    }
    for found in &input.reality.backends {
        let name = found.name.as_str();
        // One whose name an app takes over is the app's from then on.
        if !input.wanted.backends.contains_key(name)
            && !input.wanted.apps.contains_key(name)
            && owns(input, "backend", name)
        {
            diff.backends.push(unwanted(name, found));
        }
    }
}

fn same_endpoints(wanted: &BackendPut, found: &Backend) -> bool {
    type Place<'a> = (&'a str, Option<&'a str>, Option<u16>, EndpointState);
    let new: BTreeMap<&str, Place<'_>> = wanted
        .endpoints
        .iter()
        .map(|one| (one.id.as_str(), (one.id.as_str(), one.machine.as_deref(), one.port, one.state)))
        .collect();
    let old: BTreeMap<&str, Place<'_>> = found
        .endpoints
        .iter()
        .map(|one| (one.id.as_str(), (one.id.as_str(), one.machine.as_deref(), one.port, one.state)))
        .collect();
    new == old
}

pub(super) fn routes<'a>(input: Input<'a>, diff: &mut Diff<'a>) {
    for (host, wanted) in &input.wanted.routes {
        let mut item = new(host, wanted);
        let Some(found) = input.reality.route(host) else {
            diff.routes.push(item);
            continue;
        };
        adopted(diff, input, "route", host);
        item.actual = Some(found);
        item.verb = Verb::Update;
        item.fields = fields_of_route(wanted, found);
        if item.fields.is_empty() {
            diff.unchanged += 1;
        } else {
            diff.routes.push(item);
        }
    }
    for found in &input.reality.routes {
        let host = found.host.as_str();
        if !input.wanted.routes.contains_key(host) && owns(input, "route", host) {
            diff.routes.push(unwanted(host, found));
        }
    }
}

fn fields_of_route(new: &RoutePut, old: &Route) -> Vec<&'static str> {
    differing(&[
        (new.paths != old.paths, "paths"),
        (new.maintenance != old.maintenance, "maintenance"),
        (new.redirect_https != old.redirect_https, "redirect_https"),
        (new.hsts != old.hsts, "hsts"),
        (new.max_body != old.max_body, "max_body"),
        (new.rate != old.rate, "rate"),
    ])
}

/// The backends that a route leads to.
pub(crate) fn targets(route: &Route) -> HashSet<&str> {
    route.paths.values().flatten().map(|target| target.backend.as_str()).collect()
}

/// What apps name must be there before anything happens. A value is set by hand, and never stands in a manifest.
pub(super) fn secrets<'a>(input: Input<'a>, diff: &mut Diff<'a>) {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (app, spec) in &input.wanted.apps {
        for secret in spec.secrets() {
            if !input.reality.secrets.contains(secret) {
                missing.entry(secret).or_default().insert(app);
            }
        }
    }
    for (secret, apps) in missing {
        let apps: Vec<&str> = apps.into_iter().collect();
        diff.problems.push(format!(
            "app.{}: there is no secret {secret:?} in the project: set it with `hafen secret set {secret}`, then plan again",
            apps.join(", app.")
        ));
    }
    if diff.project == Some(Verb::Delete) && !input.reality.secrets.is_empty() {
        let names: Vec<&str> = input.reality.secrets.iter().take(10).map(String::as_str).collect();
        let more = if input.reality.secrets.len() > names.len() { ", …" } else { "" };
        diff.warnings.push(format!(
            "the project's {} secrets are destroyed with it, for good: {}{more}",
            input.reality.secrets.len(),
            names.join(", ")
        ));
    }
}

/// Apps and routes made by hand that stand in the way of a deletion.
pub(super) fn left_behind<'a>(input: Input<'a>, diff: &mut Diff<'a>) {
    let foreign = |kind: &str, name: &str| !owns(input, kind, name);
    let going: HashSet<&str> = diff
        .apps
        .iter()
        .filter(|item| item.verb == Verb::Delete)
        .map(|item| item.name)
        .chain(diff.backends.iter().filter(|item| item.verb == Verb::Delete).map(|item| item.name))
        .collect();
    let mut problems = Vec::new();
    for route in &input.reality.routes {
        if input.wanted.routes.contains_key(&route.host) || !foreign("route", &route.host) {
            continue;
        }
        for target in targets(route).into_iter().filter(|target| going.contains(target)) {
            problems.push(format!(
                "app.{target}: route {:?}, which this stack did not make, still leads to it: delete or change that route first",
                route.host
            ));
        }
    }
    let groups: HashSet<&str> = diff
        .machines
        .iter()
        .filter(|item| item.verb == Verb::Delete)
        .filter_map(|item| item.actual.and_then(|found| found.group.as_deref()))
        .filter(|group| !input.wanted.groups.iter().any(|wanted| wanted.name == *group))
        .collect();
    for app in &input.reality.apps {
        let name = app.name.as_str();
        let stays =
            !input.wanted.apps.contains_key(name) && foreign("app", name) && app.state != "destroying";
        if stays && groups.contains(app.spec.on.as_str()) {
            problems.push(format!(
                "machine.{}: app {name:?}, which this stack did not make, still runs there: delete that app first",
                app.spec.on
            ));
        }
    }
    problems.sort();
    diff.problems.extend(problems);
}

/// Whether the project holds apps or routes that this stack did not make.
pub(super) fn keeps_foreign(input: Input<'_>) -> bool {
    let reality = input.reality;
    reality.apps.iter().any(|app| !owns(input, "app", &app.name))
        || reality.routes.iter().any(|route| !owns(input, "route", &route.host))
}
