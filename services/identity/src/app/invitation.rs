//! Invitations: the only way in. The first owner of a platform or organisation comes by one as well.

use std::time::Duration;

use hafen_base::{Error, ErrorKind, InvitationId, OrganisationId, Page, PageLimit, Result, UserId};
use hafen_client::wire::{
    Invitation, InvitationAccept, InvitationAccepted, InvitationBegin, InvitationBegun, InvitationCreate,
    InvitationCreated, Membership, Organisation, PasskeyOptions,
};
use hafen_db::Tx;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Origin, check_title, people};
use crate::Identity;
use crate::model::caller::Caller;
use crate::model::password::Password;
use crate::model::role::{MAINTAINER, OWNER, Scope};
use crate::model::secret::{Hash, Kind, Secret, hex, recognise};
use crate::model::totp::TotpSecret;
use crate::store::person::{self, PersonRow};
use crate::store::{ceremony, factor, invitation, membership, organisation};

const ACCEPTING: &str = "invitation";
const PATIENCE: Duration = Duration::from_mins(30);

/// What lies between the steps of accepting.
#[derive(Serialize, Deserialize)]
struct State {
    invitation: Hash,
    /// Of the person to be: chosen now, so that the passkey and the secret belong to it.
    person: UserId,
    handle: String,
    totp: String,
    passkey: Option<String>,
}

fn unusable() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "this invitation was used, withdrawn or has expired: ask for a new one",
    )
    .with_code("invitation_over")
}

impl Identity {
    /// An invitation to become the first owner of the platform; `None` when there is or was an owner. An earlier one of these
    /// ends.
    ///
    /// # Errors
    /// As the database's.
    pub async fn bootstrap_invitation(&self) -> Result<Option<Secret>> {
        let organisation = self.0.default;
        let mut tx = self.0.db.write().await?;
        if membership::was_owned(&mut *tx, organisation).await? {
            return Ok(None);
        }
        invitation::withdraw_owner(&mut tx, organisation).await?;
        let made =
            self.invite_with(&mut tx, organisation, ("", &organisation.to_string(), OWNER), 72).await?;
        self.0.commit(tx).await?;
        Ok(Some(made.1))
    }

    /// An invitation to become an owner of the platform, whoever else is: for who lost every way in. The actor of the task is
    /// who asked for it.
    ///
    /// # Errors
    /// As the database's.
    pub async fn owner_invitation(&self) -> Result<InvitationCreated> {
        let organisation = self.0.default;
        let mut tx = self.0.db.write().await?;
        let made = self.invite(&mut tx, organisation, ("", &organisation.to_string(), OWNER), 72).await?;
        self.0.commit(tx).await?;
        Ok(made)
    }

    pub(super) async fn invite(
        &self,
        tx: &mut Tx,
        organisation: OrganisationId,
        what: (&str, &str, &str),
        hours: u64,
    ) -> Result<InvitationCreated> {
        let (invitation, secret) = self.invite_with(tx, organisation, what, hours).await?;
        Ok(InvitationCreated { invitation, token: secret.expose().to_owned() })
    }

    async fn invite_with(
        &self,
        tx: &mut Tx,
        organisation: OrganisationId,
        (login, scope, role): (&str, &str, &str),
        hours: u64,
    ) -> Result<(Invitation, Secret)> {
        let (now, secret) = (self.0.now(), Secret::generate(Kind::Invitation, &*self.0.random));
        let made = Invitation {
            id: InvitationId::generate(now, &*self.0.random),
            organisation,
            login: login.to_owned(),
            scope: scope.to_owned(),
            role: role.to_owned(),
            status: invitation::OPEN.into(),
            created_at: now,
            expires_at: now.plus(Duration::from_hours(hours)),
        };
        invitation::insert(tx, &made, &secret.hash()).await?;
        let data = json!({ "scope": scope, "role": role });
        self.0
            .record(
                tx,
                "invitation.created",
                format!("invitation/{}", made.id),
                format!("to be {role} of {scope}"),
                data,
            )
            .await?;
        Ok((made, secret))
    }

