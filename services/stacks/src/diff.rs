//! The one decision of this service: what must change so that reality is as wanted. Pure.
//!
//! Both the plan a person reads and the steps an apply takes are made of this one `Diff`, and an apply makes it anew
//! whenever it starts again: so what was shown, what is done, and what is done after a crash cannot differ.

pub(crate) mod delivery;
mod quota;

use std::collections::{BTreeSet, HashMap, HashSet};

use hafen_client::wire::{
    App, AppSpec, Backend, BackendPut, Image, ImageCreate, Machine, MachineState, Network, NetworkCreate,
    Publication, PublicationPut, Route, RoutePut,
};

use crate::model::{Group, Reality, Wanted, address, is_going};

/// What is done to one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    /// In place.
    Update,
    /// A new one takes the place of the old.
    Replace,
    Delete,
}

/// The change of one resource: `W` is how it is wanted, `A` how it is.
#[derive(Debug, Clone)]
pub struct Item<'a, W, A> {
    pub name: &'a str,
    pub verb: Verb,
    pub wanted: Option<&'a W>,
    pub actual: Option<&'a A>,
    /// Fields that force a replacement, or that differ.
    pub fields: Vec<&'static str>,
    /// Why, when the fields do not say it.
    pub reason: Option<String>,
}

/// What a diff is made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub wanted: &'a Wanted,
    /// What was wanted before, by the last apply that was accepted.
    pub before: Option<&'a Wanted>,
    /// Addresses of what this stack made. Nothing else is ever deleted.
    pub owned: &'a BTreeSet<String>,
    pub reality: &'a Reality,
    /// The stack is to end; `wanted` is empty then.
    pub destroy: bool,
}

/// Everything that must change.
#[derive(Debug, Clone, Default)]
pub struct Diff<'a> {
    pub project: Option<Verb>,
    pub networks: Vec<Item<'a, NetworkCreate, Network>>,
    pub images: Vec<Item<'a, ImageCreate, Image>>,
    pub machines: Vec<Item<'a, Group, Machine>>,
    pub publications: Vec<Item<'a, PublicationPut, Publication>>,
    pub apps: Vec<Item<'a, AppSpec, App>>,
    pub backends: Vec<Item<'a, BackendPut, Backend>>,
    pub routes: Vec<Item<'a, RoutePut, Route>>,
    pub unchanged: u64,
    /// What forbids to apply it.
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
}

/// Decides.
pub fn diff(input: Input<'_>) -> Diff<'_> {
    let mut diff = Diff { warnings: input.wanted.warnings.clone(), ..Diff::default() };
    networks(input, &mut diff);
    images(input, &mut diff);
    machines(input, &mut diff);
    publications(input, &mut diff);
    delivery::apps(input, &mut diff);
    delivery::backends(input, &mut diff);
    delivery::routes(input, &mut diff);
    project(input, &mut diff);
    left_behind(input, &mut diff);
    delivery::left_behind(input, &mut diff);
    delivery::secrets(input, &mut diff);
    quota::quota(input, &mut diff);
    diff
}

fn owns(input: Input<'_>, kind: &str, name: &str) -> bool {
    input.owned.contains(&address(kind, name))
}

fn adopted(diff: &mut Diff<'_>, input: Input<'_>, kind: &str, name: &str) {
    if !owns(input, kind, name) {
        diff.warnings
            .push(format!("{kind} {name:?} exists already and was not made by this stack: it is taken over"));
    }
}

fn networks<'a>(input: Input<'a>, diff: &mut Diff<'a>) {
    let actual: HashMap<&str, &Network> =
        input.reality.networks.iter().map(|network| (network.name.as_str(), network)).collect();
    for wanted in &input.wanted.networks {
        let name = wanted.name.as_str();
        let mut item = Item {
            name,
            verb: Verb::Create,
            wanted: Some(wanted),
            actual: None,
            fields: vec![],
            reason: None,
        };
        let Some(found) = actual.get(name).filter(|found| found.state != "destroying") else {
            diff.networks.push(item);
            continue;
        };
        adopted(diff, input, "network", name);
        item.actual = Some(found);
        item.verb = Verb::Update;
        if let Some(subnet) = &wanted.subnet
            && *subnet != found.subnet
        {
            diff.problems.push(format!(
                "network.{name}: its subnet is {} and cannot become {subnet} while it lives: give the network another \
                 name, or destroy it first",
                found.subnet
            ));
        }
        if wanted.egress != found.egress {
            item.fields.push("egress");
        }
        if found.state == "failed" {
            item.reason = Some(format!("it failed: {}", found.reason));
        }
        if item.fields.is_empty() && item.reason.is_none() {
            diff.unchanged += 1;
        } else {
            diff.networks.push(item);
        }
    }
    for found in &input.reality.networks {
        let name = found.name.as_str();
        if input.wanted.network(name).is_none() && owns(input, "network", name) {
            diff.networks.push(unwanted(name, found));
        }
    }
}

