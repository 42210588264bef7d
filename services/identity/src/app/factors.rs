//! Changing how one signs in: password, one-time codes, recovery codes.

use std::time::Duration;

use hafen_base::{Error, ErrorKind, Result};
use hafen_client::wire::{PasswordChange, RecoveryCodes, TotpBegun, TotpConfirm};
use serde_json::json;

use super::Origin;
use crate::Identity;
use crate::model::caller::Caller;
use crate::model::password::Password;
use crate::model::secret::{Hash, Kind, Secret};
use crate::model::totp::TotpSecret;
use crate::store::{ceremony, credential, factor, organisation, person};

const TOTP: &str = "totp_enrolment";
const PATIENCE: Duration = Duration::from_mins(15);

impl Identity {
    /// Sets a new password; ends every other session.
    pub(crate) async fn password_change(
        &self,
        caller: &Caller,
        body: PasswordChange,
        origin: &Origin,
    ) -> Result<()> {
        let id = self.own(caller)?;
        let db = self.0.db.reader();
        let admitted = self.admit(&format!("change/{id}"), Some(&format!("change/{id}")), origin).await?;
        let right =
            self.verify_password(Password::from(body.current), factor::password(db, id).await?).await?;
        if !right {
            return Err(
                Error::new(ErrorKind::Forbidden, "this is not your password").with_code("sign_in_failed")
            );
        }
        let row = person::get(db, caller.organisation, id).await?;
        let tenant = organisation::get(db, caller.organisation).await?;
        let new = Password::from(body.new);
        new.check(
            "/new",
            tenant.policy.second_factor,
            &[&row.login, &row.name, &tenant.name, &tenant.title],
        )?;
        let phc = self.hash_password(new).await?;
        let current = caller.actor.credential.strip_prefix("session/").unwrap_or("");
        let mut tx = self.0.db.write().await?;
        self.forgive(&mut tx, &admitted).await?;
        factor::password_set(&mut tx, id, &phc, self.0.now()).await?;
        let ended = credential::revoke_all(&mut tx, id, current, true).await?;
        let data = json!({ "ended_sessions": ended });
        self.0
            .record(&mut tx, "password.changed", format!("person/{id}"), "password changed".into(), data)
            .await?;
        self.0.commit_rights(tx).await
    }

    /// A new secret for an authenticator app. Counts once a code of it was shown.
    pub(crate) async fn totp_begin(&self, caller: &Caller) -> Result<TotpBegun> {
        let id = self.own(caller)?;
        let db = self.0.db.reader();
        let row = person::get(db, caller.organisation, id).await?;
        let tenant = organisation::get(db, caller.organisation).await?;
        let (secret, token) =
            (TotpSecret::generate(&*self.0.random), Secret::generate(Kind::Ceremony, &*self.0.random));
        let mut tx = self.0.db.write().await?;
        let sealed = self.seal_totp(id, &secret)?;
        ceremony::insert(&mut tx, &token.hash(), TOTP, id, &sealed, self.0.now().plus(PATIENCE)).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        Ok(TotpBegun {
            ceremony: token.expose().to_owned(),
            secret: secret.base32().to_string(),
            uri: secret.uri(&row.login, &tenant.name).to_string(),
        })
    }

    pub(crate) async fn totp_confirm(&self, caller: &Caller, body: TotpConfirm) -> Result<()> {
        let id = self.own(caller)?;
        let hash = Hash::of(&body.ceremony);
        let now = self.0.now();
        let mut tx = self.0.db.write().await?;
        let row = ceremony::find(&mut tx, &hash, TOTP, now).await?.filter(|row| row.subject == id);
        let row = row.ok_or_else(|| {
            Error::invalid_field("/ceremony", "this enrolment is over: begin again")
                .with_code("ceremony_over")
        })?;
        let step = self.open_totp(id, &row.state)?.check(&body.totp, now, 0);
        let step = step.ok_or_else(|| {
            Error::invalid_field("/totp", "not the code of this secret: is the clock of your phone right?")
        })?;
        ceremony::delete(&mut tx, &hash).await?;
        factor::totp_set(&mut tx, id, &row.state, step, now).await?;
        self.0
            .record(
                &mut tx,
                "totp.changed",
                format!("person/{id}"),
                "one-time codes from a new secret".into(),
                json!({}),
            )
            .await?;
        self.0.commit(tx).await
    }

    pub(crate) async fn recovery_codes_create(&self, caller: &Caller) -> Result<RecoveryCodes> {
        let id = self.own(caller)?;
        let mut tx = self.0.db.write().await?;
        let codes = self.new_recovery_codes(&mut tx, id).await?;
        self.0
            .record(
                &mut tx,
                "recovery_codes.changed",
                format!("person/{id}"),
                "new recovery codes".into(),
                json!({}),
            )
            .await?;
        self.0.commit(tx).await?;
        Ok(RecoveryCodes { codes })
    }
}