    pub(crate) async fn invitation_create(
        &self,
        caller: &Caller,
        of: Option<&str>,
        body: InvitationCreate,
    ) -> Result<InvitationCreated> {
        let organisation = self.tenant(caller, of).await?;
        caller.must_administer()?;
        let login = body.login.as_deref().map(check_login).transpose()?.unwrap_or_default();
        let hours = body.hours.unwrap_or(72);
        let hours = u64::try_from(hours).ok().filter(|hours| (1..=720).contains(hours));
        let hours = hours.ok_or_else(|| Error::invalid_field("/hours", "1 to 720"))?;
        let mut tx = self.0.db.write().await?;
        let scope = self.scope(&mut tx, organisation, &body.scope).await?;
        self.role(&mut tx, organisation, &body.role).await?;
        Self::must_grant(caller, organisation, &scope, &body.role)?;
        if [OWNER, MAINTAINER].contains(&body.role.as_str()) && scope == Scope::Organisation(organisation) {
            caller.must_have_stepped_up(self.0.now())?;
        }
        if !login.is_empty() && person::find(&mut *tx, organisation, &login).await?.is_some() {
            return Err(Error::conflict("this person is here already: give it a role instead")
                .with_code("login_taken"));
        }
        let made =
            self.invite(&mut tx, organisation, (&login, &scope.to_string(), &body.role), hours).await?;
        self.0.commit(tx).await?;
        Ok(made)
    }

