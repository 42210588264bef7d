//! What happens without a request: repositories are brought to what is wanted and told of, tidied up, and forgotten.

use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, ErrorKind, Result, Timestamp};
use hafen_db::store_error;
use hafen_work::{Next, Once, Reconciler};
use serde_json::json;

use crate::pushed::Requested;
use crate::{Delivery, store};

/// Folders and heads of repositories as they are wanted; pushes told that were not yet.
pub(crate) struct Repositories(pub Delivery);

#[async_trait]
impl Reconciler for Repositories {
    fn name(&self) -> &'static str {
        "repositories"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let db = self.0.0.db.reader();
        let mut keys = store::push::repositories(db).await?;
        keys.extend(store::repository::gone(db).await?);
        Ok(keys)
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let delivery = &self.0;
        let folder = hafen_git::Repository::new(key)?;
        if let Some(row) = store::repository::get(delivery.0.db.reader(), key).await? {
            delivery.0.git.ensure(&folder, &row.repository.default_branch).await?;
            delivery.0.git.set_head(&folder, &row.repository.default_branch).await?;
            delivery.tell(key).await?;
        } else {
            let _turn = delivery.0.turn(key).lock_owned().await;
            delivery.0.git.remove(&folder).await?;
            let mut tx = delivery.0.db.write().await?;
            store::repository::forget_gone(&mut tx, key).await?;
            tx.commit().await.map_err(store_error)?;
        }
        Ok(Next::Done)
    }

    fn parallel(&self) -> usize {
        4
    }
}

/// Deployments that hooks asked for, told until somebody took them.
pub(crate) struct Requests(pub Delivery);

#[async_trait]
impl Reconciler for Requests {
    fn name(&self) -> &'static str {
        "deployment requests"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        store::hook::request_list(self.0.0.db.reader()).await
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let delivery = &self.0;
        let Some(row) = store::hook::request_get(delivery.0.db.reader(), key).await? else {
            return Ok(Next::Done);
        };
        let actor = row.actor.clone();
        let request = Requested {
            id: row.id,
            project: row.project,
            app: row.app,
            reference: row.reference,
            commit: row.commit,
            actor: row.actor,
        };
        let is_of_it = match delivery.project_since(&request.project).await {
            Ok(since) => since == row.project_since,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if is_of_it {
            actor.acts(delivery.0.pushed().requested(&request)).await?;
        } else {
            tracing::warn!(request = request.id, "it was asked for in a project that is gone");
        }
        let mut tx = delivery.0.db.write().await?;
        store::hook::request_delete(&mut tx, key).await?;
        tx.commit().await.map_err(store_error)?;
        Ok(Next::Done)
    }

    fn parallel(&self) -> usize {
        4
    }
}

/// Puts packs together where pushes have left many, one repository at a time.
pub(crate) struct Maintenance(pub Delivery);

/// More packs than this slow down who fetches.
const MANY_PACKS: usize = 20;
/// All of a repository is packed anew after this time, if anything was pushed since.
const WHOLE: Duration = Duration::from_secs(7 * 24 * 3600);

#[async_trait]
impl Reconciler for Maintenance {
    fn name(&self) -> &'static str {
        "repository maintenance"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        let (mut after, mut due) = (String::new(), Vec::new());
        loop {
            let page = store::repository::all(self.0.0.db.reader(), &after, 500).await?;
            let Some(last) = page.last() else { return Ok(due) };
            after.clone_from(&last.repository.id);
            due.extend(
                page.iter()
                    .filter(|row| row.repository.pushed_at > row.packed_at)
                    .map(|row| row.repository.id.clone()),
            );
        }
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let delivery = &self.0;
        let Some(row) = store::repository::get(delivery.0.db.reader(), key).await? else {
            return Ok(Next::Done);
        };
        let folder = hafen_git::Repository::new(key)?;
        let now = delivery.0.now();
        let whole = now.since(row.packed_at.unwrap_or(row.repository.created_at)) >= WHOLE;
        if !whole && delivery.0.git.packs(&folder).await? <= MANY_PACKS {
            return Ok(Next::Done);
        }
        delivery.0.git.tidy(&folder, whole).await?;
        let size = i64::try_from(delivery.0.git.size(&folder).await?).unwrap_or(i64::MAX);
        let mut tx = delivery.0.db.write().await?;
        store::repository::set_seen(&mut tx, key, size, None).await?;
        if whole {
            store::repository::set_packed(&mut tx, key, now).await?;
        }
        tx.commit().await.map_err(store_error)?;
        Ok(Next::Done)
    }

    /// Nothing else shall starve by it.
    fn parallel(&self) -> usize {
        1
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// What is kept for a while only.
pub(crate) struct Housekeeping(pub Delivery);

/// Calls of hooks are known for a year: a repeat within it acts no second time.
const CALLS: Duration = Duration::from_secs(365 * 24 * 3600);
/// Repositories outlive their project by this: time to say that it was a mistake.
const ORPHANS: Duration = Duration::from_secs(7 * 24 * 3600);

#[async_trait]
impl Reconciler for Housekeeping {
    fn name(&self) -> &'static str {
        "delivery housekeeping"
    }

    /// The whole work is done in the sweep: there is nothing of it that could wait or fail alone.
    async fn pending(&self) -> Result<Vec<String>> {
        let now = self.0.0.now();
        Once::forget_old(&self.0.0.db, now).await?;
        let before = |time: Duration| {
            Timestamp::from_micros(now.micros() - i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
        };
        let mut tx = self.0.0.db.write().await?;
        store::hook::deliveries_forget(&mut tx, before(CALLS)).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.0.git.sweep().await?;
        self.0.orphans_forget(before(ORPHANS)).await?;
        Ok(Vec::new())
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        Ok(Next::Done)
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(3600)
    }
}

impl Delivery {
    /// Removes repositories whose project is gone since before this time.
    pub(crate) async fn orphans_forget(&self, before: Timestamp) -> Result<()> {
        let mut after = String::new();
        loop {
            let page = store::repository::all(self.0.db.reader(), &after, 100).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.repository.id);
            for row in &page {
                let there = match self.project_since(&row.repository.project).await {
                    Ok(since) => since == row.project_since,
                    Err(error) if error.kind() == ErrorKind::NotFound => false,
                    Err(error) => return Err(error),
                };
                self.orphan(row, there, before).await?;
            }
        }
    }

    async fn orphan(
        &self,
        row: &store::repository::RepositoryRow,
        there: bool,
        before: Timestamp,
    ) -> Result<(), Error> {
        let id = &row.repository.id;
        let mut tx = self.0.db.write().await?;
        match (there, row.orphan_since) {
            (true, None) => return Ok(()),
            (true, Some(_)) => store::repository::set_orphan(&mut tx, id, 0).await?,
            (false, None) => store::repository::set_orphan(&mut tx, id, self.0.now().micros()).await?,
            (false, Some(since)) if since >= before => return Ok(()),
            (false, Some(_)) => {
                store::repository::delete(&mut tx, id, self.0.now()).await?;
                let message =
                    format!("repository {} was deleted, as its project is gone", row.repository.name);
                let object = format!("repository/{}", row.repository.name);
                let project = &row.repository.project;
                self.event(&mut tx, project, "repository.deleted", object, message, json!({ "id": id }))
                    .await?;
                self.0.wakes.repository.wake(id.clone());
            }
        }
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        Ok(())
    }
}
