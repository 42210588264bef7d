//! Calls that were opened and not completed.

use hafen_base::{Error, Result, Timestamp};
use hafen_db::{Tx, is_unique_violation, sqlx, store_error};

use super::{Reads, text, time};

/// A call on disk: JSON of this service's own making, and when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRow {
    pub at: Timestamp,
    pub call: String,
}

pub async fn insert(tx: &mut Tx, id: &str, life: &str, at: Timestamp, call: &str) -> Result<()> {
    sqlx::query("INSERT INTO call (id, life, at, call) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(life)
        .bind(at.micros())
        .bind(call)
        .execute(&mut **tx)
        .await
        .map_err(|error| {
            if is_unique_violation(&error) {
                Error::conflict(format!("a call {id:?} is open already"))
            } else {
                store_error(error)
            }
        })?;
    Ok(())
}

/// Takes a call out; none when it is not open (any more).
pub async fn take(tx: &mut Tx, id: &str) -> Result<Option<CallRow>> {
    let row = sqlx::query("DELETE FROM call WHERE id = $1 RETURNING at, call")
        .bind(id)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.map(|row| Ok(CallRow { at: time(&row, "at")?, call: text(&row, "call")? })).transpose()
}

/// Ids of calls opened before `before`, or in another life than this one when one is given; oldest first.
pub async fn stale<'c>(db: impl Reads<'c>, before: Timestamp, life: Option<&str>) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "SELECT id FROM call WHERE at < $1 OR ($2 <> '' AND life <> $2) ORDER BY at, id LIMIT 500",
    )
    .bind(before.micros())
    .bind(life.unwrap_or(""))
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows.iter().map(|row| text(row, "id")).collect()
}
