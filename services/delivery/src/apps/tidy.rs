//! What lies on machines: what does not belong there goes, now or when the machine can be reached.

use hafen_base::{ErrorKind, Result};
use hafen_client::wire::MachineState;
use hafen_db::store_error;

use super::Apps;
use super::hands::At;
use super::model::{AppRow, ProcessRow};
use super::see::View;
use crate::store::{app as store, process as places};

/// Releases whose files stay on machines, so that a rollback moves none.
const ON_MACHINES: usize = 3;

impl Apps {
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
        let looked_through = async {
            if view.left.contains(machine) {
                // Of an earlier app of this name, whose releases had the same numbers: nothing of it may stay.
                self.0.hands.leave(at, &app.name).await?;
                self.left_gone(&app.project, &app.name, machine).await?;
            }
            self.0.hands.keep(at, &app.name, &ids, &keep).await
        };
        if let Err(error) = looked_through.await {
            tracing::warn!(app = app.key(), machine, "it is looked through later: {error}");
            return Ok(false);
        }
        self.machine_put(app, machine, &host.boot).await?;
        Ok(true)
    }

    /// Every machine is looked through once more.
    pub(crate) async fn untidy(&self, app: &AppRow) -> Result<()> {
        let mut tx = self.0.delivery.0.db.write().await?;
        for (machine, _) in places::machines(&self.0.delivery.0.db, &app.project, &app.name).await? {
            places::machine_put(&mut tx, app, &machine, "").await?;
        }
        tx.commit().await.map_err(store_error)
    }

    /// Everything of an app on a machine goes; later, where that cannot be reached now.
    pub(crate) async fn leave(&self, app: &AppRow, machine: &str) -> Result<()> {
        let is_later = !self.leaves(&app.project, &app.name, machine).await?;
        let mut tx = self.0.delivery.0.db.write().await?;
        if is_later {
            places::left_put(&mut tx, &app.project, &app.name, machine).await?;
        }
        places::machine_delete(&mut tx, app, machine).await?;
        tx.commit().await.map_err(store_error)
    }

    /// Whether nothing of an app of that name lies there any more; false while that machine does not run.
    async fn leaves(&self, project: &str, name: &str, machine: &str) -> Result<bool> {
        match self.0.delivery.0.platform.machine_get(project, machine).await {
            Ok(there) if there.state == MachineState::Started => {
                self.0.hands.leave(At { project, machine }, name).await?;
                Ok(true)
            }
            // One that is being destroyed takes it along.
            Ok(there) => Ok(there.wanted_state == "destroyed"),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// What an app that is gone left on machines that did not run then.
    pub(crate) async fn leftovers(&self, project: &str, name: &str) -> Result<()> {
        for machine in places::left(&self.0.delivery.0.db, project, name).await? {
            if self.leaves(project, name, &machine).await? {
                self.left_gone(project, name, &machine).await?;
            }
        }
        Ok(())
    }

    async fn left_gone(&self, project: &str, name: &str, machine: &str) -> Result<()> {
        let mut tx = self.0.delivery.0.db.write().await?;
        places::left_delete(&mut tx, project, name, machine).await?;
        tx.commit().await.map_err(store_error)
    }
}
