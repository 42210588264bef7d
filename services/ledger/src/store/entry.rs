//! Entries, what lies beside them, and the hashes of full tiles.

use hafen_base::{Result, Timestamp};
use hafen_db::{Row, Tx, sqlx, store_error};
use hafen_tlog::Hash;

use super::{Reads, number, signed, text, time};
use crate::model::{Personal, Record};

/// An entry as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRow {
    pub shard: i64,
    pub position: i64,
    pub at: Timestamp,
    pub record: String,
    pub personal: Personal,
}

pub async fn insert(tx: &mut Tx, shard: i64, position: u64, record: &Record, line: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO entry (shard, position, at, service, seq, kind, project, object, organisation, actor, record) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(shard)
    .bind(signed(position))
    .bind(record.at.micros())
    .bind(&record.service)
    .bind(record.seq)
    .bind(&record.kind)
    .bind(&record.project)
    .bind(&record.object)
    .bind(&record.organisation)
    .bind(&record.actor)
    .bind(line)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn insert_personal(
    tx: &mut Tx,
    shard: i64,
    position: u64,
    actor: &str,
    object: &str,
    personal: &Personal,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO personal (shard, position, actor, object, who, who_salt, what, what_salt) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(shard)
    .bind(signed(position))
    .bind(actor)
    .bind(object)
    .bind(&personal.who)
    .bind(&personal.who_salt)
    .bind(&personal.what)
    .bind(&personal.what_salt)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Records of `count` entries from `first`, in order.
pub async fn records<'c>(db: impl Reads<'c>, shard: i64, first: u64, count: u64) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "SELECT record FROM entry WHERE shard = $1 AND position >= $2 AND position < $3 ORDER BY position",
    )
    .bind(shard)
    .bind(signed(first))
    .bind(signed(first + count))
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows.iter().map(|row| text(row, "record")).collect()
}

/// What lies beside `count` entries from `first`: position and payloads, where there are any left.
pub async fn personal<'c>(
    db: impl Reads<'c>,
    shard: i64,
    first: u64,
    count: u64,
) -> Result<Vec<(i64, Personal)>> {
    let rows = sqlx::query(
        "SELECT position, who, who_salt, what, what_salt FROM personal \
         WHERE shard = $1 AND position >= $2 AND position < $3 ORDER BY position",
    )
    .bind(shard)
    .bind(signed(first))
    .bind(signed(first + count))
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows.iter().map(|row| Ok((number(row, "position")?, personal_row(row)?))).collect()
}

fn personal_row(row: &Row) -> Result<Personal> {
    Ok(Personal {
        who: text(row, "who")?,
        who_salt: text(row, "who_salt")?,
        what: text(row, "what")?,
        what_salt: text(row, "what_salt")?,
    })
}

pub fn entry_row(row: &Row) -> Result<EntryRow> {
    Ok(EntryRow {
        shard: number(row, "shard")?,
        position: number(row, "position")?,
        at: time(row, "at")?,
        record: text(row, "record")?,
        personal: personal_row(row)?,
    })
}

/// The columns of `entry_row`, of an entry `e` and what lies beside it.
pub const ENTRY: &str = "SELECT e.shard AS shard, e.position AS position, e.at AS at, e.record AS record, \
     COALESCE(p.who, '') AS who, COALESCE(p.who_salt, '') AS who_salt, COALESCE(p.what, '') AS what, \
     COALESCE(p.what_salt, '') AS what_salt \
     FROM entry e LEFT JOIN personal p ON p.shard = e.shard AND p.position = e.position";

pub async fn get<'c>(db: impl Reads<'c>, shard: i64, position: i64) -> Result<Option<EntryRow>> {
    let sql = sqlx::AssertSqlSafe(format!("{ENTRY} WHERE e.shard = $1 AND e.position = $2"));
    let row = sqlx::query(sql).bind(shard).bind(position).fetch_optional(db).await.map_err(store_error)?;
    row.as_ref().map(entry_row).transpose()
}

/// Whether this event was written down before.
pub async fn known<'c>(db: impl Reads<'c>, service: &str, seq: i64) -> Result<bool> {
    let row = sqlx::query("SELECT position FROM entry WHERE service = $1 AND seq = $2")
        .bind(service)
        .bind(seq)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    Ok(row.is_some())
}

pub async fn insert_node(tx: &mut Tx, shard: i64, level: u8, position: u64, hash: &Hash) -> Result<()> {
    sqlx::query("INSERT INTO node (shard, level, position, hash) VALUES ($1, $2, $3, $4)")
        .bind(shard)
        .bind(i64::from(level))
        .bind(signed(position))
        .bind(hash.to_string())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Hashes of a tile of level 1 or above.
pub async fn nodes<'c>(
    db: impl Reads<'c>,
    shard: i64,
    level: u8,
    first: u64,
    count: u64,
) -> Result<Vec<Hash>> {
    let rows = sqlx::query(
        "SELECT hash FROM node WHERE shard = $1 AND level = $2 AND position >= $3 AND position < $4 ORDER BY position",
    )
    .bind(shard)
    .bind(i64::from(level))
    .bind(signed(first))
    .bind(signed(first + count))
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows.iter().map(|row| text(row, "hash")?.parse().map_err(hafen_base::Error::internal)).collect()
}