const fn unwanted<'a, W, A>(name: &'a str, actual: &'a A) -> Item<'a, W, A> {
    Item { name, verb: Verb::Delete, wanted: None, actual: Some(actual), fields: Vec::new(), reason: None }
}

fn images<'a>(input: Input<'a>, diff: &mut Diff<'a>) {
    for wanted in &input.wanted.images {
        let name = wanted.name.as_str();
        let mut item = Item {
            name,
            verb: Verb::Create,
            wanted: Some(wanted),
            actual: None,
            fields: vec![],
            reason: None,
        };
        let Some(found) = input.reality.image(name).filter(|found| found.state != "destroying") else {
            diff.images.push(item);
            continue;
        };
        adopted(diff, input, "image", name);
        item.actual = Some(found);
        item.verb = Verb::Update;
        if wanted.source != found.source {
            item.fields.push("source");
        }
        // The lock asked for last time is no news, even when the service wrote it down in other words.
        let asked_before = || {
            input
                .before
                .and_then(|before| before.image(name))
                .is_some_and(|before| before.lock == wanted.lock)
        };
        if let Some(lock) = &wanted.lock
            && *lock != found.lock
            && !asked_before()
        {
            item.fields.push("lock");
        }
        if found.state == "failed" {
            item.reason = Some(format!("its last build failed: {}", found.reason));
        }
        if item.fields.is_empty() && item.reason.is_none() {
            diff.unchanged += 1;
        } else {
            diff.images.push(item);
        }
    }
    for found in &input.reality.images {
        let name = found.name.as_str();
        if input.wanted.image(name).is_none() && owns(input, "image", name) {
            diff.images.push(unwanted(name, found));
        }
    }
}

/// What an image is about to be, for the machines that run it.
enum ImageOutlook<'a> {
    /// It is, and stays, of this digest.
    Stays(&'a str),
    /// It is built anew; the digest is not known yet.
    Moves,
    /// Not an image of the manifest.
    Unknown,
}

fn outlook<'a>(input: Input<'a>, diff: &Diff<'a>, name: &str) -> ImageOutlook<'a> {
    if diff.images.iter().any(|item| item.name == name && item.verb != Verb::Delete) {
        return ImageOutlook::Moves;
    }
    match input.reality.image(name) {
        Some(image) if image.state == "ready" && image.observed_generation >= image.generation => {
            ImageOutlook::Stays(&image.digest)
        }
        Some(_) => ImageOutlook::Moves,
        None => ImageOutlook::Unknown,
    }
}

fn machines<'a>(input: Input<'a>, diff: &mut Diff<'a>) {
    let actual = input.reality.machines();
    let mut names: HashSet<&str> = HashSet::with_capacity(input.reality.machines.len());
    let mut taken_over = Vec::new();
    for group in &input.wanted.groups {
        let image = outlook(input, diff, &group.spec.image);
        for name in &group.members {
            names.insert(name);
            let mut item = Item {
                name,
                verb: Verb::Create,
                wanted: Some(group),
                actual: None,
                fields: vec![],
                reason: None,
            };
            match actual.get(name.as_str()).copied().filter(|found| !is_going(found)) {
                None => diff.machines.push(item),
                Some(found) => {
                    if !owns(input, "machine", name) {
                        taken_over.push(name.as_str());
                    }
                    item.actual = Some(found);
                    if compare(group, found, &image, &mut item) {
                        diff.machines.push(item);
                    } else {
                        diff.unchanged += 1;
                    }
                }
            }
        }
    }
    for name in taken_over {
        adopted(diff, input, "machine", name);
    }
    for found in &input.reality.machines {
        if !names.contains(found.name.as_str()) && owns(input, "machine", &found.name) {
            diff.machines.push(unwanted(&found.name, found));
        }
    }
}

/// Ends the reason of a machine that is replaced only because its image is on the move.
pub(crate) const BUILT_ANEW: &str = "is built anew";

/// Fills in what differs; false when nothing does.
fn compare(
    group: &Group,
    found: &Machine,
    image: &ImageOutlook<'_>,
    item: &mut Item<'_, Group, Machine>,
) -> bool {
    let (new, old) = (&group.spec, &found.spec);
    for (differs, field) in [
        (new.image != old.image, "image"),
        (new.cpus != old.cpus, "cpus"),
        (new.memory != old.memory, "memory"),
        (new.disk != old.disk, "disk"),
        (new.network != old.network, "network"),
        (new.address != old.address, "address"),
        (new.user_data != old.user_data, "user_data"),
        (new.start != old.start, "start"),
    ] {
        if differs {
            item.fields.push(field);
        }
    }
    if item.fields.is_empty()
        && let Some(digest) = &found.image_digest
    {
        match image {
            ImageOutlook::Moves => {
                item.fields.push("image_digest");
                item.reason = Some(format!("image {:?} {BUILT_ANEW}", new.image));
            }
            ImageOutlook::Stays(now) if now != digest => {
                item.fields.push("image_digest");
                item.reason = Some(format!("it runs an older build of image {:?}", new.image));
            }
            ImageOutlook::Stays(_) | ImageOutlook::Unknown => {}
        }
    }
    if !item.fields.is_empty() {
        item.verb = Verb::Replace;
        return true;
    }
    item.verb = Verb::Update;
    for (differs, field) in [
        (found.group.as_deref() != Some(group.name.as_str()), "group"),
        (group.metadata != found.metadata, "metadata"),
        (group.health != found.health, "health"),
        (found.cordoned, "cordoned"),
        (must_start(found), "state"),
    ] {
        if differs {
            item.fields.push(field);
        }
    }
    if must_start(found) {
        let reason = if found.reason.is_empty() { String::new() } else { format!(": {}", found.reason) };
        item.reason = Some(format!("it is {}{reason}", found.state.as_str()));
    }
    !item.fields.is_empty()
}

