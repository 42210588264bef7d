//! Pushes under way: what git was permitted to do, until it is told what it did.

use hafen_base::{Actor, Result, Timestamp};
use hafen_db::{Row, Tx, store_error};
use hafen_git::RefUpdate;

use super::{Reads, json, sqlx, text, to_json};

/// Accepted; whether references moved, the disk says.
pub const OPEN: &str = "open";
/// Written down as done; whoever listens is to be told yet.
pub const DONE: &str = "done";

#[derive(Debug, Clone)]
pub struct PushRow {
    pub id: String,
    pub repository: String,
    pub actor: Actor,
    pub updates: Vec<RefUpdate>,
    /// Secrets that the text says are meant to be there.
    pub notes: Vec<String>,
    pub state: String,
}

fn read(row: &Row) -> Result<PushRow> {
    Ok(PushRow {
        id: text(row, "id")?,
        repository: text(row, "repository")?,
        actor: json(row, "actor")?,
        updates: json(row, "updates")?,
        notes: json(row, "notes")?,
        state: text(row, "state")?,
    })
}

pub async fn insert(tx: &mut Tx, push: &PushRow, now: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO push (id, repository, actor, updates, notes, state, at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&push.id)
    .bind(&push.repository)
    .bind(to_json(&push.actor)?)
    .bind(to_json(&push.updates)?)
    .bind(to_json(&push.notes)?)
    .bind(&push.state)
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Those of a repository, oldest first.
pub async fn list<'c>(db: impl Reads<'c>, repository: &str) -> Result<Vec<PushRow>> {
    let rows = sqlx::query(
        "SELECT id, repository, actor, updates, notes, state FROM push WHERE repository = $1 ORDER BY id",
    )
    .bind(repository)
    .fetch_all(db)
    .await;
    rows.map_err(store_error)?.iter().map(read).collect()
}

/// Repositories that have any.
pub async fn repositories<'c>(db: impl Reads<'c>) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT DISTINCT repository FROM push").fetch_all(db).await;
    rows.map_err(store_error)?.iter().map(|row| text(row, "repository")).collect()
}

pub async fn delete(tx: &mut Tx, id: &str) -> Result<()> {
    sqlx::query("DELETE FROM push WHERE id = $1").bind(id).execute(&mut **tx).await.map_err(store_error)?;
    Ok(())
}
