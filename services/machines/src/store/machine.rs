//! Machines: what is wanted is written by the app, what is seen by the reconciler, each with its generation.

use std::collections::BTreeMap;

use hafen_base::{MachineId, OperationId, Result, Timestamp};
use hafen_client::wire::MachineState;
use hafen_db::{Row, Tx, sqlx, store_error};

use super::{Reads, json, number, optional, parsed, text, to_json};
use crate::model::{MachineRow, WantedState};

const COLUMNS: &str = "id, project, name, group_name, spec, health, metadata, cordoned, instance_id, disk_instance, wanted, \
                       restart_wanted, restart_seen, network_id, address, mac, generation, lease_nonce, lease_until, \
                       operation, created_at, updated_at, state, reason, healthy, boot_id, host_key, image_digest, restarts, \
                       since, observed_generation";

fn machine(row: &Row) -> Result<MachineRow> {
    let time = |column: &str| number(row, column).map(Timestamp::from_micros);
    let unknown = |column: &str| {
        hafen_base::Error::internal(format!("the column {column} of a machine holds no known value"))
    };
    Ok(MachineRow {
        id: parsed(row, "id")?,
        project: text(row, "project")?,
        name: text(row, "name")?,
        group: optional(row, "group_name")?,
        spec: json(row, "spec")?,
        health: json(row, "health")?,
        metadata: json(row, "metadata")?,
        cordoned: number(row, "cordoned")? == 1,
        instance_id: parsed(row, "instance_id")?,
        disk_instance: parsed(row, "disk_instance")?,
        wanted: WantedState::parse(&text(row, "wanted")?).ok_or_else(|| unknown("wanted"))?,
        restart_wanted: number(row, "restart_wanted")?,
        restart_seen: number(row, "restart_seen")?,
        network_id: parsed(row, "network_id")?,
        address: parsed(row, "address")?,
        mac: text(row, "mac")?,
        generation: number(row, "generation")?,
        lease_nonce: optional(row, "lease_nonce")?,
        lease_until: time("lease_until")?,
        operation: optional(row, "operation")?.and_then(|id| id.parse().ok()),
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
        state: MachineState::parse(&text(row, "state")?).ok_or_else(|| unknown("state"))?,
        reason: text(row, "reason")?,
        healthy: number(row, "healthy")? == 1,
        boot_id: text(row, "boot_id")?,
        host_key: text(row, "host_key")?,
        image_digest: text(row, "image_digest")?,
        restarts: number(row, "restarts")?,
        since: time("since")?,
        observed_generation: number(row, "observed_generation")?,
    })
}

/// By name or id.
pub async fn find<'c>(db: impl Reads<'c>, project: &str, name_or_id: &str) -> Result<Option<MachineRow>> {
    let sql = format!("SELECT {COLUMNS} FROM machine WHERE project = $1 AND (name = $2 OR id = $2)");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project).bind(name_or_id).fetch_optional(db).await;
    row.map_err(store_error)?.as_ref().map(machine).transpose()
}

pub async fn get<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<MachineRow>> {
    let sql = format!("SELECT {COLUMNS} FROM machine WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(db).await.map_err(store_error)?;
    row.as_ref().map(machine).transpose()
}

/// What a list may be narrowed by.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub group: Option<String>,
    pub state: Option<MachineState>,
    pub metadata: BTreeMap<String, String>,
}

/// By name, ascending.
pub async fn list<'c>(
    db: impl Reads<'c>,
    project: &str,
    filter: &Filter,
    after: &str,
    limit: i64,
) -> Result<Vec<MachineRow>> {
    use std::fmt::Write as _;
    let mut sql = format!(
        "SELECT {COLUMNS} FROM machine WHERE project = $1 AND name > $2 AND ($4 = '' OR group_name = $4) \
         AND ($5 = '' OR state = $5)"
    );
    for index in 0..filter.metadata.len() {
        let (key, value) = (6 + 2 * index, 7 + 2 * index);
        let _infallible = write!(
            sql,
            " AND id IN (SELECT machine_id FROM machine_metadata WHERE key = ${key} AND value = ${value})"
        );
    }
    sql.push_str(" ORDER BY name LIMIT $3");
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(project)
        .bind(after)
        .bind(limit)
        .bind(filter.group.clone().unwrap_or_default())
        .bind(filter.state.map_or("", MachineState::as_str));
    for (key, value) in &filter.metadata {
        query = query.bind(key).bind(value);
    }
    query.fetch_all(db).await.map_err(store_error)?.iter().map(machine).collect()
}

