//! Does what the plan says, and records it.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::time::Duration;

use hafen_base::{Error, ErrorKind, Result};
use hafen_client::wire::AppEnv;
use hafen_db::store_error;
use hafen_remote::Collected;
use serde_json::json;

use super::Apps;
use super::around::Endpoint;
use super::hands::{At, Lines, Migrated};
use super::model::{AppRow, DeploymentRow, Migration, ProcessRow, ReleaseRow};
use super::plan::{Failure, Key, Phase};
use super::see::View;
use super::unit::{Secrets, Unit};
use crate::store::app as store;

/// Releases whose files stay on machines, so that a rollback moves none.
const ON_MACHINES: usize = 3;
/// Lines of a log that are told with a failure.
const TOLD_LINES: u32 = 20;

impl Apps {
    async fn process_put(&self, app: &AppRow, row: &ProcessRow) -> Result<()> {
        let mut tx = self.0.delivery.0.db.write().await?;
        store::process_put(&mut tx, app, row).await?;
        tx.commit().await.map_err(store_error)
    }

    async fn machine_put(&self, app: &AppRow, machine: &str, boot: &str) -> Result<()> {
        let mut tx = self.0.delivery.0.db.write().await?;
        store::machine_put(&mut tx, app, machine, boot).await?;
        tx.commit().await.map_err(store_error)
    }

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
            told: String::new(),
            started_at: None,
        };
        let mut tx = self.0.delivery.0.db.write().await?;
        store::process_put(&mut tx, app, &process).await?;
        // Nothing of it was there before, so there is nothing to look through.
        if !view.known.contains_key(&machine) {
            store::machine_put(&mut tx, app, &machine, &boot).await?;
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
                let value = self.0.vault.read(&app.project, &reference.secret, reason).await?;
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
                self.process_put(app, &row).await?;
                Ok(true)
            }
            Err(error) => {
                tracing::warn!(app = app.key(), process = row.full_id(), cause = %error.cause_chain(), "{error}");
                if row.phase() != Phase::Placed {
                    row.enter(Phase::Placed, self.now());
                }
                row.told = error.to_string();
                self.process_put(app, &row).await?;
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
        self.process_put(app, &row).await
    }

    pub(crate) async fn enter(&self, app: &AppRow, mut row: ProcessRow, phase: Phase) -> Result<()> {
        row.enter(phase, self.now());
        self.process_put(app, &row).await
    }

    /// Ends a process and forgets it. One on a machine that cannot be reached is ended when that can be.
    pub(crate) async fn stop(&self, app: &AppRow, row: &ProcessRow, is_gone: bool) -> Result<()> {
        let at = At { project: &app.project, machine: &row.machine };
        let mut tidy = true;
        if is_gone {
            self.0.hands.forget(at);
        } else if (row.phase() != Phase::Placed || !row.told.is_empty())
            && let Err(error) = self.0.hands.stop(at, &app.name, &[row.id()]).await
        {
            tracing::warn!(app = app.key(), process = row.full_id(), "it is ended later: {error}");
            tidy = false;
        }
        let mut tx = self.0.delivery.0.db.write().await?;
        store::process_delete(&mut tx, app, row.set, row.index).await?;
        if !tidy {
            store::machine_put(&mut tx, app, &row.machine, "").await?;
        }
        tx.commit().await.map_err(store_error)
    }

    /// Ends what does not belong on a machine, and removes releases that nobody goes back to soon.
    /// False when that has to wait.
    pub(crate) async fn tidy(&self, app: &AppRow, view: &View, machine: &str) -> Result<bool> {
        let Some(host) = view.seen.hosts.iter().find(|host| host.name == machine) else { return Ok(false) };
        let at = At { project: &app.project, machine };
        let ids: Vec<String> =
            view.rows.iter().filter(|row| row.machine == machine).map(ProcessRow::id).collect();
        let releases = store::releases(&self.0.delivery.0.db, &app.project, &app.name, i64::MAX, 20).await?;
        let mut keep: Vec<i64> = releases
            .iter()
            .filter(|release| release.kept)
            .take(ON_MACHINES)
            .map(|release| release.number)
            .collect();
        keep.extend(app.live.map(|live| live.release));
        keep.extend(view.rows.iter().map(|row| row.release));
        if let Err(error) = self.0.hands.keep(at, &app.name, &ids, &keep).await {
            tracing::warn!(app = app.key(), machine, "it is looked through later: {error}");
            return Ok(false);
        }
        self.machine_put(app, machine, &host.boot).await?;
        Ok(true)
    }

    /// Every machine is looked through once more.
    pub(crate) async fn untidy(&self, app: &AppRow) -> Result<()> {
        let mut tx = self.0.delivery.0.db.write().await?;
        for (machine, _) in store::machines(&self.0.delivery.0.db, &app.project, &app.name).await? {
            store::machine_put(&mut tx, app, &machine, "").await?;
        }
        tx.commit().await.map_err(store_error)
    }

    /// Begins the migration of a release, or looks after it.
    pub(crate) async fn migrate(&self, app: &AppRow, view: &View, mut release: ReleaseRow) -> Result<()> {
        let machine = match &release.migration {
            Migration::Begun(machine) => machine.clone(),
            Migration::Due => {
                let Some(host) = view.seen.hosts.iter().find(|host| host.takes) else { return Ok(()) };
                release.migration = Migration::Begun(host.name.clone());
                let mut tx = self.0.delivery.0.db.write().await?;
                store::release_put(&mut tx, app, &release).await?;
                if !view.known.contains_key(&host.name) {
                    store::machine_put(&mut tx, app, &host.name, &host.boot).await?;
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
            Migration::Failed(why) => (
                "app.migration_failed",
                format!("the migration of release {} of {} failed: {why}", release.number, app.name),
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

    /// Tells the balancer who takes requests. `coming`: the release that a deployment brings.
    pub(crate) async fn balance(&self, app: &AppRow, coming: Option<i64>) -> Result<()> {
        let parts = &self.0.delivery.0;
        let rows = store::processes(&parts.db, &app.project, &app.name).await?;
        let endpoints: Vec<Endpoint> = rows
            .iter()
            .filter(|row| matches!(row.phase(), Phase::Serving | Phase::Draining))
            .map(|row| Endpoint {
                id: row.full_id(),
                machine: row.machine.clone(),
                port: row.port,
                draining: row.phase() == Phase::Draining,
            })
            .collect();
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
        let Some(app) = self.app_change(&app.project, &app.name, |row| row.told += 1).await? else {
            return Ok(());
        };
        self.0.balancer.put(&app.project, &app.name, app.told, health.as_ref(), &endpoints).await
    }

    /// Why a deployment failed, as its people need to know it.
    pub(crate) async fn reason(&self, app: &AppRow, view: &View, failure: &Failure) -> String {
        let (key, what) = match failure {
            Failure::Migration(why) => return format!("the migration failed:\n{why}"),
            Failure::Unhealthy(key) => (*key, "did not become healthy"),
            Failure::Ends(key) => (*key, "ends again and again"),
        };
        let Some(row) = view.rows.iter().find(|row| row.key() == key) else { return what.to_owned() };
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
        let since = row.started_at.map_or(0, |at| self.now().since(at).as_secs());
        format!(
            "{} at port {} of {} {what} within {since} s\nprobe: {told}\nlast lines of its log:\n{}",
            row.full_id(),
            row.port,
            row.machine,
            if log.is_empty() { "(it said nothing)" } else { &log }
        )
    }

    /// Everything of an app on a machine goes; false when that cannot be reached now.
    pub(crate) async fn leave(&self, app: &AppRow, machine: &str) -> Result<bool> {
        let parts = &self.0.delivery.0;
        match parts.platform.machine_get(&app.project, machine).await {
            Ok(there) if there.state == hafen_client::wire::MachineState::Started => {
                self.0.hands.leave(At { project: &app.project, machine }, &app.name).await?;
            }
            // One that is being destroyed takes it along; a stopped one is waited for.
            Ok(there) if there.wanted_state != "destroyed" => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut tx = parts.db.write().await?;
        store::machine_delete(&mut tx, app, machine).await?;
        tx.commit().await.map_err(store_error)?;
        Ok(true)
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
