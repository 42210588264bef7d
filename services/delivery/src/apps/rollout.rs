//! Brings an app to what is wanted of it: deployments to their end, processes to their places.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{ErrorKind, Result};
use hafen_db::store_error;
use hafen_work::{Next, Reconciler};

use super::Apps;
use super::model::{
    AppRow, BuildState, DeploymentRow, DeploymentState, KEPT_RELEASES, Live, Migration, ReleaseRow,
};
use super::plan::{self, Action, Phase, Wanted, plan};
use super::see::View;
use crate::store::{app as store, process as places};

/// The runner's work; a key is `project/app`.
pub(crate) struct Rollouts(pub Apps);

#[async_trait]
impl Reconciler for Rollouts {
    fn name(&self) -> &'static str {
        "delivery apps"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let db = &self.0.0.delivery.0.db;
        let mut keys: BTreeSet<String> = store::all(db).await?.iter().map(AppRow::key).collect();
        let left = places::left_all(db).await?;
        keys.extend(left.into_iter().map(|(project, name)| format!("{project}/{name}")));
        Ok(keys.into_iter().collect())
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let Some((project, name)) = key.split_once('/') else { return Ok(Next::Done) };
        let db = &self.0.0.delivery.0.db;
        let Some(app) = store::find(db, project, name).await? else {
            self.0.leftovers(project, name).await?;
            return Ok(Next::Done);
        };
        // Before anything is done: what is there by these names may be another project's.
        match self.0.0.delivery.project_since(project).await {
            Ok(since) if since == app.project_since => {}
            // By its names there are others now: nothing is asked of anybody.
            Ok(_) => return self.0.project_gone(&app).await,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.0.0.balancer.delete(project, name).await?;
                return self.0.project_gone(&app).await;
            }
            Err(error) => return Err(error),
        }
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
        if newest.as_ref().is_some_and(|row| row.state == DeploymentState::Building) {
            // Its build may have ended.
            self.0.wake_prepare.wake(app.key());
        }
        let mut wait = self.routed(&app).await?;
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
        // Where the project went meanwhile, the next step finds it so.
        let Some(view) = self.view(&app).await? else { return Ok(Next::Now) };
        if view.is_forgotten {
            self.app_change(&app.project, &app.name, |row| row.balance = row.balance.max(row.told) + 1)
                .await?;
        }
        // Who waits to be told waits no longer than until now, whatever of the rest cannot be done.
        wait = self.balanced(&app).await.or(wait);
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

    /// Sees to it that the host of a preview leads to it; says when to try again.
    async fn routed(&self, app: &AppRow) -> Result<Option<Duration>> {
        let Some(preview) = app.preview.as_ref().filter(|preview| !preview.routed) else { return Ok(None) };
        if let Err(error) = self.0.balancer.route(&app.project, &preview.host, &app.name).await {
            tracing::warn!(app = app.key(), host = preview.host, cause = %error.cause_chain(), "it leads there later: {error}");
            return Ok(Some(Duration::from_secs(10)));
        }
        self.app_change(&app.project, &app.name, |row| {
            if let Some(now) = row.preview.as_mut().filter(|now| now.host == preview.host) {
                now.routed = true;
            }
        })
        .await?;
        Ok(None)
    }

    async fn wanted(&self, app: &AppRow, target: &Target) -> Result<Wanted> {
        let spec = &target.release.spec;
        let health = spec.health.as_ref();
        let number =
            |value: Option<i64>, else_: u64| value.and_then(|v| u64::try_from(v).ok()).unwrap_or(else_);
        let db = self.0.delivery.0.db.reader();
        let is_migrating = store::release_migrating(db, &app.project, &app.name).await?.is_some();
        let migration = match &target.release.migration {
            // Another release's migration runs: nothing new comes onto half a schema.
            Migration::Done if is_migrating && target.deployment.is_some() => plan::Migration::Due,
            Migration::Done => plan::Migration::Done,
            Migration::Due | Migration::Begun(_) => plan::Migration::Due,
            Migration::Failed(why) => plan::Migration::Failed(why.clone()),
        };
        let healthy_after = number(health.map(|health| health.healthy_after), 1);
        let interval = Duration::from_millis(number(health.map(|health| health.interval_ms), 1000));
        let answers = u32::try_from(healthy_after).unwrap_or(1);
        Ok(Wanted {
            set: target.live.set,
            release: target.live.release,
            replicas: app.replicas(),
            blue_green: spec.strategy == hafen_client::wire::AppStrategy::BlueGreen,
            urgent: target.deployment.as_ref().is_some_and(|row| row.kind == "rollback"),
            deploying: target.deployment.is_some(),
            migration,
            first_port: spec.port,
            healthy_after: answers,
            interval,
            // Who asks seldom has to be waited for longer.
            patience: self.0.pace.patience + interval * answers,
            drain: self.0.pace.drain,
        })
    }

    async fn carry_out(&self, app: &AppRow, view: &View, target: &Target) -> Result<Next> {
        let wanted = self.wanted(app, target).await?;
        let actions = plan(&wanted, &view.seen, self.now());
        let row_of = |key| view.rows.iter().find(|row| row.key() == key).cloned();
        let (mut wait, mut moved, mut said) = (None, false, String::new());
        let (mut starts, mut stops, mut probes, mut serves) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for action in &actions {
            match action {
                Action::Wait(time) => wait = Some(*time),
                Action::NoMachine => {
                    said = format!(
                        "no machine of {:?} is started and takes processes: it waits for one",
                        app.spec.on
                    );
                }
                Action::OnOldSchema => {
                    said = format!(
                        "the migration of release {} failed, so nothing of it runs: deploy again, or roll back",
                        target.live.release
                    );
                }
                Action::Tidy(machine) => {
                    moved |= self.tidy(app, view, machine).await?;
                }
                Action::Migrate => {
                    self.migrate(app, view, &target.release).await?;
                }
                Action::Place { key, machine, port } => {
                    self.place(app, view, target.live.release, (*key, machine.clone(), *port)).await?;
                    moved = true;
                }
                Action::Start(key) => {
                    if let Some(row) = row_of(*key) {
                        starts.push(self.start(app, view, row));
                    }
                }
                Action::Probe(key) => probes.extend(row_of(*key).map(|row| self.probe(app, row))),
                Action::Serve(key) => serves.extend(row_of(*key)),
                Action::Drain(key) => {
                    if let Some(row) = row_of(*key) {
                        self.enter(app, row, Phase::Draining).await?;
                        moved = true;
                    }
                }
                Action::Stop(key) | Action::Forget(key) => {
                    if let Some(row) = row_of(*key) {
                        let is_gone = matches!(action, Action::Forget(_));
                        stops.push(async move { self.stop(app, &row, is_gone).await });
                        moved = true;
                    }
                }
                Action::Succeed => {
                    self.succeeded(app, target).await?;
                    moved = true;
                }
                Action::Fail(failure) => {
                    let reason = self.reason(app, view, failure).await;
                    self.failed(app, target, reason).await?;
                    moved = true;
                }
            }
        }
        // Side by side: most of it is waiting for machines.
        let (stops, probes) =
            futures::future::join(futures::future::join_all(stops), futures::future::join_all(probes)).await;
        for done in stops.into_iter().chain(probes) {
            done?;
        }
        for row in self.running(app, serves).await? {
            self.enter(app, row, Phase::Serving).await?;
            moved = true;
        }
        let (mut started, mut refused) = (false, false);
        for start in futures::future::join_all(starts).await {
            let done = start?;
            started |= done;
            refused |= !done;
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
        self.said(app, said).await?;
        let later = self.balanced(app).await;
        if moved {
            return Ok(Next::Now);
        }
        if let Some(wait) = wait {
            let wait = match (started, refused) {
                (_, true) => Duration::from_secs(2),
                (true, false) => Duration::from_millis(100),
                (false, false) => wait,
            };
            return Ok(Next::After(later.map_or(wait, |later| later.min(wait))));
        }
        if let Some(later) = later {
            return Ok(Next::After(later));
        }
        self.settled(app).await
    }

    /// Tells the balancer what it has not heard. One that cannot be told holds up nothing else: says when to try again.
    async fn balanced(&self, app: &AppRow) -> Option<Duration> {
        let error = self.balance(app).await.err()?;
        tracing::warn!(app = app.key(), cause = %error.cause_chain(), "the balancer is told later: {error}");
        Some(Duration::from_secs(2))
    }

    /// What there is to say of it beside its deployments.
    async fn said(&self, app: &AppRow, reason: String) -> Result<()> {
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
            let later = self.balanced(app).await;
            return Ok(later.map_or(Next::Now, Next::After));
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
        self.collect(app, target.live.release).await?;
        self.untidy(app).await
    }

    async fn failed(&self, app: &AppRow, target: &Target, (reason, log): (String, String)) -> Result<()> {
        let Some(mut row) = target.deployment.clone() else { return Ok(()) };
        row.state = DeploymentState::Failed;
        row.ended_at = Some(self.now());
        (row.reason, row.log) = (reason, log);
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

    /// Releases beyond those that are kept lose their artefacts.
    async fn collect(&self, app: &AppRow, live: i64) -> Result<()> {
        let parts = &self.0.delivery.0;
        let releases = store::releases(&parts.db, &app.project, &app.name, i64::MAX, 200).await?;
        // Nobody begins a deployment of one while it is looked at.
        let mut tx = parts.db.write().await?;
        let processes = places::processes(&parts.db, &app.project, &app.name).await?;
        let mut used: Vec<i64> = processes.iter().map(|process| process.release).collect();
        let open = store::deployments_open(&parts.db, &app.project, &app.name).await?;
        // With no processes at all, too.
        used.extend(open.iter().filter_map(|row| row.release).chain([live]));
        for mut release in releases.into_iter().filter(|release| release.kept).skip(KEPT_RELEASES) {
            if !used.contains(&release.number) {
                release.kept = false;
                store::release_put(&mut tx, app, &release).await?;
            }
        }
        tx.commit().await.map_err(store_error)
    }
}
