//! Keys that sign ID tokens: ES256 (P-256), which every OpenID client speaks and which is small. A key is shown a day before it
//! signs, signs for thirty days, and is shown for two days more: no client meets a signature by a key it could not have seen.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hafen_base::{Error, Result, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::pkcs8::EncodePrivateKey as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Identity;
use crate::store::openid::{self, KeyRow};

const SIGNS: Duration = Duration::from_hours(30 * 24);
const SHOWN_BEFORE: Duration = Duration::from_hours(24);
const SHOWN_AFTER: Duration = Duration::from_hours(48);

impl Identity {
    /// Makes the keys that are due. Called at start and by the tidying.
    pub(crate) async fn keys_rotate(&self) -> Result<()> {
        let now = self.0.now();
        let mut tx = self.0.db.write().await?;
        let keys = openid::keys(&mut *tx).await?;
        let signs_from = match keys.last() {
            None => now,
            Some(last) => {
                let next = last.signs_from.plus(SIGNS);
                if now.plus(SHOWN_BEFORE) < next {
                    return Ok(());
                }
                // One that was due while the platform was off still is shown before it signs.
                next.max(now.plus(SHOWN_BEFORE))
            }
        };
        let key = self.key_make(signs_from)?;
        openid::key_insert(&mut tx, &key).await?;
        openid::keys_forget(&mut tx, now).await?;
        let data = json!({ "signs_from": signs_from });
        self.0
            .record(
                &mut tx,
                "signing_key.created",
                format!("signing-key/{}", key.kid),
                "a key for ID tokens".into(),
                data,
            )
            .await?;
        self.0.commit(tx).await
    }

    /// Whether the key this service was given is the one its secrets are sealed with.
    ///
    /// # Errors
    /// As the seal's, when it is not.
    pub async fn check_key(&self) -> Result<()> {
        for key in openid::keys(self.0.db.reader()).await? {
            self.0.key.open(&format!("signing-key/{}", key.kid), &key.sealed)?;
        }
        Ok(())
    }

    fn key_make(&self, signs_from: Timestamp) -> Result<KeyRow> {
        let secret = loop {
            let mut bytes = Zeroizing::new([0_u8; 32]);
            self.0.random.fill(&mut *bytes);
            // One in 2^32 is not a scalar of the curve.
            if let Ok(secret) = SecretKey::from_slice(&*bytes) {
                break secret;
            }
        };
        let point = secret.public_key().to_encoded_point(false);
        let (Some(x), Some(y)) = (point.x(), point.y()) else {
            return Err(Error::internal("a point without coordinates"));
        };
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // The thumbprint of RFC 7638, so that the id says nothing and never repeats.
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(format!(
            "{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{x}\",\"y\":\"{y}\"}}"
        )));
        let public =
            json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y });
        let der = secret.to_pkcs8_der().map_err(|e| Error::internal(e.to_string()))?;
        let sealed = self.0.key.seal(&format!("signing-key/{kid}"), der.as_bytes(), &*self.0.random)?;
        let shown_until = signs_from.plus(SIGNS).plus(SHOWN_AFTER);
        Ok(KeyRow { kid, sealed, public: public.to_string(), signs_from, shown_until })
    }

    /// What clients check signatures by.
    pub(crate) async fn jwks(&self) -> Result<Value> {
        let now = self.0.now();
        let keys = openid::keys(self.0.db.reader()).await?;
        let shown = keys.iter().filter(|key| now < key.shown_until);
        let keys = shown
            .map(|key| serde_json::from_str(&key.public).map_err(Error::internal))
            .collect::<Result<Vec<Value>>>()?;
        Ok(json!({ "keys": keys }))
    }

    /// Signs claims with the key of the day.
    pub(crate) async fn sign(&self, claims: &Value) -> Result<String> {
        let now = self.0.now();
        let keys = openid::keys(self.0.db.reader()).await?;
        let key = keys
            .iter()
            .rfind(|key| key.signs_from <= now)
            .ok_or_else(|| Error::unavailable("there is no signing key yet; try again"))?;
        let der = self.0.key.open(&format!("signing-key/{}", key.kid), &key.sealed)?;
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(der.expose()))
            .map_err(Error::internal)
    }
}
