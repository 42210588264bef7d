//! Brings an app to what is wanted of it: deployments to their end, processes to their places.

use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, ErrorKind, Result};
use hafen_db::store_error;
use hafen_work::{Next, Reconciler};
use serde_json::json;

use super::Apps;
use super::hands::At;
use super::model::{
    AppRow, BuildRow, BuildState, DeploymentRow, DeploymentState, KEPT_RELEASES, Live, Migration, ReleaseRow,
};
use super::plan::{self, Action, Phase, Wanted, plan};
use super::see::View;
use crate::store::app as store;

/// The runner's work; a key is `project/app`.
pub(crate) struct Rollouts(pub Apps);

#[async_trait]
impl Reconciler for Rollouts {
    fn name(&self) -> &'static str {
        "delivery apps"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let all = store::all(&self.0.0.delivery.0.db).await?;
        Ok(all.iter().map(AppRow::key).collect())
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let Some((project, name)) = key.split_once('/') else { return Ok(Next::Done) };
        let db = &self.0.0.delivery.0.db;
        let Some(app) = store::find(db, project, name).await? else { return Ok(Next::Done) };
        if app.destroying {
            return self.0.destroy(&app).await;
        }
        if app.preview.as_ref().is_some_and(|preview| preview.expires_at <= self.0.now()) {
            self.0.preview_ends(&app).await?;
            return Ok(Next::Now);
        }
        self.0.step(app).await
    }

    fn parallel(&self) -> usize {
        8
    }

    fn sweep(&self) -> Duration {
        self.0.0.pace.sweep
    }
}

/// What is to be brought into service, or kept there.
struct Target {
    live: Live,
    release: ReleaseRow,
    /// The deployment that brings it.
    deployment: Option<DeploymentRow>,
}

impl Apps {
    async fn step(&self, app: AppRow) -> Result<Next> {
        let db = &self.0.delivery.0.db;
        let mut open = store::deployments_open(db, &app.project, &app.name).await?;
        let newest = open.pop();
        for older in open {
            self.superseded(&app, older).await?;
        }
        let mut wait = None;
        let newest = match newest {
            Some(row) if matches!(row.state, DeploymentState::Queued | DeploymentState::Building) => {
                let (row, next) = self.prepare(&app, row).await?;
                wait = next;
                row
            }
            other => other,
        };
        let rolls =
            |row: &&DeploymentRow| matches!(row.state, DeploymentState::Migrating | DeploymentState::Rolling);
        // Its number and its processes have changed by now.
        let Some(app) = store::find(db, &app.project, &app.name).await? else { return Ok(Next::Done) };
        let target = match newest.as_ref().filter(rolls) {
            Some(row) => {
                let number = row.release.unwrap_or_default();
                let release = store::release(db, &app.project, &app.name, number).await?;
                let live = Live { set: row.number, release: number };
                release.map(|release| Target { live, release, deployment: Some(row.clone()) })
            }
            None => match app.live {
                Some(live) => {
                    let release = store::release(db, &app.project, &app.name, live.release).await?;
                    release.map(|release| Target { live, release, deployment: None })
                }
                None => None,
            },
        };
        let Some(view) = self.view(&app).await? else { return self.project_gone(&app).await };
        let next = match target {
            Some(target) => self.carry_out(&app, &view, &target).await?,
            None => self.empty(&app, &view, newest.is_none()).await?,
        };
        Ok(match (next, wait) {
            (Next::Now, _) => Next::Now,
            (Next::After(one), Some(other)) => Next::After(one.min(other)),
            (Next::Done, Some(other)) => Next::After(other),
            (next, None) => next,
        })
    }

