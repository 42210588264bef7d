//! Does what the plan says, and records it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::time::Duration;

use hafen_base::{Error, Result};
use hafen_client::wire::AppEnv;
use hafen_db::{Tx, store_error};
use hafen_remote::Collected;
use serde_json::json;

use super::Apps;
use super::around::Endpoint;
use super::hands::{At, Lines, Migrated};
use super::model::{AppRow, DeploymentRow, Migration, ProcessRow, ReleaseRow};
use super::plan::{Failure, Key, Phase};
use super::see::View;
use super::unit::{Secrets, Unit};
use crate::store::{app as store, process as places};

/// Lines of a log that are told with a failure.
const TOLD_LINES: u32 = 20;

impl Apps {
    /// The app's row in a transaction, if it is still the same app: one of another project by the same name is not.
    async fn same_in(&self, tx: &mut Tx, app: &AppRow) -> Result<Option<AppRow>> {
        let now = store::find_in(tx, &app.project, &app.name).await?;
        Ok(now.filter(|now| now.project_since == app.project_since))
    }

    /// Writes a process. `tells`: the balancer has to hear of it, which is written down in the same transaction, so that it
    /// does in the end, whatever dies or fails between.
    async fn process_put(&self, app: &AppRow, row: &ProcessRow, tells: bool) -> Result<()> {
        let mut tx = self.0.delivery.0.db.write().await?;
        let Some(mut now) = self.same_in(&mut tx, app).await? else { return Ok(()) };
        places::process_put(&mut tx, app, row).await?;
        if tells {
            now.balance += 1;
            store::put(&mut tx, &now).await?;
        }
        tx.commit().await.map_err(store_error)
    }

    pub(super) async fn machine_put(&self, app: &AppRow, machine: &str, boot: &str) -> Result<()> {
        let mut tx = self.0.delivery.0.db.write().await?;
        places::machine_put(&mut tx, app, machine, boot).await?;
        tx.commit().await.map_err(store_error)
    }

    /// Takes a place for a process, unless another app took it since that was seen.
    pub(crate) async fn place(
        &self,
        app: &AppRow,
        view: &View,
        release: i64,
        row: (Key, String, u16),
    ) -> Result<()> {
        let (key, machine, port) = row;
        let host = view.seen.hosts.iter().find(|host| host.name == machine);
        let boot = host.map(|host| host.boot.clone()).unwrap_or_default();
        let process = ProcessRow {
            set: key.set,
            index: key.index,
            release,
            machine: machine.clone(),
            boot: String::new(),
            port,
            phase: Phase::Placed.as_str().into(),
            since: self.now(),
            good: 0,
            restarts: 0,
            announced: false,
            told: String::new(),
            started_at: None,
        };
        let mut tx = self.0.delivery.0.db.write().await?;
        if self.same_in(&mut tx, app).await?.is_none() {
            return Ok(());
        }
        if let Some(other) = places::port_of(&mut tx, &app.project, &machine, port).await? {
            tracing::info!(
                app = app.key(),
                machine,
                port,
                other,
                "the port was taken meanwhile: another is looked for"
            );
            return Ok(());
        }
        places::process_put(&mut tx, app, &process).await?;
        // Nothing of it was there before, so there is nothing to look through.
        if !view.known.contains_key(&machine) {
            places::machine_put(&mut tx, app, &machine, &boot).await?;
        }
        tx.commit().await.map_err(store_error)
    }

    /// The files of a release on a machine.
    async fn install(&self, app: &AppRow, at: At<'_>, release: &ReleaseRow) -> Result<()> {
        let looked = self.0.hands.look(at, &app.name).await?;
        if looked.releases.contains(&release.number) {
            return Ok(());
        }
        let tar = self.unpacked(&release.artifact).await?;
        self.0.hands.install(at, &app.name, release.number, tar).await
    }

    /// The archive of an artefact, in a file without a name.
    async fn unpacked(&self, digest: &str) -> Result<File> {
        let (store, spool, digest) = (self.0.store.clone(), self.0.folder.join("spool"), digest.to_owned());
        let unpack = move || -> Result<File> {
            let mut file = tempfile::tempfile_in(spool).map_err(Error::internal)?;
            std::io::copy(&mut store.read(&digest)?, &mut file).map_err(Error::internal)?;
            file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
            Ok(file)
        };
        tokio::task::spawn_blocking(unpack).await.map_err(Error::internal)?
    }

