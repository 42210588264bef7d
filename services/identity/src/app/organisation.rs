use hafen_base::{Error, OrganisationId, Page, PageLimit, Result, check_label};
use hafen_client::wire::{Organisation, OrganisationCreate, OrganisationPatch, SignInPolicy};
use hafen_work::{Begun, Once, OnceTx};
use serde_json::json;

use super::check_title;
use crate::Identity;
use crate::model::caller::Caller;
use crate::model::role::OWNER;
use crate::store::organisation;

impl Identity {
    pub(crate) async fn organisation_create(
        &self,
        caller: &Caller,
        body: OrganisationCreate,
        once: Option<&Once>,
    ) -> Result<Organisation> {
        caller.must_be_the_platforms()?;
        check_label("organisation", &body.name).map_err(|message| Error::invalid_field("/name", message))?;
        let title = check_title("/title", body.title.as_deref().unwrap_or(&body.name), 1)?;
        let mut once = match OnceTx::begin(&self.0.db, once).await? {
            Begun::Answered(answer) => return Ok(answer),
            Begun::New(once) => once,
        };
        let now = self.0.now();
        let made = Organisation {
            id: OrganisationId::generate(now, &*self.0.random),
            name: body.name,
            title,
            policy: SignInPolicy::default(),
            created_at: now,
            generation: 1,
        };
        organisation::insert(&mut once.tx, &made).await?;
        self.0
            .record(
                &mut once.tx,
                "organisation.created",
                format!("organisation/{}", made.id),
                made.name.clone(),
                json!({}),
            )
            .await?;
        once.finish(&made, &*self.0.clock).await?;
        self.0.events.ring();
        Ok(made)
    }

    pub(crate) async fn organisation_list(
        &self,
        caller: &Caller,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<Organisation>> {
        let db = self.0.db.reader();
        let rows = if caller.platform {
            organisation::list(db, after, limit).await?
        } else {
            let own = organisation::get(db, caller.organisation).await?;
            if own.id.to_string().as_str() > after { vec![own] } else { Vec::new() }
        };
        Ok(limit.page(rows, |row| row.id.to_string()))
    }

    pub(crate) async fn organisation_get(&self, caller: &Caller, key: &str) -> Result<Organisation> {
        let id = self.tenant(caller, Some(key)).await?;
        organisation::get(self.0.db.reader(), id).await
    }

    pub(crate) async fn organisation_update(
        &self,
        caller: &Caller,
        key: &str,
        body: OrganisationPatch,
        fits: impl Fn(i64) -> Result<()>,
    ) -> Result<Organisation> {
        let id = self.tenant(caller, Some(key)).await?;
        caller.must_administer()?;
        let title = body.title.map(|title| check_title("/title", &title, 1)).transpose()?;
        body.policy.as_ref().map(check_policy).transpose()?;
        let mut tx = self.0.db.write().await?;
        let mut row = organisation::get(&mut *tx, id).await?;
        fits(row.generation)?;
        row.title = title.unwrap_or(row.title);
        if let Some(policy) = body.policy {
            self.policy_change(caller, row.policy, policy)?;
            row.policy = policy;
        }
        row.generation += 1;
        organisation::update(&mut tx, &row).await?;
        let policy = json!({ "policy": row.policy });
        self.0
            .record(&mut tx, "organisation.changed", format!("organisation/{id}"), row.name.clone(), policy)
            .await?;
        self.0.commit_rights(tx).await?;
        Ok(row)
    }

    /// How people sign in is the owners' to weaken, with a second factor fresh in hand.
    fn policy_change(&self, caller: &Caller, before: SignInPolicy, after: SignInPolicy) -> Result<()> {
        let default = SignInPolicy::default();
        let weaker = before.second_factor && !after.second_factor
            || after.session_hours > before.session_hours.max(default.session_hours)
            || after.idle_minutes > before.idle_minutes.max(default.idle_minutes);
        if weaker {
            if !caller.platform && !caller.organisation_roles().contains(&OWNER) {
                return Err(Error::new(
                    hafen_base::ErrorKind::Forbidden,
                    "only an owner may make signing in weaker than it is",
                ));
            }
            caller.must_have_stepped_up(self.0.now())?;
        }
        Ok(())
    }
}

fn check_policy(policy: &SignInPolicy) -> Result<()> {
    for (pointer, value, range) in [
        ("/policy/session_hours", policy.session_hours, 1..=720),
        ("/policy/idle_minutes", policy.idle_minutes, 5..=10_080),
    ] {
        if !range.contains(&value) {
            return Err(Error::invalid_field(pointer, format!("{} to {}", range.start(), range.end())));
        }
    }
    Ok(())
}
