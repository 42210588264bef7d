//! What people ask of apps: permission was checked at the gate; rule → store → wake.

use hafen_base::{Error, ErrorKind, Result};
use hafen_client::wire::{App, AppSource, AppSpec, Deployment, DeploymentCreate};
use hafen_db::{Tx, store_error};
use hafen_work::{Begun, Once, OnceTx};
use serde_json::json;

use super::around::SourceOf;
use super::check::{check, check_branch};
use super::model::{AppRow, DeploymentRow, DeploymentState, Live};
use super::{Apps, actor};
use crate::store::{app as store, process as places};

fn no_app(name: &str) -> Error {
    Error::not_found(format!("app {name:?}"))
}

/// What a new deployment is of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    pub kind: &'static str,
    pub git_ref: Option<String>,
    pub commit: Option<String>,
    pub release: Option<i64>,
}

impl Apps {
    /// An app of the project as it was founded.
    pub(crate) async fn app_row(&self, project: &str, name: &str) -> Result<AppRow> {
        let since = self.0.delivery.project_since(project).await?;
        let row = store::find(&self.0.delivery.0.db, project, name).await?;
        row.filter(|row| row.project_since == since).ok_or_else(|| no_app(name))
    }

    /// As `app_row`, in a transaction.
    async fn app_row_in(&self, tx: &mut Tx, project: &str, name: &str, since: i64) -> Result<AppRow> {
        let row = store::find_in(tx, project, name).await?;
        row.filter(|row| row.project_since == since).ok_or_else(|| no_app(name))
    }

    pub(crate) async fn app_view(&self, project: &str, name: &str) -> Result<App> {
        let row = self.app_row(project, name).await?;
        self.app_wire(&row).await
    }

    pub(crate) async fn app_wire(&self, row: &AppRow) -> Result<App> {
        let db = &self.0.delivery.0.db;
        let processes = places::processes(db, &row.project, &row.name).await?;
        let last = store::deployment_last(db, &row.project, &row.name).await?;
        Ok(row.wire(&processes, last.as_ref()))
    }

    /// Makes an app, or changes what is wanted of it.
    pub(crate) async fn app_put(
        &self,
        project: &str,
        name: &str,
        spec: &AppSpec,
        if_match: &(dyn Fn(Option<i64>) -> Result<()> + Sync),
    ) -> Result<(App, bool)> {
        check(name, spec)?;
        let parts = &self.0.delivery.0;
        let since = self.0.delivery.project_since(project).await?;
        // Read before the transaction: a source from elsewhere takes its time. What is not there yet comes with a push.
        let known = store::find(&parts.db, project, name).await?;
        let known = known.filter(|row| row.project_since == since);
        self.secrets_may_be_named(project, known.as_ref().map(|row| &row.spec), spec).await?;
        let needs_head = known
            .as_ref()
            .is_none_or(|row| row.live.is_none() || !row.spec.source.is_same_place(&spec.source));
        let head = if needs_head { self.head(project, name, &spec.source).await } else { None };
        let (now, by) = (self.now(), actor());
        let mut tx = parts.db.write().await?;
        let found = store::find_in(&mut tx, project, name).await?;
        let (found, stale) = match found {
            Some(row) if row.project_since != since => (None, true),
            found => (found, false),
        };
        if_match(found.as_ref().map(|row| row.generation))?;
        if stale {
            // Of a project that is gone: nothing of it is this one's.
            store::delete(&mut tx, project, name).await?;
            self.folders_gone(project, name).await;
        }
        let is_new = found.is_none();
        let mut row = match found {
            Some(row) if row.destroying => {
                return Err(Error::conflict(format!("app {name:?} is being deleted: wait until it is gone")));
            }
            Some(row) => row,
            None => AppRow::new(project.to_owned(), name.to_owned(), spec.clone(), since, now),
        };
        let before = std::mem::replace(&mut row.spec, spec.clone());
        if !is_new && before == *spec {
            drop(tx);
            return Ok((self.app_view(project, name).await?, false));
        }
        row.generation += 1;
        row.updated_at = now;
        let kind = if is_new { "app.created" } else { "app.changed" };
        let message = format!("app {name} is {}", if is_new { "new" } else { "to be another" });
        let data = json!({ "generation": row.generation, "spec": spec });
        self.event(&mut tx, project, kind, format!("app/{name}"), message, data).await?;
        if let Some(wish) = self.follows(&row, &before, is_new, head).await? {
            self.deployment_new(&mut tx, &mut row, wish, &by).await?;
        }
        store::put(&mut tx, &row).await?;
        tx.commit().await.map_err(store_error)?;
        self.woken(&row);
        Ok((self.app_wire(&row).await?, is_new))
    }