    pub(crate) async fn invitation_list(
        &self,
        caller: &Caller,
        of: Option<&str>,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<Invitation>> {
        let organisation = self.tenant(caller, of).await?;
        caller.must_administer()?;
        let rows = invitation::list(self.0.db.reader(), organisation, after, limit).await?;
        let mut page = limit.page(rows, |row| row.id.to_string());
        for row in &mut page.items {
            if row.status == invitation::OPEN && row.expires_at <= self.0.now() {
                row.status = "expired".into();
            }
        }
        Ok(page)
    }

    pub(crate) async fn invitation_delete(&self, caller: &Caller, of: Option<&str>, id: &str) -> Result<()> {
        let organisation = self.tenant(caller, of).await?;
        let mut tx = self.0.db.write().await?;
        invitation::get(&mut *tx, organisation, id).await?;
        caller.must_administer()?;
        if invitation::end(&mut tx, id, "withdrawn").await? {
            self.0
                .record(
                    &mut tx,
                    "invitation.withdrawn",
                    format!("invitation/{id}"),
                    "withdrawn".into(),
                    json!({}),
                )
                .await?;
        }
        self.0.commit(tx).await
    }

    async fn open_invitation(&self, tx: &mut Tx, hash: &Hash) -> Result<(Invitation, Organisation)> {
        let found = invitation::by_hash(&mut **tx, hash).await?;
        let row = found
            .filter(|row| row.status == invitation::OPEN && self.0.now() < row.expires_at)
            .ok_or_else(unusable)?;
        let tenant = organisation::get(&mut **tx, row.organisation).await?;
        Ok((row, tenant))
    }

    /// First step: what is needed to set oneself up. Nothing is used up yet.
    pub(crate) async fn invitation_begin(&self, body: InvitationBegin) -> Result<InvitationBegun> {
        if recognise(body.token.trim()) != Some(Kind::Invitation) {
            return Err(unusable());
        }
        let hash = Hash::of(body.token.trim());
        let mut tx = self.0.db.write().await?;
        let (row, tenant) = self.open_invitation(&mut tx, &hash).await?;
        let known = person::by_id(&mut *tx, &row.scope).await?;
        let mut handle = [0_u8; 16];
        self.0.random.fill(&mut handle);
        let person =
            known.as_ref().map_or_else(|| UserId::generate(self.0.now(), &*self.0.random), |known| known.id);
        let secret = TotpSecret::generate(&*self.0.random);
        let state = State {
            invitation: hash,
            person,
            handle: known.map_or_else(|| hex(&handle), |known| known.handle),
            totp: self.seal_totp(&person.to_string(), &secret)?,
            passkey: None,
        };
        let token = Secret::generate(Kind::Ceremony, &*self.0.random);
        let state = serde_json::to_string(&state).map_err(Error::internal)?;
        ceremony::insert(&mut tx, &token.hash(), ACCEPTING, "", &state, self.0.now().plus(PATIENCE)).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        let account = if row.login.is_empty() { "owner" } else { &row.login };
        Ok(InvitationBegun {
            ceremony: token.expose().to_owned(),
            organisation: tenant.name.clone(),
            totp_secret: secret.base32().to_string(),
            totp_uri: secret.uri(account, &tenant.name).to_string(),
            login: row.login,
            role: row.role,
        })
    }

    async fn accepting(&self, tx: &mut Tx, hash: &Hash) -> Result<State> {
        let row = ceremony::find(tx, hash, ACCEPTING, self.0.now()).await?.ok_or_else(unusable)?;
        serde_json::from_str(&row.state).map_err(Error::internal)
    }

    /// Options for a passkey in place of password and one-time codes.
    pub(crate) async fn invitation_passkey(
        &self,
        ceremony: &str,
        login: &str,
        name: &str,
    ) -> Result<PasskeyOptions> {
        let hash = Hash::of(ceremony);
        let mut tx = self.0.db.write().await?;
        let mut state = self.accepting(&mut tx, &hash).await?;
        let (options, kept) = self.passkey_begin(&state.handle, login, name, &[])?;
        state.passkey = Some(kept);
        let state = serde_json::to_string(&state).map_err(Error::internal)?;
        ceremony::delete(&mut tx, &hash).await?;
        ceremony::insert(&mut tx, &hash, ACCEPTING, "", &state, self.0.now().plus(PATIENCE)).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        let options = serde_json::to_value(&options).map_err(Error::internal)?;
        Ok(PasskeyOptions { ceremony: ceremony.to_owned(), options })
    }

    /// Second step: makes the person, gives the role, signs in. The invitation is used up in the same transaction.
    pub(crate) async fn invitation_accept(
        &self,
        body: InvitationAccept,
        origin: &Origin,
    ) -> Result<InvitationAccepted> {
        let hash = Hash::of(&body.ceremony);
        let mut tx = self.0.db.write().await?;
        let state = self.accepting(&mut tx, &hash).await?;
        let (row, tenant) = self.open_invitation(&mut tx, &state.invitation).await?;
        let now = self.0.now();
        let login = if row.login.is_empty() {
            check_login(
                body.login
                    .as_deref()
                    .ok_or_else(|| Error::invalid_field("/login", "choose what to sign in with"))?,
            )?
        } else {
            row.login.clone()
        };
        let person = PersonRow {
            id: state.person,
            organisation: row.organisation,
            login,
            name: check_title("/name", &body.name, 1)?,
            status: person::ACTIVE.into(),
            handle: state.handle.clone(),
            created_at: now,
            generation: 1,
        };
        let id = person.id.to_string();
        // Everything that needs no lock is checked before the slow hash, which must not hold the writer.
        let mut step = None;
        if let Some(password) = &body.password {
            let second = tenant.policy.second_factor || body.totp.is_some();
            Password::from(password.clone()).check(
                "/password",
                second,
                &[&person.login, &person.name, &tenant.name, &tenant.title],
            )?;
            step = match &body.totp {
                Some(code) => {
                    Some(self.open_totp(&id, &state.totp)?.check(code, now, 0).ok_or_else(|| {
                        Error::invalid_field(
                            "/totp",
                            "not the code of this secret: is the clock of your phone right?",
                        )
                    })?)
                }
                None if tenant.policy.second_factor && body.passkey.is_none() => {
                    return Err(Error::invalid_field(
                        "/totp",
                        "a second factor is required: the code your authenticator app shows",
                    ));
                }
                None => None,
            };
        } else if body.passkey.is_none() {
            return Err(Error::invalid("choose a password with one-time codes, or a passkey"));
        }
        drop(tx);
        let phc = match body.password {
            Some(password) => Some(self.hash_password(Password::from(password)).await?),
            None => None,
        };
        let mut tx = self.0.db.write().await?;
        let mut factors = Vec::new();
        let owner = row.organisation == self.0.default
            && row.role == OWNER
            && row.scope == self.0.default.to_string();
        let first = owner && !membership::was_owned(&mut *tx, row.organisation).await?;
        let work = async {
            if !invitation::end(&mut tx, &row.id.to_string(), "accepted").await? {
                return Err(unusable());
            }
            ceremony::delete(&mut tx, &hash).await?;
            if first {
                // Another one that lies about would make a second owner of whoever finds it.
                invitation::withdraw_owner(&mut tx, row.organisation).await?;
                let object = format!("organisation/{}", row.organisation);
                let message = "the platform has its first owner: the token of its first start has ended";
                self.0.record(&mut tx, "bootstrap.ended", object, message.into(), json!({})).await?;
            }
            self.settle(&mut tx, &person, &row).await?;
            if let Some(phc) = phc {
                factor::password_set(&mut tx, &id, &phc, now).await?;
                factors.push("password");
            }
            if let Some(step) = step {
                factor::totp_set(&mut tx, &id, &state.totp, step, now).await?;
                factors.push("totp");
            }
            if let Some(answer) = body.passkey {
                let kept = state
                    .passkey
                    .as_deref()
                    .ok_or_else(|| Error::invalid_field("/passkey", "ask for its options first"))?;
                self.passkey_keep(&mut tx, &id, kept, answer, None).await?;
                factors.push("passkey");
            }
            let recovery_codes = self.new_recovery_codes(&mut tx, &id).await?;
            let data = json!({ "person": id, "scope": row.scope, "role": row.role });
            self.0
                .record(
                    &mut tx,
                    "invitation.accepted",
                    format!("invitation/{}", row.id),
                    person.name.clone(),
                    data,
                )
                .await?;
            let session = self.session_begin(&mut tx, &person, &factors, origin).await?;
            Ok(InvitationAccepted {
                person: people::shown(&mut tx, person.clone()).await?,
                session,
                recovery_codes,
            })
        };
        let accepted = origin.actor(&person, "").acts(work).await?;
        self.0.commit_rights(tx).await?;
        if owner {
            self.0.owned.send_replace(true);
        }
        Ok(accepted)
    }

    /// A new person with its role; or one that was reset, with what it holds already.
    async fn settle(&self, tx: &mut Tx, person: &PersonRow, row: &Invitation) -> Result<()> {
        if person::by_id(&mut **tx, &person.id.to_string()).await?.is_some() {
            return person::update(tx, person).await;
        }
        person::insert(tx, person).await?;
        let held = Membership {
            id: hafen_base::MembershipId::generate(self.0.now(), &*self.0.random),
            subject: person.id.to_string(),
            scope: row.scope.clone(),
            role: row.role.clone(),
            created_at: self.0.now(),
        };
        membership::put(tx, row.organisation, &held).await?;
        let data = json!({ "login": person.login });
        self.0.record(tx, "person.created", format!("person/{}", person.id), person.name.clone(), data).await
    }
}

/// What one signs in with: an address or a short name; no spaces, compared as typed.
fn check_login(login: &str) -> Result<String> {
    let login = login.trim();
    let fine = (1..=200).contains(&login.len())
        && login.chars().all(|c| !c.is_control() && !c.is_whitespace())
        && !login.starts_with("u-");
    if fine {
        return Ok(login.to_lowercase());
    }
    Err(Error::invalid_field(
        "/login",
        "1 to 200 characters without spaces, as an e-mail address; not beginning with u-",
    ))
}
