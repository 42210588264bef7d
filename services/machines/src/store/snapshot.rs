//! Snapshots of machines' disks.

use hafen_base::{MachineId, OperationId, Result, SnapshotId, Timestamp};
use hafen_client::wire::Snapshot;
use hafen_db::{Row, Tx, sqlx, store_error};

use super::{Reads, number, optional, parsed, text};

const COLUMNS: &str = "s.id, s.machine_id, s.name, s.wanted, s.state, s.reason, s.operation, s.created_at, \
                       m.name AS machine_name, m.project AS project";
const FROM: &str = "snapshot s JOIN machine m ON m.id = s.machine_id";

#[derive(Debug, Clone)]
pub struct SnapshotRow {
    pub snapshot: Snapshot,
    pub machine_id: MachineId,
    pub project: String,
    /// `present`, `restore` or `absent`.
    pub wanted: String,
    pub operation: Option<OperationId>,
}

fn snapshot(row: &Row) -> Result<SnapshotRow> {
    Ok(SnapshotRow {
        machine_id: parsed(row, "machine_id")?,
        project: text(row, "project")?,
        wanted: text(row, "wanted")?,
        operation: optional(row, "operation")?.and_then(|id| id.parse().ok()),
        snapshot: Snapshot {
            id: parsed(row, "id")?,
            machine: text(row, "machine_name")?,
            name: text(row, "name")?,
            state: text(row, "state")?,
            reason: text(row, "reason")?,
            created_at: Timestamp::from_micros(number(row, "created_at")?),
        },
    })
}

pub async fn find<'c>(
    db: impl Reads<'c>,
    machine: MachineId,
    name_or_id: &str,
) -> Result<Option<SnapshotRow>> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE s.machine_id = $1 AND (s.name = $2 OR s.id = $2)");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(machine.to_string())
        .bind(name_or_id)
        .fetch_optional(db)
        .await;
    row.map_err(store_error)?.as_ref().map(snapshot).transpose()
}

/// Name of the snapshot that is being put back on this machine's disk, if any.
pub async fn restoring<'c>(db: impl Reads<'c>, machine: MachineId) -> Result<Option<String>> {
    let row = sqlx::query("SELECT name FROM snapshot WHERE machine_id = $1 AND state = 'restoring'")
        .bind(machine.to_string())
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.map(|row| text(&row, "name")).transpose()
}

pub async fn get<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<SnapshotRow>> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE s.id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(db).await.map_err(store_error)?;
    row.as_ref().map(snapshot).transpose()
}

pub async fn list<'c>(
    db: impl Reads<'c>,
    machine: MachineId,
    after: &str,
    limit: i64,
) -> Result<Vec<SnapshotRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM} WHERE s.machine_id = $1 AND s.name > $2 ORDER BY s.name LIMIT $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(machine.to_string())
        .bind(after)
        .bind(limit)
        .fetch_all(db)
        .await;
    rows.map_err(store_error)?.iter().map(snapshot).collect()
}

/// Ids of snapshots that wait for work.
pub async fn unsettled<'c>(db: impl Reads<'c>) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT id FROM snapshot WHERE state IN ('creating', 'restoring', 'destroying')")
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows.iter().map(|row| text(row, "id")).collect()
}

/// False when the name is taken.
pub async fn insert(
    tx: &mut Tx,
    id: SnapshotId,
    machine: MachineId,
    name: &str,
    operation: OperationId,
    now: Timestamp,
) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO snapshot (id, machine_id, name, wanted, state, reason, operation, created_at) \
         VALUES ($1, $2, $3, 'present', 'creating', '', $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(id.to_string())
    .bind(machine.to_string())
    .bind(name)
    .bind(operation.to_string())
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// `wanted` with its transient state: `restore`/`restoring`, `absent`/`destroying`.
pub async fn want(
    tx: &mut Tx,
    id: SnapshotId,
    wanted: &str,
    state: &str,
    operation: OperationId,
) -> Result<()> {
    sqlx::query("UPDATE snapshot SET wanted = $2, state = $3, reason = '', operation = $4 WHERE id = $1")
        .bind(id.to_string())
        .bind(wanted)
        .bind(state)
        .bind(operation.to_string())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn set_seen(tx: &mut Tx, id: SnapshotId, state: &str, reason: &str) -> Result<()> {
    sqlx::query(
        "UPDATE snapshot SET wanted = 'present', state = $2, reason = $3, operation = '' WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(state)
    .bind(reason)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn delete(tx: &mut Tx, id: SnapshotId) -> Result<()> {
    sqlx::query("DELETE FROM snapshot WHERE id = $1")
        .bind(id.to_string())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn delete_of_machine(tx: &mut Tx, machine: MachineId) -> Result<()> {
    sqlx::query("DELETE FROM snapshot WHERE machine_id = $1")
        .bind(machine.to_string())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
