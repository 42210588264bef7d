//! Clients of Hafen as an OpenID provider.

use hafen_base::{Error, Result, TokenId};
use hafen_client::wire::{OauthClient, OauthClientCreate, OauthClientCreated};
use serde_json::json;

use super::check_title;
use crate::Identity;
use crate::model::caller::Caller;
use crate::model::secret::{Kind, Secret};
use crate::oidc::may_be_registered;
use crate::store::openid::{self, ClientRow};

impl Identity {
    pub(crate) async fn client_create(
        &self,
        caller: &Caller,
        of: Option<&str>,
        body: OauthClientCreate,
    ) -> Result<OauthClientCreated> {
        let organisation = self.tenant(caller, of).await?;
        caller.must_administer()?;
        let name = check_title("/name", &body.name, 1)?;
        if body.redirect_uris.len() > 20 || !body.redirect_uris.iter().all(|uri| may_be_registered(uri)) {
            let message =
                "up to 20, each https://… or http://127.0.0.1/… (its port is free); no fragment, no wildcard";
            return Err(Error::invalid_field("/redirect_uris", message));
        }
        let now = self.0.now();
        let secret = body.confidential.then(|| Secret::generate(Kind::ClientSecret, &*self.0.random));
        let row = ClientRow {
            shown: OauthClient {
                id: TokenId::generate(now, &*self.0.random).to_string().replacen("tok-", "client-", 1),
                organisation,
                name,
                confidential: body.confidential,
                redirect_uris: body.redirect_uris,
                created_at: now,
            },
            secret: secret.as_ref().map(|secret| secret.hash().as_str().to_owned()).unwrap_or_default(),
        };
        let mut tx = self.0.db.write().await?;
        openid::client_insert(&mut tx, &row).await?;
        let data =
            json!({ "redirect_uris": row.shown.redirect_uris, "confidential": row.shown.confidential });
        self.0
            .record(
                &mut tx,
                "client.created",
                format!("client/{}", row.shown.id),
                row.shown.name.clone(),
                data,
            )
            .await?;
        self.0.commit(tx).await?;
        Ok(OauthClientCreated { client: row.shown, secret: secret.map(|secret| secret.expose().to_owned()) })
    }

    pub(crate) async fn client_list(&self, caller: &Caller, of: Option<&str>) -> Result<Vec<OauthClient>> {
        let organisation = self.tenant(caller, of).await?;
        openid::client_list(self.0.db.reader(), organisation).await
    }

    pub(crate) async fn client_delete(&self, caller: &Caller, of: Option<&str>, id: &str) -> Result<()> {
        let organisation = self.tenant(caller, of).await?;
        caller.must_administer()?;
        let mut tx = self.0.db.write().await?;
        if !openid::client_delete(&mut tx, organisation, id).await? {
            return Err(Error::not_found(format!("client {id:?}")));
        }
        self.0.record(&mut tx, "client.deleted", format!("client/{id}"), "deleted".into(), json!({})).await?;
        self.0.commit(tx).await
    }
}
