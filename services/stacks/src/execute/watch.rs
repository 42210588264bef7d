//! Watches reality for the steps that wait: reads what they need, once for all, and judges each.

use std::collections::HashMap;
use std::time::Duration;

use hafen_base::{InstanceId, Result, Timestamp};
use hafen_client::wire::{App, Image, Machine, MachineState, Network, Publication};

use super::{Job, SHORT_TICK, TICK, TICK_FACTOR};
use crate::steps::{Step, Work};

/// How long a started machine may take to become healthy.
const HEALTHY_WITHIN: Duration = Duration::from_mins(5);
/// How long anything else may take. The machines service has limits of its own, 10 minutes at most and without the
/// building of images; this one only keeps an apply from waiting for ever.
const STANDS_WITHIN: Duration = Duration::from_hours(2);
/// How long something just made may be missing from what is read.
const MISSING_WITHIN: Duration = Duration::from_secs(2);
/// How long something that failed before may take to stop failing.
const SECOND_TRY: Duration = Duration::from_secs(3);
/// Up to so many machines are read one by one.
const FEW: usize = 4;
/// Progress of image builds is asked for at most this often.
const PROGRESS: Duration = Duration::from_millis(500);

/// What a step waits for.
#[derive(Debug)]
pub(super) struct Wait {
    generation: i64,
    instance: Option<InstanceId>,
    since: Timestamp,
    started_at: Option<Timestamp>,
}

impl Wait {
    pub const fn new(generation: i64, instance: Option<InstanceId>, since: Timestamp) -> Self {
        Self { generation, instance, since, started_at: None }
    }

    /// What failed before is tried again without a new generation: a failure counts only after a moment.
    fn had_its_chance(&self, state: &str, now: Timestamp) -> bool {
        state != "failed" || now.since(self.since) > SECOND_TRY
    }
}

#[derive(Debug)]
pub(super) enum Verdict {
    /// With what it does just now.
    NotYet(String),
    Stands,
    Failed(String),
}

/// What was read last.
#[derive(Default)]
pub(super) struct View {
    networks: HashMap<String, Network>,
    images: HashMap<String, Image>,
    machines: HashMap<String, Machine>,
    publications: HashMap<String, Publication>,
    apps: HashMap<String, App>,
    /// Of running builds, by image.
    progress: HashMap<String, String>,
    progress_at: Timestamp,
    cost: Duration,
    next: Timestamp,
}

impl View {
    /// When the next look is due.
    pub const fn next(&self) -> Timestamp {
        self.next
    }

    /// How long to wait before the next look.
    pub fn pause(&self, waiting: usize) -> Duration {
        let least = if waiting <= FEW { SHORT_TICK } else { TICK };
        least.max(self.cost * TICK_FACTOR).min(Duration::from_secs(2))
    }

    pub fn skip(&mut self, now: Timestamp) {
        self.next = now.plus(TICK);
    }

    pub async fn read(&mut self, job: &Job, waiting: &[&Step]) -> Result<()> {
        let begun = job.clock.now();
        self.next = begun.plus(TICK);
        let outcome = self.read_all(job, waiting).await;
        let now = job.clock.now();
        self.cost = now.since(begun);
        self.next = now.plus(self.pause(waiting.len()));
        outcome
    }

