//! Sessions: begun, listed, ended; stepped up.

use std::time::Duration;

use hafen_base::{ActorKind, Error, ErrorKind, Page, PageLimit, Result, SessionId, Timestamp};
use hafen_client::wire::{Held, Session, SessionCreated, StepUp, Whoami};
use hafen_db::Tx;
use serde_json::json;

use super::Origin;
use super::prove::wrong;
use crate::Identity;
use crate::model::caller::Caller;
use crate::model::secret::{Kind, Secret};
use crate::oidc::CLI;
use crate::store::credential::{self, CredentialRow};
use crate::store::person::PersonRow;
use crate::store::{factor, organisation, person};

/// How long a second factor counts as proven again.
const STEP_UP: Duration = Duration::from_mins(5);

impl Identity {
    /// Begins a session in the transaction of its sign-in.
    pub(crate) async fn session_begin(
        &self,
        tx: &mut Tx,
        person: &PersonRow,
        factors: &[&str],
        origin: &Origin,
    ) -> Result<SessionCreated> {
        let policy = organisation::get(&mut **tx, person.organisation).await?.policy;
        let now = self.0.now();
        let (secret, device) = (
            Secret::generate(Kind::Session, &*self.0.random),
            Secret::generate(Kind::Device, &*self.0.random),
        );
        let strong = factors.contains(&"passkey") || factors.len() > 1;
        let hours = Duration::from_hours(u64::try_from(policy.session_hours).unwrap_or(24));
        let row = CredentialRow {
            id: SessionId::generate(now, &*self.0.random).to_string(),
            kind: Kind::Session,
            subject: person.id.to_string(),
            organisation: person.organisation,
            name: String::new(),
            scopes: None,
            projects: None,
            status: credential::ACTIVE.into(),
            replaced_by: String::new(),
            proof: None,
            created_at: now,
            expires_at: now.plus(hours),
            idle: policy.idle_minutes * 60_000_000,
            last_used_at: Some(now),
            strong,
            authenticated_at: now,
            // Who has just proven two factors need not at once do so again.
            step_up_until: strong.then(|| now.plus(STEP_UP)),
            factors: factors.join(" "),
            client: origin.client.chars().filter(|c| !c.is_control()).take(200).collect(),
            address: origin.address_text(),
            parent: String::new(),
        };
        credential::insert(tx, &row, &secret.hash()).await?;
        factor::device_insert(tx, &device.hash(), &person.id.to_string(), now).await?;
        let data = json!({ "factors": factors, "session": row.id });
        self.0
            .record(
                tx,
                "sign_in.succeeded",
                format!("person/{}", person.id),
                format!("signed in by {}", factors.join(" and ")),
                data,
            )
            .await?;
        Ok(SessionCreated {
            session: row.session(&row.id)?,
            token: secret.expose().to_owned(),
            device: device.expose().to_owned(),
        })
    }

