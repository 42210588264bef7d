//! The last checkpoint of each shard, cosignatures, and how far each feed was followed.

use hafen_base::Result;
use hafen_db::{Tx, sqlx, store_error};

use super::{Reads, number, signed, text, unsigned};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRow {
    pub size: u64,
    pub note: String,
}

pub async fn get<'c>(db: impl Reads<'c>, shard: i64) -> Result<Option<CheckpointRow>> {
    let row = sqlx::query("SELECT size, note FROM checkpoint WHERE shard = $1")
        .bind(shard)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.map(|row| Ok(CheckpointRow { size: unsigned(number(&row, "size")?), note: text(&row, "note")? }))
        .transpose()
}

/// Keeps the larger: two replicas may sign one after the other and write in the other order.
pub async fn put(tx: &mut Tx, shard: i64, size: u64, note: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO checkpoint (shard, size, note) VALUES ($1, $2, $3) \
         ON CONFLICT (shard) DO UPDATE SET size = excluded.size, note = excluded.note \
         WHERE checkpoint.size < excluded.size OR excluded.size = 0",
    )
    .bind(shard)
    .bind(signed(size))
    .bind(note)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// What a witness last cosigned of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignatureRow {
    pub witness: String,
    pub size: u64,
    pub line: String,
}

pub async fn cosignatures<'c>(db: impl Reads<'c>, shard: i64) -> Result<Vec<CosignatureRow>> {
    let rows = sqlx::query("SELECT witness, size, line FROM cosignature WHERE shard = $1 ORDER BY witness")
        .bind(shard)
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            Ok(CosignatureRow {
                witness: text(row, "witness")?,
                size: unsigned(number(row, "size")?),
                line: text(row, "line")?,
            })
        })
        .collect()
}

pub async fn cosignature_put(tx: &mut Tx, shard: i64, row: &CosignatureRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO cosignature (shard, witness, size, line) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (shard, witness) DO UPDATE SET size = excluded.size, line = excluded.line",
    )
    .bind(shard)
    .bind(&row.witness)
    .bind(signed(row.size))
    .bind(&row.line)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn followed<'c>(db: impl Reads<'c>, service: &str) -> Result<i64> {
    let row = sqlx::query("SELECT seq FROM follower WHERE service = $1")
        .bind(service)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.map_or(Ok(0), |row| number(&row, "seq"))
}

pub async fn set_followed(tx: &mut Tx, service: &str, seq: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO follower (service, seq) VALUES ($1, $2) ON CONFLICT (service) DO UPDATE SET seq = excluded.seq",
    )
    .bind(service)
    .bind(seq)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}
