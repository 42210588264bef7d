//! Queries of this service, and nothing else. Portable between SQLite and PostgreSQL: optional texts are empty, flags are 0
//! and 1, times are UTC microseconds.

use hafen_base::{Actor, Error, OperationId, Result, Timestamp};
use hafen_client::wire::{Apply, ApplyStep};
use hafen_db::{Migration, Row, Tx, is_unique_violation, sqlx, store_error};
use sqlx::Row as _;

/// Reads run on the reader pool or inside a transaction alike.
pub trait Reads<'c>: sqlx::Executor<'c, Database = sqlx::Any> {}
impl<'c, E: sqlx::Executor<'c, Database = sqlx::Any>> Reads<'c> for E {}

/// The schema. That one apply of a project runs at a time is the database's to keep (`apply_running`): two requests at once
/// must not both see that none runs.
pub const MIGRATIONS: &[Migration] = &[
    hafen_work::MIGRATION,
    Migration {
        name: "20261124_stacks",
        sql: "CREATE TABLE stack (project TEXT PRIMARY KEY, serial BIGINT NOT NULL, source TEXT NOT NULL, applied TEXT NOT NULL, owned TEXT NOT NULL, apply TEXT NOT NULL, ended BIGINT NOT NULL, updated_at BIGINT NOT NULL);
CREATE TABLE apply (id TEXT PRIMARY KEY, project TEXT NOT NULL, status TEXT NOT NULL, destroy BIGINT NOT NULL, source TEXT NOT NULL, before TEXT NOT NULL, error TEXT NOT NULL, cancelled BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL);
CREATE INDEX apply_project ON apply (project, id);
CREATE UNIQUE INDEX apply_running ON apply (project) WHERE status = 'running';
CREATE TABLE apply_step (apply TEXT NOT NULL, position BIGINT NOT NULL, address TEXT NOT NULL, action TEXT NOT NULL, status TEXT NOT NULL, message TEXT NOT NULL, took_ms BIGINT NOT NULL, PRIMARY KEY (apply, position));
",
    },
    hafen_work::ACTOR_MIGRATION,
    Migration {
        name: "20261125_apply_actor",
        sql: "ALTER TABLE apply ADD COLUMN actor TEXT NOT NULL DEFAULT '';
",
    },
];

/// A stack as it is kept. The texts are JSON of this service's own making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackRow {
    pub project: String,
    pub serial: i64,
    /// `StackSource` of the last apply that was accepted.
    pub source: String,
    /// `StackSource` of the last apply that succeeded; empty when there is none.
    pub applied: String,
    /// Addresses of what this stack made, or may have made.
    pub owned: String,
    pub apply: String,
    /// The last apply accepted was the end of it.
    pub ended: bool,
    pub updated_at: Timestamp,
}

/// An apply without its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyRow {
    pub id: OperationId,
    pub project: String,
    pub status: String,
    pub destroy: bool,
    pub source: String,
    /// What was wanted before it; empty when nothing was.
    pub before: String,
    pub error: String,
    pub cancelled: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Who asked for it: its steps are this actor's acts, whenever they are taken.
    pub actor: Actor,
}

