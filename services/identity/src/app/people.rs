use hafen_base::{Error, Page, PageLimit, Result};
use hafen_client::wire::{Person, PersonPatch};
use hafen_db::Tx;
use serde_json::json;

use super::{check_status, check_title};
use crate::Identity;
use crate::model::caller::Caller;
use crate::model::role::OWNER;
use crate::store::person::{self, PersonRow, SUSPENDED};
use crate::store::{credential, factor, membership};

pub(super) async fn shown(tx: &mut Tx, row: PersonRow) -> Result<Person> {
    Ok(Person {
        factors: factor::names(&mut **tx, &row.id.to_string()).await?,
        id: row.id,
        organisation: row.organisation,
        login: row.login,
        name: row.name,
        status: row.status,
        created_at: row.created_at,
        generation: row.generation,
    })
}

impl Identity {
    pub(crate) async fn person_list(
        &self,
        caller: &Caller,
        of: Option<&str>,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<Person>> {
        let organisation = self.tenant(caller, of).await?;
        let mut tx = self.0.db.write().await?;
        let page =
            limit.page(person::list(&mut *tx, organisation, after, limit).await?, |row| row.id.to_string());
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            items.push(shown(&mut tx, row).await?);
        }
        Ok(Page { items, next_page: page.next_page })
    }

    pub(crate) async fn person_get(&self, caller: &Caller, of: Option<&str>, key: &str) -> Result<Person> {
        let organisation = self.tenant(caller, of).await?;
        let mut tx = self.0.db.write().await?;
        let row = person::get(&mut *tx, organisation, key).await?;
        shown(&mut tx, row).await
    }

    pub(crate) async fn person_update(
        &self,
        caller: &Caller,
        (of, key): (Option<&str>, &str),
        body: PersonPatch,
        fits: impl Fn(i64) -> Result<()>,
    ) -> Result<Person> {
        let organisation = self.tenant(caller, of).await?;
        let name = body.name.map(|name| check_title("/name", &name, 1)).transpose()?;
        body.status.as_deref().map(check_status).transpose()?;
        let mut tx = self.0.db.write().await?;
        let mut row = person::get(&mut *tx, organisation, key).await?;
        let own = row.id.to_string() == caller.actor.id;
        if body.status.is_some() || !own {
            self.must_rule_over(&mut tx, caller, &row).await?;
        }
        fits(row.generation)?;
        row.name = name.unwrap_or(row.name);
        let mut kind = "person.changed";
        if let Some(status) = body.status {
            if status == SUSPENDED && row.status != SUSPENDED {
                self.must_not_be_the_last_owner(&mut tx, &row).await?;
                credential::revoke_all(&mut tx, &row.id.to_string(), "", true).await?;
                kind = "person.suspended";
            }
            row.status = status;
        }
        row.generation += 1;
        person::update(&mut tx, &row).await?;
        let data = json!({ "status": row.status });
        self.0.record(&mut tx, kind, format!("person/{}", row.id), row.name.clone(), data).await?;
        let shown = shown(&mut tx, row).await?;
        self.0.commit_rights(tx).await?;
        Ok(shown)
    }

    /// Forgets how a person signs in, ends all it has open, and gives the secret of an invitation by which it sets itself up
    /// anew. For one who lost every factor; takes a fresh second factor of whoever does it.
    pub(crate) async fn person_reset(
        &self,
        caller: &Caller,
        of: Option<&str>,
        key: &str,
    ) -> Result<hafen_client::wire::InvitationCreated> {
        let organisation = self.tenant(caller, of).await?;
        let mut tx = self.0.db.write().await?;
        let row = person::get(&mut *tx, organisation, key).await?;
        self.must_rule_over(&mut tx, caller, &row).await?;
        caller.must_have_stepped_up(self.0.now())?;
        let id = row.id.to_string();
        factor::reset(&mut tx, &id).await?;
        let ended = credential::revoke_all(&mut tx, &id, "", false).await?;
        let data = json!({ "ended": ended });
        self.0
            .record(
                &mut tx,
                "person.reset",
                format!("person/{id}"),
                "factors forgotten, all credentials ended".into(),
                data,
            )
            .await?;
        // The scope says whom it is for; no role is given.
        let made = self.invite(&mut tx, organisation, (&row.login, &id, ""), 24).await?;
        self.0.commit_rights(tx).await?;
        Ok(made)
    }

    /// Owners are owners' to change; everybody else also maintainers'.
    async fn must_rule_over(&self, tx: &mut Tx, caller: &Caller, row: &PersonRow) -> Result<()> {
        caller.must_administer()?;
        let held = membership::at(&mut **tx, &row.id.to_string(), &row.organisation.to_string()).await?;
        let owner = held.is_some_and(|held| held.role == OWNER);
        if owner && !caller.platform && !caller.organisation_roles().contains(&OWNER) {
            return Err(Error::new(hafen_base::ErrorKind::Forbidden, "only an owner may change an owner"));
        }
        Ok(())
    }

    pub(super) async fn must_not_be_the_last_owner(&self, tx: &mut Tx, row: &PersonRow) -> Result<()> {
        let held = membership::at(&mut **tx, &row.id.to_string(), &row.organisation.to_string()).await?;
        if held.is_some_and(|held| held.role == OWNER)
            && membership::owners(&mut **tx, row.organisation).await? < 2
        {
            return Err(Error::conflict(
                "an organisation has at least one owner: make somebody else owner first",
            )
            .with_code("last_owner"));
        }
        Ok(())
    }
}
