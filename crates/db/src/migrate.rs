//! Migrations: named by timestamp, run once each, in order; they only add (expand now, contract in a later release).

use hafen_base::{Error, Result};
use sqlx::{Executor as _, Row as _};

use crate::{Backend, Db, store_error};

/// One step of a schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// As `20261124_machines`.
    pub name: &'static str,
    /// Statements separated by `;` at a line's end.
    pub sql: &'static str,
}

pub(crate) async fn run(db: &Db, migrations: &[Migration]) -> Result<()> {
    let mut tx = db.write().await?;
    if db.backend() == Backend::Postgres {
        // Two replicas that start together: the second waits for the first.
        tx.execute("SELECT pg_advisory_xact_lock(724551)").await.map_err(store_error)?;
    }
    tx.execute("CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, position BIGINT NOT NULL)")
        .await
        .map_err(store_error)?;
    let done: Vec<String> = sqlx::query("SELECT name FROM migration ORDER BY position")
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?
        .iter()
        .map(|row| row.try_get("name").map_err(store_error))
        .collect::<Result<_>>()?;
    if done.len() > migrations.len() {
        return Err(Error::unavailable(format!(
            "the database was written by a newer Hafen (it has {} migrations, this one knows {}): use that version",
            done.len(),
            migrations.len()
        )));
    }
    for (position, migration) in migrations.iter().enumerate() {
        match done.get(position) {
            Some(name) if name == migration.name => continue,
            Some(name) => {
                return Err(Error::unavailable(format!(
                    "migration {position} in the database is {name:?}, here it is {:?}: this is another lineage",
                    migration.name
                )));
            }
            None => {}
        }
        for statement in migration.sql.split(";\n").map(str::trim).filter(|s| !s.is_empty()) {
            tx.execute(statement).await.map_err(store_error)?;
        }
        sqlx::query("INSERT INTO migration (name, position) VALUES ($1, $2)")
            .bind(migration.name)
            .bind(i64::try_from(position).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
    }
    tx.commit().await.map_err(store_error)
}