    fn wanted(&self, app: &AppRow, target: &Target) -> Wanted {
        let spec = &target.release.spec;
        let health = spec.health.as_ref();
        let number =
            |value: Option<i64>, else_: u64| value.and_then(|v| u64::try_from(v).ok()).unwrap_or(else_);
        let migration = match &target.release.migration {
            Migration::Done => plan::Migration::Done,
            Migration::Due | Migration::Begun(_) => plan::Migration::Due,
            Migration::Failed(why) => plan::Migration::Failed(why.clone()),
        };
        let healthy_after = number(health.map(|health| health.healthy_after), 1);
        let interval = Duration::from_millis(number(health.map(|health| health.interval_ms), 1000));
        let answers = u32::try_from(healthy_after).unwrap_or(1);
        Wanted {
            set: target.live.set,
            release: target.live.release,
            replicas: app.replicas(),
            blue_green: spec.strategy == hafen_client::wire::AppStrategy::BlueGreen,
            deploying: target.deployment.is_some(),
            migration,
            first_port: spec.port,
            healthy_after: answers,
            interval,
            // Who asks seldom has to be waited for longer.
            patience: self.0.pace.patience + interval * answers,
            drain: self.0.pace.drain,
        }
    }

    async fn carry_out(&self, app: &AppRow, view: &View, target: &Target) -> Result<Next> {
        let wanted = self.wanted(app, target);
        let actions = plan(&wanted, &view.seen, self.now());
        let row_of = |key| view.rows.iter().find(|row| row.key() == key).cloned();
        let (mut wait, mut moved, mut balance, mut no_machine) = (None, false, false, false);
        let mut starts = Vec::new();
        for action in &actions {
            match action {
                Action::Wait(time) => wait = Some(*time),
                Action::NoMachine => no_machine = true,
                Action::Tidy(machine) => {
                    moved |= self.tidy(app, view, machine).await?;
                }
                Action::Migrate => {
                    self.migrate(app, view, target.release.clone()).await?;
                }
                Action::Place { key, machine, port } => {
                    self.place(app, view, target.live.release, (*key, machine.clone(), *port)).await?;
                    moved = true;
                }
                Action::Start(key) => {
                    if let Some(row) = row_of(*key) {
                        balance |= row.phase() == Phase::Serving;
                        starts.push(self.start(app, view, row));
                    }
                }
                Action::Probe(key) => {
                    if let Some(row) = row_of(*key) {
                        self.probe(app, row).await?;
                    }
                }
                Action::Serve(key) | Action::Drain(key) => {
                    let phase =
                        if matches!(action, Action::Serve(_)) { Phase::Serving } else { Phase::Draining };
                    if let Some(row) = row_of(*key) {
                        self.enter(app, row, phase).await?;
                        (balance, moved) = (true, true);
                    }
                }
                Action::Stop(key) | Action::Forget(key) => {
                    if let Some(row) = row_of(*key) {
                        let is_gone = matches!(action, Action::Forget(_));
                        self.stop(app, &row, is_gone).await?;
                        balance |= matches!(row.phase(), Phase::Serving | Phase::Draining);
                        moved = true;
                    }
                }
                Action::Succeed => {
                    self.succeeded(app, target).await?;
                    (balance, moved) = (true, true);
                }
                Action::Fail(failure) => {
                    let reason = self.reason(app, view, failure).await;
                    self.failed(app, target, reason).await?;
                    moved = true;
                }
            }
        }
        // Side by side: most of it is waiting for machines.
        let (mut started, mut refused) = (false, false);
        for start in futures::future::join_all(starts).await {
            let done = start?;
            started |= done;
            refused |= !done;
        }
        if balance {
            // What serves may be another by now.
            let now = store::find(&self.0.delivery.0.db, &app.project, &app.name).await?;
            let Some(now) = now else { return Ok(Next::Done) };
            let is_live = now.live == Some(target.live);
            self.balance(&now, Some(target.live.release).filter(|_| !is_live)).await?;
        }
        if let Some(mut row) = target.deployment.clone()
            && row.state == DeploymentState::Migrating
            && target.release.migration == Migration::Done
            && !actions.iter().any(|action| matches!(action, Action::Succeed | Action::Fail(_)))
        {
            row.state = DeploymentState::Rolling;
            let mut tx = self.0.delivery.0.db.write().await?;
            store::deployment_advance(&mut tx, app, &row).await?;
            tx.commit().await.map_err(store_error)?;
        }
        self.said(app, no_machine).await?;
        if moved {
            return Ok(Next::Now);
        }
        if let Some(wait) = wait {
            let wait = match (started, refused) {
                (_, true) => Duration::from_secs(2),
                (true, false) => Duration::from_millis(100),
                (false, false) => wait,
            };
            return Ok(Next::After(wait));
        }
        self.settled(app).await
    }

