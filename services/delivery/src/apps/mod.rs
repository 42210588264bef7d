//! Apps: from a commit to processes that serve.
//!
//! # Why it is built so
//!
//! A commit becomes an artefact (`build`, in a machine that lives for it), an artefact with its configuration a release, which
//! never changes, and a deployment brings a release into service: it places a *set* of processes on machines, waits until
//! they are well, lets the balancer send them requests, and takes the older set away (`rollout`). What to do next is decided
//! in one pure place (`plan`): a rollback, the loss of a machine and a crash of the platform are nothing special there.
//!
//! Deployments are prepared (`prepare`: source, build, artefact) beside the rollouts and not in them: what serves is healed
//! while a source does not answer. Who takes requests is told to the balancer until it has heard, and nobody ends before.
//!
//! A step is recorded before the next one is decided, and everything done on a machine may be done twice (`hands`), so that
//! a crash and a normal step take the same road.
//!
//! On machines a process is a systemd unit in a tight box (`unit`); it goes on when the platform does not.

mod act;
mod app;
pub mod around;
mod build;
mod build_log;
mod build_secrets;
mod builder;
mod check;
mod ending;
mod environment;
pub mod hands;
mod heard;
mod logs;
mod mask;
pub mod model;
mod named;
pub mod plan;
mod prepare;
mod preview;
mod rollout;
mod see;
pub mod sources;
pub(crate) mod statements;
#[cfg(test)]
mod tests;
mod tidy;
mod unit;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hafen_artifact::Store;
use hafen_base::{Actor, Error, Result, Timestamp};
use hafen_db::{Tx, store_error};
use hafen_sshca::ssh_key::PrivateKey;
use hafen_work::{NewEvent, Runner, Wake};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::Delivery;
use around::{Balancer, Sources, Vault};
use hands::Hands;
use model::AppRow;

/// What this part is given.
pub struct AppsConfig {
    pub delivery: Delivery,
    /// For artefacts, logs of builds and caches.
    pub folder: PathBuf,
    pub hands: Arc<dyn Hands>,
    pub balancer: Arc<dyn Balancer>,
    pub vault: Arc<dyn Vault>,
    pub sources: Arc<dyn Sources>,
    /// Signs who made what of what; Ed25519.
    pub signing_key: PrivateKey,
    /// How the platform is called in what it signs.
    pub platform_name: String,
    pub pace: Pace,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// For a process to become healthy.
    pub patience: Duration,
    /// For requests in flight to end.
    pub drain: Duration,
    /// Between two looks at an app where nothing happens.
    pub sweep: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { patience: model::PATIENCE, drain: model::DRAIN, sweep: Duration::from_secs(3) }
    }
}

/// Apps: cheap to clone.
#[derive(Clone)]
pub struct Apps(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub delivery: Delivery,
    pub hands: Arc<dyn Hands>,
    pub balancer: Arc<dyn Balancer>,
    pub vault: Arc<dyn Vault>,
    pub sources: Arc<dyn Sources>,
    pub signing_key: PrivateKey,
    pub platform_name: String,
    pub pace: Pace,
    /// Artefacts.
    pub store: Store,
    /// Logs of builds, caches, what is under way.
    pub folder: PathBuf,
    pub wake: Wake,
    pub wake_build: Wake,
    pub wake_prepare: Wake,
    /// Held while artefacts that nothing keeps go, and while a release begins to keep one.
    pub collecting: tokio::sync::Mutex<()>,
    inboxes: Mutex<Option<[mpsc::UnboundedReceiver<String>; 3]>>,
}

impl Apps {
    /// Nothing runs before `run`.
    ///
    /// # Errors
    /// Unavailable when its folder cannot be used.
    pub fn open(config: AppsConfig) -> Result<Self> {
        let folder = config.folder;
        for name in ["logs", "caches", "spool"] {
            std::fs::create_dir_all(folder.join(name))
                .map_err(|error| Error::unavailable(format!("{}: {error}", folder.display())))?;
        }
        let store = Store::open(&folder.join("artifacts"))?;
        let (wake, inbox) = Runner::channel();
        let (wake_build, build_inbox) = Runner::channel();
        let (wake_prepare, prepare_inbox) = Runner::channel();
        Ok(Self(Arc::new(Parts {
            delivery: config.delivery,
            hands: config.hands,
            balancer: config.balancer,
            vault: config.vault,
            sources: config.sources,
            signing_key: config.signing_key,
            platform_name: config.platform_name,
            pace: config.pace,
            store,
            folder,
            wake,
            wake_build,
            wake_prepare,
            collecting: tokio::sync::Mutex::default(),
            inboxes: Mutex::new(Some([inbox, build_inbox, prepare_inbox])),
        })))
    }

    /// Runs the reconcilers until `stop` turns true.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        let inboxes = self.0.inboxes.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Once only: a second runner would do everything twice.
        let Some([inbox, build_inbox, prepare_inbox]) = inboxes else { return };
        let parts = &self.0.delivery.0;
        let runner = |reconciler: Arc<dyn hafen_work::Reconciler>, inbox| {
            Runner::new(reconciler, inbox, Arc::clone(&parts.clock), parts.health.clone()).run(stop.clone())
        };
        let (_wake, housekeeping_inbox) = Runner::channel();
        tokio::join!(
            runner(Arc::new(rollout::Rollouts(self.clone())), inbox),
            runner(Arc::new(prepare::Preparations(self.clone())), prepare_inbox),
            runner(Arc::new(build::Builds(self.clone())), build_inbox),
            runner(Arc::new(heard::Housekeeping(self.clone())), housekeeping_inbox),
        );
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.delivery.0.now()
    }

    pub(crate) async fn event(
        &self,
        tx: &mut Tx,
        project: &str,
        kind: &'static str,
        object: String,
        message: String,
        data: Value,
    ) -> Result<()> {
        let event = NewEvent { project: project.to_owned(), kind, object, message, data };
        self.0.delivery.0.events.append(tx, event).await.map(drop)
    }

    /// Changes an app's row as it stands now; none when it went away.
    pub(crate) async fn app_change(
        &self,
        project: &str,
        name: &str,
        change: impl FnOnce(&mut AppRow) + Send,
    ) -> Result<Option<AppRow>> {
        let mut tx = self.0.delivery.0.db.write().await?;
        let Some(mut row) = crate::store::app::find_in(&mut tx, project, name).await? else {
            return Ok(None);
        };
        change(&mut row);
        crate::store::app::put(&mut tx, &row).await?;
        tx.commit().await.map_err(store_error)?;
        Ok(Some(row))
    }

    /// Files of apps that are no more go, and copies of sources that no app has any more. What cannot go now does later.
    pub(crate) async fn files_kept(&self, apps: &[AppRow]) {
        let statements = self.statements_kept(apps).await;
        let elsewhere = apps.iter().filter(|app| app.spec.source.git.is_some());
        let used = elsewhere.map(|app| (app.project.clone(), app.spec.source.clone()));
        let sources = self.0.sources.keep(&used.collect::<Vec<_>>()).await;
        for error in [statements, sources].into_iter().filter_map(Result::err) {
            tracing::warn!(cause = %error.cause_chain(), "what nothing uses any more is not removed: {error}");
        }
    }

    pub(crate) fn ring(&self) {
        self.0.delivery.0.events.ring();
    }
}

/// Who acts just now, or the platform itself.
pub(crate) fn actor() -> Actor {
    Actor::current()
}
