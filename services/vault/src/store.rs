//! Queries of this service, and nothing else. Portable between SQLite and PostgreSQL: optional texts are empty, times are UTC
//! microseconds, 0 for none.

use hafen_base::{Error, Result, Timestamp};
use hafen_client::wire::{SecretInfo, SecretVersion};
use hafen_db::{Backend, Db, Migration, Row, Tx, sqlx, store_error};
use sqlx::Row as _;

pub const MIGRATIONS: &[Migration] = &[
    hafen_work::MIGRATION,
    hafen_work::ACTOR_MIGRATION,
    Migration {
        name: "20261128_vault",
        sql: "CREATE TABLE project_key (project TEXT PRIMARY KEY, born BIGINT NOT NULL, sealed TEXT NOT NULL);
CREATE TABLE secret (project TEXT NOT NULL, name TEXT NOT NULL, current BIGINT NOT NULL, generation BIGINT NOT NULL, created_at BIGINT NOT NULL, created_by TEXT NOT NULL, last_read BIGINT NOT NULL, PRIMARY KEY (project, name));
CREATE TABLE version (project TEXT NOT NULL, name TEXT NOT NULL, version BIGINT NOT NULL, value TEXT NOT NULL, created_at BIGINT NOT NULL, created_by TEXT NOT NULL, last_read BIGINT NOT NULL, destroyed_at BIGINT NOT NULL, destroyed_by TEXT NOT NULL, PRIMARY KEY (project, name, version));
CREATE TABLE trace (id BIGINT PRIMARY KEY, project TEXT NOT NULL, object TEXT NOT NULL, what TEXT NOT NULL);
CREATE TABLE followed (service TEXT PRIMARY KEY, seq BIGINT NOT NULL);
",
    },
];

/// Reads run on the reader pool or inside a transaction alike.
pub trait Reads<'c>: sqlx::Executor<'c, Database = sqlx::Any> {}
impl<'c, E: sqlx::Executor<'c, Database = sqlx::Any>> Reads<'c> for E {}

fn text(row: &Row, column: &str) -> Result<String> {
    row.try_get(column).map_err(store_error)
}

fn number(row: &Row, column: &str) -> Result<i64> {
    row.try_get(column).map_err(store_error)
}

fn time(row: &Row, column: &str) -> Result<Timestamp> {
    number(row, column).map(Timestamp::from_micros)
}

fn maybe(row: &Row, column: &str) -> Result<Option<Timestamp>> {
    Ok(Some(time(row, column)?).filter(|at| at.micros() != 0))
}

/// The sealed key of one life of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Empty for the key of the service itself.
    pub project: String,
    /// When this life of the project began.
    pub born: Timestamp,
    pub sealed: String,
}

fn key(row: &Row) -> Result<KeyRow> {
    Ok(KeyRow { project: text(row, "project")?, born: time(row, "born")?, sealed: text(row, "sealed")? })
}

pub async fn key_find<'c>(db: impl Reads<'c>, project: &str) -> Result<Option<KeyRow>> {
    let row = sqlx::query("SELECT project, born, sealed FROM project_key WHERE project = $1")
        .bind(project)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(key).transpose()
}

pub async fn key_list<'c>(db: impl Reads<'c>) -> Result<Vec<KeyRow>> {
    let rows = sqlx::query("SELECT project, born, sealed FROM project_key ORDER BY project")
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows.iter().map(key).collect()
}

pub async fn key_put(tx: &mut Tx, row: &KeyRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO project_key (project, born, sealed) VALUES ($1, $2, $3) \
         ON CONFLICT (project) DO UPDATE SET born = excluded.born, sealed = excluded.sealed",
    )
    .bind(&row.project)
    .bind(row.born.micros())
    .bind(&row.sealed)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Everything of a project, its key included; gives how many secrets that were.
pub async fn project_forget(tx: &mut Tx, project: &str) -> Result<u64> {
    let mut secrets = 0;
    for sql in [
        "DELETE FROM project_key WHERE project = $1",
        "DELETE FROM version WHERE project = $1",
        "DELETE FROM secret WHERE project = $1",
    ] {
        let done = sqlx::query(sql).bind(project).execute(&mut **tx).await.map_err(store_error)?;
        secrets = done.rows_affected();
    }
    Ok(secrets)
}