    /// Whether there is a machine for it, in words.
    async fn said(&self, app: &AppRow, no_machine: bool) -> Result<()> {
        let reason = if no_machine {
            format!("no machine of {:?} is started and takes processes: it waits for one", app.spec.on)
        } else {
            String::new()
        };
        if app.reason != reason {
            self.app_change(&app.project, &app.name, |row| row.reason = reason).await?;
        }
        Ok(())
    }

    /// Nothing is left to do.
    async fn settled(&self, app: &AppRow) -> Result<Next> {
        let db = &self.0.delivery.0.db;
        let last = store::deployment_last(db, &app.project, &app.name).await?;
        if let Some(mut last) = last
            && last.state == DeploymentState::Failed
            && last.release.is_some()
            && app.live.is_some()
        {
            last.state = DeploymentState::RolledBack;
            let live = app.live.map_or(0, |live| live.release);
            let message = format!(
                "deployment {} of {} was rolled back: release {live} serves, as before",
                last.id(),
                app.name
            );
            self.deployment_told(app, &last, "deployment.rolled_back", message, false).await?;
        }
        let open = store::deployments_open(db, &app.project, &app.name).await?;
        if open.is_empty() && app.observed != app.generation {
            let generation = app.generation;
            self.app_change(&app.project, &app.name, |row| row.observed = row.observed.max(generation))
                .await?;
        }
        Ok(Next::Done)
    }

    /// Nothing shall serve: what is left of a first deployment that failed goes.
    async fn empty(&self, app: &AppRow, view: &View, is_settled: bool) -> Result<Next> {
        for row in &view.rows {
            let is_there = view.seen.hosts.iter().any(|host| host.name == row.machine);
            self.stop(app, row, !is_there).await?;
        }
        if !view.rows.is_empty() {
            self.balance(app, None).await?;
            return Ok(Next::Now);
        }
        if is_settled { self.settled(app).await } else { Ok(Next::Done) }
    }

    async fn succeeded(&self, app: &AppRow, target: &Target) -> Result<()> {
        let Some(mut row) = target.deployment.clone() else { return Ok(()) };
        row.state = DeploymentState::Succeeded;
        row.ended_at = Some(self.now());
        let message =
            format!("release {} of {} serves ({}, {})", target.live.release, app.name, row.kind, row.id());
        self.deployment_told(app, &row, "deployment.succeeded", message, true).await?;
        self.collect(app).await?;
        self.untidy(app).await
    }

    async fn failed(&self, app: &AppRow, target: &Target, reason: String) -> Result<()> {
        let Some(mut row) = target.deployment.clone() else { return Ok(()) };
        row.state = DeploymentState::Failed;
        row.ended_at = Some(self.now());
        row.reason = reason;
        let back = match app.live {
            Some(live) => format!("release {} serves on", live.release),
            None => "nothing serves: there was no release before".to_owned(),
        };
        let message = format!("deployment {} of {} failed, {back}: {}", row.id(), app.name, row.reason);
        self.deployment_told(app, &row, "deployment.failed", message, false).await
    }

    async fn superseded(&self, app: &AppRow, mut row: DeploymentRow) -> Result<()> {
        row.state = DeploymentState::Superseded;
        row.ended_at = Some(self.now());
        row.reason = "a newer deployment was begun".into();
        let message = format!("deployment {} of {} stops: there is a newer one", row.id(), app.name);
        self.build_unneeded(app, &row).await?;
        self.deployment_told(app, &row, "deployment.superseded", message, false).await
    }

