//! The request that begins a step. It is sent again while the platform does not answer: every request here is either of a
//! kind that may be repeated, or carries a key that makes it act once.

use std::sync::Arc;
use std::time::Duration;

use hafen_base::{Clock, Error, ErrorKind, InstanceId, Result};
use hafen_client::wire::{MachineCreate, MachinePatch, MachinePut, MachineSpec, NetworkPatch, ProjectPut};

use crate::diff::must_start;
use crate::model::{Group, Wanted, is_going};
use crate::platform::Platform;
use crate::steps::{Step, Work};

/// What an apply needs for all its steps.
pub struct Job {
    /// Unique to the apply; part of every key.
    pub id: String,
    pub wanted: Arc<Wanted>,
    pub platform: Arc<dyn Platform>,
    pub clock: Arc<dyn Clock>,
}

/// How a step goes on after its request.
#[derive(Debug)]
pub(super) enum Called {
    Done(&'static str),
    /// Until the object was seen at this generation, and stands (or is gone).
    Wait {
        generation: i64,
        instance: Option<InstanceId>,
    },
    /// The one that stood there is still on its way out: ask again shortly.
    Again,
    /// Refused for want of quota, an address, a port: ask again once something was freed.
    Full(Error),
}

/// Tries of a request that gets no answer: 0.2, 0.4 … 5 s apart, about a minute in all.
const TRIES: u32 = 16;

pub(super) async fn call(job: &Job, step: &Step) -> Result<Called> {
    let mut wait = Duration::from_millis(200);
    let mut left = TRIES;
    loop {
        match once(job, step).await {
            Err(error) if left > 0 && may_pass(&error) => {
                tracing::debug!(step = step.address(), "{error}; trying again in {wait:?}");
                // A failure of theirs is mostly a bug, and not mended by patience.
                left -= if error.kind() == ErrorKind::Internal { left.min(5) } else { 1 };
                job.clock.sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(5));
            }
            other => return other,
        }
    }
}

fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Internal)
}

const NOW: Called = Called::Wait { generation: 0, instance: None };

async fn once(job: &Job, step: &Step) -> Result<Called> {
    let (platform, wanted, name) = (&*job.platform, &*job.wanted, step.name.as_str());
    let project = wanted.project.as_str();
    let key = format!("{}/{}/{}", job.id, step.address(), step.action);
    match step.work {
        Work::Gate => Ok(Called::Done("")),
        Work::NetworkWait | Work::ImageWait | Work::MachineWait | Work::PublicationWait | Work::AppWait => {
            Ok(NOW)
        }
        Work::ProjectPut => {
            let now = platform.project(project).await?.map(|found| found.quota);
            platform.project_put(project, &ProjectPut { quota: Some(wanted.quota.over(now)) }).await?;
            Ok(Called::Done(""))
        }
        Work::ProjectDelete => {
            platform.project_delete(project).await?;
            Ok(Called::Done(""))
        }
        Work::NetworkCreate => {
            let body = wanted.network(name).ok_or_else(|| lost(step))?;
            made(platform.network_create(project, body, &key).await, async || {
                let networks = platform.networks(project).await?;
                Ok(networks.iter().any(|network| network.name == name && network.state == "destroying"))
            })
            .await
            .map(|made| made.map_wait(|network| network.generation))
        }
        Work::NetworkUpdate => {
            let egress = wanted.network(name).ok_or_else(|| lost(step))?.egress.clone();
            let network = platform.network_patch(project, name, &NetworkPatch { egress }).await?;
            Ok(Called::Wait { generation: network.generation, instance: None })
        }
        Work::NetworkDelete => freed(platform.network_delete(project, name).await),
        Work::ImageMake => {
            let body = wanted.image(name).ok_or_else(|| lost(step))?;
            made(platform.image_make(project, body, &key).await, async || {
                Ok(platform.image(project, name).await?.is_some_and(|image| image.state == "destroying"))
            })
            .await
            .map(|made| made.map_wait(|image| image.generation))
        }
        Work::ImageDelete => freed(platform.image_delete(project, name).await),
        Work::PublicationPut => publish(job, name).await,
        Work::PublicationReplace => {
            let found = platform.publications(project).await?.into_iter().find(|found| found.name == name);
            let host = wanted.publications.get(name).map(|wanted| wanted.host.as_str());
            match found {
                Some(found) if Some(found.host.as_str()) != host || found.state == "destroying" => {
                    platform.publication_delete(project, name).await?;
                    Ok(Called::Again)
                }
                _ => publish(job, name).await,
            }
        }
        Work::PublicationDelete => freed(platform.publication_delete(project, name).await),
        Work::AppPut => {
            let body = wanted.apps.get(name).ok_or_else(|| lost(step))?;
            made(platform.app_put(project, name, body).await, async || {
                let apps = platform.apps(project).await?;
                Ok(apps.iter().any(|app| app.name == name && app.state == "destroying"))
            })
            .await
            .map(|made| made.map_wait(|app| app.generation))
        }
        Work::AppDelete => freed(platform.app_delete(project, name).await),
        Work::BackendPut => {
            let body = wanted.backends.get(name).ok_or_else(|| lost(step))?;
            platform.backend_put(project, name, body).await.map(|_| Called::Done(""))
        }
        Work::BackendDelete => over(platform.backend_delete(project, name).await),
        Work::RoutePut => {
            let body = wanted.routes.get(name).ok_or_else(|| lost(step))?;
            platform.route_put(project, name, body).await.map(|_| Called::Done(""))
        }
        Work::RouteDelete => over(platform.route_delete(project, name).await),
        Work::MachineDelete | Work::SurgeEnd => freed(platform.machine_delete(project, name).await),
        Work::MachineCreate => {
            let group = group_of(wanted, step)?;
            create(job, step, group, group.spec.clone(), &key).await
        }
        Work::Surge => {
            let group = group_of(wanted, step)?;
            if !roll_is_needed(job, group).await? {
                return Ok(Called::Done("the new image is the same; no machine needs to change"));
            }
            let spec = MachineSpec { address: None, ..group.spec.clone() };
            create(job, step, group, spec, &key).await
        }
        Work::MachineUpdate => update(job, step).await,
        Work::MachineReplace => replace(job, step).await,
    }
}

