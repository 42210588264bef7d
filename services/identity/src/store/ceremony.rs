//! What lies between two steps: a challenge, an enrolment; and the counters of failed attempts.

use std::time::Duration;

use hafen_base::{Result, Timestamp};
use hafen_db::{Tx, sqlx, store_error};

use super::{number, text, time};
use crate::model::secret::Hash;
use crate::model::throttle::{Failures, MEMORY};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CeremonyRow {
    pub kind: String,
    /// Of whom; empty where that is not known yet.
    pub subject: String,
    /// JSON of its kind; sealed where it holds a secret.
    pub state: String,
    pub failures: i64,
}

pub async fn insert(
    tx: &mut Tx,
    hash: &Hash,
    kind: &str,
    subject: &str,
    state: &str,
    expires_at: Timestamp,
) -> Result<()> {
    sqlx::query("INSERT INTO ceremony (hash, kind, subject, state, failures, expires_at) VALUES ($1, $2, $3, $4, 0, $5)")
        .bind(hash.as_str())
        .bind(kind)
        .bind(subject)
        .bind(state)
        .bind(expires_at.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Reads one that is not over.
pub async fn find(tx: &mut Tx, hash: &Hash, kind: &str, now: Timestamp) -> Result<Option<CeremonyRow>> {
    let row = sqlx::query("SELECT kind, subject, state, failures FROM ceremony WHERE hash = $1 AND kind = $2 AND expires_at > $3")
        .bind(hash.as_str())
        .bind(kind)
        .bind(now.micros())
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.as_ref()
        .map(|row| {
            Ok(CeremonyRow {
                kind: text(row, "kind")?,
                subject: text(row, "subject")?,
                state: text(row, "state")?,
                failures: number(row, "failures")?,
            })
        })
        .transpose()
}

/// Counts an attempt before it is looked at, so that a thousand at once are a thousand.
pub async fn attempt(tx: &mut Tx, hash: &Hash) -> Result<()> {
    sqlx::query("UPDATE ceremony SET failures = failures + 1 WHERE hash = $1")
        .bind(hash.as_str())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn delete(tx: &mut Tx, hash: &Hash) -> Result<()> {
    sqlx::query("DELETE FROM ceremony WHERE hash = $1")
        .bind(hash.as_str())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn failures(tx: &mut Tx, key: &str) -> Result<Failures> {
    let row = sqlx::query("SELECT failures, last_at FROM throttle WHERE key = $1")
        .bind(key)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    let Some(row) = row else { return Ok(Failures::default()) };
    Ok(Failures {
        count: u32::try_from(number(&row, "failures")?).unwrap_or(u32::MAX),
        last: time(&row, "last_at")?,
    })
}

/// One more failure; what is older than a day is forgotten.
pub async fn fail(tx: &mut Tx, key: &str, now: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO throttle (key, failures, last_at) VALUES ($1, 1, $2) ON CONFLICT (key) DO UPDATE SET \
         failures = CASE WHEN throttle.last_at < $3 THEN 1 ELSE throttle.failures + 1 END, last_at = excluded.last_at",
    )
    .bind(key)
    .bind(now.micros())
    .bind(before(now, MEMORY))
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Takes back the failure that was counted before the attempt was looked at.
pub async fn unfail(tx: &mut Tx, key: &str) -> Result<()> {
    sqlx::query("UPDATE throttle SET failures = failures - 1 WHERE key = $1 AND failures > 0")
        .bind(key)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn forget(tx: &mut Tx, key: &str) -> Result<()> {
    sqlx::query("DELETE FROM throttle WHERE key = $1")
        .bind(key)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

fn before(now: Timestamp, age: Duration) -> i64 {
    now.micros().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX))
}

/// Forgets what is over.
pub async fn tidy(tx: &mut Tx, now: Timestamp) -> Result<()> {
    sqlx::query("DELETE FROM ceremony WHERE expires_at < $1")
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    sqlx::query("DELETE FROM throttle WHERE last_at < $1")
        .bind(before(now, MEMORY))
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