/// Every machine of the platform, for the sweep.
pub async fn list_everywhere<'c>(db: impl Reads<'c>) -> Result<Vec<MachineRow>> {
    let sql = format!("SELECT {COLUMNS} FROM machine ORDER BY id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(db).await.map_err(store_error)?;
    rows.iter().map(machine).collect()
}

/// The machines of a cluster.
pub async fn list_group<'c>(db: impl Reads<'c>, project: &str, group: &str) -> Result<Vec<MachineRow>> {
    let sql = format!("SELECT {COLUMNS} FROM machine WHERE project = $1 AND group_name = $2 ORDER BY name");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project).bind(group).fetch_all(db).await;
    rows.map_err(store_error)?.iter().map(machine).collect()
}

/// Ids of machines that wait for something outside themselves (an image, a network).
pub async fn ids_unsettled<'c>(db: impl Reads<'c>, project: &str) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "SELECT id FROM machine WHERE project = $1 AND state IN ('creating', 'starting', 'stopping', 'updating', 'destroying')",
    )
    .bind(project)
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows.iter().map(|row| text(row, "id")).collect()
}

/// False when the name is taken.
pub async fn insert(tx: &mut Tx, row: &MachineRow) -> Result<bool> {
    let sql = format!(
        "INSERT INTO machine ({COLUMNS}, image) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
         $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32) ON CONFLICT DO NOTHING"
    );
    let done = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(row.id.to_string())
        .bind(&row.project)
        .bind(&row.name)
        .bind(row.group.clone().unwrap_or_default())
        .bind(to_json(&row.spec)?)
        .bind(to_json(&row.health)?)
        .bind(to_json(&row.metadata)?)
        .bind(i64::from(row.cordoned))
        .bind(row.instance_id.to_string())
        .bind(row.disk_instance.to_string())
        .bind(row.wanted.as_str())
        .bind(row.restart_wanted)
        .bind(row.restart_seen)
        .bind(row.network_id.to_string())
        .bind(row.address.to_string())
        .bind(&row.mac)
        .bind(row.generation)
        .bind(row.lease_nonce.clone().unwrap_or_default())
        .bind(row.lease_until.micros())
        .bind(row.operation.map(|id| id.to_string()).unwrap_or_default())
        .bind(row.created_at.micros())
        .bind(row.updated_at.micros())
        .bind(row.state.as_str())
        .bind(&row.reason)
        .bind(i64::from(row.healthy))
        .bind(&row.boot_id)
        .bind(&row.host_key)
        .bind(&row.image_digest)
        .bind(row.restarts)
        .bind(row.since.micros())
        .bind(row.observed_generation)
        .bind(&row.spec.image)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    insert_metadata(tx, row.id, &row.metadata).await?;
    Ok(true)
}

async fn insert_metadata(tx: &mut Tx, id: MachineId, metadata: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in metadata {
        sqlx::query("INSERT INTO machine_metadata (machine_id, key, value) VALUES ($1, $2, $3)")
            .bind(id.to_string())
            .bind(key)
            .bind(value)
            .execute(&mut **tx)
            .await
            .map_err(store_error)?;
    }
    Ok(())
}

