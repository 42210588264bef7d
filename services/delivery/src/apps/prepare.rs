//! From what was asked for to a release: the commit, the build, the artefact. Apart from the rollouts, so that an app is
//! healed while a source does not answer.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, ErrorKind, Result};
use hafen_db::store_error;
use hafen_work::{Next, Reconciler};
use serde_json::json;

use super::Apps;
use super::model::{
    AppRow, BuildRow, BuildState, DeploymentRow, DeploymentState, Migration, ReleaseRow, STUCK,
};
use crate::store::app as store;

/// Between two tries to prepare a deployment.
const AGAIN: Duration = Duration::from_secs(10);
/// Comes before the log in the reason of a build that failed.
const BUILD_SAID: &str = "\nlast lines of its log:\n";

/// The runner's work; a key is `project/app`.
pub(crate) struct Preparations(pub Apps);

const fn is_prepared(state: DeploymentState) -> bool {
    !matches!(state, DeploymentState::Queued | DeploymentState::Building)
}

#[async_trait]
impl Reconciler for Preparations {
    fn name(&self) -> &'static str {
        "delivery preparations"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        store::deploying(&self.0.0.delivery.0.db).await
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let Some((project, name)) = key.split_once('/') else { return Ok(Next::Done) };
        let db = &self.0.0.delivery.0.db;
        let Some(app) = store::find(db, project, name).await? else { return Ok(Next::Done) };
        if app.destroying || self.0.0.delivery.project_since(project).await? != app.project_since {
            return Ok(Next::Done);
        }
        let newest = store::deployments_open(db, project, name).await?.pop();
        let Some(row) = newest.filter(|row| !is_prepared(row.state)) else { return Ok(Next::Done) };
        let wait = self.0.prepare(&app, row).await?;
        self.0.0.wake.wake(key);
        Ok(wait.map_or(Next::Done, Next::After))
    }

    /// Most of it is waiting for others.
    fn parallel(&self) -> usize {
        32
    }
}

