//! Images.

use hafen_base::{ImageId, OperationId, Result, Timestamp};
use hafen_client::wire::{Image, ImageSource};
use hafen_db::{Row, Tx, sqlx, store_error};

use super::{Reads, json, number, optional, parsed, text, to_json};
use crate::engine::BuiltImage;

const COLUMNS: &str = "id, project, name, source, lock_wanted, wanted, state, reason, digest, lock, size, operation, \
                       generation, observed_generation, created_at";

/// An image with what is wanted of it.
#[derive(Debug, Clone)]
pub struct ImageRow {
    pub image: Image,
    pub lock_wanted: Option<String>,
    pub absent: bool,
}

fn image(row: &Row) -> Result<ImageRow> {
    let operation = optional(row, "operation")?;
    Ok(ImageRow {
        lock_wanted: optional(row, "lock_wanted")?,
        absent: text(row, "wanted")? == "absent",
        image: Image {
            id: parsed(row, "id")?,
            project: text(row, "project")?,
            name: text(row, "name")?,
            source: json(row, "source")?,
            state: text(row, "state")?,
            reason: text(row, "reason")?,
            digest: text(row, "digest")?,
            lock: text(row, "lock")?,
            size: number(row, "size")?,
            operation: operation.and_then(|id| id.parse().ok()),
            created_at: Timestamp::from_micros(number(row, "created_at")?),
            generation: number(row, "generation")?,
            observed_generation: number(row, "observed_generation")?,
        },
    })
}

pub async fn find<'c>(db: impl Reads<'c>, project: &str, name_or_id: &str) -> Result<Option<ImageRow>> {
    let sql = format!("SELECT {COLUMNS} FROM image WHERE project = $1 AND (name = $2 OR id = $2)");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project).bind(name_or_id).fetch_optional(db).await;
    row.map_err(store_error)?.as_ref().map(image).transpose()
}

pub async fn get<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<ImageRow>> {
    let sql = format!("SELECT {COLUMNS} FROM image WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(db).await;
    row.map_err(store_error)?.as_ref().map(image).transpose()
}

pub async fn list<'c>(db: impl Reads<'c>, project: &str, after: &str, limit: i64) -> Result<Vec<ImageRow>> {
    let sql = format!("SELECT {COLUMNS} FROM image WHERE project = $1 AND name > $2 ORDER BY name LIMIT $3");
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project).bind(after).bind(limit).fetch_all(db).await;
    rows.map_err(store_error)?.iter().map(image).collect()
}

pub async fn list_everywhere<'c>(db: impl Reads<'c>) -> Result<Vec<ImageRow>> {
    let sql = format!("SELECT {COLUMNS} FROM image ORDER BY id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(db).await.map_err(store_error)?;
    rows.iter().map(image).collect()
}

/// False when the name is taken.
pub async fn insert(tx: &mut Tx, image: &Image, lock: Option<&str>) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO image (id, project, name, source, lock_wanted, wanted, state, reason, digest, lock, size, operation, \
         generation, observed_generation, created_at) VALUES ($1, $2, $3, $4, $5, 'present', $6, '', '', '', 0, $7, $8, 0, $9) \
         ON CONFLICT DO NOTHING",
    )
    .bind(image.id.to_string())
    .bind(&image.project)
    .bind(&image.name)
    .bind(to_json(&image.source)?)
    .bind(lock.unwrap_or(""))
    .bind(&image.state)
    .bind(image.operation.map(|id| id.to_string()).unwrap_or_default())
    .bind(image.generation)
    .bind(image.created_at.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

pub async fn set_source(
    tx: &mut Tx,
    id: ImageId,
    source: &ImageSource,
    lock: Option<&str>,
    operation: OperationId,
) -> Result<()> {
    sqlx::query(
        "UPDATE image SET source = $2, lock_wanted = $3, operation = $4, state = 'building', reason = '', \
         generation = generation + 1 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(to_json(source)?)
    .bind(lock.unwrap_or(""))
    .bind(operation.to_string())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn want_absent(tx: &mut Tx, id: ImageId) -> Result<()> {
    sqlx::query(
        "UPDATE image SET wanted = 'absent', state = 'destroying', generation = generation + 1 WHERE id = $1",
    )
    .bind(id.to_string())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn set_ready(tx: &mut Tx, id: ImageId, generation: i64, built: &BuiltImage) -> Result<()> {
    sqlx::query(
        "UPDATE image SET state = 'ready', reason = '', digest = $3, lock = $4, size = $5, observed_generation = $2 \
         WHERE id = $1 AND generation = $2 AND wanted = 'present'",
    )
    .bind(id.to_string())
    .bind(generation)
    .bind(&built.digest)
    .bind(&built.lock)
    .bind(built.size)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn set_failed(tx: &mut Tx, id: ImageId, generation: i64, reason: &str) -> Result<()> {
    sqlx::query(
        "UPDATE image SET state = 'failed', reason = $3, observed_generation = $2 WHERE id = $1 AND generation = $2 \
         AND wanted = 'present'",
    )
    .bind(id.to_string())
    .bind(generation)
    .bind(reason)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn delete(tx: &mut Tx, id: ImageId) -> Result<()> {
    sqlx::query("DELETE FROM image WHERE id = $1")
        .bind(id.to_string())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// How many machines are made of it, or are to be.
pub async fn machine_count(tx: &mut Tx, project: &str, name: &str) -> Result<i64> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM machine WHERE project = $1 AND image = $2")
        .bind(project)
        .bind(name)
        .fetch_one(&mut **tx)
        .await
        .map_err(store_error)?;
    number(&row, "n")
}

/// Every digest that an image or a machine needs.
pub async fn digests<'c>(db: impl Reads<'c>) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "SELECT digest AS d FROM image WHERE digest <> '' UNION SELECT image_digest AS d FROM machine WHERE image_digest <> ''",
    )
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows.iter().map(|row| text(row, "d")).collect()
}
