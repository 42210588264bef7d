//! Shards: one open at a time, the newest.

use hafen_base::{Result, Timestamp};
use hafen_db::{Row, Tx, sqlx, store_error};

use super::{Reads, number, signed, text, time, unsigned};
use crate::model::year;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRow {
    /// In the order they were opened.
    pub id: i64,
    /// As `2026`, or `2026-2` when another was opened in that year.
    pub name: String,
    /// `open`; `closed` when its year is over; `abandoned` when the database lost a part of it; `expired`.
    pub state: String,
    pub size: u64,
    /// When the last entry was written down.
    pub last_at: Timestamp,
}

fn shard_row(row: &Row) -> Result<ShardRow> {
    Ok(ShardRow {
        id: number(row, "id")?,
        name: text(row, "name")?,
        state: text(row, "state")?,
        size: unsigned(number(row, "size")?),
        last_at: time(row, "last_at")?,
    })
}

/// Oldest first.
pub async fn all<'c>(db: impl Reads<'c>) -> Result<Vec<ShardRow>> {
    let rows = sqlx::query("SELECT id, name, state, size, last_at FROM shard ORDER BY id")
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows.iter().map(shard_row).collect()
}

pub async fn named<'c>(db: impl Reads<'c>, name: &str) -> Result<Option<ShardRow>> {
    let row = sqlx::query("SELECT id, name, state, size, last_at FROM shard WHERE name = $1")
        .bind(name)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(shard_row).transpose()
}

pub async fn newest<'c>(db: impl Reads<'c>) -> Result<Option<ShardRow>> {
    let row = sqlx::query("SELECT id, name, state, size, last_at FROM shard ORDER BY id DESC LIMIT 1")
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(shard_row).transpose()
}

/// The shard to write to now: the newest, or a new one when its year is over. A clock that goes back opens none.
pub async fn present(tx: &mut Tx, now: Timestamp) -> Result<ShardRow> {
    let newest = newest(&mut **tx).await?;
    let year = year(now);
    match newest {
        Some(shard) if shard.state == "open" && *shard.name >= *year => Ok(shard),
        Some(shard) => {
            let name = if shard.name.starts_with(&year) { successor(&shard.name) } else { year };
            open(tx, shard.id + 1, name, shard.last_at).await
        }
        None => open(tx, 1, year, Timestamp::default()).await,
    }
}

/// `2026-2` after `2026`, `2026-3` after that.
pub fn successor(name: &str) -> String {
    let (year, number) = name.split_once('-').unwrap_or((name, "1"));
    format!("{year}-{}", number.parse::<u32>().unwrap_or(1).saturating_add(1))
}

/// Opens a shard and closes all others. Its time goes on from `last_at`.
pub async fn open(tx: &mut Tx, id: i64, name: String, last_at: Timestamp) -> Result<ShardRow> {
    sqlx::query("UPDATE shard SET state = 'closed' WHERE state = 'open'")
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    sqlx::query("INSERT INTO shard (id, name, state, size, last_at) VALUES ($1, $2, 'open', 0, $3)")
        .bind(id)
        .bind(&name)
        .bind(last_at.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(ShardRow { id, name, state: "open".into(), size: 0, last_at })
}

pub async fn set_state(tx: &mut Tx, id: i64, state: &str) -> Result<()> {
    sqlx::query("UPDATE shard SET state = $2 WHERE id = $1")
        .bind(id)
        .bind(state)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn grow(tx: &mut Tx, id: i64, size: u64, last_at: Timestamp) -> Result<()> {
    sqlx::query("UPDATE shard SET size = $2, last_at = $3 WHERE id = $1")
        .bind(id)
        .bind(signed(size))
        .bind(last_at.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Removes all that a shard holds but its name and its last checkpoint.
pub async fn expire(tx: &mut Tx, id: i64) -> Result<()> {
    for table in ["entry", "personal", "person", "node", "cosignature", "erasure"] {
        let sql = sqlx::AssertSqlSafe(format!("DELETE FROM {table} WHERE shard = $1"));
        sqlx::query(sql).bind(id).execute(&mut **tx).await.map_err(store_error)?;
    }
    set_state(tx, id, "expired").await
}

#[cfg(test)]
mod tests {
    #[test]
    fn successors() {
        for (name, next) in [("2026", "2026-2"), ("2026-2", "2026-3"), ("2026-9", "2026-10")] {
            assert_eq!(super::successor(name), next);
        }
    }
}
