//! How a password, a code or a device is looked at: counted first, then compared.

use hafen_base::{Error, ErrorKind, Result};
use hafen_db::Tx;
use serde_json::json;
use zeroize::Zeroizing;

use super::Origin;
use crate::Identity;
use crate::model::password::{Password, verify};
use crate::model::secret::{Hash, Kind, recognise};
use crate::model::throttle::{Rule, prefix, wait};
use crate::model::totp::TotpSecret;
use crate::store::person::PersonRow;
use crate::store::{ceremony, factor};

/// What an attempt was counted under.
pub(crate) struct Admitted(Vec<(Rule, String)>);

/// A second factor that was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Second {
    Totp,
    RecoveryCode,
}

impl Second {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::RecoveryCode => "recovery_code",
        }
    }
}

pub(super) fn wrong() -> Error {
    // One answer for an unknown account, a wrong password and a suspended person.
    Error::new(ErrorKind::Unauthenticated, "login and password do not fit").with_code("sign_in_failed")
}

impl Identity {
    /// Counts an attempt on `account` before it is looked at, and refuses it while earlier failures weigh.
    ///
    /// # Errors
    /// Too many, with how long to wait.
    pub(crate) async fn admit(
        &self,
        account: &str,
        known_device: Option<&str>,
        origin: &Origin,
    ) -> Result<Admitted> {
        let (now, prefix) = (self.0.now(), prefix(origin.address));
        // Hashed: what was typed as a login may be a password.
        let account = Hash::of(account);
        let account = account.as_str();
        let keys = match known_device {
            // Others cannot slow a device down that its owner signed in from before.
            Some(device) => vec![(Rule::Device, format!("device/{device}"))],
            None => vec![
                (Rule::Pair, format!("pair/{account}/{prefix}")),
                (Rule::Address, format!("address/{prefix}")),
                (Rule::Account, format!("account/{account}")),
            ],
        };
        let mut tx = self.0.db.write().await?;
        let mut longest = None;
        for (rule, key) in &keys {
            longest = longest.max(wait(*rule, ceremony::failures(&mut tx, key).await?, now));
        }
        if let Some(wait) = longest {
            let seconds = wait.as_secs().max(1);
            let message = format!("too many attempts: try again in {seconds} s; a passkey works at once");
            return Err(Error::new(ErrorKind::TooMany, message).with_code("sign_in_throttled"));
        }
        for (_, key) in &keys {
            ceremony::fail(&mut tx, key, now).await?;
        }
        tx.commit().await.map_err(hafen_db::store_error)?;
        Ok(Admitted(keys))
    }

    /// The attempt was right: what counts for this person alone is forgotten, from the rest it is taken back.
    pub(crate) async fn forgive(&self, tx: &mut Tx, admitted: &Admitted) -> Result<()> {
        for (rule, key) in &admitted.0 {
            match rule {
                Rule::Pair | Rule::Device => ceremony::forget(tx, key).await?,
                Rule::Address | Rule::Account => ceremony::unfail(tx, key).await?,
            }
        }
        Ok(())
    }

    /// The hash of a device's token, when the person signed in from it before.
    pub(super) async fn known_device(
        &self,
        person: Option<&PersonRow>,
        device: Option<&str>,
    ) -> Result<Option<String>> {
        let Some(device) = device.filter(|device| recognise(device) == Some(Kind::Device)) else {
            return Ok(None);
        };
        let hash = Hash::of(device);
        let mut tx = self.0.db.write().await?;
        let owner = factor::device_of(&mut tx, &hash).await?;
        let known = owner.is_some() && owner == person.map(|person| person.id.to_string());
        Ok(known.then(|| hash.as_str().to_owned()))
    }

    /// Compares off the runtime's threads, so many at a time as there are processors. `None` takes as long.
    pub(super) async fn verify_password(&self, password: Password, phc: Option<String>) -> Result<bool> {
        let _turn = self.0.hashing.acquire().await.map_err(Error::internal)?;
        let known = phc.is_some();
        let phc = phc.unwrap_or_else(|| self.0.dummy.clone());
        let fits =
            tokio::task::spawn_blocking(move || verify(&password, &phc)).await.map_err(Error::internal)?;
        Ok(fits && known)
    }

    pub(super) async fn hash_password(&self, password: Password) -> Result<String> {
        let _turn = self.0.hashing.acquire().await.map_err(Error::internal)?;
        let (cost, random) = (self.0.cost, std::sync::Arc::clone(&self.0.random));
        tokio::task::spawn_blocking(move || crate::model::password::hash(&password, cost, &*random))
            .await
            .map_err(Error::internal)?
    }

    /// Looks at a one-time code or recovery code and uses it up. `None`: wrong, or used before.
    pub(super) async fn use_second(
        &self,
        tx: &mut Tx,
        person: &str,
        totp: Option<&str>,
        recovery: Option<&str>,
    ) -> Result<Option<Second>> {
        if let Some(code) = totp {
            let Some((sealed, last)) = factor::totp(&mut **tx, person).await? else { return Ok(None) };
            let secret = self.open_totp(person, &sealed)?;
            let Some(step) = secret.check(code, self.0.now(), last) else { return Ok(None) };
            return Ok(factor::totp_use(tx, person, step).await?.then_some(Second::Totp));
        }
        let Some(code) = recovery else {
            return Err(Error::invalid("send `totp` or `recovery_code`"));
        };
        let used = factor::recovery_code_use(tx, person, &recovery_hash(person, code)).await?;
        if used {
            let data = json!({ "factor": "recovery_code" });
            self.0
                .record(
                    tx,
                    "recovery_code.used",
                    format!("person/{person}"),
                    "a recovery code was used up".into(),
                    data,
                )
                .await?;
        }
        Ok(used.then_some(Second::RecoveryCode))
    }

    pub(super) fn seal_totp(&self, person: &str, secret: &TotpSecret) -> Result<String> {
        self.0.key.seal(&format!("totp/{person}"), secret.expose(), &*self.0.random)
    }

    pub(super) fn open_totp(&self, person: &str, sealed: &str) -> Result<TotpSecret> {
        let bytes = self.0.key.open(&format!("totp/{person}"), sealed)?;
        Ok(TotpSecret::from_bytes(bytes.expose().to_vec()))
    }

    /// Ten new recovery codes; the old ones no longer count.
    pub(super) async fn new_recovery_codes(&self, tx: &mut Tx, person: &str) -> Result<Vec<String>> {
        let codes: Vec<String> = (0..10).map(|_| self.recovery_code()).collect();
        let hashes: Vec<Hash> = codes.iter().map(|code| recovery_hash(person, code)).collect();
        factor::recovery_codes_set(tx, person, &hashes).await?;
        Ok(codes)
    }

    /// 80 random bits, so that a plain hash is enough: `abcd-efgh-ijkl-mnop`.
    fn recovery_code(&self) -> String {
        let mut bytes = Zeroizing::new(vec![0_u8; 10]);
        self.0.random.fill(&mut bytes);
        let text = TotpSecret::from_bytes(bytes.to_vec()).base32().to_lowercase();
        text.as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join("-")
    }
}

/// As people type it: case, spaces and dashes do not matter.
fn recovery_hash(person: &str, code: &str) -> Hash {
    let code: String =
        code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    Hash::of(&format!("{person}/{code}"))
}