    /// Ends the build of a deployment that is over, unless another one waits for it.
    pub(crate) async fn build_unneeded(&self, app: &AppRow, row: &DeploymentRow) -> Result<()> {
        let parts = &self.0.delivery.0;
        let Some(number) = row.build else { return Ok(()) };
        let open = store::deployments_open(&parts.db, &app.project, &app.name).await?;
        if open.iter().any(|other| other.number != row.number && other.build == Some(number)) {
            return Ok(());
        }
        let mut tx = parts.db.write().await?;
        let build = store::build_in(&mut tx, &app.project, &app.name, number).await?;
        let Some(mut build) = build.filter(|build| !build.state.is_over()) else { return Ok(()) };
        build.state = BuildState::Cancelled;
        build.ended_at = Some(self.now());
        build.reason = format!("deployment {} is over", row.id());
        store::build_put(&mut tx, &build).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.wake_build.wake(build.key());
        Ok(())
    }

    /// From what was asked for to a release: the commit, the build, the release.
    async fn prepare(
        &self,
        app: &AppRow,
        mut row: DeploymentRow,
    ) -> Result<(Option<DeploymentRow>, Option<Duration>)> {
        match self.prepared(app, &mut row).await {
            Ok(wait) => Ok((Some(row), wait)),
            // What the person who asked can mend ends it; what passes is tried again.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Conflict
                ) =>
            {
                row.state = DeploymentState::Failed;
                row.ended_at = Some(self.now());
                row.reason = error.to_string();
                let message = format!("deployment {} of {} failed: {error}", row.id(), app.name);
                self.deployment_told(app, &row, "deployment.failed", message, false).await?;
                Ok((None, None))
            }
            Err(error) => {
                if row.reason != error.to_string() {
                    row.reason = error.to_string();
                    let mut tx = self.0.delivery.0.db.write().await?;
                    store::deployment_advance(&mut tx, app, &row).await?;
                    tx.commit().await.map_err(store_error)?;
                }
                Err(error)
            }
        }
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
        let commit = match &row.commit {
            Some(commit) => commit.clone(),
            None => {
                let found =
                    self.0.sources.resolve(&app.project, &app.spec.source, row.git_ref.as_deref()).await?;
                row.commit = Some(found.clone());
                found
            }
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
            let build = self.build_for(app, row, &commit, &image.digest).await?;
            row.build = Some(build.number);
            row.state = DeploymentState::Building;
            let mut tx = parts.db.write().await?;
            store::deployment_advance(&mut tx, app, row).await?;
            tx.commit().await.map_err(store_error)?;
            self.0.wake_build.wake(build.key());
        }
        let number = row.build.unwrap_or_default();
        let build = store::build(&parts.db, &app.project, &app.name, number).await?;
        let build = build.ok_or_else(|| Error::not_found(format!("build b{number}")))?;
        match (build.state, &build.artifact) {
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
        let (file, _) = self.0.sources.archive(&app.project, &app.spec.source, commit, &spool).await?;
        let store = self.0.store.clone();
        let pack = move || store.put(file, hafen_artifact::Limits::default());
        Ok(tokio::task::spawn_blocking(pack).await.map_err(Error::internal)??.digest)
    }

