//! Requests that act once: the answer of a POST with an `Idempotency-Key` is stored in the transaction of its change,
//! so a repeat after a lost reply gets the first answer, even when the process died between.

use hafen_base::{Actor, Clock, Error, Result, Timestamp};
use hafen_db::{Db, Tx, sqlx, store_error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;

/// A repeatable request: its key and a fingerprint of what it asks for.
#[derive(Debug, Clone)]
pub struct Once {
    key: String,
    fingerprint: String,
}

impl Once {
    /// `scope` is method and path; `body` the request's bytes. The same key with another request is refused. A key counts for
    /// whoever acts alone: nobody meets another's answer, or learns which keys another uses.
    ///
    /// # Errors
    /// Invalid when the key is empty, longer than 255 bytes or not printable ASCII.
    pub fn new(key: &str, scope: &str, body: &[u8]) -> Result<Self> {
        if key.is_empty() || key.len() > 255 || !key.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(Error::invalid("an Idempotency-Key has 1 to 255 printable ASCII characters"));
        }
        let mut hash = Sha256::new();
        hash.update(scope.as_bytes());
        hash.update([0]);
        hash.update(body);
        let fingerprint =
            hash.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        Ok(Self { key: format!("{}\n{key}", Actor::current().id), fingerprint })
    }
}

/// Kept for a day, as the retries of any client end long before.
const KEPT_MICROS: i64 = 24 * 3600 * 1_000_000;

/// A transaction that acts once.
pub struct OnceTx<'a> {
    pub tx: Tx,
    request: Option<&'a Once>,
}

/// What a repeatable request begins with.
pub enum Begun<'a, T> {
    /// It was answered before: this is the first answer.
    Answered(T),
    /// It is new: act in the transaction, then `finish`.
    New(OnceTx<'a>),
}

impl<'a> OnceTx<'a> {
    /// Begins a transaction; with a key that was answered before, gives that answer.
    ///
    /// # Errors
    /// Conflict when the key was used for another request.
    pub async fn begin<T: DeserializeOwned>(db: &Db, request: Option<&'a Once>) -> Result<Begun<'a, T>> {
        let mut tx = db.write().await?;
        if let Some(request) = request
            && let Some(answer) = find(&mut tx, request).await?
        {
            return serde_json::from_str(&answer).map(Begun::Answered).map_err(Error::internal);
        }
        Ok(Begun::New(OnceTx { tx, request }))
    }

    /// Stores the answer beside the change and commits both.
    ///
    /// # Errors
    /// As the database's.
    pub async fn finish<T: Serialize + Sync>(mut self, answer: &T, clock: &dyn Clock) -> Result<()> {
        if let Some(request) = self.request {
            let text = serde_json::to_string(answer).map_err(Error::internal)?;
            save(&mut self.tx, request, &text, clock.now()).await?;
        }
        self.tx.commit().await.map_err(store_error)
    }
}

async fn find(tx: &mut Tx, request: &Once) -> Result<Option<String>> {
    let row = sqlx::query("SELECT fingerprint, answer FROM once WHERE key = $1")
        .bind(&request.key)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    let Some(row) = row else { return Ok(None) };
    let fingerprint: String = row.try_get("fingerprint").map_err(store_error)?;
    if fingerprint != request.fingerprint {
        return Err(Error::conflict("this Idempotency-Key was used for another request; take a new key")
            .with_code("idempotency_key_reused"));
    }
    Ok(Some(row.try_get("answer").map_err(store_error)?))
}

async fn save(tx: &mut Tx, request: &Once, answer: &str, now: Timestamp) -> Result<()> {
    sqlx::query("INSERT INTO once (key, fingerprint, answer, at) VALUES ($1, $2, $3, $4)")
        .bind(&request.key)
        .bind(&request.fingerprint)
        .bind(answer)
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(|error| {
            if hafen_db::is_unique_violation(&error) {
                Error::conflict("a request with this Idempotency-Key is under way; repeat it in a moment")
                    .with_code("idempotency_key_busy")
            } else {
                store_error(error)
            }
        })?;
    Ok(())
}

impl Once {
    /// Forgets answers older than a day.
    ///
    /// # Errors
    /// As the database's.
    pub async fn forget_old(db: &Db, now: Timestamp) -> Result<()> {
        let mut tx = db.write().await?;
        sqlx::query("DELETE FROM once WHERE at < $1")
            .bind(now.micros() - KEPT_MICROS)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        tx.commit().await.map_err(store_error)
    }
}
