//! Projects and their quotas.

use hafen_base::{Permitted, Result, Timestamp};
use hafen_client::wire::{Project, Quota, Usage};
use hafen_db::{Columns, Own, Row, Tx, Visible, sqlx, store_error};

use super::{Reads, number, text};

const COLUMNS: &str = "name, quota_machines, quota_cpus, quota_memory, quota_disk, used_machines, used_cpus, used_memory, \
                       used_disk, generation, created_at";

fn project(row: &Row) -> Result<Project> {
    Ok(Project {
        name: text(row, "name")?,
        quota: Quota {
            machines: number(row, "quota_machines")?,
            cpus: number(row, "quota_cpus")?,
            memory: number(row, "quota_memory")?,
            disk: number(row, "quota_disk")?,
        },
        usage: Usage {
            machines: number(row, "used_machines")?,
            cpus: number(row, "used_cpus")?,
            memory: number(row, "used_memory")?,
            disk: number(row, "used_disk")?,
        },
        generation: number(row, "generation")?,
        created_at: Timestamp::from_micros(number(row, "created_at")?),
    })
}

pub async fn find<'c>(db: impl Reads<'c>, name: &str) -> Result<Option<Project>> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM project WHERE name = $1"));
    let row = sqlx::query(sql).bind(name).fetch_optional(db).await.map_err(store_error)?;
    row.as_ref().map(project).transpose()
}

/// Those of them that may be seen.
pub async fn list<'c>(
    db: impl Reads<'c>,
    permitted: &Permitted,
    after: &str,
    limit: i64,
) -> Result<Vec<Project>> {
    let visible =
        Visible::new(permitted, Columns { project: "name", at: None, organisation: Own::Nowhere }, 3);
    let sql = format!(
        "SELECT {COLUMNS} FROM project WHERE name > $1 AND {} ORDER BY name LIMIT $2",
        visible.condition()
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(after.to_owned()).bind(limit);
    let rows = visible.bind(query).fetch_all(db).await.map_err(store_error)?;
    rows.iter().map(project).collect()
}

pub async fn insert(tx: &mut Tx, name: &str, quota: Quota, now: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO project (name, quota_machines, quota_cpus, quota_memory, quota_disk, used_machines, used_cpus, \
         used_memory, used_disk, generation, created_at) VALUES ($1, $2, $3, $4, $5, 0, 0, 0, 0, 1, $6)",
    )
    .bind(name)
    .bind(quota.machines)
    .bind(quota.cpus)
    .bind(quota.memory)
    .bind(quota.disk)
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn set_quota(tx: &mut Tx, name: &str, quota: Quota) -> Result<()> {
    sqlx::query(
        "UPDATE project SET quota_machines = $2, quota_cpus = $3, quota_memory = $4, quota_disk = $5, \
         generation = generation + 1 WHERE name = $1",
    )
    .bind(name)
    .bind(quota.machines)
    .bind(quota.cpus)
    .bind(quota.memory)
    .bind(quota.disk)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn delete(tx: &mut Tx, name: &str) -> Result<()> {
    sqlx::query("DELETE FROM project WHERE name = $1")
        .bind(name)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Adds to what the project uses if its quota allows; false when it does not. One statement, so that two requests at
/// the same time cannot both take the last place. A negative change always fits.
pub async fn use_more(tx: &mut Tx, name: &str, more: Usage) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE project SET used_machines = used_machines + $2, used_cpus = used_cpus + $3, \
         used_memory = used_memory + $4, used_disk = used_disk + $5 WHERE name = $1 \
         AND ($2 <= 0 OR used_machines + $2 <= quota_machines) AND ($3 <= 0 OR used_cpus + $3 <= quota_cpus) \
         AND ($4 <= 0 OR used_memory + $4 <= quota_memory) AND ($5 <= 0 OR used_disk + $5 <= quota_disk)",
    )
    .bind(name)
    .bind(more.machines)
    .bind(more.cpus)
    .bind(more.memory)
    .bind(more.disk)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// How many networks, images, machines and publications it holds.
pub async fn holds(tx: &mut Tx, name: &str) -> Result<i64> {
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM network WHERE project = $1) + (SELECT COUNT(*) FROM image WHERE project = $1) + \
         (SELECT COUNT(*) FROM machine WHERE project = $1) + (SELECT COUNT(*) FROM publication WHERE project = $1) AS n",
    )
    .bind(name)
    .fetch_one(&mut **tx)
    .await
    .map_err(store_error)?;
    number(&row, "n")
}
