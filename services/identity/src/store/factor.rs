//! What a person proves itself by: password, one-time codes, recovery codes, passkeys, known devices.

use hafen_base::{Error, Result, Timestamp};
use hafen_client::wire::Passkey;
use hafen_db::{Row, Tx, is_unique_violation, sqlx, store_error};

use super::{Reads, maybe_time, number, parsed, rows, text, time};
use crate::model::secret::Hash;

pub async fn password_set(tx: &mut Tx, person: &str, phc: &str, now: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO password (person, phc, changed_at) VALUES ($1, $2, $3) \
         ON CONFLICT (person) DO UPDATE SET phc = excluded.phc, changed_at = excluded.changed_at",
    )
    .bind(person)
    .bind(phc)
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn password<'c>(db: impl Reads<'c>, person: &str) -> Result<Option<String>> {
    let row = sqlx::query("SELECT phc FROM password WHERE person = $1")
        .bind(person)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(|row| text(row, "phc")).transpose()
}

/// The sealed secret, and the last step that was used.
pub async fn totp<'c>(db: impl Reads<'c>, person: &str) -> Result<Option<(String, u64)>> {
    let row = sqlx::query("SELECT sealed, last_step FROM totp WHERE person = $1")
        .bind(person)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref()
        .map(|row| Ok((text(row, "sealed")?, u64::try_from(number(row, "last_step")?).unwrap_or(0))))
        .transpose()
}

pub async fn totp_set(tx: &mut Tx, person: &str, sealed: &str, step: u64, now: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO totp (person, sealed, last_step, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (person) DO UPDATE SET sealed = excluded.sealed, last_step = excluded.last_step, created_at = excluded.created_at",
    )
    .bind(person)
    .bind(sealed)
    .bind(i64::try_from(step).unwrap_or(i64::MAX))
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Uses a step up. False when it, or a later one, was used already: the database decides between two at once.
pub async fn totp_use(tx: &mut Tx, person: &str, step: u64) -> Result<bool> {
    let done = sqlx::query("UPDATE totp SET last_step = $2 WHERE person = $1 AND last_step < $2")
        .bind(person)
        .bind(i64::try_from(step).unwrap_or(i64::MAX))
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

pub async fn recovery_codes_set(tx: &mut Tx, person: &str, hashes: &[Hash]) -> Result<()> {
    sqlx::query("DELETE FROM recovery_code WHERE person = $1")
        .bind(person)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    for hash in hashes {
        sqlx::query("INSERT INTO recovery_code (person, hash) VALUES ($1, $2)")
            .bind(person)
            .bind(hash.as_str())
            .execute(&mut **tx)
            .await
            .map_err(store_error)?;
    }
    Ok(())
}

pub async fn recovery_code_use(tx: &mut Tx, person: &str, hash: &Hash) -> Result<bool> {
    let done = sqlx::query("DELETE FROM recovery_code WHERE person = $1 AND hash = $2")
        .bind(person)
        .bind(hash.as_str())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// A passkey with its credential, JSON of webauthn-rs.
#[derive(Debug, Clone)]
pub struct PasskeyRow {
    pub shown: Passkey,
    pub data: String,
}

fn read_passkey(row: &Row) -> Result<PasskeyRow> {
    Ok(PasskeyRow {
        shown: Passkey {
            id: parsed(row, "id")?,
            name: text(row, "name")?,
            created_at: time(row, "created_at")?,
            last_used_at: maybe_time(row, "last_used_at")?,
        },
        data: text(row, "data")?,
    })
}

pub async fn passkey_insert(tx: &mut Tx, person: &str, passkey: &PasskeyRow, credential: &str) -> Result<()> {
    sqlx::query("INSERT INTO passkey (id, person, credential, data, name, created_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, 0)")
        .bind(passkey.shown.id.to_string())
        .bind(person)
        .bind(credential)
        .bind(&passkey.data)
        .bind(&passkey.shown.name)
        .bind(passkey.shown.created_at.micros())
        .execute(&mut **tx)
        .await
        .map_err(|error| {
            if is_unique_violation(&error) {
                Error::conflict("this passkey is registered already").with_code("passkey_taken")
            } else {
                store_error(error)
            }
        })?;
    Ok(())
}

pub async fn passkeys<'c>(db: impl Reads<'c>, person: &str) -> Result<Vec<PasskeyRow>> {
    let found = sqlx::query("SELECT id, data, name, created_at, last_used_at FROM passkey WHERE person = $1 ORDER BY id LIMIT 100")
        .bind(person)
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, read_passkey)
}

pub async fn passkey_used(tx: &mut Tx, id: &str, data: &str, now: Timestamp) -> Result<()> {
    sqlx::query("UPDATE passkey SET data = $2, last_used_at = $3 WHERE id = $1")
        .bind(id)
        .bind(data)
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn passkey_delete(tx: &mut Tx, person: &str, id: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM passkey WHERE person = $1 AND id = $2")
        .bind(person)
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// Which factors a person has, by name.
pub async fn names<'c>(db: impl Reads<'c>, person: &str) -> Result<Vec<String>> {
    let found = sqlx::query(
        "SELECT 'password' AS factor FROM password WHERE person = $1 UNION SELECT 'totp' FROM totp WHERE person = $1 \
         UNION SELECT 'passkey' FROM passkey WHERE person = $1 UNION SELECT 'recovery_codes' FROM recovery_code WHERE person = $1",
    )
    .bind(person)
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    let mut names = rows(&found, |row| text(row, "factor"))?;
    names.sort_unstable();
    Ok(names)
}

/// Forgets everything a person proves itself by.
pub async fn reset(tx: &mut Tx, person: &str) -> Result<()> {
    for sql in [
        "DELETE FROM password WHERE person = $1",
        "DELETE FROM totp WHERE person = $1",
        "DELETE FROM recovery_code WHERE person = $1",
        "DELETE FROM passkey WHERE person = $1",
        "DELETE FROM device WHERE person = $1",
    ] {
        sqlx::query(sql).bind(person).execute(&mut **tx).await.map_err(store_error)?;
    }
    Ok(())
}

pub async fn device_insert(tx: &mut Tx, hash: &Hash, person: &str, now: Timestamp) -> Result<()> {
    sqlx::query("INSERT INTO device (hash, person, created_at) VALUES ($1, $2, $3)")
        .bind(hash.as_str())
        .bind(person)
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn device_of(tx: &mut Tx, hash: &Hash) -> Result<Option<String>> {
    let row = sqlx::query("SELECT person FROM device WHERE hash = $1")
        .bind(hash.as_str())
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.as_ref().map(|row| text(row, "person")).transpose()
}
