//! How an app ends: by somebody's wish, with its project, or as a preview whose time is over.

use std::time::Duration;

use hafen_base::Result;
use hafen_db::store_error;
use hafen_work::Next;
use serde_json::json;

use super::Apps;
use super::hands::At;
use super::model::{AppRow, DeploymentState};
use crate::store::{app as store, process as places};

impl Apps {
    /// Everything of an app goes, and then its row.
    pub(super) async fn destroy(&self, app: &AppRow) -> Result<Next> {
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
        for (machine, _) in places::machines(&parts.db, &app.project, &app.name).await? {
            self.leave(app, &machine).await?;
        }
        let builds = store::builds_open(&parts.db).await?;
        if builds.iter().any(|build| build.project == app.project && build.app == app.name) {
            return Ok(Next::After(Duration::from_secs(1)));
        }
        self.gone(app, "it was deleted", true).await
    }

    /// Its machines went with the project.
    pub(super) async fn project_gone(&self, app: &AppRow) -> Result<Next> {
        for (machine, _) in places::machines(&self.0.delivery.0.db, &app.project, &app.name).await? {
            self.0.hands.forget(At { project: &app.project, machine: &machine });
        }
        self.gone(app, "its project is no more", false).await
    }

    async fn gone(&self, app: &AppRow, why: &str, may_return: bool) -> Result<Next> {
        self.folders_gone(&app.project, &app.name).await;
        let mut tx = self.0.delivery.0.db.write().await?;
        let now = store::find_in(&mut tx, &app.project, &app.name).await?;
        let now = now.filter(|now| now.project_since == app.project_since);
        let Some(now) = now else { return Ok(Next::Done) };
        store::delete(&mut tx, &app.project, &app.name).await?;
        let message = format!("app {} is gone: {why}", app.name);
        self.event(&mut tx, &app.project, "app.destroyed", format!("app/{}", app.name), message, json!({}))
            .await?;
        let again = now.again.filter(|_| may_return);
        let returns = again.is_some();
        if let Some(again) = again {
            self.preview_new(&mut tx, &app.project, &app.name, app.project_since, *again).await?;
        }
        tx.commit().await.map_err(store_error)?;
        self.ring();
        if !returns {
            return Ok(Next::Done);
        }
        self.0.wake_prepare.wake(app.key());
        Ok(Next::Now)
    }

    /// The caches and logs of its builds are nobody's any more.
    pub(crate) async fn folders_gone(&self, project: &str, name: &str) {
        for kind in ["logs", "caches", "statements"] {
            let folder = self.0.folder.join(kind).join(project).join(name);
            let _absent = tokio::fs::remove_dir_all(folder).await;
        }
    }

    /// The time of a preview is over.
    pub(super) async fn preview_ends(&self, app: &AppRow) -> Result<()> {
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