impl Apps {
    /// From what was asked for to a release: the commit, the build, the release.
    async fn prepare(&self, app: &AppRow, mut row: DeploymentRow) -> Result<Option<Duration>> {
        match self.prepared(app, &mut row).await {
            Ok(wait) => {
                if row.stuck_since.take().is_some() && wait.is_some() {
                    row.reason.clear();
                    self.deployment_put(app, &row).await?;
                }
                Ok(wait)
            }
            // What the person who asked can mend ends it; what passes is tried again.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Conflict
                ) =>
            {
                self.unprepared(app, row, error.to_string()).await
            }
            Err(error) => {
                tracing::warn!(app = app.key(), deployment = row.id(), cause = %error.cause_chain(), "it waits: {error}");
                let now = self.now();
                let since = *row.stuck_since.get_or_insert(now);
                if now.since(since) >= STUCK {
                    let minutes = STUCK.as_secs() / 60;
                    return self
                        .unprepared(app, row, format!("{error}; so it was for {minutes} minutes"))
                        .await;
                }
                row.reason = error.to_string();
                self.deployment_put(app, &row).await?;
                Ok(Some(AGAIN))
            }
        }
    }

    async fn unprepared(
        &self,
        app: &AppRow,
        mut row: DeploymentRow,
        why: String,
    ) -> Result<Option<Duration>> {
        // What a build said last is for those who may read logs.
        let (reason, log) = match why.split_once(BUILD_SAID) {
            Some((reason, log)) => (reason.to_owned(), log.to_owned()),
            None => (why, String::new()),
        };
        (row.state, row.ended_at) = (DeploymentState::Failed, Some(self.now()));
        let message = format!("deployment {} of {} failed: {reason}", row.id(), app.name);
        (row.reason, row.log) = (reason, log);
        self.deployment_told(app, &row, "deployment.failed", message, false).await?;
        Ok(None)
    }

    async fn deployment_put(&self, app: &AppRow, row: &DeploymentRow) -> Result<()> {
        let mut tx = self.0.delivery.0.db.write().await?;
        store::deployment_advance(&mut tx, app, row).await?;
        tx.commit().await.map_err(store_error)
    }

    async fn prepared(&self, app: &AppRow, row: &mut DeploymentRow) -> Result<Option<Duration>> {
        let parts = &self.0.delivery.0;
        if let Some(number) = row.release {
            let release = store::release(&parts.db, &app.project, &app.name, number).await?;
            let release = release.filter(|release| release.kept && self.0.store.has(&release.artifact));
            let release = release.ok_or_else(|| {
                Error::not_found(format!("release {number} any more: its artefact is not kept"))
            })?;
            self.rolls(app, row, &release).await?;
            return Ok(None);
        }
        let commit = if let Some(commit) = &row.commit {
            commit.clone()
        } else {
            let found = self.0.sources.resolve(app.source(), row.git_ref.as_deref()).await?;
            row.commit = Some(found.clone());
            found
        };
        let Some(wanted) = &app.spec.build else {
            let artifact = self.packed(app, &commit).await?;
            let release = self.release_made(app, row, &commit, None, &artifact).await?;
            self.rolls(app, row, &release).await?;
            return Ok(None);
        };
        if row.state == DeploymentState::Queued {
            let image = parts.platform.image_get(&app.project, &wanted.image).await.map_err(|error| {
                if error.kind() == ErrorKind::NotFound {
                    Error::not_found(format!(
                        "image {:?}, in which {} is built: add [image.{}]",
                        wanted.image, app.name, wanted.image
                    ))
                } else {
                    error
                }
            })?;
            match image.state.as_str() {
                "ready" => {}
                "failed" => {
                    return Err(Error::conflict(format!(
                        "image {:?} could not be made: {}",
                        wanted.image, image.reason
                    )));
                }
                _ => return Ok(Some(Duration::from_secs(1))),
            }
            let secrets = self.build_versions(&app.project, &app.name, wanted).await?;
            let build = self.build_for(app, row, &commit, &image.digest, secrets).await?;
            row.build = Some(build.number);
            row.state = DeploymentState::Building;
            self.deployment_put(app, row).await?;
            self.0.wake_build.wake(build.key());
        }
        let number = row.build.unwrap_or_default();
        let build = store::build(&parts.db, &app.project, &app.name, number).await?;
        let build = build.ok_or_else(|| Error::not_found(format!("build b{number}")))?;
        match (build.state, &build.artifact) {
            (BuildState::Succeeded, Some(artifact)) if !self.0.store.has(artifact) => {
                // Collected as this was about to keep it: it is built again.
                (row.build, row.state) = (None, DeploymentState::Queued);
                self.deployment_put(app, row).await?;
                Ok(Some(Duration::from_secs(1)))
            }
            (BuildState::Succeeded, Some(artifact)) => {
                let release = self.release_made(app, row, &commit, Some(number), artifact).await?;
                self.rolls(app, row, &release).await?;
                Ok(None)
            }
            (BuildState::Queued | BuildState::Running, _) => Ok(Some(Duration::from_secs(2))),
            _ => Err(Error::conflict(format!(
                "build {} {}: {}",
                build.id(),
                build.state.as_str(),
                build.reason
            ))),
        }
    }

    /// The source itself, where nothing is built.
    async fn packed(&self, app: &AppRow, commit: &str) -> Result<String> {
        let spool = self.0.folder.join("spool");
        let (file, _) = self.0.sources.archive(app.source(), commit, &spool).await?;
        let store = self.0.store.clone();
        let pack = move || store.put(file, hafen_artifact::Limits::default());
        Ok(tokio::task::spawn_blocking(pack).await.map_err(Error::internal)??.digest)
    }

    /// A build of this commit in this image with these versions of secrets: one that there is, or a new one.
    async fn build_for(
        &self,
        app: &AppRow,
        row: &DeploymentRow,
        commit: &str,
        image: &str,
        secrets: BTreeMap<String, i64>,
    ) -> Result<BuildRow> {
        let parts = &self.0.delivery.0;
        let Some(wanted) = &app.spec.build else { return Err(Error::internal("nothing to build")) };
        let same = |build: &BuildRow| {
            let fits = build.commit == commit
                && build.build.run == wanted.run
                && build.build.output == wanted.output
                && build.build.image == wanted.image
                && build.build.env == wanted.env
                && build.secrets == secrets
                && build.image_digest.as_deref().is_none_or(|digest| digest == image);
            let useful = match &build.artifact {
                Some(artifact) => build.state == BuildState::Succeeded && self.0.store.has(artifact),
                None => !build.state.is_over(),
            };
            fits && useful
        };
        let builds = store::builds(&parts.db, &app.project, &app.name, i64::MAX, 50).await?;
        if let Some(found) = builds.into_iter().find(same) {
            return Ok(found);
        }
        let now = self.now();
        let mut tx = parts.db.write().await?;
        let mut app = store::find_in(&mut tx, &app.project, &app.name)
            .await?
            .ok_or_else(|| Error::not_found(format!("app {:?}", app.name)))?;
        app.builds += 1;
        let build = BuildRow {
            project: app.project.clone(),
            app: app.name.clone(),
            number: app.builds,
            commit: commit.to_owned(),
            source: app.spec.source.clone(),
            build: wanted.clone(),
            image_digest: Some(image.to_owned()),
            secrets,
            withheld: app.preview.as_ref().map(|preview| preview.withheld.clone()).unwrap_or_default(),
            state: BuildState::Queued,
            reason: String::new(),
            artifact: None,
            size: None,
            machine: None,
            attempts: 0,
            created_at: now,
            started_at: None,
            ended_at: None,
        };
        store::put(&mut tx, &app).await?;
        store::build_put(&mut tx, &build).await?;
        let message = format!("build {} of {} at {commit} waits", build.id(), app.name);
        let data = json!({ "build": build.id(), "commit": commit, "image": image, "secrets": build.secrets,
                           "deployment": row.id() });
        let object = format!("build/{}/{}", app.name, build.id());
        self.event(&mut tx, &app.project, "build.queued", object, message, data).await?;
        tx.commit().await.map_err(store_error)?;
        self.ring();
        Ok(build)
    }

    /// The release of this artefact with what is wanted now: one that there is, or a new one.
    async fn release_made(
        &self,
        app: &AppRow,
        row: &DeploymentRow,
        commit: &str,
        build: Option<i64>,
        artifact: &str,
    ) -> Result<ReleaseRow> {
        let parts = &self.0.delivery.0;
        // What is collected meanwhile is decided before this release keeps it.
        let _collecting = self.0.collecting.lock().await;
        if !self.0.store.has(artifact) {
            return Err(Error::unavailable("its artefact was collected in this moment: it is made again"));
        }
        let mut tx = parts.db.write().await?;
        let mut app = store::find_in(&mut tx, &app.project, &app.name)
            .await?
            .ok_or_else(|| Error::not_found(format!("app {:?}", app.name)))?;
        // How many there are is no part of a release.
        let as_released =
            |spec: &hafen_client::wire::AppSpec| hafen_client::wire::AppSpec { replicas: 0, ..spec.clone() };
        let known = store::releases(&parts.db, &app.project, &app.name, i64::MAX, 50).await?;
        if let Some(mut release) = known.into_iter().find(|release| {
            release.commit == commit
                && release.artifact == artifact
                && as_released(&release.spec) == as_released(&app.spec)
                // A migration is begun once only: whoever tries again does it with a new release.
                && !matches!(release.migration, Migration::Failed(_))
        }) {
            release.kept = true;
            store::release_put(&mut tx, &app, &release).await?;
            tx.commit().await.map_err(store_error)?;
            return Ok(release);
        }
        app.releases += 1;
        let release = ReleaseRow {
            number: app.releases,
            commit: commit.to_owned(),
            build,
            artifact: artifact.to_owned(),
            spec: app.spec.clone(),
            kept: true,
            migration: if app.spec.migrate.is_some() { Migration::Due } else { Migration::Done },
            created_at: self.now(),
            created_by: row.actor.id.clone(),
        };
        store::put(&mut tx, &app).await?;
        store::release_put(&mut tx, &app, &release).await?;
        let message = format!("release {} of {} is made of {commit}", release.number, app.name);
        let data = json!({ "release": release.number, "commit": commit, "artifact": artifact });
        let object = format!("release/{}/{}", app.name, release.number);
        self.event(&mut tx, &app.project, "release.created", object, message, data).await?;
        tx.commit().await.map_err(store_error)?;
        self.ring();
        Ok(release)
    }

    async fn rolls(&self, app: &AppRow, row: &mut DeploymentRow, release: &ReleaseRow) -> Result<()> {
        row.release = Some(release.number);
        row.reason.clear();
        row.state = if release.migration == Migration::Done {
            DeploymentState::Rolling
        } else {
            DeploymentState::Migrating
        };
        let message = format!("{} of {}: release {} comes into service", row.id(), app.name, release.number);
        self.deployment_told(app, row, "deployment.rolling", message, false).await
    }
}