    /// A build of this commit in this image: one that there is, or a new one.
    async fn build_for(
        &self,
        app: &AppRow,
        row: &DeploymentRow,
        commit: &str,
        image: &str,
    ) -> Result<BuildRow> {
        let parts = &self.0.delivery.0;
        let Some(wanted) = &app.spec.build else { return Err(Error::internal("nothing to build")) };
        let same = |build: &BuildRow| {
            let fits = build.commit == commit
                && build.build.run == wanted.run
                && build.build.output == wanted.output
                && build.build.image == wanted.image
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
        let data = json!({ "build": build.id(), "commit": commit, "image": image, "deployment": row.id() });
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

    /// Releases beyond those that are kept lose their artefacts.
    async fn collect(&self, app: &AppRow) -> Result<()> {
        let parts = &self.0.delivery.0;
        let releases = store::releases(&parts.db, &app.project, &app.name, i64::MAX, 200).await?;
        let used: Vec<i64> = store::processes(&parts.db, &app.project, &app.name)
            .await?
            .iter()
            .map(|process| process.release)
            .collect();
        let mut tx = parts.db.write().await?;
        for mut release in releases.into_iter().filter(|release| release.kept).skip(KEPT_RELEASES) {
            if !used.contains(&release.number) {
                release.kept = false;
                store::release_put(&mut tx, app, &release).await?;
            }
        }
        tx.commit().await.map_err(store_error)
    }

    /// Everything of an app goes, and then its row.
    async fn destroy(&self, app: &AppRow) -> Result<Next> {
        let parts = &self.0.delivery.0;
        for mut row in store::deployments_open(&parts.db, &app.project, &app.name).await? {
            row.state = DeploymentState::Cancelled;
            row.ended_at = Some(self.now());
            row.reason = "the app is deleted".into();
            self.build_unneeded(app, &row).await?;
            let message = format!("deployment {} of {} ends with it", row.id(), app.name);
            self.deployment_told(app, &row, "deployment.cancelled", message, false).await?;
        }
        if let Some(preview) = &app.preview {
            self.0.balancer.route_delete(&app.project, &preview.host).await?;
        }
        self.0.balancer.delete(&app.project, &app.name).await?;
        let mut waits = false;
        for (machine, _) in store::machines(&parts.db, &app.project, &app.name).await? {
            waits |= !self.leave(app, &machine).await?;
        }
        let builds = store::builds_open(&parts.db).await?;
        waits |= builds.iter().any(|build| build.project == app.project && build.app == app.name);
        if waits {
            return Ok(Next::After(Duration::from_secs(1)));
        }
        self.gone(app, "it was deleted").await?;
        Ok(Next::Done)
    }

    /// Its machines went with the project.
    async fn project_gone(&self, app: &AppRow) -> Result<Next> {
        for (machine, _) in store::machines(&self.0.delivery.0.db, &app.project, &app.name).await? {
            self.0.hands.forget(At { project: &app.project, machine: &machine });
        }
        self.0.balancer.delete(&app.project, &app.name).await?;
        self.gone(app, "its project is no more").await?;
        Ok(Next::Done)
    }

    async fn gone(&self, app: &AppRow, why: &str) -> Result<()> {
        let mut tx = self.0.delivery.0.db.write().await?;
        store::delete(&mut tx, &app.project, &app.name).await?;
        let message = format!("app {} is gone: {why}", app.name);
        self.event(&mut tx, &app.project, "app.destroyed", format!("app/{}", app.name), message, json!({}))
            .await?;
        tx.commit().await.map_err(store_error)?;
        self.ring();
        // The caches and logs of its builds are nobody's any more.
        for kind in ["logs", "caches"] {
            let folder = self.0.folder.join(kind).join(&app.project).join(&app.name);
            let _absent = tokio::fs::remove_dir_all(folder).await;
        }
        Ok(())
    }

    /// The time of a preview is over.
    async fn preview_ends(&self, app: &AppRow) -> Result<()> {
        let mut tx = self.0.delivery.0.db.write().await?;
        if let Some(mut row) = store::find_in(&mut tx, &app.project, &app.name).await? {
            row.destroying = true;
            row.generation += 1;
            store::put(&mut tx, &row).await?;
            let message = format!("preview {} is over", app.name);
            self.event(
                &mut tx,
                &app.project,
                "preview.expired",
                format!("app/{}", app.name),
                message,
                json!({}),
            )
            .await?;
        }
        tx.commit().await.map_err(store_error)?;
        self.ring();
        Ok(())
    }
}