    async fn secrets(&self, app: &AppRow, release: &ReleaseRow, reason: &str) -> Result<Secrets> {
        let mut secrets = Secrets::new();
        for (name, value) in &release.spec.env {
            if let AppEnv::Secret(reference) = value {
                let value = self.0.vault.read(&app.project, &reference.secret, None, reason).await?;
                secrets.insert(name.clone(), value);
            }
        }
        Ok(secrets)
    }

    /// Starts a process; false when the machine does not go along, which is told in its row.
    pub(crate) async fn start(&self, app: &AppRow, view: &View, mut row: ProcessRow) -> Result<bool> {
        let host = view.seen.hosts.iter().find(|host| host.name == row.machine);
        let Some(boot) = host.map(|host| host.boot.clone()) else { return Ok(false) };
        let parts = &self.0.delivery.0;
        let at = At { project: &app.project, machine: &row.machine };
        let took = matches!(row.phase(), Phase::Serving | Phase::Draining);
        let started = async {
            let release = store::release(&parts.db, &app.project, &app.name, row.release).await?;
            let release = release.ok_or_else(|| Error::not_found(format!("release {}", row.release)))?;
            self.install(app, at, &release).await?;
            let reason = format!("start of {} of app {}", row.full_id(), app.name);
            let secrets = self.secrets(app, &release, &reason).await?;
            let unit = Unit {
                app: &app.name,
                id: &row.id(),
                release: release.number,
                artifact: &release.artifact,
                port: Some(row.port),
                spec: &release.spec,
            };
            self.0.hands.start(at, &app.name, &row.id(), unit.archive(&secrets)?).await
        };
        match started.await {
            Ok(()) => {
                let now = self.now();
                row.enter(Phase::Started, now);
                (row.boot, row.good, row.restarts, row.started_at) = (boot, 0, 0, Some(now));
                row.told.clear();
                self.process_put(app, &row, took).await?;
                Ok(true)
            }
            Err(error) => {
                tracing::warn!(app = app.key(), process = row.full_id(), cause = %error.cause_chain(), "{error}");
                if row.phase() != Phase::Placed {
                    row.enter(Phase::Placed, self.now());
                }
                row.told = error.to_string();
                self.process_put(app, &row, took).await?;
                Ok(false)
            }
        }
    }

    /// Asks a process whether it is well.
    pub(crate) async fn probe(&self, app: &AppRow, mut row: ProcessRow) -> Result<()> {
        let release = store::release(&self.0.delivery.0.db, &app.project, &app.name, row.release).await?;
        let health = release.and_then(|release| release.spec.health);
        let timeout = health.as_ref().map_or(1000, |health| health.timeout_ms);
        let timeout = Duration::from_millis(u64::try_from(timeout).unwrap_or(1000));
        let at = At { project: &app.project, machine: &row.machine };
        match self.0.hands.probe(at, row.port, health.as_ref(), timeout).await? {
            Ok(()) => {
                row.good += 1;
                row.told.clear();
            }
            Err(told) => (row.good, row.told) = (0, told),
        }
        self.process_put(app, &row, false).await
    }

    /// Those of these that run by themselves. An answer at its port is not enough: it may be another's, while the process
    /// itself ends again and again because it does not get the port.
    pub(crate) async fn running(&self, app: &AppRow, rows: Vec<ProcessRow>) -> Result<Vec<ProcessRow>> {
        let machines: BTreeSet<String> = rows.iter().map(|row| row.machine.clone()).collect();
        let looks = machines.into_iter().map(|machine| async move {
            let looked = self.0.hands.look(At { project: &app.project, machine: &machine }, &app.name).await;
            (machine, looked)
        });
        let looked: BTreeMap<_, _> = futures::future::join_all(looks).await.into_iter().collect();
        let mut running = Vec::new();
        for mut row in rows {
            // A machine that cannot be asked now is asked again.
            let Some(Ok(looked)) = looked.get(&row.machine) else { continue };
            let (restarts, why) = match looked.processes.iter().find(|one| one.id == row.id()) {
                Some(one) if one.state == "active" && one.restarts <= row.restarts => {
                    running.push(row);
                    continue;
                }
                Some(one) if one.ended.is_empty() => (one.restarts, format!("its unit is {}", one.state)),
                Some(one) => (one.restarts, format!("it ended: {}", one.ended)),
                None => (row.restarts, "its unit is not on the machine".to_owned()),
            };
            row.told = format!("port {} answers, but {why}", row.port);
            (row.good, row.restarts) = (0, restarts);
            self.process_put(app, &row, false).await?;
        }
        Ok(running)
    }

    pub(crate) async fn enter(&self, app: &AppRow, mut row: ProcessRow, phase: Phase) -> Result<()> {
        row.enter(phase, self.now());
        self.process_put(app, &row, true).await
    }