    async fn read_all(&mut self, job: &Job, waiting: &[&Step]) -> Result<()> {
        let (platform, project) = (&*job.platform, job.wanted.project.as_str());
        let of = |works: &[Work]| waiting.iter().any(|step| works.contains(&step.work));
        if of(&[Work::NetworkCreate, Work::NetworkUpdate, Work::NetworkWait, Work::NetworkDelete]) {
            let all = platform.networks(project).await?;
            self.networks = all.into_iter().map(|network| (network.name.clone(), network)).collect();
        }
        if of(&[Work::ImageMake, Work::ImageWait, Work::ImageDelete]) {
            let all = platform.images(project).await?;
            self.images = all.into_iter().map(|image| (image.name.clone(), image)).collect();
            self.read_progress(job).await;
        }
        if of(&[
            Work::PublicationPut,
            Work::PublicationReplace,
            Work::PublicationWait,
            Work::PublicationDelete,
        ]) {
            let all = platform.publications(project).await?;
            self.publications = all.into_iter().map(|found| (found.name.clone(), found)).collect();
        }
        if of(&[Work::AppPut, Work::AppWait, Work::AppDelete]) {
            let all = platform.apps(project).await?;
            self.apps = all.into_iter().map(|found| (found.name.clone(), found)).collect();
        }
        let machines: Vec<&&Step> = waiting.iter().filter(|step| step.work.is_machine()).collect();
        if machines.is_empty() {
            return Ok(());
        }
        self.machines.clear();
        if machines.len() <= FEW {
            for step in machines {
                if let Some(machine) = platform.machine(project, &step.name).await? {
                    self.machines.insert(step.name.clone(), machine);
                }
            }
        } else {
            let all = platform.machines(project).await?;
            self.machines.extend(all.into_iter().map(|machine| (machine.name.clone(), machine)));
        }
        Ok(())
    }

    async fn read_progress(&mut self, job: &Job) {
        let now = job.clock.now();
        if now.since(self.progress_at) < PROGRESS {
            return;
        }
        self.progress_at = now;
        for image in self.images.values().filter(|image| image.state == "building") {
            let Some(operation) = image.operation else { continue };
            // Only words for a person: no reason to fail.
            if let Ok(operation) = job.platform.operation(&operation.to_string()).await {
                let percent = operation.percent.map(|percent| format!(" ({percent} %)")).unwrap_or_default();
                self.progress.insert(image.name.clone(), format!("{}{percent}", operation.progress));
            }
        }
    }

    pub fn judge(&self, step: &Step, wait: &mut Wait, now: Timestamp) -> Verdict {
        let name = step.name.as_str();
        let verdict = match step.work {
            Work::NetworkCreate | Work::NetworkUpdate | Work::NetworkWait => {
                self.networks.get(name).map_or(Verdict::NotYet(String::new()), |network| {
                    let seen = network.observed_generation >= wait.generation
                        && wait.had_its_chance(&network.state, now);
                    stands(&network.state, seen, &network.reason, "")
                })
            }
            Work::ImageMake | Work::ImageWait => {
                self.images.get(name).map_or(Verdict::NotYet(String::new()), |image| {
                    let seen = image.observed_generation >= wait.generation.max(image.generation);
                    let progress = self.progress.get(name).map_or("", String::as_str);
                    stands(&image.state, seen, &image.reason, progress)
                })
            }
            Work::PublicationPut | Work::PublicationReplace | Work::PublicationWait => {
                self.publications.get(name).map_or(Verdict::NotYet(String::new()), |publication| {
                    let seen = publication.generation >= wait.generation
                        && wait.had_its_chance(&publication.state, now);
                    stands(&publication.state, seen, &publication.reason, "")
                })
            }
            Work::NetworkDelete => {
                gone(self.networks.get(name).map(|found| (found.state.as_str(), found.reason.as_str())))
            }
            Work::ImageDelete => {
                gone(self.images.get(name).map(|found| (found.state.as_str(), found.reason.as_str())))
            }
            Work::PublicationDelete => {
                gone(self.publications.get(name).map(|found| (found.state.as_str(), found.reason.as_str())))
            }
            Work::AppPut | Work::AppWait => {
                self.apps.get(name).map_or(Verdict::NotYet(String::new()), |app| judge_app(app, wait, now))
            }
            Work::AppDelete => {
                gone(self.apps.get(name).map(|found| (found.state.as_str(), found.reason.as_str())))
            }
            Work::MachineDelete | Work::SurgeEnd => {
                let found = self.machines.get(name).filter(|found| found.state != MachineState::Destroyed);
                gone(found.map(|found| (found.state.as_str(), found.reason.as_str())))
            }
            Work::MachineCreate
            | Work::MachineUpdate
            | Work::MachineReplace
            | Work::MachineWait
            | Work::Surge => self.judge_machine(name, wait, now),
            Work::ProjectPut
            | Work::ProjectDelete
            | Work::BackendPut
            | Work::BackendDelete
            | Work::RoutePut
            | Work::RouteDelete
            | Work::Gate => Verdict::Stands,
        };
        match verdict {
            Verdict::NotYet(message) if now.since(wait.since) > STANDS_WITHIN => Verdict::Failed(format!(
                "it did not come to its end within {} s; it is: {message}",
                STANDS_WITHIN.as_secs()
            )),
            verdict => verdict,
        }
    }

