//! Operations.

use hafen_base::{OperationId, Permitted, Result, Timestamp};
use hafen_client::wire::{Operation, OperationStatus};
use hafen_db::{Columns, Own, Row, Tx, Visible, sqlx, store_error};

use super::{Reads, json, number, parsed, text, to_json};

const COLUMNS: &str = "id, project, kind, resources, status, may_cancel, error, created_at, updated_at";

fn operation(row: &Row) -> Result<Operation> {
    let status = OperationStatus::parse(&text(row, "status")?).unwrap_or(OperationStatus::Failed);
    Ok(Operation {
        id: parsed(row, "id")?,
        project: text(row, "project")?,
        kind: text(row, "kind")?,
        resources: json(row, "resources")?,
        status,
        status_code: status.code(),
        may_cancel: number(row, "may_cancel")? == 1 && status == OperationStatus::Running,
        progress: String::new(),
        percent: None,
        error: text(row, "error")?,
        created_at: Timestamp::from_micros(number(row, "created_at")?),
        updated_at: Timestamp::from_micros(number(row, "updated_at")?),
    })
}

pub async fn get<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<Operation>> {
    let sql = format!("SELECT {COLUMNS} FROM operation WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(db).await.map_err(store_error)?;
    row.as_ref().map(operation).transpose()
}

/// Those that may be seen, newest first; `before` is the id after which the page starts.
pub async fn list<'c>(
    db: impl Reads<'c>,
    permitted: &Permitted,
    before: &str,
    limit: i64,
) -> Result<Vec<Operation>> {
    let columns = Columns { project: "project", at: Some("created_at"), organisation: Own::Nowhere };
    let visible = Visible::new(permitted, columns, 3);
    let sql = format!(
        "SELECT {COLUMNS} FROM operation WHERE ($1 = '' OR id < $1) AND {} ORDER BY id DESC LIMIT $2",
        visible.condition()
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(before.to_owned()).bind(limit);
    let rows = visible.bind(query).fetch_all(db).await.map_err(store_error)?;
    rows.iter().map(operation).collect()
}

pub async fn insert(
    tx: &mut Tx,
    id: OperationId,
    project: &str,
    kind: &str,
    resources: &[String],
    may_cancel: bool,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO operation (id, project, kind, resources, status, may_cancel, error, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, 'running', $5, '', $6, $6)",
    )
    .bind(id.to_string())
    .bind(project)
    .bind(kind)
    .bind(to_json(&resources)?)
    .bind(i64::from(may_cancel))
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Ends it, once: false when it had ended before.
pub async fn finish(
    tx: &mut Tx,
    id: OperationId,
    status: OperationStatus,
    error: &str,
    now: Timestamp,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE operation SET status = $2, error = $3, updated_at = $4 WHERE id = $1 AND status = 'running'",
    )
    .bind(id.to_string())
    .bind(status.as_str())
    .bind(error)
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// Forgets operations that ended before this time.
pub async fn forget_before(tx: &mut Tx, before: Timestamp) -> Result<()> {
    sqlx::query("DELETE FROM operation WHERE status <> 'running' AND updated_at < $1")
        .bind(before.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Ids of running operations of a kind.
pub async fn running<'c>(db: impl Reads<'c>, kind: &str) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT id FROM operation WHERE status = 'running' AND kind = $1")
        .bind(kind)
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows.iter().map(|row| text(row, "id")).collect()
}