    /// The deployment of what the source is at, if it is there.
    async fn head(&self, project: &str, app: &str, source: &AppSource) -> Option<Wish> {
        let deploy = |commit| Some(Wish { kind: "deploy", commit, ..Wish::default() });
        match self.0.sources.resolve(SourceOf { project, app, source }, None).await {
            Ok(commit) => deploy(Some(commit)),
            // Nothing but a change of its own mends that, and no push comes from elsewhere: a deployment says it.
            Err(error)
                if source.git.is_some()
                    && matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Invalid) =>
            {
                deploy(None)
            }
            Err(_) => None,
        }
    }

    /// The deployment that a changed wish asks for, if any.
    async fn follows(
        &self,
        row: &AppRow,
        before: &AppSpec,
        is_new: bool,
        head: Option<Wish>,
    ) -> Result<Option<Wish>> {
        let db = &self.0.delivery.0.db;
        let is_same_source = !is_new && before.source.is_same_place(&row.spec.source);
        // How many there are, and what is to happen to branches, changes no process; nor does how the same source comes in.
        let mut same =
            AppSpec { replicas: row.spec.replicas, preview: row.spec.preview.clone(), ..before.clone() };
        if is_same_source && before.source != row.spec.source {
            let last = store::deployment_last(db, &row.project, &row.name).await?;
            let unfetched = |last: &DeploymentRow| {
                last.state == DeploymentState::Failed && last.kind == "deploy" && last.release.is_none()
            };
            // What it was changed for, most likely.
            if let Some(last) = last.filter(unfetched) {
                let (git_ref, commit) = (last.git_ref, last.commit);
                return Ok(Some(Wish { kind: "deploy", git_ref, commit, ..Wish::default() }));
            }
            if row.live.is_some() {
                same.source.clone_from(&row.spec.source);
            }
        }
        if !is_new && same == row.spec {
            return Ok(None);
        }
        let kind = if row.live.is_none() { "deploy" } else { "configure" };
        let open =
            store::deployments_open(db, &row.project, &row.name).await?.pop().filter(|_| is_same_source);
        // What is on its way stays on it: this deployment takes the place of that one.
        if let Some(open) = open.as_ref().filter(|open| matches!(open.kind.as_str(), "deploy" | "configure"))
        {
            let (commit, git_ref) = (open.commit.clone(), open.git_ref.clone());
            return Ok(Some(Wish { kind, git_ref, commit, ..Wish::default() }));
        }
        if row.live.is_none() || !is_same_source {
            return Ok(head);
        }
        let number = open.and_then(|open| open.release).or(row.live.map(|live| live.release)).unwrap_or(0);
        let release = store::release(db, &row.project, &row.name, number).await?;
        Ok(release.map(|release| Wish { kind: "configure", commit: Some(release.commit), ..Wish::default() }))
    }

    /// Writes a new deployment in a transaction; the app's row is the caller's to write.
    pub(super) async fn deployment_new(
        &self,
        tx: &mut Tx,
        row: &mut AppRow,
        wish: Wish,
        by: &hafen_base::Actor,
    ) -> Result<DeploymentRow> {
        row.deployments += 1;
        let deployment = DeploymentRow {
            number: row.deployments,
            kind: wish.kind.into(),
            state: DeploymentState::Queued,
            reason: String::new(),
            log: String::new(),
            stuck_since: None,
            git_ref: wish.git_ref,
            commit: wish.commit,
            build: None,
            release: wish.release,
            previous: row.live,
            created_at: self.now(),
            ended_at: None,
            actor: by.clone(),
        };
        store::deployment_put(tx, row, &deployment).await?;
        let what = match (&deployment.release, &deployment.commit, &deployment.git_ref) {
            (Some(release), ..) => format!("release {release}"),
            (_, Some(commit), _) => commit.clone(),
            (_, _, Some(reference)) => reference.clone(),
            _ => format!("branch {}", row.spec.source.branch),
        };
        let message = format!("{} of {}: {} of {what} is begun", deployment.id(), row.name, deployment.kind);
        let data = json!({ "deployment": deployment.id(), "kind": deployment.kind, "commit": deployment.commit,
                           "ref": deployment.git_ref, "release": deployment.release });
        let object = format!("deployment/{}/{}", row.name, deployment.id());
        self.event(tx, &row.project, "deployment.created", object, message, data).await?;
        Ok(deployment)
    }

    fn woken(&self, row: &AppRow) {
        self.ring();
        self.0.wake_prepare.wake(row.key());
        self.0.wake.wake(row.key());
    }

    /// Begins a deployment; the same request acts once.
    pub(crate) async fn deploy(
        &self,
        project: &str,
        name: &str,
        body: &DeploymentCreate,
        once: Option<&Once>,
    ) -> Result<Deployment> {
        let given = [body.git_ref.is_some(), body.commit.is_some(), body.release.is_some()];
        if given.iter().filter(|one| **one).count() > 1 {
            return Err(Error::invalid("give at most one of `ref`, `commit` and `release`"));
        }
        if let Some(reference) = &body.git_ref {
            check_branch(reference).map_err(|why| Error::invalid_field("/ref", why))?;
        }
        if let Some(commit) = &body.commit
            && !(matches!(commit.len(), 40 | 64)
                && commit.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        {
            return Err(Error::invalid_field("/commit", "a whole commit: 40 or 64 hexadecimal digits"));
        }
        let kind = if body.release.is_some() { "rollback" } else { "deploy" };
        let wish =
            Wish { kind, git_ref: body.git_ref.clone(), commit: body.commit.clone(), release: body.release };
        self.wished(project, name, once, |_| Ok(wish)).await
    }

    /// Goes back to a release: the one before, unless one is named.
    pub(crate) async fn rollback(
        &self,
        project: &str,
        name: &str,
        release: Option<i64>,
        once: Option<&Once>,
    ) -> Result<Deployment> {
        let row = self.app_row(project, name).await?;
        let number = match (release, row.live) {
            (Some(number), _) => number,
            (None, Some(live)) => self.release_before(&row, live).await?,
            (None, None) => {
                return Err(Error::conflict(format!("app {name:?} has no release to go back from")));
            }
        };
        let wish = Wish { kind: "rollback", release: Some(number), ..Wish::default() };
        self.wished(project, name, once, |_| Ok(wish)).await
    }

    /// The release that served before the present one.
    async fn release_before(&self, row: &AppRow, live: Live) -> Result<i64> {
        let db = &self.0.delivery.0.db;
        for deployment in store::deployments(db, &row.project, &row.name, live.set, 200).await? {
            if deployment.state == DeploymentState::Succeeded
                && let Some(number) = deployment.release.filter(|number| *number != live.release)
                && store::release(db, &row.project, &row.name, number)
                    .await?
                    .is_some_and(|release| release.kept)
            {
                return Ok(number);
            }
        }
        Err(Error::conflict(format!(
            "no kept release of {:?} served before release {}",
            row.name, live.release
        )))
    }

    /// New processes of the release that serves.
    pub(crate) async fn restart(&self, project: &str, name: &str, once: Option<&Once>) -> Result<Deployment> {
        self.wished(project, name, once, |row| match row.live {
            Some(live) => Ok(Wish { kind: "restart", release: Some(live.release), ..Wish::default() }),
            None => {
                Err(Error::conflict(format!("nothing of app {name:?} runs: there is nothing to restart")))
            }
        })
        .await
    }

    async fn wished(
        &self,
        project: &str,
        name: &str,
        once: Option<&Once>,
        wish: impl FnOnce(&AppRow) -> Result<Wish> + Send,
    ) -> Result<Deployment> {
        let parts = &self.0.delivery.0;
        let by = actor();
        let since = self.0.delivery.project_since(project).await?;
        let mut acting = match OnceTx::begin(&parts.db, once).await? {
            Begun::Answered(answer) => return Ok(answer),
            Begun::New(acting) => acting,
        };
        let row = self.app_row_in(&mut acting.tx, project, name, since).await?;
        let mut row = Some(row).filter(|row| !row.destroying).ok_or_else(|| no_app(name))?;
        let wish = wish(&row)?;
        if wish.kind == "restart"
            && let Some(open) = store::deployments_open(&parts.db, project, name).await?.pop()
        {
            return Err(Error::conflict(format!(
                "deployment {} of app {name:?} is under way and brings new processes: wait for it, or cancel it first",
                open.id()
            )));
        }
        if let Some(number) = wish.release {
            let release = store::release(&parts.db, project, name, number).await?;
            let release =
                release.ok_or_else(|| Error::not_found(format!("release {number} of app {name:?}")))?;
            if !release.kept {
                return Err(Error::conflict(format!(
                    "the artefact of release {number} is not kept any more: deploy its commit {} instead",
                    release.commit
                )));
            }
        }
        let deployment = self.deployment_new(&mut acting.tx, &mut row, wish, &by).await?;
        store::put(&mut acting.tx, &row).await?;
        let wire = deployment.wire(name);
        acting.finish(&wire, &*parts.clock).await?;
        self.woken(&row);
        Ok(wire)
    }

    /// Ends a deployment that is not over; what served before serves on.
    pub(crate) async fn deployment_cancel(
        &self,
        project: &str,
        name: &str,
        number: i64,
        once: Option<&Once>,
    ) -> Result<Deployment> {
        let parts = &self.0.delivery.0;
        let since = self.0.delivery.project_since(project).await?;
        let mut acting = match OnceTx::begin(&parts.db, once).await? {
            Begun::Answered(answer) => return Ok(answer),
            Begun::New(acting) => acting,
        };
        let row = self.app_row_in(&mut acting.tx, project, name, since).await?;
        let deployment = store::deployment_in(&mut acting.tx, project, name, number).await?;
        let mut deployment =
            deployment.ok_or_else(|| Error::not_found(format!("deployment d{number} of app {name:?}")))?;
        if deployment.state.is_over() {
            return Err(Error::conflict(format!(
                "deployment {} is over: it {}",
                deployment.id(),
                deployment.state.as_str().replace('_', " ")
            )));
        }
        deployment.state = DeploymentState::Cancelled;
        deployment.ended_at = Some(self.now());
        deployment.reason = format!("cancelled by {}", actor().name);
        store::deployment_put(&mut acting.tx, &row, &deployment).await?;
        let message = format!("deployment {} of {name} is cancelled", deployment.id());
        let object = format!("deployment/{name}/{}", deployment.id());
        let data = json!({ "deployment": deployment.id() });
        self.event(&mut acting.tx, project, "deployment.cancelled", object, message, data).await?;
        let wire = deployment.wire(name);
        acting.finish(&wire, &*parts.clock).await?;
        self.build_unneeded(&row, &deployment).await?;
        self.woken(&row);
        Ok(wire)
    }

    /// Another number of processes.
    pub(crate) async fn scale(
        &self,
        project: &str,
        name: &str,
        replicas: i64,
        once: Option<&Once>,
    ) -> Result<App> {
        if !(0..=1000).contains(&replicas) {
            return Err(Error::invalid_field("/replicas", "0 to 1000 processes"));
        }
        let parts = &self.0.delivery.0;
        let since = self.0.delivery.project_since(project).await?;
        let mut acting = match OnceTx::begin(&parts.db, once).await? {
            Begun::Answered(answer) => return Ok(answer),
            Begun::New(acting) => acting,
        };
        let row = self.app_row_in(&mut acting.tx, project, name, since).await?;
        let mut row = Some(row).filter(|row| !row.destroying).ok_or_else(|| no_app(name))?;
        if row.spec.replicas != replicas {
            let message = format!("app {name} is to have {replicas} processes, it had {}", row.spec.replicas);
            let data = json!({ "replicas": replicas, "before": row.spec.replicas });
            row.spec.replicas = replicas;
            row.generation += 1;
            row.updated_at = self.now();
            store::put(&mut acting.tx, &row).await?;
            self.event(&mut acting.tx, project, "app.scaled", format!("app/{name}"), message, data).await?;
        }
        let processes = places::processes(&parts.db, project, name).await?;
        let last = store::deployment_last(&parts.db, project, name).await?;
        let wire = row.wire(&processes, last.as_ref());
        acting.finish(&wire, &*parts.clock).await?;
        self.woken(&row);
        Ok(wire)
    }

    /// An app goes, with its processes; so do its previews.
    pub(crate) async fn app_delete(
        &self,
        project: &str,
        name: &str,
        if_match: &(dyn Fn(i64) -> Result<()> + Sync),
    ) -> Result<App> {
        let parts = &self.0.delivery.0;
        let since = self.0.delivery.project_since(project).await?;
        let mut tx = parts.db.write().await?;
        let mut row = self.app_row_in(&mut tx, project, name, since).await?;
        if_match(row.generation)?;
        let previews = store::page(&parts.db, project, since, "", 10_000).await?;
        let previews =
            previews.into_iter().filter(|one| one.preview.as_ref().is_some_and(|it| it.of == name));
        let goes = |one: &AppRow| !one.destroying || one.again.is_some();
        let mut going: Vec<AppRow> = previews.filter(goes).collect();
        if goes(&row) {
            going.push(row.clone());
            (row.destroying, row.again) = (true, None);
            row.generation += 1;
        }
        for one in &mut going {
            (one.destroying, one.again) = (true, None);
            one.generation += 1;
            store::put(&mut tx, one).await?;
            let message = format!("app {} is being deleted", one.name);
            self.event(&mut tx, project, "app.deleted", format!("app/{}", one.name), message, json!({}))
                .await?;
        }
        tx.commit().await.map_err(store_error)?;
        for one in &going {
            self.woken(one);
        }
        self.app_wire(&row).await
    }
}