    fn judge_machine(&self, name: &str, wait: &mut Wait, now: Timestamp) -> Verdict {
        let Some(found) = self.machines.get(name) else {
            return if now.since(wait.since) > MISSING_WITHIN {
                Verdict::Failed("it was deleted while the apply ran; apply again to make it anew".into())
            } else {
                Verdict::NotYet(String::new())
            };
        };
        if found.wanted_state != "started" {
            return Verdict::Failed(format!(
                "somebody else wants it {} while the apply runs; apply again to start it",
                found.wanted_state
            ));
        }
        if wait
            .instance
            .is_some_and(|instance| instance != found.instance_id && found.generation <= wait.generation)
        {
            // Read before the change was.
            return Verdict::NotYet(String::new());
        }
        let seen = found.observed_generation >= wait.generation.max(found.generation);
        let reason = if found.reason.is_empty() { String::new() } else { format!(": {}", found.reason) };
        match found.state {
            MachineState::Failed => Verdict::Failed(format!("the machine failed{reason}")),
            MachineState::Started if seen && found.healthy => Verdict::Stands,
            MachineState::Started if seen => {
                let started = *wait.started_at.get_or_insert(now);
                let waited = now.since(started);
                if waited > HEALTHY_WITHIN {
                    let limit = HEALTHY_WITHIN.as_secs();
                    Verdict::Failed(format!("it is started, but not healthy after {limit} s{reason}"))
                } else {
                    Verdict::NotYet(format!("started, not healthy yet{reason}"))
                }
            }
            state => {
                wait.started_at = None;
                Verdict::NotYet(format!("{}{reason}", state.as_str()))
            }
        }
    }
}

/// An app without a release is as wanted: there is nothing to be deployed before something is pushed.
fn judge_app(app: &App, wait: &Wait, now: Timestamp) -> Verdict {
    let seen = app.observed_generation >= wait.generation.max(app.generation);
    match app.state.as_str() {
        "empty" | "running" if seen => Verdict::Stands,
        "failed" if seen && wait.had_its_chance("failed", now) => {
            Verdict::Failed(format!("its deployment failed: {}", app.reason))
        }
        state if app.reason.is_empty() => Verdict::NotYet(state.to_owned()),
        state => Verdict::NotYet(format!("{state}: {}", app.reason)),
    }
}

fn stands(state: &str, seen: bool, reason: &str, progress: &str) -> Verdict {
    match state {
        "ready" if seen => Verdict::Stands,
        "failed" if seen => Verdict::Failed(format!("it failed: {reason}")),
        _ if !progress.is_empty() => Verdict::NotYet(progress.to_owned()),
        _ if reason.is_empty() => Verdict::NotYet(state.to_owned()),
        _ => Verdict::NotYet(format!("{state}: {reason}")),
    }
}

fn gone(found: Option<(&str, &str)>) -> Verdict {
    match found {
        None => Verdict::Stands,
        Some((state, "")) => Verdict::NotYet(state.to_owned()),
        Some((state, reason)) => Verdict::NotYet(format!("{state}: {reason}")),
    }
}
