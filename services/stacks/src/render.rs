//! Resources as the JSON of a plan. User data and file contents are shown as digests only: plans are printed, mailed and kept
//! by build servers, and they would be most of its size.

use std::collections::BTreeMap;

use hafen_client::wire::{
    App, AppSpec, Backend, BackendPut, EndpointPut, Health, Image, ImageCreate, ImageSource, Machine,
    MachineSpec, Network, NetworkCreate, Project, Publication, PublicationPut, Quota, Route, RoutePut,
};
use serde_json::{Map, Value, json};

use crate::model::{Group, digest_of};

pub(crate) fn project(name: &str, quota: Option<Quota>) -> Value {
    json!({ "name": name, "quota": quota })
}

pub(crate) fn project_actual(found: &Project) -> Value {
    project(&found.name, Some(found.quota))
}

pub(crate) fn network(wanted: &NetworkCreate) -> Value {
    json!({ "name": wanted.name, "egress": wanted.egress, "subnet": wanted.subnet })
}

pub(crate) fn network_actual(found: &Network) -> Value {
    json!({ "id": found.id, "name": found.name, "egress": found.egress, "subnet": found.subnet, "state": found.state })
}

fn source(source: &ImageSource) -> Value {
    match source {
        ImageSource::Debian { release, packages, files } => {
            let files: BTreeMap<&str, Value> = files
                .iter()
                .map(|(path, file)| {
                    (path.as_str(), json!({ "content": digest_of(&file.content), "mode": file.mode }))
                })
                .collect();
            json!({ "kind": "debian", "release": release, "packages": packages, "files": files })
        }
        ImageSource::Cloud { location, sha256, firmware } => {
            json!({ "kind": "cloud", "location": location, "sha256": sha256, "firmware": firmware })
        }
    }
}

pub(crate) fn image(wanted: &ImageCreate) -> Value {
    json!({
        "name": wanted.name, "source": source(&wanted.source), "lock": wanted.lock.as_deref().map(digest_of),
    })
}

pub(crate) fn image_actual(found: &Image) -> Value {
    let lock = Some(found.lock.as_str()).filter(|lock| !lock.is_empty()).map(digest_of);
    json!({
        "id": found.id, "name": found.name, "source": source(&found.source), "lock": lock, "digest": found.digest,
        "state": found.state,
    })
}

fn machine_fields(
    spec: &MachineSpec,
    group: Option<&str>,
    metadata: &BTreeMap<String, String>,
    health: Option<&Health>,
) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("group".into(), json!(group));
    fields.insert("image".into(), json!(spec.image));
    fields.insert("cpus".into(), json!(spec.cpus));
    fields.insert("memory".into(), json!(spec.memory));
    fields.insert("disk".into(), json!(spec.disk));
    fields.insert("network".into(), json!(spec.network));
    fields.insert("address".into(), json!(spec.address));
    fields.insert("user_data".into(), json!(spec.user_data.as_deref().map(digest_of)));
    fields.insert("start".into(), json!(spec.start));
    fields.insert("metadata".into(), json!(metadata));
    fields.insert("health".into(), json!(health));
    fields
}

/// What every machine of a group shares; made once for all of them.
pub(crate) fn group(group: &Group) -> Map<String, Value> {
    let mut fields = machine_fields(&group.spec, Some(&group.name), &group.metadata, group.health.as_ref());
    fields.insert("cordoned".into(), Value::Bool(false));
    fields.insert("state".into(), json!("started"));
    fields
}

pub(crate) fn machine(name: &str, shared: &Map<String, Value>) -> Value {
    let mut fields = shared.clone();
    fields.insert("name".into(), json!(name));
    Value::Object(fields)
}

pub(crate) fn machine_actual(found: &Machine) -> Value {
    let mut fields =
        machine_fields(&found.spec, found.group.as_deref(), &found.metadata, found.health.as_ref());
    fields.insert("name".into(), json!(found.name));
    fields.insert("id".into(), json!(found.id));
    fields.insert("instance_id".into(), json!(found.instance_id));
    fields.insert("image_digest".into(), json!(found.image_digest));
    fields.insert("cordoned".into(), json!(found.cordoned));
    fields.insert("state".into(), json!(found.state));
    Value::Object(fields)
}

pub(crate) fn publication(name: &str, wanted: &PublicationPut) -> Value {
    json!({ "name": name, "host": wanted.host, "group": wanted.group, "port": wanted.port })
}

pub(crate) fn publication_actual(found: &Publication) -> Value {
    json!({
        "id": found.id, "name": found.name, "host": found.host, "group": found.group, "port": found.port,
        "state": found.state,
    })
}

/// Secrets are named, as in the manifest; their values are nowhere near.
pub(crate) fn app(name: &str, wanted: &AppSpec) -> Value {
    named("name", name, serde_json::to_value(wanted))
}

pub(crate) fn app_actual(found: &App) -> Value {
    app(&found.name, &found.spec)
}

fn named(key: &str, name: &str, fields: serde_json::Result<Value>) -> Value {
    let mut all = Map::from_iter([(key.to_owned(), json!(name))]);
    if let Ok(Value::Object(fields)) = fields {
        all.extend(fields);
    }
    Value::Object(all)
}

pub(crate) fn backend(name: &str, wanted: &BackendPut) -> Value {
    json!({ "name": name, "health": wanted.health, "endpoints": wanted.endpoints })
}

/// As it was asked for: what the edge sees of an endpoint changes by the second.
pub(crate) fn backend_actual(found: &Backend) -> Value {
    let endpoints: Vec<EndpointPut> = found
        .endpoints
        .iter()
        .map(|one| EndpointPut {
            id: one.id.clone(),
            machine: one.machine.clone(),
            port: one.port,
            address: one.address.clone(),
            state: one.state,
        })
        .collect();
    json!({ "name": found.name, "health": found.health, "endpoints": endpoints })
}

pub(crate) fn route(host: &str, wanted: &RoutePut) -> Value {
    named("host", host, serde_json::to_value(wanted))
}

pub(crate) fn route_actual(found: &Route) -> Value {
    let as_put = RoutePut {
        paths: found.paths.clone(),
        maintenance: found.maintenance,
        redirect_https: found.redirect_https,
        hsts: found.hsts,
        max_body: found.max_body,
        rate: found.rate,
    };
    route(&found.host, &as_put)
}