    /// Ends a process and forgets it. One on a machine that cannot be reached is ended when that can be.
    pub(crate) async fn stop(&self, app: &AppRow, row: &ProcessRow, is_gone: bool) -> Result<()> {
        let at = At { project: &app.project, machine: &row.machine };
        let mut tidy = true;
        if is_gone {
            self.0.hands.forget(at);
        } else if let Err(error) = self.0.hands.stop(at, &app.name, &[row.id()]).await {
            // One that is only placed may run all the same: whoever started it died before that was written down.
            tracing::warn!(app = app.key(), process = row.full_id(), "it is ended later: {error}");
            tidy = false;
        }
        let mut tx = self.0.delivery.0.db.write().await?;
        let Some(mut now) = self.same_in(&mut tx, app).await? else { return Ok(()) };
        places::process_delete(&mut tx, app, row.set, row.index).await?;
        if matches!(row.phase(), Phase::Serving | Phase::Draining) {
            now.balance += 1;
            store::put(&mut tx, &now).await?;
        }
        if !tidy {
            places::machine_put(&mut tx, app, &row.machine, "").await?;
        }
        tx.commit().await.map_err(store_error)
    }

    /// Begins the migration of a release, or looks after it: or after that of another release, as no two run at a time.
    pub(crate) async fn migrate(&self, app: &AppRow, view: &View, release: &ReleaseRow) -> Result<()> {
        let db = &self.0.delivery.0.db;
        let other = store::release_migrating(db.reader(), &app.project, &app.name).await?;
        let mut release = other.unwrap_or_else(|| release.clone());
        let machine = match &release.migration {
            Migration::Begun(machine) => machine.clone(),
            Migration::Due => {
                let Some(host) = view.seen.hosts.iter().find(|host| host.takes && host.tidy) else {
                    return Ok(());
                };
                release.migration = Migration::Begun(host.name.clone());
                let mut tx = self.0.delivery.0.db.write().await?;
                if store::release_migrating(&mut *tx, &app.project, &app.name).await?.is_some() {
                    return Ok(());
                }
                store::release_put(&mut tx, app, &release).await?;
                if !view.known.contains_key(&host.name) {
                    places::machine_put(&mut tx, app, &host.name, &host.boot).await?;
                }
                tx.commit().await.map_err(store_error)?;
                host.name.clone()
            }
            Migration::Done | Migration::Failed(_) => return Ok(()),
        };
        let at = At { project: &app.project, machine: &machine };
        let is_there = view.seen.hosts.iter().any(|host| host.name == machine);
        let told = if is_there {
            self.install(app, at, &release).await?;
            let reason = format!("migration of release {} of app {}", release.number, app.name);
            let secrets = self.secrets(app, &release, &reason).await?;
            let unit = Unit {
                app: &app.name,
                id: &format!("migrate-{}", release.number),
                release: release.number,
                artifact: &release.artifact,
                port: None,
                spec: &release.spec,
            };
            self.0.hands.migrate(at, &app.name, release.number, unit.archive(&secrets)?).await?
        } else {
            Migrated::Failed(format!(
                "machine {machine:?} was lost while it ran there: nobody knows how far it came, and it is not begun again"
            ))
        };
        release.migration = match told {
            Migrated::Running => return Ok(()),
            Migrated::Done => Migration::Done,
            Migrated::Failed(why) => Migration::Failed(why),
        };
        let (kind, message) = match &release.migration {
            // What it said is for those who may read logs.
            Migration::Failed(_) => (
                "app.migration_failed",
                format!("the migration of release {} of {} failed", release.number, app.name),
            ),
            _ => (
                "app.migrated",
                format!("the migration of release {} of {} is done", release.number, app.name),
            ),
        };
        let mut tx = self.0.delivery.0.db.write().await?;
        store::release_put(&mut tx, app, &release).await?;
        let data = json!({ "release": release.number, "machine": machine });
        self.event(&mut tx, &app.project, kind, format!("app/{}", app.name), message, data).await?;
        tx.commit().await.map_err(store_error)?;
        self.ring();
        Ok(())
    }

