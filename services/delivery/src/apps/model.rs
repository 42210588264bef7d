//! What is kept of apps.

use std::collections::BTreeMap;
use std::time::Duration;

use hafen_base::{Actor, Timestamp};
use hafen_client::wire::{App, AppBuild, AppProcess, AppSource, AppSpec, Build, Deployment, Release};
use serde::{Deserialize, Serialize};

use super::around::SourceOf;
use super::plan::{Key, Phase, Process};

/// An app as it stands in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppRow {
    pub project: String,
    pub name: String,
    pub spec: AppSpec,
    pub generation: i64,
    pub observed: i64,
    pub destroying: bool,
    /// What there is to say of it beside its deployments.
    pub reason: String,
    /// What serves, or shall.
    pub live: Option<Live>,
    /// The last numbers that were given.
    pub deployments: i64,
    pub releases: i64,
    pub builds: i64,
    /// Counts what the balancer has to hear: it goes up with each change of who takes requests, in the same transaction.
    pub balance: i64,
    /// What it has heard of that.
    pub told: i64,
    pub preview: Option<Preview>,
    /// What becomes of this name when the app, which is being deleted, is gone.
    pub again: Option<Box<Again>>,
    /// When the project was founded that it is of: another project of that name is another.
    pub project_since: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The set of processes that serves, and its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    pub set: i64,
    pub release: i64,
}

/// Of an app that is the preview of a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The app that it previews.
    pub of: String,
    pub branch: String,
    pub host: String,
    pub expires_at: Timestamp,
    /// Whether the host leads here.
    pub routed: bool,
    /// Variables of its app's build that are secrets, which it does not get.
    #[serde(default)]
    pub withheld: Vec<String>,
}

/// An environment that was asked for while the one before it was being deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Again {
    pub spec: AppSpec,
    pub preview: Preview,
    pub commit: String,
    pub actor: Actor,
}

/// A build as it stands in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildRow {
    pub project: String,
    pub app: String,
    pub number: i64,
    pub commit: String,
    pub source: AppSource,
    pub build: AppBuild,
    pub image_digest: Option<String>,
    /// The secrets that it gets, in which version: another one makes another build.
    #[serde(default)]
    pub secrets: BTreeMap<String, i64>,
    /// Variables that it does not get, because it is a preview's and they are secrets.
    #[serde(default)]
    pub withheld: Vec<String>,
    pub state: BuildState,
    pub reason: String,
    pub artifact: Option<String>,
    pub size: Option<i64>,
    /// What it runs in, until that is known to be gone.
    pub machine: Option<String>,
    pub attempts: i64,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl BuildState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl BuildRow {
    pub fn id(&self) -> String {
        format!("b{}", self.number)
    }

    /// Whether there is anything left to do about it.
    pub const fn is_open(&self) -> bool {
        !self.state.is_over() || self.machine.is_some()
    }

    pub fn wire(&self) -> Build {
        Build {
            id: self.id(),
            app: self.app.clone(),
            commit: self.commit.clone(),
            image_digest: self.image_digest.clone(),
            state: self.state.as_str().into(),
            reason: self.reason.clone(),
            artifact: self.artifact.clone(),
            size: self.size,
            secrets: self.secrets.clone(),
            created_at: self.created_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
        }
    }
}

/// A release as it stands in the store. Only `kept` and `migration` change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseRow {
    pub number: i64,
    pub commit: String,
    pub build: Option<i64>,
    pub artifact: String,
    pub spec: AppSpec,
    pub kept: bool,
    pub migration: Migration,
    pub created_at: Timestamp,
    pub created_by: String,
}

/// How far the migration of a release is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Migration {
    /// Not begun.
    Due,
    /// Begun on this machine, and on no other ever after.
    Begun(String),
    Done,
    /// With what it said last.
    Failed(String),
}

impl ReleaseRow {
    pub fn wire(&self, app: &str) -> Release {
        Release {
            number: self.number,
            app: app.to_owned(),
            commit: self.commit.clone(),
            build: self.build.map(|number| format!("b{number}")),
            artifact: self.artifact.clone(),
            spec: self.spec.clone(),
            kept: self.kept,
            created_at: self.created_at,
            created_by: self.created_by.clone(),
        }
    }
}

/// A deployment as it stands in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentRow {
    pub number: i64,
    /// `deploy`, `rollback`, `restart`, `configure`.
    pub kind: String,
    pub state: DeploymentState,
    pub reason: String,
    /// What the process, the migration or the build that failed said last: for those who may read logs.
    pub log: String,
    /// Since when it cannot be prepared.
    pub stuck_since: Option<Timestamp>,
    pub git_ref: Option<String>,
    pub commit: Option<String>,
    pub build: Option<i64>,
    pub release: Option<i64>,
    pub previous: Option<Live>,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub actor: Actor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    Queued,
    Building,
    Migrating,
    Rolling,
    Succeeded,
    Failed,
    RolledBack,
    Superseded,
    Cancelled,
}

impl DeploymentState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Building => "building",
            Self::Migrating => "migrating",
            Self::Rolling => "rolling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
        }
    }

    /// The only step from an end: back is done when what was before serves again.
    pub const fn may_become(self, next: Self) -> bool {
        matches!((self, next), (Self::Failed, Self::RolledBack))
    }

    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Building | Self::Migrating | Self::Rolling)
    }
}