impl ApplyRow {
    pub fn wire(self, steps: Vec<ApplyStep>) -> Apply {
        Apply {
            id: self.id,
            project: self.project,
            status: self.status,
            steps,
            error: self.error,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

fn text(row: &Row, column: &str) -> Result<String> {
    row.try_get(column).map_err(store_error)
}

fn number(row: &Row, column: &str) -> Result<i64> {
    row.try_get(column).map_err(store_error)
}

fn time(row: &Row, column: &str) -> Result<Timestamp> {
    number(row, column).map(Timestamp::from_micros)
}

pub async fn stack<'c>(db: impl Reads<'c>, project: &str) -> Result<Option<StackRow>> {
    let row = sqlx::query(
        "SELECT project, serial, source, applied, owned, apply, ended, updated_at FROM stack WHERE project = $1",
    )
    .bind(project)
    .fetch_optional(db)
    .await
    .map_err(store_error)?;
    row.map(|row| {
        Ok(StackRow {
            project: text(&row, "project")?,
            serial: number(&row, "serial")?,
            source: text(&row, "source")?,
            applied: text(&row, "applied")?,
            owned: text(&row, "owned")?,
            apply: text(&row, "apply")?,
            ended: number(&row, "ended")? != 0,
            updated_at: time(&row, "updated_at")?,
        })
    })
    .transpose()
}

/// Writes a stack whose serial was `serial` before; false when it is another by now.
pub async fn put_stack(tx: &mut Tx, stack: &StackRow, serial: i64) -> Result<bool> {
    let sql = if serial == 0 {
        "INSERT INTO stack (project, serial, source, applied, owned, apply, ended, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (project) DO NOTHING"
    } else {
        "UPDATE stack SET serial = $2, source = $3, applied = $4, owned = $5, apply = $6, ended = $7, updated_at = $8 \
         WHERE project = $1 AND serial = $9"
    };
    let mut query = sqlx::query(sql)
        .bind(&stack.project)
        .bind(stack.serial)
        .bind(&stack.source)
        .bind(&stack.applied)
        .bind(&stack.owned)
        .bind(&stack.apply)
        .bind(i64::from(stack.ended))
        .bind(stack.updated_at.micros());
    if serial != 0 {
        query = query.bind(serial);
    }
    Ok(query.execute(&mut **tx).await.map_err(store_error)?.rows_affected() == 1)
}

pub async fn set_owned(tx: &mut Tx, project: &str, owned: &str) -> Result<()> {
    sqlx::query("UPDATE stack SET owned = $2 WHERE project = $1")
        .bind(project)
        .bind(owned)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// What an apply that succeeded leaves.
pub async fn set_applied(tx: &mut Tx, project: &str, applied: &str, owned: &str) -> Result<()> {
    sqlx::query("UPDATE stack SET applied = $2, owned = $3 WHERE project = $1")
        .bind(project)
        .bind(applied)
        .bind(owned)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Writes a new, running apply.
///
/// # Errors
/// Conflict when another of the project runs.
pub async fn insert_apply(tx: &mut Tx, apply: &ApplyRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO apply (id, project, status, destroy, source, before, error, cancelled, created_at, updated_at, \
         actor) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(apply.id.to_string())
    .bind(&apply.project)
    .bind(&apply.status)
    .bind(i64::from(apply.destroy))
    .bind(&apply.source)
    .bind(&apply.before)
    .bind(&apply.error)
    .bind(i64::from(apply.cancelled))
    .bind(apply.created_at.micros())
    .bind(apply.updated_at.micros())
    .bind(serde_json::to_string(&apply.actor).map_err(Error::internal)?)
    .execute(&mut **tx)
    .await
    .map_err(|error| if is_unique_violation(&error) { busy(&apply.project, None) } else { store_error(error) })?;
    Ok(())
}

/// `running` is not known to one that lost the race for the row.
pub fn busy(project: &str, running: Option<&str>) -> Error {
    let next = running.map_or_else(
        || "wait for its end, or cancel it".to_owned(),
        |id| {
            let command = |verb: &str| format!("hafen operation {verb} {id} -p {project}");
            format!("follow it with: {}; end it with: {}", command("wait"), command("cancel"))
        },
    );
    Error::conflict(format!("another apply of project {project} runs: {next}")).with_code("apply_running")
}

const APPLY: &str =
    "id, project, status, destroy, source, before, error, cancelled, created_at, updated_at, actor";

fn apply_row(row: &Row) -> Result<ApplyRow> {
    Ok(ApplyRow {
        id: text(row, "id")?.parse().map_err(Error::internal)?,
        project: text(row, "project")?,
        status: text(row, "status")?,
        destroy: number(row, "destroy")? != 0,
        source: text(row, "source")?,
        before: text(row, "before")?,
        error: text(row, "error")?,
        cancelled: number(row, "cancelled")? != 0,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        // Accepted before there were actors: nobody knows any more.
        actor: serde_json::from_str(&text(row, "actor")?).unwrap_or_else(|_| Actor::platform()),
    })
}

pub async fn apply<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<ApplyRow>> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {APPLY} FROM apply WHERE id = $1"));
    let row = sqlx::query(sql).bind(id).fetch_optional(db).await.map_err(store_error)?;
    row.as_ref().map(apply_row).transpose()
}

/// Newest first; `below` is an id, or empty for the first page.
pub async fn applies<'c>(
    db: impl Reads<'c>,
    project: &str,
    below: &str,
    limit: i64,
) -> Result<Vec<ApplyRow>> {
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {APPLY} FROM apply WHERE project = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3"
    ));
    let rows =
        sqlx::query(sql).bind(project).bind(below).bind(limit).fetch_all(db).await.map_err(store_error)?;
    rows.iter().map(apply_row).collect()
}

