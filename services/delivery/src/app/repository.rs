//! Repositories.

use hafen_base::{Error, Page, PageLimit, RepositoryId, Result};
use hafen_client::wire::{
    GitCommit, GitReference, ProtectedBranch, PushRole, Repository, RepositoryCreate, RepositoryPut,
};
use hafen_db::store_error;
use hafen_git::check_branch;
use hafen_work::{Begun, Once, OnceTx};
use serde_json::json;

use super::label;
use crate::Delivery;
use crate::store;
use crate::store::repository::RepositoryRow;

const SIZES: std::ops::RangeInclusive<i64> = 1 << 20..=1 << 40;
const OBJECTS: std::ops::RangeInclusive<i64> = 1024..=1 << 40;
const MOST_RULES: usize = 100;

pub(crate) fn no_repository(project: &str, name: &str) -> Error {
    Error::not_found(format!("repository {name:?} in project {project:?}"))
}

fn check(description: &str, branch: &str, rules: &[ProtectedBranch], size: i64, object: i64) -> Result<()> {
    if description.chars().count() > 500 || description.chars().any(char::is_control) {
        return Err(Error::invalid_field(
            "/description",
            "at most 500 characters, and no control characters",
        ));
    }
    if !good_branch(branch) {
        return Err(Error::invalid_field(
            "/default_branch",
            "a branch has letters, digits, '-', '_', '.' and '/', as main or release/1.0",
        ));
    }
    if rules.len() > MOST_RULES {
        return Err(Error::invalid_field("/protected", "at most 100 rules"));
    }
    for (at, rule) in rules.iter().enumerate() {
        let good = (1..=100).contains(&rule.pattern.len())
            && rule.pattern.split('/').all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'*' | b'.' | b'-'))
            });
        if !good {
            return Err(Error::invalid_field(
                format!("/protected/{at}/pattern"),
                "a branch, in which '*' stands for any text within one part, as release/*",
            ));
        }
    }
    if !SIZES.contains(&size) {
        return Err(Error::invalid_field("/size_limit", "from 1 MiB to 1 TiB, in bytes"));
    }
    if !OBJECTS.contains(&object) {
        return Err(Error::invalid_field("/object_limit", "from 1 KiB to 1 TiB, in bytes"));
    }
    Ok(())
}

/// What is documented of a branch that somebody names here; git lets more through.
pub(super) fn good_branch(branch: &str) -> bool {
    branch.len() <= 100
        && check_branch(branch)
        && branch.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/'))
}

impl Delivery {
    /// The repository, if it is of the project that now has this name.
    pub(crate) async fn repository_row(&self, project: &str, name: &str) -> Result<RepositoryRow> {
        let since = self.project_since(project).await?;
        let row = store::repository::find(self.0.db.reader(), project, name).await?;
        row.filter(|row| row.project_since == since).ok_or_else(|| no_repository(project, name))
    }

    /// With its folder on the disk.
    pub(crate) async fn repository_ready(
        &self,
        project: &str,
        name: &str,
    ) -> Result<(RepositoryRow, hafen_git::Repository)> {
        let row = self.repository_row(project, name).await?;
        let folder = hafen_git::Repository::new(&row.repository.id)?;
        self.0.git.ensure(&folder, &row.repository.default_branch).await?;
        Ok((row, folder))
    }

