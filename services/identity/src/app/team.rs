use hafen_base::{Error, Page, PageLimit, Result, TeamId, check_label};
use hafen_client::wire::{Team, TeamCreate, TeamPatch};
use hafen_work::{Begun, Once, OnceTx};
use serde_json::json;

use super::check_title;
use crate::Identity;
use crate::model::caller::Caller;
use crate::store::team;

impl Identity {
    pub(crate) async fn team_create(
        &self,
        caller: &Caller,
        of: Option<&str>,
        body: TeamCreate,
        once: Option<&Once>,
    ) -> Result<Team> {
        let organisation = self.tenant(caller, of).await?;
        caller.must_administer()?;
        check_label("team", &body.name).map_err(|message| Error::invalid_field("/name", message))?;
        let title = check_title("/title", body.title.as_deref().unwrap_or(&body.name), 1)?;
        let mut once = match OnceTx::begin(&self.0.db, once).await? {
            Begun::Answered(answer) => return Ok(answer),
            Begun::New(once) => once,
        };
        let now = self.0.now();
        let made = Team {
            id: TeamId::generate(now, &*self.0.random),
            organisation,
            name: body.name,
            title,
            created_at: now,
            generation: 1,
        };
        team::insert(&mut once.tx, &made).await?;
        self.0
            .record(&mut once.tx, "team.created", format!("team/{}", made.id), made.name.clone(), json!({}))
            .await?;
        once.finish(&made, &*self.0.clock).await?;
        self.0.events.ring();
        Ok(made)
    }

    pub(crate) async fn team_list(
        &self,
        caller: &Caller,
        of: Option<&str>,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<Team>> {
        let organisation = self.tenant(caller, of).await?;
        let rows = team::list(self.0.db.reader(), organisation, after, limit).await?;
        Ok(limit.page(rows, |row| row.id.to_string()))
    }

    pub(crate) async fn team_get(&self, caller: &Caller, of: Option<&str>, key: &str) -> Result<Team> {
        let organisation = self.tenant(caller, of).await?;
        team::get(self.0.db.reader(), organisation, key).await
    }

    pub(crate) async fn team_update(
        &self,
        caller: &Caller,
        (of, key): (Option<&str>, &str),
        body: TeamPatch,
        fits: impl Fn(i64) -> Result<()>,
    ) -> Result<Team> {
        let organisation = self.tenant(caller, of).await?;
        let title = body.title.map(|title| check_title("/title", &title, 1)).transpose()?;
        let mut tx = self.0.db.write().await?;
        let mut row = team::get(&mut *tx, organisation, key).await?;
        caller.must_administer()?;
        fits(row.generation)?;
        row.title = title.unwrap_or(row.title);
        row.generation += 1;
        team::update(&mut tx, &row).await?;
        self.0
            .record(&mut tx, "team.changed", format!("team/{}", row.id), row.name.clone(), json!({}))
            .await?;
        self.0.commit(tx).await?;
        Ok(row)
    }

    pub(crate) async fn team_delete(&self, caller: &Caller, of: Option<&str>, key: &str) -> Result<()> {
        let organisation = self.tenant(caller, of).await?;
        let mut tx = self.0.db.write().await?;
        let row = team::get(&mut *tx, organisation, key).await?;
        caller.must_administer()?;
        team::delete(&mut tx, row.id).await?;
        self.0.record(&mut tx, "team.deleted", format!("team/{}", row.id), row.name, json!({})).await?;
        self.0.commit_rights(tx).await
    }
}