fn secret(row: &Row) -> Result<SecretInfo> {
    Ok(SecretInfo {
        project: text(row, "project")?,
        name: text(row, "name")?,
        current: number(row, "current")?,
        versions: Vec::new(),
        created_at: time(row, "created_at")?,
        created_by: text(row, "created_by")?,
        last_read: maybe(row, "last_read")?,
        generation: number(row, "generation")?,
    })
}

/// A secret without its versions.
pub async fn secret_find<'c>(db: impl Reads<'c>, project: &str, name: &str) -> Result<Option<SecretInfo>> {
    let row = sqlx::query("SELECT * FROM secret WHERE project = $1 AND name = $2")
        .bind(project)
        .bind(name)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(secret).transpose()
}

/// By name, without their versions.
pub async fn secret_list<'c>(
    db: impl Reads<'c>,
    project: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<SecretInfo>> {
    let rows = sqlx::query("SELECT * FROM secret WHERE project = $1 AND name > $2 ORDER BY name LIMIT $3")
        .bind(project)
        .bind(after)
        .bind(limit)
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows.iter().map(secret).collect()
}

pub async fn secret_count(tx: &mut Tx, project: &str) -> Result<i64> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM secret WHERE project = $1")
        .bind(project)
        .fetch_one(&mut **tx)
        .await
        .map_err(store_error)?;
    number(&row, "n")
}

pub async fn secret_insert(tx: &mut Tx, secret: &SecretInfo) -> Result<()> {
    sqlx::query(
        "INSERT INTO secret (project, name, current, generation, created_at, created_by, last_read) \
         VALUES ($1, $2, $3, $4, $5, $6, 0)",
    )
    .bind(&secret.project)
    .bind(&secret.name)
    .bind(secret.current)
    .bind(secret.generation)
    .bind(secret.created_at.micros())
    .bind(&secret.created_by)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Another current version, or only another generation.
pub async fn secret_change(tx: &mut Tx, secret: &SecretInfo) -> Result<()> {
    sqlx::query("UPDATE secret SET current = $3, generation = $4 WHERE project = $1 AND name = $2")
        .bind(&secret.project)
        .bind(&secret.name)
        .bind(secret.current)
        .bind(secret.generation)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn secret_delete(tx: &mut Tx, project: &str, name: &str) -> Result<()> {
    for sql in [
        "DELETE FROM version WHERE project = $1 AND name = $2",
        "DELETE FROM secret WHERE project = $1 AND name = $2",
    ] {
        sqlx::query(sql).bind(project).bind(name).execute(&mut **tx).await.map_err(store_error)?;
    }
    Ok(())
}

/// Newest first; what is current is for the caller to say.
pub async fn version_list<'c>(db: impl Reads<'c>, project: &str, name: &str) -> Result<Vec<SecretVersion>> {
    let rows = sqlx::query(
        "SELECT version, created_at, created_by, last_read, destroyed_at, destroyed_by FROM version \
         WHERE project = $1 AND name = $2 ORDER BY version DESC",
    )
    .bind(project)
    .bind(name)
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            let destroyed_at = maybe(row, "destroyed_at")?;
            Ok(SecretVersion {
                version: number(row, "version")?,
                state: if destroyed_at.is_some() { "destroyed" } else { "previous" }.to_owned(),
                created_at: time(row, "created_at")?,
                created_by: text(row, "created_by")?,
                last_read: maybe(row, "last_read")?,
                destroyed_at,
                destroyed_by: text(row, "destroyed_by")?,
            })
        })
        .collect()
}

/// A version that is about to be written.
#[derive(Debug)]
pub struct NewVersion<'a> {
    pub version: i64,
    /// Sealed.
    pub value: &'a str,
    pub created_at: Timestamp,
    pub created_by: &'a str,
}

