//! External OpenID providers of an organisation.

use hafen_base::{Error, Result, TokenId};
use hafen_client::wire::{IdentityProvider, IdentityProviderCreate, SignInProvider};
use serde_json::json;

use super::check_title;
use crate::Identity;
use crate::fetch::is_safe;
use crate::model::caller::Caller;
use crate::store::{external, organisation};

/// The organisation that a sign-in means which names none.
const DEFAULT: &str = "default";

impl Identity {
    pub(crate) async fn provider_create(
        &self,
        caller: &Caller,
        of: Option<&str>,
        body: IdentityProviderCreate,
    ) -> Result<IdentityProvider> {
        let organisation = self.tenant(caller, of).await?;
        caller.must_administer()?;
        let name = check_title("/name", &body.name, 1)?;
        if !is_safe(&body.issuer) || body.issuer.len() > 500 {
            return Err(Error::invalid_field("/issuer", "an issuer as https://login.example.org"));
        }
        for (pointer, text) in [("/client_id", &body.client_id), ("/client_secret", &body.client_secret)] {
            check_title(pointer, text, 1)?;
        }
        // Whoever may name a provider may say who is who.
        caller.must_have_stepped_up(self.0.now())?;
        let now = self.0.now();
        let id = TokenId::generate(now, &*self.0.random).to_string().replacen("tok-", "idp-", 1);
        let sealed =
            self.0.key.seal(&format!("provider/{id}"), body.client_secret.as_bytes(), &*self.0.random)?;
        let made = IdentityProvider {
            id: id.clone(),
            organisation,
            name,
            issuer: body.issuer,
            client_id: body.client_id,
            created_at: now,
        };
        let mut tx = self.0.db.write().await?;
        external::insert(&mut tx, &made, &sealed).await?;
        let data = json!({ "issuer": made.issuer });
        self.0
            .record(
                &mut tx,
                "identity_provider.created",
                format!("identity-provider/{id}"),
                made.name.clone(),
                data,
            )
            .await?;
        self.0.commit(tx).await?;
        Ok(made)
    }

    pub(crate) async fn provider_list(
        &self,
        caller: &Caller,
        of: Option<&str>,
    ) -> Result<Vec<IdentityProvider>> {
        let organisation = self.tenant(caller, of).await?;
        external::list(self.0.db.reader(), organisation).await
    }

    /// For the page where nobody is signed in yet: no more than names to choose from.
    pub(crate) async fn sign_in_providers(&self, organisation: Option<&str>) -> Result<Vec<SignInProvider>> {
        let name = organisation.unwrap_or(DEFAULT);
        if name.len() > 200 {
            return Err(Error::invalid_field("/organisation", "a name has at most 200 bytes"));
        }
        let Some(found) = organisation::find(self.0.db.reader(), name).await? else { return Ok(Vec::new()) };
        let providers = external::list(self.0.db.reader(), found.id).await?;
        Ok(providers.into_iter().map(|one| SignInProvider { id: one.id, name: one.name }).collect())
    }

    pub(crate) async fn provider_delete(&self, caller: &Caller, of: Option<&str>, id: &str) -> Result<()> {
        let organisation = self.tenant(caller, of).await?;
        caller.must_administer()?;
        let mut tx = self.0.db.write().await?;
        if !external::delete(&mut tx, organisation, id).await? {
            return Err(Error::not_found(format!("identity provider {id:?}")));
        }
        self.0
            .record(
                &mut tx,
                "identity_provider.deleted",
                format!("identity-provider/{id}"),
                "deleted".into(),
                json!({}),
            )
            .await?;
        self.0.commit(tx).await
    }
}