    pub(crate) async fn repository_list(
        &self,
        project: &str,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<Repository>> {
        let since = self.project_since(project).await?;
        let most = i64::from(limit.get()) + 1;
        let rows = store::repository::list(self.0.db.reader(), project, since, after, most).await?;
        let list = rows.into_iter().map(|row| row.repository).collect();
        Ok(limit.page(list, |one: &Repository| one.name.clone()))
    }

    pub(crate) async fn repository_create(
        &self,
        project: &str,
        body: RepositoryCreate,
        repeat: Option<&Once>,
    ) -> Result<Repository> {
        label("repository", "/name", &body.name)?;
        let protected = body.protected.unwrap_or_else(|| {
            let pattern = body.default_branch.clone();
            vec![ProtectedBranch { pattern, push: PushRole::Developer, force: false, delete: false }]
        });
        check(&body.description, &body.default_branch, &protected, body.size_limit, body.object_limit)?;
        let since = self.project_since(project).await?;
        let mut once = match OnceTx::begin(&self.0.db, repeat).await? {
            Begun::Answered(answer) => return Ok(answer),
            Begun::New(once) => once,
        };
        let tx = &mut once.tx;
        let now = self.0.now();
        // Of a project that had this name before.
        let old = store::repository::find(&mut **tx, project, &body.name).await?;
        if let Some(old) = old.filter(|old| old.project_since != since) {
            store::repository::delete(tx, &old.repository.id, now).await?;
        }
        let repository = Repository {
            id: RepositoryId::generate(now, &*self.0.random).to_string(),
            project: project.to_owned(),
            path: store::repository::path(project, &body.name),
            name: body.name,
            description: body.description,
            default_branch: body.default_branch,
            protected,
            size_limit: body.size_limit,
            object_limit: body.object_limit,
            size: 0,
            created_at: now,
            pushed_at: None,
            generation: 1,
        };
        let row = RepositoryRow {
            repository: repository.clone(),
            project_since: since,
            packed_at: None,
            orphan_since: None,
        };
        if !store::repository::insert(tx, &row).await? {
            return Err(Error::conflict(format!(
                "there is a repository {:?} in project {project} already",
                repository.name
            )));
        }
        let object = format!("repository/{}", repository.name);
        let message = format!("repository {} was made", repository.name);
        self.event(tx, project, "repository.created", object, message, json!({ "id": repository.id }))
            .await?;
        once.finish(&repository, &*self.0.clock).await?;
        self.0.events.ring();
        self.0.wakes.repository.wake(repository.id.clone());
        Ok(repository)
    }

    pub(crate) async fn repository_put(
        &self,
        project: &str,
        name: &str,
        body: RepositoryPut,
        fits: impl Fn(i64) -> Result<()> + Send,
    ) -> Result<Repository> {
        check(&body.description, &body.default_branch, &body.protected, body.size_limit, body.object_limit)?;
        let since = self.project_since(project).await?;
        let mut tx = self.0.db.write().await?;
        let row = store::repository::find(&mut *tx, project, name).await?;
        let row = row.filter(|row| row.project_since == since).ok_or_else(|| no_repository(project, name))?;
        let before = row.repository;
        fits(before.generation)?;
        let after = Repository {
            description: body.description,
            default_branch: body.default_branch,
            protected: body.protected,
            size_limit: body.size_limit,
            object_limit: body.object_limit,
            ..before.clone()
        };
        if after == before {
            return Ok(before);
        }
        let after = Repository { generation: before.generation + 1, ..after };
        store::repository::update(&mut tx, &after).await?;
        let data = json!({ "default_branch": after.default_branch, "protected": after.protected,
                           "size_limit": after.size_limit, "object_limit": after.object_limit });
        let object = format!("repository/{}", after.name);
        let message = format!("repository {} was changed", after.name);
        self.event(&mut tx, project, "repository.changed", object, message, data).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        // What a clone begins with is true when this is answered; should it fail, the runner goes on with it.
        self.0.wakes.repository.wake(after.id.clone());
        let folder = hafen_git::Repository::new(&after.id)?;
        self.0.git.ensure(&folder, &after.default_branch).await?;
        self.0.git.set_head(&folder, &after.default_branch).await?;
        Ok(after)
    }

    pub(crate) async fn repository_delete(
        &self,
        project: &str,
        name: &str,
        fits: impl Fn(i64) -> Result<()> + Send,
    ) -> Result<()> {
        let since = self.project_since(project).await?;
        let mut tx = self.0.db.write().await?;
        let row = store::repository::find(&mut *tx, project, name).await?;
        let row = row.filter(|row| row.project_since == since).ok_or_else(|| no_repository(project, name))?;
        fits(row.repository.generation)?;
        let id = &row.repository.id;
        store::repository::delete(&mut tx, id, self.0.now()).await?;
        let object = format!("repository/{}", row.repository.name);
        let message =
            format!("repository {} was deleted with all that was pushed to it", row.repository.name);
        self.event(&mut tx, project, "repository.deleted", object, message, json!({ "id": id })).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        self.0.wakes.repository.wake(id.clone());
        Ok(())
    }

    pub(crate) async fn reference_list(
        &self,
        project: &str,
        name: &str,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<GitReference>> {
        let (_, folder) = self.repository_ready(project, name).await?;
        let found = self.0.git.references(&folder).await?.into_iter();
        let found = found.map(|one| GitReference { name: one.name, target: one.target });
        let most = usize::try_from(limit.get()).unwrap_or(1000) + 1;
        let page = found.filter(|one| one.name.as_str() > after).take(most).collect();
        Ok(limit.page(page, |one: &GitReference| one.name.clone()))
    }

    /// Commits of a branch, a tag or a commit, newest first.
    pub(crate) async fn commit_list(
        &self,
        project: &str,
        name: &str,
        reference: Option<&str>,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<GitCommit>> {
        let (row, folder) = self.repository_ready(project, name).await?;
        // A page goes on from a commit, so that what is pushed in between moves nothing.
        let (from, skip) = if let Some((commit, skip)) = after.split_once(' ') {
            let skip: u32 = skip.parse().map_err(|_| Error::invalid_field("/page", "not a page token"))?;
            (self.0.git.resolve(&folder, commit).await?, skip)
        } else {
            let asked = reference.unwrap_or(&row.repository.default_branch);
            match self.0.git.resolve(&folder, asked).await {
                // Nothing was pushed yet.
                Err(error) if reference.is_none() && error.kind() == hafen_base::ErrorKind::NotFound => {
                    return Ok(Page { items: Vec::new(), next_page: None });
                }
                found => (found?, 0),
            }
        };
        let found = self.0.git.commits(&folder, &from, skip, limit.get() + 1).await?;
        let at = |seconds: i64| hafen_base::Timestamp::from_micros(seconds.saturating_mul(1_000_000));
        let list = found.into_iter().map(|one| GitCommit {
            id: one.id,
            author: one.author,
            author_email: one.author_email,
            authored_at: at(one.authored_at),
            committed_at: at(one.committed_at),
            subject: one.subject,
        });
        let next = skip.saturating_add(limit.get());
        Ok(limit.page(list.collect(), |_| format!("{from} {next}")))
    }
}
