//! Tokens of people and service accounts.

use std::time::Duration;

use hafen_base::{ActorKind, Error, ErrorKind, Page, PageLimit, Result, TokenId};
use hafen_client::wire::{AccessToken, TokenCreate, TokenCreated};
use serde_json::json;

use super::{check_title, check_words};
use crate::Identity;
use crate::model::caller::Caller;
use crate::model::secret::{Kind, Secret};
use crate::store::credential::{self, CredentialRow};
use crate::store::{person, service_account};

const DAY: Duration = Duration::from_hours(24);

impl Identity {
    /// Makes a token: of the caller, or of a service account by whoever administers the organisation.
    pub(crate) async fn token_create(&self, caller: &Caller, body: TokenCreate) -> Result<TokenCreated> {
        let days = body.days.unwrap_or(90);
        let days = u32::try_from(days).ok().filter(|days| (1..=366).contains(days));
        let days = days.ok_or_else(|| Error::invalid_field("/days", "1 to 366: every token ends"))?;
        let name = check_title("/name", &body.name, 1)?;
        let scopes = check_words("/scopes", body.scopes, 200)?;
        let projects = check_words("/projects", body.projects, 1000)?;
        let (kind, subject) = match &body.service_account {
            Some(key) => {
                let account = service_account::get(self.0.db.reader(), caller.organisation, key).await?;
                caller.must_administer()?;
                (Kind::Service, account.id.to_string())
            }
            None if caller.actor.kind == ActorKind::Person => (Kind::Personal, caller.actor.id.clone()),
            None => {
                return Err(Error::invalid_field(
                    "/service_account",
                    "name the service account: only a person has tokens of its own",
                ));
            }
        };
        // A token must not make a stronger or longer one than itself.
        caller.must_be_a_session().or_else(|error| {
            if caller.actor.kind == ActorKind::LocalOperator { Ok(()) } else { Err(error) }
        })?;
        let now = self.0.now();
        let row = CredentialRow {
            id: TokenId::generate(now, &*self.0.random).to_string(),
            kind,
            subject,
            organisation: caller.organisation,
            name,
            scopes,
            projects,
            status: credential::ACTIVE.into(),
            replaced_by: String::new(),
            proof: None,
            created_at: now,
            expires_at: now.plus(DAY * days),
            idle: 0,
            last_used_at: None,
            strong: caller.strong,
            authenticated_at: now,
            step_up_until: None,
            factors: String::new(),
            client: String::new(),
            address: String::new(),
            parent: String::new(),
        };
        let secret = Secret::generate(kind, &*self.0.random);
        let mut tx = self.0.db.write().await?;
        credential::insert(&mut tx, &row, &secret.hash()).await?;
        let data = json!({ "subject": row.subject, "scopes": row.scopes, "projects": row.projects, "expires_at": row.expires_at });
        self.0.record(&mut tx, "token.created", format!("token/{}", row.id), row.name.clone(), data).await?;
        self.0.commit(tx).await?;
        Ok(TokenCreated { token: row.token(now)?, secret: secret.expose().to_owned() })
    }

    /// The caller's own; of a person or service account where `subject` names one and the caller administers.
    pub(crate) async fn token_list(
        &self,
        caller: &Caller,
        subject: Option<&str>,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<AccessToken>> {
        let subject = match subject {
            None => caller.actor.id.clone(),
            Some(key) => {
                let id = self.subject_id(caller, key).await?;
                if id != caller.actor.id {
                    caller.must_administer()?;
                }
                id
            }
        };
        let rows =
            credential::list(self.0.db.reader(), caller.organisation, &subject, false, after, limit).await?;
        let page = limit.page(rows, |row| row.id.clone());
        let now = self.0.now();
        let items = page.items.iter().map(|row| self.with_last_use(row).token(now)).collect::<Result<_>>()?;
        Ok(Page { items, next_page: page.next_page })
    }

    async fn subject_id(&self, caller: &Caller, key: &str) -> Result<String> {
        let db = self.0.db.reader();
        if let Some(found) = person::find(db, caller.organisation, key).await? {
            return Ok(found.id.to_string());
        }
        Ok(service_account::get(db, caller.organisation, key).await?.id.to_string())
    }

    pub(crate) async fn token_get(&self, caller: &Caller, id: &str) -> Result<AccessToken> {
        let row = self.token_row(caller, id).await?;
        self.with_last_use(&row).token(self.0.now())
    }

    /// A token that the caller may see: its own, or with the right to administer any of the organisation.
    pub(super) async fn token_row(&self, caller: &Caller, id: &str) -> Result<CredentialRow> {
        let missing = || Error::not_found(format!("token {id:?}"));
        let row = match credential::get(self.0.db.reader(), caller.organisation, id).await {
            Ok(row) => row,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(error),
        };
        let token = matches!(row.kind, Kind::Personal | Kind::Service);
        // Another person's token is not to be told from none, unless one administers.
        if !token || row.subject != caller.actor.id && caller.must_administer().is_err() {
            return Err(missing());
        }
        Ok(row)
    }

    /// Ends a token at once.
    pub(crate) async fn token_delete(&self, caller: &Caller, id: &str) -> Result<()> {
        let row = self.token_row(caller, id).await?;
        let mut tx = self.0.db.write().await?;
        if credential::revoke(&mut tx, id).await? > 0 {
            let data = json!({ "subject": row.subject });
            self.0.record(&mut tx, "token.revoked", format!("token/{id}"), row.name, data).await?;
        }
        self.0.commit_rights(tx).await
    }
}