pub async fn version_insert(tx: &mut Tx, project: &str, name: &str, new: &NewVersion<'_>) -> Result<()> {
    sqlx::query(
        "INSERT INTO version (project, name, version, value, created_at, created_by, last_read, destroyed_at, destroyed_by) \
         VALUES ($1, $2, $3, $4, $5, $6, 0, 0, '')",
    )
    .bind(project)
    .bind(name)
    .bind(new.version)
    .bind(new.value)
    .bind(new.created_at.micros())
    .bind(new.created_by)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// The sealed value of a version; empty when it is destroyed.
pub async fn version_value(tx: &mut Tx, project: &str, name: &str, version: i64) -> Result<Option<String>> {
    let row = sqlx::query("SELECT value FROM version WHERE project = $1 AND name = $2 AND version = $3")
        .bind(project)
        .bind(name)
        .bind(version)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.as_ref().map(|row| text(row, "value")).transpose()
}

pub async fn version_was_read(
    tx: &mut Tx,
    (project, name, version): (&str, &str, i64),
    at: Timestamp,
) -> Result<()> {
    sqlx::query("UPDATE secret SET last_read = $3 WHERE project = $1 AND name = $2")
        .bind(project)
        .bind(name)
        .bind(at.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    sqlx::query("UPDATE version SET last_read = $4 WHERE project = $1 AND name = $2 AND version = $3")
        .bind(project)
        .bind(name)
        .bind(version)
        .bind(at.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Takes the value away for good, and forgets the oldest of the destroyed but for so many.
pub async fn version_destroy(
    tx: &mut Tx,
    (project, name, version): (&str, &str, i64),
    at: Timestamp,
    by: &str,
    told: i64,
) -> Result<()> {
    sqlx::query(
        "UPDATE version SET value = '', destroyed_at = $4, destroyed_by = $5 WHERE project = $1 AND name = $2 AND version = $3",
    )
    .bind(project)
    .bind(name)
    .bind(version)
    .bind(at.micros())
    .bind(by)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    sqlx::query(
        "DELETE FROM version WHERE project = $1 AND name = $2 AND destroyed_at > 0 AND version NOT IN \
         (SELECT version FROM version WHERE project = $1 AND name = $2 AND destroyed_at > 0 ORDER BY version DESC LIMIT $3)",
    )
    .bind(project)
    .bind(name)
    .bind(told)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// What was destroyed, and may still lie where the database keeps what it deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub id: i64,
    pub project: String,
    /// As `secret/db-password`.
    pub object: String,
    /// For a person.
    pub what: String,
}

pub async fn trace_insert(tx: &mut Tx, project: &str, object: &str, what: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO trace (id, project, object, what) VALUES ((SELECT COALESCE(MAX(id), 0) + 1 FROM trace), $1, $2, $3)",
    )
    .bind(project)
    .bind(object)
    .bind(what)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn trace_list<'c>(db: impl Reads<'c>) -> Result<Vec<Trace>> {
    let rows = sqlx::query("SELECT id, project, object, what FROM trace ORDER BY id LIMIT 500")
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            Ok(Trace {
                id: number(row, "id")?,
                project: text(row, "project")?,
                object: text(row, "object")?,
                what: text(row, "what")?,
            })
        })
        .collect()
}

/// Gives whether it was there: of several who remove traces, one tells of it.
pub async fn trace_done(tx: &mut Tx, trace: &Trace) -> Result<bool> {
    let done = sqlx::query("DELETE FROM trace WHERE id = $1 AND project = $2 AND object = $3")
        .bind(trace.id)
        .bind(&trace.project)
        .bind(&trace.object)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() > 0)
}

/// Removes what the database still holds of what was deleted before, by writing it anew; and ends SQLite's log. What PostgreSQL archives
/// of its own log is its operator's to keep.
///
/// # Errors
/// Unavailable while somebody reads; as the database's.
pub async fn traces_remove(db: &Db) -> Result<()> {
    match db.backend() {
        Backend::Sqlite => {
            // What is deleted, and what was moved from page to page before, lies in the file until that.
            sqlx::query("VACUUM").execute(db.reader()).await.map_err(store_error)?;
            let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
                .fetch_one(db.reader())
                .await
                .map_err(store_error)?;
            let busy: i64 = row.try_get(0).map_err(store_error)?;
            if busy != 0 {
                return Err(Error::unavailable("the database is in use; its log ends later"));
            }
        }
        Backend::Postgres => {
            for sql in ["VACUUM FULL version", "VACUUM FULL project_key"] {
                sqlx::query(sql).execute(db.reader()).await.map_err(store_error)?;
            }
        }
    }
    Ok(())
}

/// Up to where the log of another service was read.
pub async fn followed<'c>(db: impl Reads<'c>, service: &str) -> Result<i64> {
    let row = sqlx::query("SELECT seq FROM followed WHERE service = $1")
        .bind(service)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.map_or(Ok(0), |row| number(&row, "seq"))
}

pub async fn set_followed(tx: &mut Tx, service: &str, seq: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO followed (service, seq) VALUES ($1, $2) ON CONFLICT (service) DO UPDATE SET seq = excluded.seq",
    )
    .bind(service)
    .bind(seq)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}
