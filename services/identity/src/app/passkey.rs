//! Passkeys (W3C WebAuthn, level 3): discoverable, with user verification, so that one is two factors by itself.

use std::time::Duration;

use hafen_base::{Error, ErrorKind, PasskeyId, Result};
use hafen_client::wire::{Passkey, PasskeyAnswer, PasskeyOptions, SignInStep};
use hafen_db::Tx;
use serde_json::{Value, json};
use webauthn_rs::prelude::{
    CreationChallengeResponse, DiscoverableAuthentication, DiscoverableKey, Passkey as Credential,
    PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Uuid, Webauthn,
};

use super::prove::wrong;
use super::{Origin, check_title};
use crate::Identity;
use crate::model::caller::Caller;
use crate::model::secret::{Hash, Kind, Secret, hex, recognise};
use crate::store::ceremony;
use crate::store::factor::{self, PasskeyRow};
use crate::store::person::{self, PersonRow};

const SIGN_IN: &str = "passkey_sign_in";
const REGISTRATION: &str = "passkey_registration";
const PATIENCE: Duration = Duration::from_mins(5);

impl Identity {
    fn webauthn(&self) -> Result<&Webauthn> {
        self.0.webauthn.as_ref().ok_or_else(|| {
            Error::conflict("passkeys need the platform to be reached by a name (WebAuthn knows no IP addresses): set its public URL")
                .with_code("passkeys_need_a_name")
        })
    }

    /// Options for a sign-in, or for a step-up: the authenticator says whose it is.
    pub(crate) async fn passkey_options(&self) -> Result<PasskeyOptions> {
        let (options, state) =
            self.webauthn()?.start_discoverable_authentication().map_err(Error::internal)?;
        let secret = Secret::generate(Kind::Ceremony, &*self.0.random);
        let state = serde_json::to_string(&state).map_err(Error::internal)?;
        let mut tx = self.0.db.write().await?;
        ceremony::insert(&mut tx, &secret.hash(), SIGN_IN, "", &state, self.0.now().plus(PATIENCE)).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        let options = serde_json::to_value(&options).map_err(Error::internal)?;
        Ok(PasskeyOptions { ceremony: secret.expose().to_owned(), options })
    }

    /// Checks an assertion and updates the passkey's counter. Gives the open transaction, and whose it is.
    pub(super) async fn passkey_prove(&self, ceremony: &str, answer: Value) -> Result<(Tx, PersonRow)> {
        let over = || {
            Error::new(ErrorKind::Unauthenticated, "this sign-in is over: begin again")
                .with_code("ceremony_over")
        };
        if recognise(ceremony) != Some(Kind::Ceremony) {
            return Err(over());
        }
        let answer: PublicKeyCredential = serde_json::from_value(answer).map_err(|error| {
            Error::invalid_field("/credential", format!("not what navigator.credentials.get gives: {error}"))
        })?;
        let hash = Hash::of(ceremony);
        let mut tx = self.0.db.write().await?;
        let row = ceremony::find(&mut tx, &hash, SIGN_IN, self.0.now()).await?.ok_or_else(over)?;
        // One challenge, one answer: also a wrong one uses it up.
        ceremony::delete(&mut tx, &hash).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        let state: DiscoverableAuthentication = serde_json::from_str(&row.state).map_err(Error::internal)?;
        let webauthn = self.webauthn()?;
        let (handle, credential_id) =
            webauthn.identify_discoverable_authentication(&answer).map_err(|_| wrong())?;
        let mut tx = self.0.db.write().await?;
        let person = person::by_handle(&mut *tx, &hex(handle.as_bytes()))
            .await?
            .filter(|person| person.status == person::ACTIVE)
            .ok_or_else(wrong)?;
        let stored = factor::passkeys(&mut *tx, &person.id.to_string()).await?;
        for row in stored {
            let mut credential: Credential = serde_json::from_str(&row.data).map_err(Error::internal)?;
            if credential.cred_id().as_slice() != credential_id {
                continue;
            }
            let key = DiscoverableKey::from(&credential);
            let outcome = webauthn.finish_discoverable_authentication_v2(&answer, state, &key);
            let result = outcome.map_err(|error| wrong().with_cause(error))?;
            if !result.user_verified() {
                return Err(wrong());
            }
            credential.update_credential(&result);
            let data = serde_json::to_string(&credential).map_err(Error::internal)?;
            factor::passkey_used(&mut tx, &row.shown.id.to_string(), &data, self.0.now()).await?;
            return Ok((tx, person));
        }
        Err(wrong())
    }

    pub(crate) async fn sign_in_passkey(&self, body: PasskeyAnswer, origin: &Origin) -> Result<SignInStep> {
        let (mut tx, person) = match self.passkey_prove(&body.ceremony, body.credential).await {
            Ok(proven) => proven,
            Err(error) => {
                if error.kind() == ErrorKind::Unauthenticated {
                    origin.unknown(None).acts(self.refused(None, "wrong passkey")).await?;
                }
                return Err(error);
            }
        };
        let session = origin
            .actor(&person, "")
            .acts(self.session_begin(&mut tx, &person, &["passkey"], origin))
            .await?;
        self.0.commit(tx).await?;
        Ok(SignInStep { state: "done".into(), ceremony: None, factors: Vec::new(), session: Some(session) })
    }

