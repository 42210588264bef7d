//! Persons behind pseudonyms, and their erasure.

use hafen_base::Result;
use hafen_db::{Row, Tx, sqlx, store_error};

use super::{Reads, number, text};
use crate::model::{Pseudonym, hex, unhex};

/// A pseudonym and the shard it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRow {
    pub shard: i64,
    pub pseudonym: String,
}

fn person_row(row: &Row) -> Result<PersonRow> {
    Ok(PersonRow { shard: number(row, "shard")?, pseudonym: text(row, "pseudonym")? })
}

pub async fn pseudonym(tx: &mut Tx, shard: i64, id: &str) -> Result<Option<Pseudonym>> {
    let row = sqlx::query("SELECT secret, pseudonym FROM person WHERE shard = $1 AND id = $2")
        .bind(shard)
        .bind(id)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    let Some(row) = row else { return Ok(None) };
    let key = unhex(&text(&row, "secret")?).and_then(|bytes| bytes.try_into().ok());
    let key = key.ok_or_else(|| hafen_base::Error::internal("a person's key is damaged"))?;
    Ok(Some(Pseudonym { key, text: text(&row, "pseudonym")? }))
}

pub async fn insert(tx: &mut Tx, shard: i64, id: &str, name: &str, pseudonym: &Pseudonym) -> Result<()> {
    sqlx::query("INSERT INTO person (shard, id, name, secret, pseudonym) VALUES ($1, $2, $3, $4, $5)")
        .bind(shard)
        .bind(id)
        .bind(name)
        .bind(hex(&pseudonym.key))
        .bind(&pseudonym.text)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// The pseudonyms of whoever has this id or name, in all shards.
pub async fn named<'c>(db: impl Reads<'c>, id_or_name: &str) -> Result<Vec<PersonRow>> {
    let rows = sqlx::query("SELECT shard, pseudonym FROM person WHERE id = $1 OR name = $1 ORDER BY shard")
        .bind(id_or_name)
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows.iter().map(person_row).collect()
}

/// The pseudonyms of one id, in all shards.
pub async fn of<'c>(db: impl Reads<'c>, id: &str) -> Result<Vec<PersonRow>> {
    let rows = sqlx::query("SELECT shard, pseudonym FROM person WHERE id = $1 ORDER BY shard")
        .bind(id)
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows.iter().map(person_row).collect()
}

/// Writes down that a pseudonym is to be erased.
pub async fn erasure_insert(tx: &mut Tx, person: &PersonRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO erasure (shard, pseudonym, done) VALUES ($1, $2, 0) ON CONFLICT (shard, pseudonym) DO NOTHING",
    )
    .bind(person.shard)
    .bind(&person.pseudonym)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Erasures that were written down and not carried out.
pub async fn erasures_open<'c>(db: impl Reads<'c>) -> Result<Vec<PersonRow>> {
    let rows = sqlx::query("SELECT shard, pseudonym FROM erasure WHERE done = 0 ORDER BY shard, pseudonym")
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows.iter().map(person_row).collect()
}

/// Destroys key, payloads and salts of a pseudonym; gives how many entries that touched. Does nothing the second time.
pub async fn erase(tx: &mut Tx, person: &PersonRow) -> Result<u64> {
    let mut touched = 0;
    for sql in [
        "DELETE FROM personal WHERE shard = $1 AND actor = $2 AND actor <> ''",
        // Somebody else did it: that stays; the words about it may name the person.
        "UPDATE personal SET what = '', what_salt = '', object = '' WHERE shard = $1 AND object = $2 AND object <> ''",
    ] {
        let done = sqlx::query(sql).bind(person.shard).bind(&person.pseudonym).execute(&mut **tx).await;
        touched += done.map_err(store_error)?.rows_affected();
    }
    for sql in [
        "DELETE FROM person WHERE shard = $1 AND pseudonym = $2",
        "UPDATE erasure SET done = 1 WHERE shard = $1 AND pseudonym = $2",
    ] {
        sqlx::query(sql)
            .bind(person.shard)
            .bind(&person.pseudonym)
            .execute(&mut **tx)
            .await
            .map_err(store_error)?;
    }
    Ok(touched)
}
