//! Signing in by password and second factor.

use std::time::Duration;

use hafen_base::{Actor, Error, ErrorKind, Result};
use hafen_client::wire::{SignInPassword, SignInSecondFactor, SignInStep};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Origin;
use super::prove::wrong;
use crate::Identity;
use crate::model::password::{Password, is_outdated};
use crate::model::secret::{Hash, Kind, Secret, recognise};
use crate::store::person::{self, PersonRow};
use crate::store::{ceremony, factor, organisation};

const SECOND_FACTOR: &str = "second_factor";
/// Between password and code.
const PATIENCE: Duration = Duration::from_mins(10);
/// Wrong codes after which the password must be given again.
const TRIES: i64 = 5;

#[derive(Serialize, Deserialize)]
struct State {
    /// What was proven first.
    first: String,
    /// Hash of the device's token, when the person is known to use it.
    device: Option<String>,
}

impl Identity {
    /// First step. Unknown, suspended and wrong take the same road and give the same answer.
    pub(crate) async fn sign_in_password(&self, body: SignInPassword, origin: &Origin) -> Result<SignInStep> {
        let db = self.0.db.reader();
        let tenant = body.organisation.as_deref().unwrap_or("default");
        let found = organisation::find(db, tenant).await?;
        let found_person = match &found {
            Some(organisation) => person::find(db, organisation.id, &body.login).await?,
            None => None,
        };
        // Ids are for the API; people sign in by login.
        let known = found_person.filter(|person| person.login == body.login);
        let device = self.known_device(known.as_ref(), body.device.as_deref()).await?;
        let admitted = self.admit(&format!("{tenant}/{}", body.login), device.as_deref(), origin).await?;
        let person = known.as_ref().filter(|person| person.status == person::ACTIVE);
        let phc = match person {
            Some(person) => factor::password(db, &person.id.to_string()).await?,
            // As many reads as for one who is known.
            None => factor::password(db, "").await?,
        };
        let password = Password::from(body.password);
        let right = self.verify_password(password.clone(), phc.clone()).await?;
        let (Some(organisation), Some(person), true) = (found, person, right) else {
            let work = self.refused(known.as_ref(), "wrong password");
            origin.unknown(known.as_ref()).acts(work).await?;
            return Err(wrong());
        };
        let outdated = phc.is_some_and(|phc| is_outdated(&phc, self.0.cost));
        let rehashed = if outdated { Some(self.hash_password(password).await?) } else { None };
        let mut tx = self.0.db.write().await?;
        self.forgive(&mut tx, &admitted).await?;
        let id = person.id.to_string();
        if let Some(phc) = rehashed {
            factor::password_set(&mut tx, &id, &phc, self.0.now()).await?;
        }
        let has_totp = factor::totp(&mut *tx, &id).await?.is_some();
        if has_totp {
            tx.commit().await.map_err(hafen_db::store_error)?;
            let ceremony = self.second_factor_begin(&id, "password", device).await?;
            return Ok(SignInStep {
                state: "second_factor".into(),
                ceremony: Some(ceremony),
                factors: vec!["totp".into(), "recovery_code".into()],
                session: None,
            });
        }
        if organisation.policy.second_factor {
            tx.commit().await.map_err(hafen_db::store_error)?;
            return Err(Error::new(
                ErrorKind::Forbidden,
                "this organisation asks for a second factor, and this account has none beside its password: sign in with a \
                 passkey, or ask an owner to reset the account",
            )
            .with_code("second_factor_missing"));
        }
        let session =
            origin.actor(person, "").acts(self.session_begin(&mut tx, person, &["password"], origin)).await?;
        self.0.commit(tx).await?;
        Ok(SignInStep { state: "done".into(), ceremony: None, factors: Vec::new(), session: Some(session) })
    }

    /// Somebody has proven a first factor: what to send back with the second.
    pub(crate) async fn second_factor_begin(
        &self,
        person: &str,
        first: &str,
        device: Option<String>,
    ) -> Result<String> {
        let secret = Secret::generate(Kind::Ceremony, &*self.0.random);
        let state = State { first: first.to_owned(), device };
        let state = serde_json::to_string(&state).map_err(Error::internal)?;
        let mut tx = self.0.db.write().await?;
        ceremony::insert(&mut tx, &secret.hash(), SECOND_FACTOR, person, &state, self.0.now().plus(PATIENCE))
            .await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        Ok(secret.expose().to_owned())
    }

    /// Second step.
    pub(crate) async fn sign_in_second_factor(
        &self,
        body: SignInSecondFactor,
        origin: &Origin,
    ) -> Result<SignInStep> {
        let over = || {
            Error::new(ErrorKind::Unauthenticated, "this sign-in is over: begin again with your password")
                .with_code("ceremony_over")
        };
        if recognise(&body.ceremony) != Some(Kind::Ceremony) {
            return Err(over());
        }
        let hash = Hash::of(&body.ceremony);
        let mut tx = self.0.db.write().await?;
        let row = ceremony::find(&mut tx, &hash, SECOND_FACTOR, self.0.now())
            .await?
            .filter(|row| row.failures < TRIES)
            .ok_or_else(over)?;
        let state: State = serde_json::from_str(&row.state).map_err(Error::internal)?;
        ceremony::attempt(&mut tx, &hash).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        // Who has the password may begin many ceremonies: what counts is the account.
        let admitted =
            self.admit(&format!("second/{}", row.subject), state.device.as_deref(), origin).await?;
        let person = person::by_id(self.0.db.reader(), &row.subject)
            .await?
            .filter(|person| person.status == person::ACTIVE)
            .ok_or_else(over)?;
        let mut tx = self.0.db.write().await?;
        let work = async {
            let second = self
                .use_second(&mut tx, &row.subject, body.totp.as_deref(), body.recovery_code.as_deref())
                .await?;
            let Some(second) = second else { return Ok(None) };
            self.forgive(&mut tx, &admitted).await?;
            ceremony::delete(&mut tx, &hash).await?;
            self.session_begin(&mut tx, &person, &[&state.first, second.name()], origin).await.map(Some)
        };
        let session = origin.actor(&person, "").acts(work).await?;
        if let Some(session) = session {
            self.0.commit(tx).await?;
            return Ok(SignInStep {
                state: "done".into(),
                ceremony: None,
                factors: Vec::new(),
                session: Some(session),
            });
        }
        drop(tx);
        origin.unknown(Some(&person)).acts(self.refused(Some(&person), "wrong second factor")).await?;
        Err(Error::new(ErrorKind::Unauthenticated, "this code is wrong or was used before")
            .with_code("sign_in_failed"))
    }

    /// Writes a refused sign-in down: whose account, never what was typed.
    pub(crate) async fn refused(&self, person: Option<&PersonRow>, why: &str) -> Result<()> {
        let object =
            person.map_or_else(|| "person/unknown".to_owned(), |person| format!("person/{}", person.id));
        let mut tx = self.0.db.write().await?;
        self.0.record(&mut tx, "sign_in.refused", object, why.to_owned(), json!({})).await?;
        self.0.commit(tx).await
    }
}

impl Origin {
    /// Somebody who claims to be a person and has not shown it.
    pub(crate) fn unknown(&self, claimed: Option<&PersonRow>) -> Actor {
        Actor {
            id: "unknown".into(),
            name: "unknown".into(),
            kind: hafen_base::ActorKind::Person,
            organisation: claimed.map(|person| person.organisation.to_string()).unwrap_or_default(),
            address: self.address.map(|address| address.to_canonical().to_string()),
            request_id: Actor::current().request_id,
            ..Actor::platform()
        }
    }
}
