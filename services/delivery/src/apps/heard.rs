//! What is pushed becomes deployments; and what is kept for a while only goes.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{ErrorKind, Result, Timestamp};
use hafen_client::wire::DeploymentCreate;
use hafen_db::store_error;
use hafen_work::{Next, Once, Reconciler};
use serde_json::json;

use super::Apps;
use super::model::AppRow;
use super::preview::matches;
use crate::pushed::{Push, Pushed, Requested};
use crate::store::app as store;

/// Pushes are told again for as long as it takes; after this nobody does.
const HEARD: Duration = Duration::from_secs(90 * 24 * 3600);

impl Apps {
    /// Whether this is heard for the first time; written down when it was acted on.
    async fn was_heard(&self, id: &str) -> Result<bool> {
        let mut tx = self.0.delivery.0.db.write().await?;
        // Looked at only: what is not committed is not written.
        store::heard(&mut tx, id, 0).await.map(|first| !first)
    }

    async fn hear(&self, id: &str) -> Result<()> {
        let mut tx = self.0.delivery.0.db.write().await?;
        store::heard(&mut tx, id, self.now().micros()).await?;
        tx.commit().await.map_err(store_error)
    }

    async fn push_heard(&self, push: &Push) -> Result<()> {
        let since = match self.0.delivery.project_since(&push.project).await {
            // It went with its repositories.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            since => since?,
        };
        let apps = store::page(&self.0.delivery.0.db, &push.project, since, "", 10_000).await?;
        let mut later = None;
        for update in &push.updates {
            let Some(branch) = update.reference.strip_prefix("refs/heads/") else { continue };
            for app in &apps {
                match self.update_heard(push, app, branch, update.new.as_deref()).await {
                    Ok(()) => {}
                    // Nothing that a later try would mend.
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::Conflict | ErrorKind::Invalid | ErrorKind::NotFound
                        ) =>
                    {
                        tracing::warn!(app = app.key(), branch, "nothing is deployed: {error}");
                    }
                    // The others hear of it all the same; each of them acts once.
                    Err(error) => later = Some(error),
                }
            }
        }
        later.map_or(Ok(()), Err)
    }

    /// What a push to a branch means for an app. It writes down what is wanted, and waits for nobody.
    async fn update_heard(&self, push: &Push, app: &AppRow, branch: &str, new: Option<&str>) -> Result<()> {
        if app.destroying
            || app.preview.is_some()
            || app.spec.source.repository.as_deref() != Some(&push.repository)
        {
            return Ok(());
        }
        let previews = app.spec.preview.as_ref();
        let previewed = branch != app.spec.source.branch
            && previews.is_some_and(|it| it.branches.iter().any(|one| matches(one, branch)));
        match new {
            Some(commit) if branch == app.spec.source.branch => {
                let body =
                    DeploymentCreate { commit: Some(commit.to_owned()), ..DeploymentCreate::default() };
                // The key makes a push that is told again act once, also when the process died between two apps.
                let key = format!("{} {}", push.id, branch);
                let once = Once::new(
                    &key.chars().take(255).collect::<String>(),
                    &format!("push {}", app.key()),
                    commit.as_bytes(),
                )
                .ok();
                self.deploy(&app.project, &app.name, &body, once.as_ref()).await.map(drop)
            }
            Some(commit) if previewed => self.preview_put(app, branch, commit, &push.id).await,
            None => self.preview_gone(app, branch).await,
            Some(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Pushed for Apps {
    async fn pushed(&self, push: &Push) -> Result<()> {
        if self.was_heard(&push.id).await? {
            return Ok(());
        }
        Box::pin(push.actor.clone().acts(self.push_heard(push))).await?;
        self.hear(&push.id).await
    }

    async fn requested(&self, request: &Requested) -> Result<()> {
        if self.was_heard(&request.id).await? {
            return Ok(());
        }
        let body = DeploymentCreate {
            commit: request.commit.clone(),
            git_ref: request.reference.clone().filter(|_| request.commit.is_none()),
            release: None,
        };
        let key: String = request.id.chars().filter(char::is_ascii_graphic).take(255).collect();
        let once = Once::new(&key, &format!("request {}/{}", request.project, request.app), b"").ok();
        let deployed = self.deploy(&request.project, &request.app, &body, once.as_ref());
        match request.actor.clone().acts(deployed).await {
            // An app that is not there any more is nobody's to deploy.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                tracing::warn!(request = request.id, app = request.app, "nothing is deployed: {error}");
            }
            other => drop(other?),
        }
        self.hear(&request.id).await
    }
}

/// Artefacts that nothing keeps go; what was heard long ago is forgotten.
pub(crate) struct Housekeeping(pub Apps);

#[async_trait]
impl Reconciler for Housekeeping {
    fn name(&self) -> &'static str {
        "delivery housekeeping"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        self.0.collected().await?;
        Ok(Vec::new())
    }

    async fn reconcile(&self, _key: &str) -> Result<Next> {
        Ok(Next::Done)
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(600)
    }
}

impl Apps {
    async fn collected(&self) -> Result<()> {
        let parts = &self.0.delivery.0;
        // From here until they are gone no release begins to keep one.
        let collecting = self.0.collecting.lock().await;
        let mut keep: BTreeSet<String> = store::artifacts_kept(&parts.db).await?.into_iter().collect();
        let apps = store::all(&parts.db).await?;
        self.files_kept(&apps).await;
        for app in apps {
            // What was built last may become a release yet.
            let builds = store::builds(&parts.db, &app.project, &app.name, i64::MAX, 5).await?;
            keep.extend(builds.into_iter().filter_map(|build| build.artifact));
        }
        let settled = Timestamp::from_micros(self.now().micros() - 3_600_000_000);
        let store = self.0.store.clone();
        let (gone, freed) = tokio::task::spawn_blocking(move || store.collect(&keep, settled))
            .await
            .map_err(hafen_base::Error::internal)??;
        drop(collecting);
        let mut tx = parts.db.write().await?;
        let before = self.now().micros() - i64::try_from(HEARD.as_micros()).unwrap_or(i64::MAX);
        store::heard_forget(&mut tx, before).await?;
        if !gone.is_empty() {
            let message = format!("{} artefacts that nothing keeps are gone: {freed} bytes", gone.len());
            let data = json!({ "artifacts": gone.len(), "bytes": freed });
            self.event(&mut tx, "", "artifact.collected", "artifact".into(), message, data).await?;
        }
        tx.commit().await.map_err(store_error)?;
        Once::forget_old(&parts.db, self.now()).await
    }
}
