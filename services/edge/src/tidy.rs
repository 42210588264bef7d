//! What is over: routes of projects that are gone, challenges that nobody answers, answers to repeats.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::Result;
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
        let there: HashSet<String> =
            parts.platform.project_list().await?.into_iter().map(|project| project.name).collect();
        for project in store::projects(&parts.db).await? {
            if !there.contains(&project) {
                self.project_end(&project).await?;
            }
        }
        Ok(())
    }
}