pub async fn running<'c>(db: impl Reads<'c>) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT id FROM apply WHERE status = 'running' ORDER BY id")
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows.iter().map(|row| text(row, "id")).collect()
}

pub async fn running_of<'c>(db: impl Reads<'c>, project: &str) -> Result<Option<String>> {
    let row = sqlx::query("SELECT id FROM apply WHERE status = 'running' AND project = $1")
        .bind(project)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.map(|row| text(&row, "id")).transpose()
}

/// Ends an apply; false when it had ended already.
pub async fn end_apply(tx: &mut Tx, id: &str, status: &str, error: &str, now: Timestamp) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE apply SET status = $2, error = $3, updated_at = $4 WHERE id = $1 AND status = 'running'",
    )
    .bind(id)
    .bind(status)
    .bind(error)
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

pub async fn cancel_apply(tx: &mut Tx, id: &str) -> Result<()> {
    sqlx::query("UPDATE apply SET cancelled = 1 WHERE id = $1 AND status = 'running'")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Steps per statement: SQLite and PostgreSQL both take this many parameters.
const ROWS: usize = 200;

/// Adds steps after position `first`.
pub async fn insert_steps(tx: &mut Tx, id: &str, first: usize, steps: &[ApplyStep]) -> Result<()> {
    use std::fmt::Write as _;
    let mut position = i64::try_from(first).unwrap_or(i64::MAX);
    for part in steps.chunks(ROWS) {
        let mut sql =
            "INSERT INTO apply_step (apply, position, address, action, status, message, took_ms) VALUES "
                .to_owned();
        for row in 0..part.len() {
            let at = row * 6 + 1;
            let comma = if row == 0 { "" } else { ", " };
            // Writing to a string cannot fail.
            let _infallible = write!(
                sql,
                "{comma}($1, ${}, ${}, ${}, ${}, ${}, ${})",
                at + 1,
                at + 2,
                at + 3,
                at + 4,
                at + 5,
                at + 6
            );
        }
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id);
        for step in part {
            query = query
                .bind(position)
                .bind(&step.address)
                .bind(&step.action)
                .bind(&step.status)
                .bind(&step.message)
                .bind(step.took_ms.unwrap_or(-1));
            position += 1;
        }
        query.execute(&mut **tx).await.map_err(store_error)?;
    }
    Ok(())
}

pub async fn set_step(tx: &mut Tx, id: &str, position: usize, step: &ApplyStep) -> Result<()> {
    sqlx::query(
        "UPDATE apply_step SET status = $3, message = $4, took_ms = $5 WHERE apply = $1 AND position = $2",
    )
    .bind(id)
    .bind(i64::try_from(position).unwrap_or(i64::MAX))
    .bind(&step.status)
    .bind(&step.message)
    .bind(step.took_ms.unwrap_or(-1))
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn steps<'c>(db: impl Reads<'c>, id: &str) -> Result<Vec<ApplyStep>> {
    let rows = sqlx::query(
        "SELECT address, action, status, message, took_ms FROM apply_step WHERE apply = $1 ORDER BY position",
    )
    .bind(id)
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            Ok(ApplyStep {
                address: text(row, "address")?,
                action: text(row, "action")?,
                status: text(row, "status")?,
                message: text(row, "message")?,
                took_ms: Some(number(row, "took_ms")?).filter(|took| *took >= 0),
            })
        })
        .collect()
}
