//! Networks and the addresses given out in them.

use hafen_base::{MachineId, NetworkId, Result, Timestamp};
use hafen_client::wire::{Egress, Network};
use hafen_db::{Row, Tx, is_unique_violation, sqlx, store_error};

use super::{Reads, json, number, parsed, text, to_json};

const COLUMNS: &str =
    "id, project, name, egress, subnet, wanted, state, reason, generation, observed_generation, created_at";

/// A network with what is wanted of it.
#[derive(Debug, Clone)]
pub struct NetworkRow {
    pub network: Network,
    pub absent: bool,
}

fn network(row: &Row) -> Result<NetworkRow> {
    Ok(NetworkRow {
        absent: text(row, "wanted")? == "absent",
        network: Network {
            id: parsed(row, "id")?,
            project: text(row, "project")?,
            name: text(row, "name")?,
            egress: json(row, "egress")?,
            subnet: text(row, "subnet")?,
            state: text(row, "state")?,
            reason: text(row, "reason")?,
            created_at: Timestamp::from_micros(number(row, "created_at")?),
            generation: number(row, "generation")?,
            observed_generation: number(row, "observed_generation")?,
        },
    })
}

pub async fn find<'c>(db: impl Reads<'c>, project: &str, name_or_id: &str) -> Result<Option<NetworkRow>> {
    let sql = format!("SELECT {COLUMNS} FROM network WHERE project = $1 AND (name = $2 OR id = $2)");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project).bind(name_or_id).fetch_optional(db).await;
    row.map_err(store_error)?.as_ref().map(network).transpose()
}

pub async fn get<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<NetworkRow>> {
    let sql = format!("SELECT {COLUMNS} FROM network WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(db).await;
    row.map_err(store_error)?.as_ref().map(network).transpose()
}

pub async fn list<'c>(db: impl Reads<'c>, project: &str, after: &str, limit: i64) -> Result<Vec<NetworkRow>> {
    let sql =
        format!("SELECT {COLUMNS} FROM network WHERE project = $1 AND name > $2 ORDER BY name LIMIT $3");
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project).bind(after).bind(limit).fetch_all(db).await;
    rows.map_err(store_error)?.iter().map(network).collect()
}

pub async fn list_everywhere<'c>(db: impl Reads<'c>) -> Result<Vec<NetworkRow>> {
    let sql = format!("SELECT {COLUMNS} FROM network ORDER BY id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(db).await.map_err(store_error)?;
    rows.iter().map(network).collect()
}

/// False when the name is taken.
pub async fn insert(tx: &mut Tx, network: &Network) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO network (id, project, name, egress, subnet, wanted, state, reason, generation, observed_generation, \
         created_at) VALUES ($1, $2, $3, $4, $5, 'present', $6, '', $7, 0, $8) ON CONFLICT DO NOTHING",
    )
    .bind(network.id.to_string())
    .bind(&network.project)
    .bind(&network.name)
    .bind(to_json(&network.egress)?)
    .bind(&network.subnet)
    .bind(&network.state)
    .bind(network.generation)
    .bind(network.created_at.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

pub async fn set_egress(tx: &mut Tx, id: NetworkId, egress: &Egress) -> Result<()> {
    sqlx::query("UPDATE network SET egress = $2, generation = generation + 1 WHERE id = $1")
        .bind(id.to_string())
        .bind(to_json(egress)?)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn want_absent(tx: &mut Tx, id: NetworkId) -> Result<()> {
    sqlx::query(
        "UPDATE network SET wanted = 'absent', state = 'destroying', generation = generation + 1 WHERE id = $1",
    )
    .bind(id.to_string())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn set_seen(tx: &mut Tx, id: NetworkId, state: &str, reason: &str, generation: i64) -> Result<()> {
    sqlx::query(
        "UPDATE network SET state = $2, reason = $3, observed_generation = $4 WHERE id = $1 AND generation >= $4",
    )
    .bind(id.to_string())
    .bind(state)
    .bind(reason)
    .bind(generation)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn delete(tx: &mut Tx, id: NetworkId) -> Result<()> {
    sqlx::query("DELETE FROM network WHERE id = $1")
        .bind(id.to_string())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn machine_count(tx: &mut Tx, id: NetworkId) -> Result<i64> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM machine WHERE network_id = $1")
        .bind(id.to_string())
        .fetch_one(&mut **tx)
        .await
        .map_err(store_error)?;
    number(&row, "n")
}

/// Takes this position for the machine; false when it is taken.
pub async fn take_address(tx: &mut Tx, id: NetworkId, position: u32, machine: MachineId) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO address (network_id, position, machine_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(id.to_string())
    .bind(i64::from(position))
    .bind(machine.to_string())
    .execute(&mut **tx)
    .await;
    match done {
        Ok(done) => Ok(done.rows_affected() == 1),
        Err(error) if is_unique_violation(&error) => Ok(false),
        Err(error) => Err(store_error(error)),
    }
}

/// The highest position taken, or none.
pub async fn highest_position(tx: &mut Tx, id: NetworkId) -> Result<Option<u32>> {
    let row = sqlx::query("SELECT COALESCE(MAX(position), -1) AS n FROM address WHERE network_id = $1")
        .bind(id.to_string())
        .fetch_one(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(u32::try_from(number(&row, "n")?).ok())
}

/// All positions taken, ascending.
pub async fn positions(tx: &mut Tx, id: NetworkId) -> Result<Vec<u32>> {
    let rows = sqlx::query("SELECT position FROM address WHERE network_id = $1 ORDER BY position")
        .bind(id.to_string())
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
    rows.iter().map(|row| Ok(u32::try_from(number(row, "position")?).unwrap_or(u32::MAX))).collect()
}

pub async fn release_addresses(tx: &mut Tx, machine: MachineId) -> Result<()> {
    sqlx::query("DELETE FROM address WHERE machine_id = $1")
        .bind(machine.to_string())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