    /// Own sessions; those of another person where `subject` names one and the caller administers the organisation.
    pub(crate) async fn session_list(
        &self,
        caller: &Caller,
        subject: Option<&str>,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<Session>> {
        let subject = match subject {
            None => caller.actor.id.clone(),
            Some(key) => {
                let row = person::get(self.0.db.reader(), caller.organisation, key).await?;
                if row.id.to_string() != caller.actor.id {
                    caller.must_administer()?;
                }
                row.id.to_string()
            }
        };
        let now = self.0.now();
        let rows =
            credential::list(self.0.db.reader(), caller.organisation, &subject, true, after, limit).await?;
        let page = limit.page(rows, |row| row.id.clone());
        let current = caller.actor.credential.strip_prefix("session/").unwrap_or("");
        let open = page.items.iter().map(|row| self.with_last_use(row)).filter(|row| row.opens(now));
        let items = open.map(|row| row.session(current)).collect::<Result<_>>()?;
        Ok(Page { items, next_page: page.next_page })
    }

    /// A row with the last use that may not be written yet.
    pub(super) fn with_last_use(&self, row: &CredentialRow) -> CredentialRow {
        let last_used_at = row.last_used_at.max(self.0.cache.use_of(&row.id));
        CredentialRow { last_used_at, ..row.clone() }
    }

    /// Ends a session and the access tokens that hang on it. Own ones, or with `must_administer` those of others.
    pub(crate) async fn session_delete(&self, caller: &Caller, id: &str) -> Result<()> {
        let missing = || Error::not_found(format!("session {id:?}"));
        let mut tx = self.0.db.write().await?;
        let row = credential::get(&mut *tx, caller.organisation, id).await.map_err(|_| missing())?;
        if row.kind != Kind::Session {
            return Err(missing());
        }
        if row.subject != caller.actor.id {
            caller.must_administer()?;
        }
        if credential::revoke(&mut tx, id).await? > 0 {
            let data = json!({ "subject": row.subject });
            self.0.record(&mut tx, "session.revoked", format!("session/{id}"), "ended".into(), data).await?;
        }
        self.0.commit_rights(tx).await
    }

    /// Ends every session of the caller but the one that asks.
    pub(crate) async fn session_delete_others(&self, caller: &Caller) -> Result<()> {
        caller.must_be_a_session()?;
        let current = caller.actor.credential.strip_prefix("session/").unwrap_or("");
        let mut tx = self.0.db.write().await?;
        let ended = credential::revoke_all(&mut tx, &caller.actor.id, current, true).await?;
        let (object, data) = (format!("person/{}", caller.actor.id), json!({ "ended": ended }));
        self.0
            .record(&mut tx, "session.others_revoked", object, "all other sessions ended".into(), data)
            .await?;
        self.0.commit_rights(tx).await
    }

    /// What a second factor is proven for: the session that asks; or an access token of the command line, where a person
    /// types the code as in a browser. It lasts for a quarter of an hour at most, and changes nothing of how one signs in.
    async fn step_up_of(&self, caller: &Caller) -> Result<String> {
        if let Some(id) = caller.actor.credential.strip_prefix("token/")
            && caller.actor.kind == ActorKind::Person
        {
            let row = credential::get(self.0.db.reader(), caller.organisation, id).await?;
            if row.kind == Kind::Access && row.client == CLI {
                return Ok(id.to_owned());
            }
        }
        caller.must_be_a_session()?;
        Ok(caller.actor.credential.strip_prefix("session/").unwrap_or("").to_owned())
    }

    /// Proves a second factor again.
    pub(crate) async fn step_up(&self, caller: &Caller, body: StepUp, origin: &Origin) -> Result<Timestamp> {
        let id = self.step_up_of(caller).await?;
        let subject = &caller.actor.id;
        let (mut tx, name) = if let (Some(ceremony), Some(credential)) = (&body.ceremony, body.credential) {
            let (tx, proven) = self.passkey_prove(ceremony, credential).await?;
            if proven.id.to_string() != *subject {
                return Err(Error::new(ErrorKind::Forbidden, "this passkey is somebody else's")
                    .with_code("sign_in_failed"));
            }
            (tx, "passkey")
        } else {
            let admitted = self.admit(&format!("second/{subject}"), Some(&id), origin).await?;
            let mut tx = self.0.db.write().await?;
            let Some(second) = self
                .use_second(&mut tx, subject, body.totp.as_deref(), body.recovery_code.as_deref())
                .await?
            else {
                self.0
                    .record(
                        &mut tx,
                        "step_up.refused",
                        format!("person/{subject}"),
                        "wrong second factor".into(),
                        json!({}),
                    )
                    .await?;
                self.0.commit(tx).await?;
                return Err(Error::new(ErrorKind::Forbidden, "this code is wrong or was used before")
                    .with_code("sign_in_failed"));
            };
            self.forgive(&mut tx, &admitted).await?;
            (tx, second.name())
        };
        let row = credential::get(&mut *tx, caller.organisation, &id).await?;
        if !self.with_last_use(&row).opens(self.0.now()) {
            return Err(wrong());
        }
        let mut factors: Vec<&str> = row.factors.split_whitespace().collect();
        if !factors.contains(&name) {
            factors.push(name);
        }
        let until = self.0.now().plus(STEP_UP);
        credential::step_up(&mut tx, &id, until, &factors.join(" ")).await?;
        let data = json!({ "factor": name, "session": id });
        self.0
            .record(
                &mut tx,
                "step_up.succeeded",
                format!("person/{subject}"),
                format!("proved {name} again"),
                data,
            )
            .await?;
        self.0.commit_rights(tx).await?;
        Ok(until)
    }

    pub(crate) async fn whoami(&self, caller: &Caller) -> Result<Whoami> {
        let db = self.0.db.reader();
        let tenant = organisation::get(db, caller.organisation).await?;
        let person = match caller.actor.kind {
            ActorKind::Person => person::by_id(db, &caller.actor.id).await?,
            _ => None,
        };
        let factors = match &person {
            Some(person) => factor::names(db, &person.id.to_string()).await?,
            None => Vec::new(),
        };
        Ok(Whoami {
            login: person.map(|person| person.login),
            organisation_name: tenant.name,
            organisation_title: tenant.title,
            platform: caller.platform,
            factors,
            kind: caller.actor.kind.as_str().into(),
            id: caller.actor.id.clone(),
            name: caller.actor.name.clone(),
            organisation: caller.organisation,
            credential: caller.actor.credential.clone(),
            roles: caller
                .memberships
                .iter()
                .map(|(scope, role)| Held { scope: scope.to_string(), role: role.clone() })
                .collect(),
            scopes: caller.scopes.clone(),
            projects: caller.projects.clone(),
            strong: caller.strong,
            step_up_until: caller.step_up_until,
        })
    }
}
