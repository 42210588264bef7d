//! Previews: branches that have an environment of their own for a while.

use std::time::Duration;

use hafen_base::{Error, ErrorKind, Result};
use hafen_client::wire::{AppEnv, AppSpec};
use hafen_db::{Tx, store_error};
use serde_json::json;

use super::app::Wish;
use super::model::{Again, AppRow, Preview};
use super::{Apps, actor};
use crate::store::app as store;

impl Apps {
    /// The environment of a branch: an app of its own for a while. Again, later, for every push to it; once for each.
    pub(crate) async fn preview_put(
        &self,
        of: &AppRow,
        branch: &str,
        commit: &str,
        push: &str,
    ) -> Result<()> {
        let Some(wanted) = &of.spec.preview else { return Ok(()) };
        let parts = &self.0.delivery.0;
        let slug = slug(branch);
        let name: String = format!("{}-{slug}", of.name).chars().take(40).collect();
        let name = name.trim_end_matches('-').to_owned();
        let domain = wanted.domain.clone().unwrap_or_else(|| format!("{}.localhost", of.project));
        let life = Duration::from_millis(u64::try_from(wanted.expires_ms).unwrap_or(0));
        let (now, by) = (self.now(), actor());
        let again = Again {
            spec: preview_spec(&of.spec, branch),
            preview: Preview {
                of: of.name.clone(),
                branch: branch.to_owned(),
                host: format!("{name}.{domain}"),
                expires_at: now.plus(life),
                routed: false,
                withheld: withheld(&of.spec),
            },
            commit: commit.to_owned(),
            actor: by.clone(),
        };
        let mut tx = parts.db.write().await?;
        if !store::heard(&mut tx, &format!("{push} preview {name}"), now.micros()).await? {
            return Ok(());
        }
        let found = store::find_in(&mut tx, &of.project, &name).await?;
        if found.as_ref().is_some_and(|row| {
            let other = row.preview.as_ref().is_none_or(|it| it.of != of.name || it.branch != branch);
            other && row.project_since == of.project_since
        }) {
            return Err(Error::conflict(format!(
                "the preview of {branch:?} would be called {name:?}, which is another app"
            )));
        }
        match found {
            Some(mut row) if row.project_since == of.project_since && row.destroying => {
                // It comes back as soon as it is gone.
                row.again = Some(Box::new(again));
                store::put(&mut tx, &row).await?;
            }
            Some(mut row) if row.project_since == of.project_since => {
                let routed =
                    row.preview.as_ref().is_some_and(|it| it.routed && it.host == again.preview.host);
                (row.spec, row.updated_at) = (again.spec, now);
                row.preview = Some(Preview { routed, ..again.preview });
                let wish = Wish { kind: "deploy", commit: Some(again.commit), ..Wish::default() };
                self.deployment_new(&mut tx, &mut row, wish, &by).await?;
                store::put(&mut tx, &row).await?;
            }
            stale => {
                if stale.is_some() {
                    store::delete(&mut tx, &of.project, &name).await?;
                    self.folders_gone(&of.project, &name).await;
                }
                self.preview_new(&mut tx, &of.project, &name, of.project_since, again).await?;
            }
        }
        tx.commit().await.map_err(store_error)?;
        self.ring();
        let key = format!("{}/{name}", of.project);
        self.0.wake_prepare.wake(key.clone());
        self.0.wake.wake(key);
        Ok(())
    }

    /// Makes a preview's app and its first deployment, in a transaction.
    pub(crate) async fn preview_new(
        &self,
        tx: &mut Tx,
        project: &str,
        name: &str,
        since: i64,
        again: Again,
    ) -> Result<()> {
        let Again { spec, preview, commit, actor } = again;
        let message =
            format!("branch {} of {} gets an environment: {}", preview.branch, preview.of, preview.host);
        let data = json!({ "branch": preview.branch, "of": preview.of, "host": preview.host });
        let mut row = AppRow::new(project.to_owned(), name.to_owned(), spec, since, self.now());
        row.generation = 1;
        row.preview = Some(preview);
        let made = self.event(tx, project, "preview.created", format!("app/{name}"), message, data);
        actor.clone().acts(made).await?;
        let wish = Wish { kind: "deploy", commit: Some(commit), ..Wish::default() };
        self.deployment_new(tx, &mut row, wish, &actor).await?;
        store::put(tx, &row).await
    }

    /// The branch of a preview is gone, and so is its environment.
    pub(crate) async fn preview_gone(&self, of: &AppRow, branch: &str) -> Result<()> {
        let db = &self.0.delivery.0.db;
        for row in store::page(db, &of.project, of.project_since, "", 10_000).await? {
            if row.preview.as_ref().is_some_and(|it| it.of == of.name && it.branch == branch) {
                match self.app_delete(&of.project, &row.name, &|_| Ok(())).await {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// What of an app its previews are. Anybody who may push a branch decides what runs there: it gets none of the app's secrets,
/// and does not migrate the database that they open. The token of a source stays: the platform alone uses it, for that URL.
pub(super) fn preview_spec(of: &AppSpec, branch: &str) -> AppSpec {
    let mut spec = AppSpec { migrate: None, preview: None, replicas: of.replicas.min(1), ..of.clone() };
    branch.clone_into(&mut spec.source.branch);
    spec.env.retain(|_, value| matches!(value, AppEnv::Text(_)));
    if let Some(build) = &mut spec.build {
        build.env.retain(|_, value| matches!(value, AppEnv::Text(_)));
    }
    spec
}

/// Variables of an app's build that its previews do not get.
fn withheld(of: &AppSpec) -> Vec<String> {
    let env = of.build.iter().flat_map(|build| &build.env);
    env.filter(|(_, value)| value.secret().is_some()).map(|(name, _)| name.clone()).collect()
}

/// A branch as a label.
fn slug(branch: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = branch.chars().map(plain).collect();
    let text = text.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    if text.is_empty() { "branch".into() } else { text }
}

/// Whether a branch is one of a pattern; `*` stands for anything.
pub(crate) fn matches(pattern: &str, branch: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == branch,
        Some((before, after)) => branch.strip_prefix(before).is_some_and(|rest| {
            if after.is_empty() {
                return true;
            }
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| rest.get(at..).is_some_and(|rest| matches(after, rest)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_and_their_names() {
        for (pattern, branch, fits) in [
            ("main", "main", true),
            ("main", "maintenance", false),
            ("feature/*", "feature/a", true),
            ("feature/*", "feature/", true),
            ("feature/*", "fix/a", false),
            ("*", "anything", true),
            ("*-x", "a-b-x", true),
            ("*-x", "a-b-y", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c", false),
        ] {
            assert_eq!(matches(pattern, branch), fits, "{pattern} {branch}");
        }
        for (branch, name) in [("feature/A_b", "feature-a-b"), ("---", "branch"), ("x", "x")] {
            assert_eq!(slug(branch), name);
        }
    }
}