    /// Tells the balancer who takes requests, if it has not heard of it. What it did not take it is told again.
    pub(crate) async fn balance(&self, app: &AppRow) -> Result<()> {
        let parts = &self.0.delivery.0;
        let now = store::find(&parts.db, &app.project, &app.name).await?;
        let Some(app) = now.filter(|now| now.project_since == app.project_since) else { return Ok(()) };
        if app.told >= app.balance {
            return Ok(());
        }
        let rows: Vec<ProcessRow> = places::processes(&parts.db, &app.project, &app.name)
            .await?
            .into_iter()
            .filter(|row| matches!(row.phase(), Phase::Serving | Phase::Draining))
            .collect();
        let endpoints: Vec<Endpoint> = rows
            .iter()
            .map(|row| Endpoint {
                id: row.full_id(),
                machine: row.machine.clone(),
                port: row.port,
                draining: row.phase() == Phase::Draining,
            })
            .collect();
        let coming = store::deployments_open(&parts.db, &app.project, &app.name).await?;
        let coming = coming.last().and_then(|row| row.release);
        let mut checks = Vec::new();
        for number in [app.live.map(|live| live.release), coming].into_iter().flatten() {
            if let Some(release) = store::release(&parts.db, &app.project, &app.name, number).await? {
                checks.push(release.spec.health);
            }
        }
        // While two releases serve that are asked in other ways, requests alone tell who is well.
        let health = match checks.as_slice() {
            [one] => one.clone(),
            [one, other] if one == other => one.clone(),
            _ => None,
        };
        self.0.balancer.put(&app.project, &app.name, app.balance, health.as_ref(), &endpoints).await?;
        let mut tx = parts.db.write().await?;
        let Some(mut now) = self.same_in(&mut tx, &app).await? else { return Ok(()) };
        now.told = now.told.max(app.balance);
        store::put(&mut tx, &now).await?;
        for mut row in rows.into_iter().filter(|row| !row.announced) {
            // Its time to drain, or to be found well, begins now.
            (row.announced, row.since) = (true, self.now());
            places::process_put(&mut tx, &app, &row).await?;
        }
        tx.commit().await.map_err(store_error)
    }

    /// Why a deployment failed, as its people need to know it; and what was said last, for those who may read that.
    pub(crate) async fn reason(&self, app: &AppRow, view: &View, failure: &Failure) -> (String, String) {
        let (key, what) = match failure {
            Failure::Migration(said) => return ("the migration failed".to_owned(), said.clone()),
            Failure::Unhealthy(key) => (*key, "did not become healthy"),
            Failure::Ends(key) => (*key, "ends again and again"),
        };
        let Some(row) = view.rows.iter().find(|row| row.key() == key) else {
            return (what.to_owned(), String::new());
        };
        let mut said = Collected::up_to(64 << 10);
        let at = At { project: &app.project, machine: &row.machine };
        let id = row.id();
        let lines = Lines { process: Some(&id), count: TOLD_LINES, follow: false };
        let log = match self.0.hands.lines(at, &app.name, lines, &mut said).await {
            Ok(()) => String::from_utf8_lossy(&said.out).trim_end().to_owned(),
            Err(error) => format!("(its log cannot be read: {error})"),
        };
        let log: String = log.chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect();
        let told = if row.told.is_empty() { "it was never asked" } else { &row.told };
        // A machine that takes no call holds up even the start.
        let what = if row.started_at.is_some() { what } else { "could not be started" };
        let since = self.now().since(row.started_at.unwrap_or(row.since)).as_secs();
        let reason = format!(
            "{} at port {} of {} {what} within {since} s\nprobe: {told}",
            row.full_id(),
            row.port,
            row.machine
        );
        (reason, log)
    }

    /// Writes a deployment and an event about it.
    pub(crate) async fn deployment_told(
        &self,
        app: &AppRow,
        row: &DeploymentRow,
        kind: &'static str,
        message: String,
        live: bool,
    ) -> Result<()> {
        let parts = &self.0.delivery.0;
        let mut tx = parts.db.write().await?;
        if !store::deployment_advance(&mut tx, app, row).await? {
            return Ok(());
        }
        if live
            && let Some(release) = row.release
            && let Some(mut app) = store::find_in(&mut tx, &app.project, &app.name).await?
        {
            app.live = Some(super::model::Live { set: row.number, release });
            // How its processes are asked may be another by now.
            app.balance += 1;
            app.updated_at = self.now();
            store::put(&mut tx, &app).await?;
        }
        let data = json!({
            "deployment": row.id(), "app": app.name, "kind": row.kind, "state": row.state.as_str(), "release": row.release,
            "commit": row.commit, "reason": row.reason,
        });
        let object = format!("deployment/{}/{}", app.name, row.id());
        // Whoever asked for it is who did it.
        row.actor
            .clone()
            .acts(async { self.event(&mut tx, &app.project, kind, object, message, data).await })
            .await?;
        tx.commit().await.map_err(store_error)?;
        self.ring();
        Ok(())
    }
}
