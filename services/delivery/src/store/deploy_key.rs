//! SSH keys that open one repository.

use hafen_base::{Result, Timestamp};
use hafen_client::wire::{DeployKey, DeployKeyAccess};
use hafen_db::{Row, Tx, store_error};

use super::{Reads, maker, number, sqlx, text, time, time_if};

const COLUMNS: &str =
    "id, repository, name, public_key, fingerprint, writes, created_by, created_at, used_at";

fn read(row: &Row) -> Result<DeployKey> {
    let writes = number(row, "writes")? == 1;
    Ok(DeployKey {
        id: text(row, "id")?,
        name: text(row, "name")?,
        public_key: text(row, "public_key")?,
        fingerprint: text(row, "fingerprint")?,
        access: if writes { DeployKeyAccess::Write } else { DeployKeyAccess::Read },
        created_by: maker(row)?,
        created_at: time(row, "created_at")?,
        used_at: time_if(row, "used_at")?,
    })
}

pub async fn list<'c>(
    db: impl Reads<'c>,
    repository: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<DeployKey>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM deploy_key WHERE repository = $1 AND name > $2 ORDER BY name LIMIT $3"
    );
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(repository).bind(after).bind(limit).fetch_all(db).await;
    rows.map_err(store_error)?.iter().map(read).collect()
}

/// Whether any repository knows this key.
pub async fn is_known<'c>(db: impl Reads<'c>, fingerprint: &str) -> Result<bool> {
    let row = sqlx::query("SELECT id FROM deploy_key WHERE fingerprint = $1 LIMIT 1")
        .bind(fingerprint)
        .fetch_optional(db)
        .await;
    Ok(row.map_err(store_error)?.is_some())
}

/// The key, where it opens this repository.
pub async fn find<'c>(db: impl Reads<'c>, repository: &str, fingerprint: &str) -> Result<Option<DeployKey>> {
    let sql = format!("SELECT {COLUMNS} FROM deploy_key WHERE repository = $1 AND fingerprint = $2");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(repository).bind(fingerprint).fetch_optional(db).await;
    row.map_err(store_error)?.as_ref().map(read).transpose()
}

/// False when the name or the key is there already.
pub async fn insert(tx: &mut Tx, repository: &str, key: &DeployKey) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO deploy_key (id, repository, name, public_key, fingerprint, writes, created_by, created_at, used_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0) ON CONFLICT DO NOTHING",
    )
    .bind(&key.id)
    .bind(repository)
    .bind(&key.name)
    .bind(&key.public_key)
    .bind(&key.fingerprint)
    .bind(i64::from(key.access == DeployKeyAccess::Write))
    .bind(&key.created_by)
    .bind(key.created_at.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// By name or id; gives the one that was.
pub async fn delete(tx: &mut Tx, repository: &str, key: &str) -> Result<Option<DeployKey>> {
    let sql = format!("SELECT {COLUMNS} FROM deploy_key WHERE repository = $1 AND (name = $2 OR id = $2)");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(repository).bind(key).fetch_optional(&mut **tx).await;
    let Some(key) = row.map_err(store_error)?.as_ref().map(read).transpose()? else { return Ok(None) };
    sqlx::query("DELETE FROM deploy_key WHERE id = $1")
        .bind(&key.id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(Some(key))
}

pub async fn used(tx: &mut Tx, id: &str, now: Timestamp) -> Result<()> {
    sqlx::query("UPDATE deploy_key SET used_at = $2 WHERE id = $1")
        .bind(id)
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