impl DeploymentRow {
    pub fn id(&self) -> String {
        format!("d{}", self.number)
    }

    pub fn wire(&self, app: &str) -> Deployment {
        Deployment {
            id: self.id(),
            app: app.to_owned(),
            kind: self.kind.clone(),
            state: self.state.as_str().into(),
            reason: self.reason.clone(),
            git_ref: self.git_ref.clone(),
            commit: self.commit.clone(),
            build: self.build.map(|number| format!("b{number}")),
            release: self.release,
            previous_release: self.previous.map(|live| live.release),
            created_at: self.created_at,
            ended_at: self.ended_at,
            created_by: self.actor.id.clone(),
        }
    }
}

/// A process as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRow {
    pub set: i64,
    pub index: u32,
    pub release: i64,
    pub machine: String,
    pub boot: String,
    pub port: u16,
    pub phase: String,
    pub since: Timestamp,
    pub good: u32,
    pub restarts: u32,
    /// Whether the balancer has heard of this phase.
    pub announced: bool,
    /// Why it is not well: the probe's answer.
    pub told: String,
    pub started_at: Option<Timestamp>,
}

impl ProcessRow {
    pub const fn key(&self) -> Key {
        Key { set: self.set, index: self.index }
    }

    /// As it is called on its machine.
    pub fn id(&self) -> String {
        self.key().id()
    }

    /// As it is called everywhere.
    pub fn full_id(&self) -> String {
        format!("{}-{}", self.machine, self.id())
    }

    pub fn phase(&self) -> Phase {
        Phase::parse(&self.phase).unwrap_or(Phase::Placed)
    }

    pub fn enter(&mut self, phase: Phase, now: Timestamp) {
        phase.as_str().clone_into(&mut self.phase);
        self.since = now;
        self.announced = false;
    }

    pub fn seen(&self, in_flight: Option<u64>) -> Process {
        Process {
            key: self.key(),
            machine: self.machine.clone(),
            boot: self.boot.clone(),
            port: self.port,
            phase: self.phase(),
            since: self.since,
            good: self.good,
            restarts: self.restarts,
            in_flight,
            accepted: true,
            announced: self.announced,
        }
    }

    pub fn wire(&self) -> AppProcess {
        let state = match self.phase() {
            Phase::Placed => "starting",
            Phase::Started if self.told.is_empty() => "starting",
            Phase::Started => "unhealthy",
            Phase::Serving => "healthy",
            Phase::Draining => "draining",
        };
        AppProcess {
            id: self.full_id(),
            release: self.release,
            machine: self.machine.clone(),
            port: self.port,
            state: state.into(),
            reason: self.told.clone(),
            restarts: i64::from(self.restarts),
            started_at: self.started_at,
        }
    }
}

impl AppRow {
    /// One of which nothing is there yet.
    pub const fn new(
        project: String,
        name: String,
        spec: AppSpec,
        project_since: i64,
        now: Timestamp,
    ) -> Self {
        Self {
            project,
            name,
            spec,
            generation: 0,
            observed: 0,
            destroying: false,
            reason: String::new(),
            live: None,
            deployments: 0,
            releases: 0,
            builds: 0,
            // Higher than that of any app of this name before: the balancer takes no lower one.
            balance: now.micros(),
            told: now.micros(),
            preview: None,
            again: None,
            project_since,
            created_at: now,
            updated_at: now,
        }
    }

    pub fn key(&self) -> String {
        format!("{}/{}", self.project, self.name)
    }

    pub fn source(&self) -> SourceOf<'_> {
        SourceOf { project: &self.project, app: &self.name, source: &self.spec.source }
    }

    pub fn replicas(&self) -> u32 {
        u32::try_from(self.spec.replicas).unwrap_or(0)
    }

    pub fn wire(&self, processes: &[ProcessRow], last: Option<&DeploymentRow>) -> App {
        let serving = processes.iter().filter(|one| one.phase() == Phase::Serving).count();
        let serving = u32::try_from(serving).unwrap_or(u32::MAX);
        let state = if self.destroying {
            "destroying"
        } else if last.is_some_and(|one| !one.state.is_over()) {
            "deploying"
        } else if last
            .is_some_and(|one| matches!(one.state, DeploymentState::Failed | DeploymentState::RolledBack))
        {
            "failed"
        } else if self.live.is_none() {
            "empty"
        } else if serving < self.replicas() {
            "degraded"
        } else {
            "running"
        };
        let reason = match last {
            _ if !self.reason.is_empty() => self.reason.clone(),
            Some(last) if state == "failed" => last.reason.clone(),
            _ => String::new(),
        };
        App {
            project: self.project.clone(),
            name: self.name.clone(),
            spec: self.spec.clone(),
            state: state.into(),
            reason,
            release: self.live.map(|live| live.release),
            deployment: last.map(DeploymentRow::id),
            processes: processes.iter().map(ProcessRow::wire).collect(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            generation: self.generation,
            observed_generation: self.observed,
        }
    }
}

/// A process becomes healthy within this, or its deployment fails.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Requests in flight end within this.
pub const DRAIN: Duration = Duration::from_secs(30);
/// A deployment that cannot be prepared, because its source does not answer, fails after this.
pub const STUCK: Duration = Duration::from_secs(15 * 60);
/// Releases whose artefacts are kept, beside those in use.
pub const KEPT_RELEASES: usize = 10;