    /// Options for a new passkey, and the state to keep until it comes back.
    pub(super) fn passkey_begin(
        &self,
        handle: &str,
        login: &str,
        name: &str,
        have: &[PasskeyRow],
    ) -> Result<(CreationChallengeResponse, String)> {
        let exclude = have
            .iter()
            .map(|row| {
                serde_json::from_str::<Credential>(&row.data).map(|credential| credential.cred_id().clone())
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::internal)?;
        let handle = Uuid::try_parse(handle).map_err(Error::internal)?;
        let begun = self.webauthn()?.start_passkey_registration(handle, login, name, Some(exclude));
        let (mut options, state) = begun.map_err(Error::internal)?;
        // Discoverable, so that nobody types a name: the crate leaves it to the authenticator.
        if let Some(selection) = &mut options.public_key.authenticator_selection {
            selection.require_resident_key = true;
            selection.resident_key = Some(webauthn_rs_proto::ResidentKeyRequirement::Required);
        }
        Ok((options, serde_json::to_string(&state).map_err(Error::internal)?))
    }

    /// Checks what the authenticator made and keeps it.
    pub(super) async fn passkey_keep(
        &self,
        tx: &mut Tx,
        person: &str,
        state: &str,
        answer: Value,
        name: Option<&str>,
    ) -> Result<Passkey> {
        let answer: RegisterPublicKeyCredential = serde_json::from_value(answer).map_err(|error| {
            Error::invalid_field("/passkey", format!("not what navigator.credentials.create gives: {error}"))
        })?;
        let state: PasskeyRegistration = serde_json::from_str(state).map_err(Error::internal)?;
        let made = self.webauthn()?.finish_passkey_registration(&answer, &state);
        let credential = made.map_err(|error| {
            Error::invalid(
                "this passkey is not one for this platform, or was made without checking who you are",
            )
            .with_code("passkey_refused")
            .with_cause(error)
        })?;
        let now = self.0.now();
        let row = PasskeyRow {
            shown: Passkey {
                id: PasskeyId::generate(now, &*self.0.random),
                name: check_title("/name", name.unwrap_or("Passkey"), 1)?,
                created_at: now,
                last_used_at: None,
            },
            data: serde_json::to_string(&credential).map_err(Error::internal)?,
        };
        factor::passkey_insert(tx, person, &row, &hex(credential.cred_id().as_slice())).await?;
        let data = json!({ "passkey": row.shown.id });
        self.0.record(tx, "passkey.added", format!("person/{person}"), row.shown.name.clone(), data).await?;
        Ok(row.shown)
    }

    pub(crate) async fn passkey_register_options(&self, caller: &Caller) -> Result<PasskeyOptions> {
        let person = self.own(caller)?;
        let mut tx = self.0.db.write().await?;
        let row = person::get(&mut *tx, caller.organisation, person).await?;
        let have = factor::passkeys(&mut *tx, person).await?;
        let (options, state) = self.passkey_begin(&row.handle, &row.login, &row.name, &have)?;
        let secret = Secret::generate(Kind::Ceremony, &*self.0.random);
        ceremony::insert(&mut tx, &secret.hash(), REGISTRATION, person, &state, self.0.now().plus(PATIENCE))
            .await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        let options = serde_json::to_value(&options).map_err(Error::internal)?;
        Ok(PasskeyOptions { ceremony: secret.expose().to_owned(), options })
    }

    pub(crate) async fn passkey_register(&self, caller: &Caller, body: PasskeyAnswer) -> Result<Passkey> {
        let person = self.own(caller)?;
        let hash = Hash::of(&body.ceremony);
        let mut tx = self.0.db.write().await?;
        let row = ceremony::find(&mut tx, &hash, REGISTRATION, self.0.now())
            .await?
            .filter(|row| row.subject == person);
        let row = row.ok_or_else(|| {
            Error::invalid_field("/ceremony", "this registration is over: begin again")
                .with_code("ceremony_over")
        })?;
        ceremony::delete(&mut tx, &hash).await?;
        let made =
            self.passkey_keep(&mut tx, person, &row.state, body.credential, body.name.as_deref()).await?;
        self.0.commit(tx).await?;
        Ok(made)
    }

    pub(crate) async fn passkey_list(&self, caller: &Caller) -> Result<Vec<Passkey>> {
        let rows = factor::passkeys(self.0.db.reader(), &caller.actor.id).await?;
        Ok(rows.into_iter().map(|row| row.shown).collect())
    }

    pub(crate) async fn passkey_delete(&self, caller: &Caller, id: &str) -> Result<()> {
        let person = self.own(caller)?;
        let mut tx = self.0.db.write().await?;
        if !factor::passkey_delete(&mut tx, person, id).await? {
            return Err(Error::not_found(format!("passkey {id:?}")));
        }
        let left = factor::names(&mut *tx, person).await?;
        let has = |name: &str| left.iter().any(|factor| factor == name);
        let enough = has("passkey") || has("password") && has("totp");
        if !enough {
            return Err(Error::conflict("this is the only way you can sign in: add another first")
                .with_code("last_factor"));
        }
        self.0
            .record(
                &mut tx,
                "passkey.removed",
                format!("person/{person}"),
                id.to_owned(),
                json!({ "passkey": id }),
            )
            .await?;
        self.0.commit(tx).await
    }

    /// Whose factors may be changed: one's own, signed in, with the second factor fresh in hand.
    pub(super) fn own<'a>(&self, caller: &'a Caller) -> Result<&'a str> {
        caller.must_be_a_session()?;
        caller.must_have_stepped_up(self.0.now())?;
        Ok(&caller.actor.id)
    }
}