/// Whether a machine needs a `start` to be as wanted. Its disk is kept: to rebuild is for a person to say.
pub fn must_start(found: &Machine) -> bool {
    found.wanted_state == "stopped"
        || matches!(found.state, MachineState::Stopped | MachineState::Stopping | MachineState::Failed)
}

fn publications<'a>(input: Input<'a>, diff: &mut Diff<'a>) {
    for (name, wanted) in &input.wanted.publications {
        let name = name.as_str();
        let mut item = Item {
            name,
            verb: Verb::Create,
            wanted: Some(wanted),
            actual: None,
            fields: vec![],
            reason: None,
        };
        let held = input.reality.publications.iter().find(|other| {
            other.host == wanted.host && other.name != name && !owns(input, "publication", &other.name)
        });
        if let Some(other) = held {
            diff.problems.push(format!(
                "publication.{name}: {} is held by publication {:?}, which this stack did not make: delete that one, or \
                 publish elsewhere",
                wanted.host, other.name
            ));
        }
        let Some(found) = input.reality.publication(name).filter(|found| found.state != "destroying") else {
            diff.publications.push(item);
            continue;
        };
        adopted(diff, input, "publication", name);
        item.actual = Some(found);
        if wanted.host == found.host {
            item.verb = Verb::Update;
        } else {
            item.verb = Verb::Replace;
            item.fields.push("host");
        }
        if wanted.group != found.group {
            item.fields.push("group");
        }
        if wanted.port != found.port {
            item.fields.push("port");
        }
        if found.state == "failed" {
            item.reason = Some(format!("it failed: {}", found.reason));
        }
        if item.fields.is_empty() && item.reason.is_none() {
            diff.unchanged += 1;
        } else {
            diff.publications.push(item);
        }
    }
    for found in &input.reality.publications {
        let name = found.name.as_str();
        if !input.wanted.publications.contains_key(name) && owns(input, "publication", name) {
            diff.publications.push(unwanted(name, found));
        }
    }
}

fn project<'a>(input: Input<'a>, diff: &mut Diff<'a>) {
    let end = input.destroy;
    match &input.reality.project {
        None if end => {}
        None => diff.project = Some(Verb::Create),
        Some(found) => match input.wanted.quota.over(Some(found.quota)) {
            quota if quota != found.quota => diff.project = Some(Verb::Update),
            _ if end && owns(input, "project", &found.name) && !keeps_foreign(input) => {
                diff.project = Some(Verb::Delete);
            }
            _ => diff.unchanged += u64::from(!end),
        },
    }
}

/// Whether the project holds what this stack did not make; then it stays.
fn keeps_foreign(input: Input<'_>) -> bool {
    let reality = input.reality;
    reality.machines.iter().any(|machine| !owns(input, "machine", &machine.name))
        || reality.networks.iter().any(|network| !owns(input, "network", &network.name))
        || reality.images.iter().any(|image| !owns(input, "image", &image.name))
        || reality.publications.iter().any(|publication| !owns(input, "publication", &publication.name))
        || delivery::keeps_foreign(input)
}

/// Machines made by hand that stand in the way of a deletion.
fn left_behind<'a>(input: Input<'a>, diff: &mut Diff<'a>) {
    let networks: HashSet<&str> =
        diff.networks.iter().filter(|item| item.verb == Verb::Delete).map(|item| item.name).collect();
    let images: HashSet<&str> =
        diff.images.iter().filter(|item| item.verb == Verb::Delete).map(|item| item.name).collect();
    if networks.is_empty() && images.is_empty() {
        return;
    }
    let wanted = input.wanted.machines();
    for machine in &input.reality.machines {
        let name = machine.name.as_str();
        if wanted.contains_key(name) || owns(input, "machine", name) || is_going(machine) {
            continue;
        }
        for (kind, goes, used) in
            [("network", &networks, &machine.spec.network), ("image", &images, &machine.spec.image)]
        {
            if goes.contains(used.as_str()) {
                diff.problems.push(format!(
                    "{kind}.{used}: machine {name:?}, which this stack did not make, still uses it: delete that machine first"
                ));
            }
        }
    }
}
