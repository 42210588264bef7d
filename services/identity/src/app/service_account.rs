use hafen_base::{Error, Page, PageLimit, Result, ServiceAccountId, check_label};
use hafen_client::wire::{ServiceAccount, ServiceAccountCreate, ServiceAccountPatch};
use hafen_work::{Begun, Once, OnceTx};
use serde_json::json;

use super::{check_status, check_title};
use crate::Identity;
use crate::model::caller::Caller;
use crate::store::{service_account, team};

impl Identity {
    pub(crate) async fn service_account_create(
        &self,
        caller: &Caller,
        of: Option<&str>,
        body: ServiceAccountCreate,
        once: Option<&Once>,
    ) -> Result<ServiceAccount> {
        let organisation = self.tenant(caller, of).await?;
        caller.must_administer()?;
        check_label("service account", &body.name)
            .map_err(|message| Error::invalid_field("/name", message))?;
        let mut once = match OnceTx::begin(&self.0.db, once).await? {
            Begun::Answered(answer) => return Ok(answer),
            Begun::New(once) => once,
        };
        let team = team::get(&mut *once.tx, organisation, &body.team).await?;
        let now = self.0.now();
        let made = ServiceAccount {
            id: ServiceAccountId::generate(now, &*self.0.random),
            organisation,
            team: team.id,
            name: body.name,
            description: check_title("/description", body.description.as_deref().unwrap_or(""), 0)?,
            status: "active".into(),
            created_at: now,
            generation: 1,
        };
        service_account::insert(&mut once.tx, &made).await?;
        let object = format!("service-account/{}", made.id);
        self.0
            .record(
                &mut once.tx,
                "service_account.created",
                object,
                made.name.clone(),
                json!({ "team": made.team }),
            )
            .await?;
        once.finish(&made, &*self.0.clock).await?;
        self.0.events.ring();
        Ok(made)
    }

    pub(crate) async fn service_account_list(
        &self,
        caller: &Caller,
        of: Option<&str>,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<ServiceAccount>> {
        let organisation = self.tenant(caller, of).await?;
        let rows = service_account::list(self.0.db.reader(), organisation, after, limit).await?;
        Ok(limit.page(rows, |row| row.id.to_string()))
    }

    pub(crate) async fn service_account_get(
        &self,
        caller: &Caller,
        of: Option<&str>,
        key: &str,
    ) -> Result<ServiceAccount> {
        let organisation = self.tenant(caller, of).await?;
        service_account::get(self.0.db.reader(), organisation, key).await
    }

    pub(crate) async fn service_account_update(
        &self,
        caller: &Caller,
        (of, key): (Option<&str>, &str),
        body: ServiceAccountPatch,
        fits: impl Fn(i64) -> Result<()>,
    ) -> Result<ServiceAccount> {
        let organisation = self.tenant(caller, of).await?;
        let description = body.description.map(|text| check_title("/description", &text, 0)).transpose()?;
        body.status.as_deref().map(check_status).transpose()?;
        let mut tx = self.0.db.write().await?;
        let mut row = service_account::get(&mut *tx, organisation, key).await?;
        caller.must_administer()?;
        fits(row.generation)?;
        row.description = description.unwrap_or(row.description);
        row.status = body.status.unwrap_or(row.status);
        row.generation += 1;
        service_account::update(&mut tx, &row).await?;
        let object = format!("service-account/{}", row.id);
        self.0
            .record(
                &mut tx,
                "service_account.changed",
                object,
                row.name.clone(),
                json!({ "status": row.status }),
            )
            .await?;
        self.0.commit_rights(tx).await?;
        Ok(row)
    }
}
