//! Who owns which project. The projects themselves are the machines service's.

use hafen_base::{Error, ErrorKind, Page, PageLimit, Result, check_label};
use hafen_client::wire::{ProjectOwner, ProjectOwnerPut};
use serde_json::json;

use crate::Identity;
use crate::model::caller::Caller;
use crate::store::{project, team};

impl Identity {
    pub(crate) async fn project_owner_list(
        &self,
        caller: &Caller,
        of: Option<&str>,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<ProjectOwner>> {
        let organisation = self.tenant(caller, of).await?;
        let rows = project::list(self.0.db.reader(), organisation, after, limit).await?;
        Ok(limit.page(rows, |row| row.project.clone()))
    }

    pub(crate) async fn project_owner_get(
        &self,
        caller: &Caller,
        of: Option<&str>,
        name: &str,
    ) -> Result<ProjectOwner> {
        let organisation = self.tenant(caller, of).await?;
        project::get(self.0.db.reader(), organisation, name).await
    }

    /// Takes a project's name for a team, or hands the project to another team of the organisation.
    pub(crate) async fn project_owner_put(
        &self,
        caller: &Caller,
        of: Option<&str>,
        name: &str,
        body: ProjectOwnerPut,
    ) -> Result<ProjectOwner> {
        let organisation = self.tenant(caller, of).await?;
        check_label("project", name).map_err(|message| Error::invalid_field("", message))?;
        let mut tx = self.0.db.write().await?;
        let team = team::get(&mut *tx, organisation, &body.team).await?;
        caller.must_administer()?;
        let before = project::find(&mut *tx, name).await?;
        if before.as_ref().is_some_and(|before| before.organisation != organisation) {
            return Err(taken(name));
        }
        // A project that nobody wrote down an owner for is the default organisation's; its name cannot be taken from under it.
        let foreign = organisation != self.0.default && !caller.platform;
        if before.is_none() && foreign && self.project_exists(name).await? {
            return Err(taken(name));
        }
        let owner = ProjectOwner {
            project: name.to_owned(),
            organisation,
            team: team.id,
            created_at: before.as_ref().map_or(self.0.now(), |before| before.created_at),
            generation: before.as_ref().map_or(1, |before| before.generation + 1),
        };
        project::put(&mut tx, &owner).await?;
        let data = json!({ "team": owner.team, "before": before.map(|before| before.team) });
        let message = format!("{name} belongs to the team {}", team.name);
        self.0.record(&mut tx, "project.owned", format!("project/{name}"), message, data).await?;
        self.0.commit_rights(tx).await?;
        Ok(owner)
    }

    /// Forgets a project that is gone.
    pub(crate) async fn project_owner_delete(
        &self,
        caller: &Caller,
        of: Option<&str>,
        name: &str,
    ) -> Result<()> {
        let organisation = self.tenant(caller, of).await?;
        let mut tx = self.0.db.write().await?;
        project::get(&mut *tx, organisation, name).await?;
        caller.must_administer()?;
        if self.project_exists(name).await? {
            return Err(Error::conflict(format!(
                "project {name} is still there: destroy what it holds and delete it first"
            )));
        }
        project::delete(&mut tx, name, self.0.now()).await?;
        self.0
            .record(&mut tx, "project.disowned", format!("project/{name}"), name.to_owned(), json!({}))
            .await?;
        self.0.commit_rights(tx).await
    }

    /// Whether the machines service has it, where there is one.
    async fn project_exists(&self, name: &str) -> Result<bool> {
        let Some(machines) = &self.0.machines else { return Ok(false) };
        match machines.project_get(name).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The names of projects are the platform's: that one is taken can be noticed, by whom cannot.
fn taken(name: &str) -> Error {
    Error::conflict(format!("the project name {name:?} is taken; take another")).with_code("name_taken")
}
