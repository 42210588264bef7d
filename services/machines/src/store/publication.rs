//! Published ports.

use hafen_base::{PublicationId, Result};
use hafen_client::wire::Publication;
use hafen_db::{Row, Tx, sqlx, store_error};

use super::{Reads, json, number, parsed, text, to_json};

const COLUMNS: &str = "id, project, name, host, group_name, port, wanted, state, reason, backends, generation, observed_generation";

#[derive(Debug, Clone)]
pub struct PublicationRow {
    pub publication: Publication,
    pub absent: bool,
    pub observed_generation: i64,
}

fn publication(row: &Row) -> Result<PublicationRow> {
    Ok(PublicationRow {
        absent: text(row, "wanted")? == "absent",
        observed_generation: number(row, "observed_generation")?,
        publication: Publication {
            id: parsed(row, "id")?,
            project: text(row, "project")?,
            name: text(row, "name")?,
            host: text(row, "host")?,
            group: text(row, "group_name")?,
            port: u16::try_from(number(row, "port")?).unwrap_or(0),
            state: text(row, "state")?,
            reason: text(row, "reason")?,
            backends: json(row, "backends")?,
            generation: number(row, "generation")?,
        },
    })
}

pub async fn find<'c>(db: impl Reads<'c>, project: &str, name_or_id: &str) -> Result<Option<PublicationRow>> {
    let sql = format!("SELECT {COLUMNS} FROM publication WHERE project = $1 AND (name = $2 OR id = $2)");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project).bind(name_or_id).fetch_optional(db).await;
    row.map_err(store_error)?.as_ref().map(publication).transpose()
}

pub async fn get<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<PublicationRow>> {
    let sql = format!("SELECT {COLUMNS} FROM publication WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(db).await;
    row.map_err(store_error)?.as_ref().map(publication).transpose()
}

pub async fn list<'c>(
    db: impl Reads<'c>,
    project: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<PublicationRow>> {
    let sql =
        format!("SELECT {COLUMNS} FROM publication WHERE project = $1 AND name > $2 ORDER BY name LIMIT $3");
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project).bind(after).bind(limit).fetch_all(db).await;
    rows.map_err(store_error)?.iter().map(publication).collect()
}

pub async fn list_everywhere<'c>(db: impl Reads<'c>) -> Result<Vec<PublicationRow>> {
    let sql = format!("SELECT {COLUMNS} FROM publication ORDER BY id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(db).await.map_err(store_error)?;
    rows.iter().map(publication).collect()
}

/// False when the name, or the port on the host, is taken.
pub async fn insert(tx: &mut Tx, publication: &Publication) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO publication (id, project, name, host, group_name, port, wanted, state, reason, backends, generation, \
         observed_generation) VALUES ($1, $2, $3, $4, $5, $6, 'present', $7, '', '[]', $8, 0) ON CONFLICT DO NOTHING",
    )
    .bind(publication.id.to_string())
    .bind(&publication.project)
    .bind(&publication.name)
    .bind(&publication.host)
    .bind(&publication.group)
    .bind(i64::from(publication.port))
    .bind(&publication.state)
    .bind(publication.generation)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// It is ready again when the engine has carried it out.
pub async fn set_wanted(tx: &mut Tx, id: PublicationId, group: &str, port: u16) -> Result<()> {
    sqlx::query(
        "UPDATE publication SET group_name = $2, port = $3, wanted = 'present', state = 'creating', \
         generation = generation + 1 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(group)
    .bind(i64::from(port))
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn want_absent(tx: &mut Tx, id: PublicationId) -> Result<()> {
    sqlx::query(
        "UPDATE publication SET wanted = 'absent', state = 'destroying', generation = generation + 1 WHERE id = $1",
    )
    .bind(id.to_string())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn set_seen(
    tx: &mut Tx,
    id: PublicationId,
    generation: i64,
    state: &str,
    reason: &str,
    backends: &[String],
) -> Result<()> {
    sqlx::query(
        "UPDATE publication SET state = $3, reason = $4, backends = $5, observed_generation = $2 \
         WHERE id = $1 AND generation = $2 AND wanted = 'present'",
    )
    .bind(id.to_string())
    .bind(generation)
    .bind(state)
    .bind(reason)
    .bind(to_json(&backends)?)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn delete(tx: &mut Tx, id: PublicationId) -> Result<()> {
    sqlx::query("DELETE FROM publication WHERE id = $1")
        .bind(id.to_string())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
