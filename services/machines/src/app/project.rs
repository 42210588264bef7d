//! Projects.

use hafen_base::{Error, ErrorKind, Page, PageLimit, Permitted, Result, check_label};
use hafen_client::wire::{Project, ProjectPut, Quota, Usage};
use hafen_db::{Tx, store_error};

use super::no_project;
use crate::Machines;
use crate::store;

impl Machines {
    /// Creates the project, or changes its quota; true when it is new.
    pub async fn project_put(&self, name: &str, body: &ProjectPut) -> Result<(Project, bool)> {
        check_label("project", name).map_err(|message| Error::invalid_field("/project", message))?;
        if let Some(quota) = &body.quota {
            let counts = [quota.machines, quota.cpus].iter().all(|n| (0..=1_000_000).contains(n));
            let bytes = [quota.memory, quota.disk].iter().all(|n| (0..=1_000_000_000_000_000).contains(n));
            if !counts || !bytes {
                let range = "a quota is between 0 and 10^6 machines and cpus, 10^15 bytes of memory and disk";
                return Err(Error::invalid_field("/quota", range));
            }
        }
        let mut tx = self.0.db.write().await?;
        let found = store::project::find(&mut *tx, name).await?;
        let new = found.is_none();
        match (&found, body.quota) {
            (None, quota) => {
                store::project::insert(&mut tx, name, quota.unwrap_or_default(), self.0.now()).await?;
                let message = format!("project {name} created");
                self.event(
                    &mut tx,
                    name,
                    "project.created",
                    format!("project/{name}"),
                    message,
                    serde_json::Value::Null,
                )
                .await?;
            }
            (Some(project), Some(quota)) if project.quota != quota => {
                store::project::set_quota(&mut tx, name, quota).await?;
                let data = serde_json::to_value(quota).map_err(Error::internal)?;
                let message = format!("quota of {name} changed");
                self.event(&mut tx, name, "project.quota", format!("project/{name}"), message, data).await?;
            }
            _ => {}
        }
        let project = store::project::find(&mut *tx, name).await?.ok_or_else(|| no_project(name))?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        Ok((project, new))
    }

    pub async fn project_view(&self, name: &str) -> Result<Project> {
        store::project::find(self.0.db.reader(), name).await?.ok_or_else(|| no_project(name))
    }

    /// Those that may be seen.
    pub async fn project_list(
        &self,
        permitted: &Permitted,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<Project>> {
        let most = i64::from(limit.get()) + 1;
        let rows = store::project::list(self.0.db.reader(), permitted, after, most).await?;
        Ok(limit.page(rows, |project| project.name.clone()))
    }

    pub async fn project_delete(&self, name: &str) -> Result<()> {
        let mut tx = self.0.db.write().await?;
        store::project::find(&mut *tx, name).await?.ok_or_else(|| no_project(name))?;
        let held = store::project::holds(&mut tx, name).await?;
        if held > 0 {
            return Err(Error::conflict(format!(
                "project {name} still holds {held} objects: destroy them first"
            )));
        }
        store::project::delete(&mut tx, name).await?;
        let message = format!("project {name} deleted");
        self.event(
            &mut tx,
            name,
            "project.deleted",
            format!("project/{name}"),
            message,
            serde_json::Value::Null,
        )
        .await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        Ok(())
    }

    /// Takes from the quota, atomically with the transaction; the error says what is missing.
    pub(crate) async fn quota_take(&self, tx: &mut Tx, project: &str, more: Usage) -> Result<()> {
        if store::project::use_more(tx, project, more).await? {
            return Ok(());
        }
        let Some(now) = store::project::find(&mut **tx, project).await? else {
            return Err(no_project(project));
        };
        Err(quota_error(project, &now.quota, &now.usage, &more))
    }
}

fn quota_error(project: &str, quota: &Quota, used: &Usage, more: &Usage) -> Error {
    let mut short = Vec::new();
    for (what, limit, used, more) in [
        ("machines", quota.machines, used.machines, more.machines),
        ("cpus", quota.cpus, used.cpus, more.cpus),
        ("bytes of memory", quota.memory, used.memory, more.memory),
        ("bytes of disk", quota.disk, used.disk, more.disk),
    ] {
        if more > 0 && used + more > limit {
            short.push(format!("{more} {what} more would make {} of {limit}", used + more));
        }
    }
    Error::new(
        ErrorKind::Quota,
        format!(
            "the quota of project {project} does not allow it: {}; raise the quota or free something",
            short.join(", ")
        ),
    )
}
