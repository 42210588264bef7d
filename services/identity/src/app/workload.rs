//! Workload identities: which jobs of which issuer are somebody here, without a stored secret.

use hafen_base::{Error, MembershipId, Result, TokenId};
use hafen_client::wire::{Membership, WorkloadIdentity, WorkloadIdentityCreate};
use jsonwebtoken::jwk::JwkSet;
use serde_json::{Value, json};

use super::check_words;
use crate::Identity;
use crate::issuers::{check_issuer, discover};
use crate::model::caller::Caller;
use crate::store::{credential, membership, workload};

fn check_keys(keys: &Value) -> Result<()> {
    let keys: JwkSet = serde_json::from_value(keys.clone())
        .map_err(|error| Error::invalid_field("/jwks", format!("not a JWK set (RFC 7517): {error}")))?;
    if keys.keys.is_empty() || keys.keys.len() > 50 {
        return Err(Error::invalid_field("/jwks", "1 to 50 keys"));
    }
    Ok(())
}

impl Identity {
    pub(crate) async fn workload_create(
        &self,
        caller: &Caller,
        of: Option<&str>,
        body: WorkloadIdentityCreate,
    ) -> Result<WorkloadIdentity> {
        let organisation = self.tenant(caller, of).await?;
        caller.must_administer()?;
        hafen_base::check_label("workload identity", &body.name)
            .map_err(|message| Error::invalid_field("/name", message))?;
        let bounded = |pointer: &str, text: &str| {
            if (1..=500).contains(&text.len()) && !text.chars().any(char::is_control) {
                Ok(())
            } else {
                Err(Error::invalid_field(pointer, "1 to 500 characters"))
            }
        };
        bounded("/issuer", &body.issuer)?;
        bounded("/audience", &body.audience)?;
        if body.claims.is_empty() || body.claims.len() > 50 {
            // An issuer as large as a public forge signs tokens for everybody.
            return Err(Error::invalid_field(
                "/claims",
                "1 to 50 conditions: without any, every job of the issuer would be trusted",
            ));
        }
        for (name, wanted) in &body.claims {
            bounded("/claims", name)?;
            bounded("/claims", wanted)?;
            if wanted == "*" {
                return Err(Error::invalid_field("/claims", format!("{name}: `*` alone is no condition")));
            }
        }
        match &body.jwks {
            Some(keys) => check_keys(keys)?,
            None => check_issuer(&body.issuer, self.0.loopback_issuers)
                .map_err(|wanted| Error::invalid_field("/issuer", wanted))?,
        }
        let (scopes, projects) =
            (check_words("/scopes", body.scopes, 200)?, check_words("/projects", body.projects, 1000)?);
        if body.jwks.is_none() {
            // Asked now, because nobody looks when a job is refused at night; but only for somebody who may.
            caller.must_have_stepped_up(self.0.now())?;
            discover(&*self.0.fetch, &body.issuer).await.map_err(|error| {
                Error::invalid_field("/issuer", format!("its keys cannot be fetched: {}", error.message()))
            })?;
        }
        let mut tx = self.0.db.write().await?;
        let scope = self.scope(&mut tx, organisation, &body.scope).await?;
        self.role(&mut tx, organisation, &body.role).await?;
        Self::must_grant(caller, organisation, &scope, &body.role)?;
        caller.must_have_stepped_up(self.0.now())?;
        let now = self.0.now();
        let id = TokenId::generate(now, &*self.0.random).to_string().replacen("tok-", "wi-", 1);
        let made = WorkloadIdentity {
            id: id.clone(),
            organisation,
            name: body.name,
            issuer: body.issuer,
            audience: body.audience,
            jwks: body.jwks,
            claims: body.claims,
            scopes,
            projects,
            role: body.role.clone(),
            scope: scope.to_string(),
            created_at: now,
            generation: 1,
        };
        workload::insert(&mut tx, &made).await?;
        let held = Membership {
            id: MembershipId::generate(now, &*self.0.random),
            subject: id.clone(),
            scope: scope.to_string(),
            role: body.role,
            created_at: now,
        };
        membership::put(&mut tx, organisation, &held).await?;
        let data =
            json!({ "issuer": made.issuer, "claims": made.claims, "role": made.role, "scope": made.scope });
        self.0
            .record(
                &mut tx,
                "workload_identity.created",
                format!("workload-identity/{id}"),
                made.name.clone(),
                data,
            )
            .await?;
        self.0.commit_rights(tx).await?;
        Ok(made)
    }

    pub(crate) async fn workload_list(
        &self,
        caller: &Caller,
        of: Option<&str>,
    ) -> Result<Vec<WorkloadIdentity>> {
        let organisation = self.tenant(caller, of).await?;
        workload::list(self.0.db.reader(), organisation).await
    }

    pub(crate) async fn workload_get(
        &self,
        caller: &Caller,
        of: Option<&str>,
        key: &str,
    ) -> Result<WorkloadIdentity> {
        let organisation = self.tenant(caller, of).await?;
        workload::get(self.0.db.reader(), organisation, key).await
    }

    /// Trusts it no longer; what its jobs hold ends at once.
    pub(crate) async fn workload_delete(&self, caller: &Caller, of: Option<&str>, key: &str) -> Result<()> {
        let organisation = self.tenant(caller, of).await?;
        let mut tx = self.0.db.write().await?;
        let row = workload::get(&mut *tx, organisation, key).await?;
        caller.must_administer()?;
        let ended = credential::revoke_all(&mut tx, &row.id, "", false).await?;
        workload::delete(&mut tx, &row.id).await?;
        let data = json!({ "ended": ended });
        self.0
            .record(
                &mut tx,
                "workload_identity.deleted",
                format!("workload-identity/{}", row.id),
                row.name,
                data,
            )
            .await?;
        self.0.commit_rights(tx).await
    }
}