/// Writes what is wanted, with the row's new generation, and the transient state that begins with it.
pub async fn set_wanted(tx: &mut Tx, row: &MachineRow) -> Result<()> {
    sqlx::query(
        "UPDATE machine SET group_name = $2, spec = $3, image = $4, health = $5, metadata = $6, cordoned = $7, \
         instance_id = $8, disk_instance = $9, wanted = $10, restart_wanted = $11, generation = $12, operation = $13, \
         updated_at = $14, state = $15, reason = $16, since = $17, restarts = $18, network_id = $19, address = $20, \
         mac = $21, healthy = $22 WHERE id = $1",
    )
    .bind(row.id.to_string())
    .bind(row.group.clone().unwrap_or_default())
    .bind(to_json(&row.spec)?)
    .bind(&row.spec.image)
    .bind(to_json(&row.health)?)
    .bind(to_json(&row.metadata)?)
    .bind(i64::from(row.cordoned))
    .bind(row.instance_id.to_string())
    .bind(row.disk_instance.to_string())
    .bind(row.wanted.as_str())
    .bind(row.restart_wanted)
    .bind(row.generation)
    .bind(row.operation.map(|id| id.to_string()).unwrap_or_default())
    .bind(row.updated_at.micros())
    .bind(row.state.as_str())
    .bind(&row.reason)
    .bind(row.since.micros())
    .bind(row.restarts)
    .bind(row.network_id.to_string())
    .bind(row.address.to_string())
    .bind(&row.mac)
    .bind(i64::from(row.healthy))
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    sqlx::query("DELETE FROM machine_metadata WHERE machine_id = $1")
        .bind(row.id.to_string())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    insert_metadata(tx, row.id, &row.metadata).await
}

/// What a reconciler saw.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    pub state: MachineState,
    pub reason: &'a str,
    pub healthy: bool,
    pub boot_id: &'a str,
    pub host_key: &'a str,
    pub image_digest: &'a str,
    pub restarts: i64,
    pub restart_seen: i64,
    pub since: Timestamp,
    pub observed_generation: i64,
    /// Cleared once the operation ended.
    pub operation: Option<OperationId>,
}

/// Writes what was seen of generation `at`; false when somebody wanted something else in the meantime, so that an old
/// sight never overwrites a newer wish.
pub async fn set_seen(tx: &mut Tx, id: MachineId, at: i64, seen: &Seen<'_>, now: Timestamp) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE machine SET state = $3, reason = $4, healthy = $5, boot_id = $6, host_key = $7, image_digest = $8, \
         restarts = $9, restart_seen = $10, since = $11, observed_generation = $12, operation = $13, updated_at = $14 \
         WHERE id = $1 AND generation = $2",
    )
    .bind(id.to_string())
    .bind(at)
    .bind(seen.state.as_str())
    .bind(seen.reason)
    .bind(i64::from(seen.healthy))
    .bind(seen.boot_id)
    .bind(seen.host_key)
    .bind(seen.image_digest)
    .bind(seen.restarts)
    .bind(seen.restart_seen)
    .bind(seen.since.micros())
    .bind(seen.observed_generation)
    .bind(seen.operation.map(|id| id.to_string()).unwrap_or_default())
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// Health changed; only while it is the same running instance.
pub async fn set_healthy(tx: &mut Tx, row: &MachineRow, healthy: bool, now: Timestamp) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE machine SET healthy = $4, updated_at = $5 WHERE id = $1 AND generation = $2 AND boot_id = $3 \
         AND state = 'started'",
    )
    .bind(row.id.to_string())
    .bind(row.generation)
    .bind(&row.boot_id)
    .bind(i64::from(healthy))
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

pub async fn set_lease(tx: &mut Tx, id: MachineId, nonce: &str, until: Timestamp) -> Result<()> {
    sqlx::query("UPDATE machine SET lease_nonce = $2, lease_until = $3 WHERE id = $1")
        .bind(id.to_string())
        .bind(nonce)
        .bind(until.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Removes the row and leaves a tombstone: should the engine bring forth this machine once more (a creation that was
/// under way when the platform died), it is known to be garbage.
pub async fn delete(tx: &mut Tx, id: MachineId, now: Timestamp) -> Result<()> {
    for sql in [
        "DELETE FROM machine_metadata WHERE machine_id = $1",
        "DELETE FROM replaced_instance WHERE machine_id = $1",
        "DELETE FROM machine WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id.to_string()).execute(&mut **tx).await.map_err(store_error)?;
    }
    sqlx::query("INSERT INTO tombstone (machine_id, at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(id.to_string())
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn is_buried<'c>(db: impl Reads<'c>, id: MachineId) -> Result<bool> {
    let row = sqlx::query("SELECT machine_id FROM tombstone WHERE machine_id = $1")
        .bind(id.to_string())
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    Ok(row.is_some())
}
