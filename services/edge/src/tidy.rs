//! What is over: routes of projects that are gone, challenges that nobody answers, answers to repeats.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{ErrorKind, Result};
use hafen_db::store_error;
use hafen_work::{Next, Once, Reconciler};

use crate::{Edge, certificate, store};

pub struct Tidying(pub Edge);

#[async_trait]
impl Reconciler for Tidying {
    fn name(&self) -> &'static str {
        "edge housekeeping"
    }

    /// The whole work is done in the sweep: there is nothing of it that could wait or fail alone.
    async fn pending(&self) -> Result<Vec<String>> {
        self.0.tidy().await?;
        Ok(Vec::new())
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        Ok(Next::Done)
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(60)
    }
}

impl Edge {
    /// # Errors
    /// As the database's, or the machines service's.
    pub async fn tidy(&self) -> Result<()> {
        let parts = &self.0;
        Once::forget_old(&parts.db, parts.now()).await?;
        let mut tx = parts.db.write().await?;
        certificate::store::challenges_expire(&mut tx, parts.now()).await?;
        tx.commit().await.map_err(store_error)?;
        // What there is here first, and then who there is: a project that is founded in between is not taken for one that is gone.
        let owners = store::projects(&parts.db).await?;
        let there: HashMap<String, i64> = parts
            .platform
            .project_list()
            .await?
            .into_iter()
            .map(|project| (project.name, project.created_at.micros()))
            .collect();
        for (project, since) in owners {
            match there.get(&project) {
                Some(founded) if since == *founded => {}
                Some(founded) if since == 0 => self.project_adopt(&project, *founded).await?,
                // A list has pages, and who is moved between two of them is on neither: asked for by name before anything ends.
                _ => match self.project_since(&project).await {
                    Ok(founded) if store::is_since(since, founded) => {}
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    Ok(_) | Err(_) => self.project_end(&project, since).await?,
                },
            }
        }
        Ok(())
    }

    async fn project_adopt(&self, project: &str, since: i64) -> Result<()> {
        let mut tx = self.0.db.write().await?;
        store::project_adopt(&mut tx, project, since).await?;
        tx.commit().await.map_err(store_error)
    }
}