fn lost(step: &Step) -> Error {
    Error::internal(format!("{} is not in the manifest it was planned from", step.address()))
}

fn group_of<'a>(wanted: &'a Wanted, step: &Step) -> Result<&'a Group> {
    step.group.and_then(|index| wanted.groups.get(index)).ok_or_else(|| lost(step))
}

enum Made<T> {
    Object(T),
    Other(Called),
}

impl<T> Made<T> {
    fn map_wait(self, generation: impl FnOnce(T) -> i64) -> Called {
        match self {
            Self::Object(object) => Called::Wait { generation: generation(object), instance: None },
            Self::Other(called) => called,
        }
    }
}

/// Sorts out a refusal: `going` tells whether the old one of that name is merely not gone yet.
async fn made<T>(result: Result<T>, going: impl AsyncFnOnce() -> Result<bool>) -> Result<Made<T>> {
    match result {
        Ok(object) => Ok(Made::Object(object)),
        Err(error) if error.kind() == ErrorKind::Quota => Ok(Made::Other(Called::Full(error))),
        Err(error) if error.kind() == ErrorKind::Conflict => {
            let called = if going().await? { Called::Again } else { Called::Full(error) };
            Ok(Made::Other(called))
        }
        Err(error) => Err(error),
    }
}

/// A deletion: refused while something still holds the object.
fn freed(result: Result<()>) -> Result<Called> {
    match result {
        Ok(()) => Ok(NOW),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Called::Done("")),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(Called::Full(error)),
        Err(error) => Err(error),
    }
}

/// A deletion that is done when it is answered.
fn over(result: Result<()>) -> Result<Called> {
    freed(result).map(|called| if matches!(called, Called::Wait { .. }) { Called::Done("") } else { called })
}

async fn publish(job: &Job, name: &str) -> Result<Called> {
    let project = job.wanted.project.as_str();
    let Some(body) = job.wanted.publications.get(name) else {
        return Err(Error::internal(format!(
            "publication {name} is not in the manifest it was planned from"
        )));
    };
    made(job.platform.publication_put(project, name, body).await, async || {
        let all = job.platform.publications(project).await?;
        Ok(all.iter().any(|found| found.name == name && found.state == "destroying"))
    })
    .await
    .map(|made| made.map_wait(|publication| publication.generation))
}

async fn create(job: &Job, step: &Step, group: &Group, spec: MachineSpec, key: &str) -> Result<Called> {
    let project = job.wanted.project.as_str();
    let body = MachineCreate {
        name: step.name.clone(),
        spec,
        group: Some(group.name.clone()),
        metadata: group.metadata.clone(),
        health: group.health.clone(),
        skip_launch: false,
        skip_registration: false,
        lease_ttl: None,
    };
    made(job.platform.machine_create(project, &body, key).await, async || {
        Ok(job.platform.machine(project, &step.name).await?.is_some_and(|found| is_going(&found)))
    })
    .await
    .map(|made| match made {
        Made::Object(machine) => {
            Called::Wait { generation: machine.generation, instance: Some(machine.instance_id) }
        }
        Made::Other(called) => called,
    })
}

/// Whether any machine of the group still runs another configuration or image: known only once the image is built.
async fn roll_is_needed(job: &Job, group: &Group) -> Result<bool> {
    let project = job.wanted.project.as_str();
    let image = job.platform.image(project, &group.spec.image).await?;
    let digest = image.map(|image| image.digest).unwrap_or_default();
    for name in &group.members {
        if let Some(found) = job.platform.machine(project, name).await?
            && (found.spec != group.spec || found.image_digest.as_deref() != Some(digest.as_str()))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn update(job: &Job, step: &Step) -> Result<Called> {
    let (platform, project, name) = (&*job.platform, job.wanted.project.as_str(), step.name.as_str());
    let group = group_of(&job.wanted, step)?;
    let Some(found) = platform.machine(project, name).await? else {
        return Err(Error::conflict("it was deleted while the apply ran; apply again to make it anew"));
    };
    let mut newest = None;
    let health = found.health != group.health;
    if found.group.as_deref() != Some(group.name.as_str()) || (health && group.health.is_none()) {
        // Only a whole new configuration can leave a group or drop a health check.
        newest = Some(platform.machine_put(project, name, &put(group)).await?);
    }
    if found.cordoned || found.metadata != group.metadata || (health && group.health.is_some()) {
        let patch = MachinePatch {
            metadata: (found.metadata != group.metadata).then(|| group.metadata.clone()),
            health: group.health.clone().filter(|_| health),
            cordoned: found.cordoned.then_some(false),
        };
        newest = Some(platform.machine_patch(project, name, &patch).await?);
    }
    let starts = must_start(&found);
    if starts {
        newest = Some(platform.machine_start(project, name).await?);
    }
    match newest {
        Some(machine) if starts || health => {
            Ok(Called::Wait { generation: machine.generation, instance: Some(machine.instance_id) })
        }
        Some(_) => Ok(Called::Done("")),
        None => Ok(Called::Done("it was as wanted already")),
    }
}

fn put(group: &Group) -> MachinePut {
    MachinePut {
        spec: group.spec.clone(),
        group: Some(group.name.clone()),
        metadata: group.metadata.clone(),
        health: group.health.clone(),
    }
}

async fn replace(job: &Job, step: &Step) -> Result<Called> {
    let (platform, project, name) = (&*job.platform, job.wanted.project.as_str(), step.name.as_str());
    let group = group_of(&job.wanted, step)?;
    match platform.machine_put(project, name, &put(group)).await {
        Ok(machine) => {
            // A new configuration leaves the cordon as it was.
            let machine = if machine.cordoned {
                let patch = MachinePatch { cordoned: Some(false), ..MachinePatch::default() };
                platform.machine_patch(project, name, &patch).await?
            } else {
                machine
            };
            let machine =
                if must_start(&machine) { platform.machine_start(project, name).await? } else { machine };
            Ok(Called::Wait { generation: machine.generation, instance: Some(machine.instance_id) })
        }
        Err(error) if error.kind() == ErrorKind::Quota => Ok(Called::Full(error)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Error::conflict("it was deleted while the apply ran; apply again to make it anew"))
        }
        Err(error) => Err(error),
    }
}
