//! Repositories, and what was told of their references.

use hafen_base::{Result, Timestamp};
use hafen_client::wire::Repository;
use hafen_db::{Migration, Row, Tx, store_error};

use super::{Reads, json, number, sqlx, text, time, time_if, to_json};

pub const MIGRATION: Migration = Migration {
    name: "20261128_repositories",
    sql: "CREATE TABLE repository (id TEXT PRIMARY KEY, project TEXT NOT NULL, project_since BIGINT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL, default_branch TEXT NOT NULL, protected TEXT NOT NULL, size_limit BIGINT NOT NULL, object_limit BIGINT NOT NULL, size BIGINT NOT NULL, generation BIGINT NOT NULL, created_at BIGINT NOT NULL, pushed_at BIGINT NOT NULL, packed_at BIGINT NOT NULL, orphan_since BIGINT NOT NULL, UNIQUE (project, name));
CREATE TABLE reference (repository TEXT NOT NULL, name TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (repository, name));
CREATE TABLE push (id TEXT PRIMARY KEY, repository TEXT NOT NULL, actor TEXT NOT NULL, updates TEXT NOT NULL, notes TEXT NOT NULL, state TEXT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX push_repository ON push (repository, id);
CREATE TABLE deploy_key (id TEXT PRIMARY KEY, repository TEXT NOT NULL, name TEXT NOT NULL, public_key TEXT NOT NULL, fingerprint TEXT NOT NULL, writes BIGINT NOT NULL, created_by TEXT NOT NULL, created_at BIGINT NOT NULL, used_at BIGINT NOT NULL, UNIQUE (repository, fingerprint), UNIQUE (repository, name));
CREATE INDEX deploy_key_fingerprint ON deploy_key (fingerprint);
CREATE TABLE repository_gone (id TEXT PRIMARY KEY, at BIGINT NOT NULL);
",
};

const COLUMNS: &str = "id, project, project_since, name, description, default_branch, protected, size_limit, object_limit, size, \
     generation, created_at, pushed_at, packed_at, orphan_since";

/// A repository with what the API does not show.
#[derive(Debug, Clone)]
pub struct RepositoryRow {
    pub repository: Repository,
    /// When the project was founded that it is of: another project of that name is another.
    pub project_since: i64,
    /// When packs were last put together.
    pub packed_at: Option<Timestamp>,
    /// Since when its project is gone.
    pub orphan_since: Option<Timestamp>,
}

/// Where git finds a repository, below the platform's URL.
pub fn path(project: &str, name: &str) -> String {
    format!("/git/{project}/{name}.git")
}

fn read(row: &Row) -> Result<RepositoryRow> {
    let (project, name) = (text(row, "project")?, text(row, "name")?);
    Ok(RepositoryRow {
        project_since: number(row, "project_since")?,
        packed_at: time_if(row, "packed_at")?,
        orphan_since: time_if(row, "orphan_since")?,
        repository: Repository {
            id: text(row, "id")?,
            path: path(&project, &name),
            project,
            name,
            description: text(row, "description")?,
            default_branch: text(row, "default_branch")?,
            protected: json(row, "protected")?,
            size_limit: number(row, "size_limit")?,
            object_limit: number(row, "object_limit")?,
            size: number(row, "size")?,
            created_at: time(row, "created_at")?,
            pushed_at: time_if(row, "pushed_at")?,
            generation: number(row, "generation")?,
        },
    })
}

/// By name or id.
pub async fn find<'c>(db: impl Reads<'c>, project: &str, key: &str) -> Result<Option<RepositoryRow>> {
    let sql = format!("SELECT {COLUMNS} FROM repository WHERE project = $1 AND (name = $2 OR id = $2)");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project).bind(key).fetch_optional(db).await;
    row.map_err(store_error)?.as_ref().map(read).transpose()
}

pub async fn get<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<RepositoryRow>> {
    let sql = format!("SELECT {COLUMNS} FROM repository WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(db).await;
    row.map_err(store_error)?.as_ref().map(read).transpose()
}

/// By name, of a project that was founded then.
pub async fn list<'c>(
    db: impl Reads<'c>,
    project: &str,
    since: i64,
    after: &str,
    limit: i64,
) -> Result<Vec<RepositoryRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM repository WHERE project = $1 AND project_since = $2 AND name > $3 ORDER BY name LIMIT $4"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project).bind(since).bind(after).bind(limit);
    query.fetch_all(db).await.map_err(store_error)?.iter().map(read).collect()
}

/// All of them, a page at a time.
pub async fn all<'c>(db: impl Reads<'c>, after: &str, limit: i64) -> Result<Vec<RepositoryRow>> {
    let sql = format!("SELECT {COLUMNS} FROM repository WHERE id > $1 ORDER BY id LIMIT $2");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(after).bind(limit).fetch_all(db).await;
    rows.map_err(store_error)?.iter().map(read).collect()
}

/// False when the name is taken.
pub async fn insert(tx: &mut Tx, row: &RepositoryRow) -> Result<bool> {
    let one = &row.repository;
    let done = sqlx::query(
        "INSERT INTO repository (id, project, project_since, name, description, default_branch, protected, size_limit, \
         object_limit, size, generation, created_at, pushed_at, packed_at, orphan_since) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, 0, 0) ON CONFLICT DO NOTHING",
    )
    .bind(&one.id)
    .bind(&one.project)
    .bind(row.project_since)
    .bind(&one.name)
    .bind(&one.description)
    .bind(&one.default_branch)
    .bind(to_json(&one.protected)?)
    .bind(one.size_limit)
    .bind(one.object_limit)
    .bind(one.size)
    .bind(one.generation)
    .bind(one.created_at.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// What is wanted of it, at its next generation.
pub async fn update(tx: &mut Tx, one: &Repository) -> Result<()> {
    sqlx::query(
        "UPDATE repository SET description = $2, default_branch = $3, protected = $4, size_limit = $5, object_limit = $6, \
         generation = $7 WHERE id = $1",
    )
    .bind(&one.id)
    .bind(&one.description)
    .bind(&one.default_branch)
    .bind(to_json(&one.protected)?)
    .bind(one.size_limit)
    .bind(one.object_limit)
    .bind(one.generation)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// What was seen of it after a push, or since something was put together.
pub async fn set_seen(tx: &mut Tx, id: &str, size: i64, pushed_at: Option<Timestamp>) -> Result<()> {
    sqlx::query("UPDATE repository SET size = $2, pushed_at = CASE WHEN $3 = 0 THEN pushed_at ELSE $3 END WHERE id = $1")
        .bind(id)
        .bind(size)
        .bind(pushed_at.map_or(0, Timestamp::micros))
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn set_packed(tx: &mut Tx, id: &str, at: Timestamp) -> Result<()> {
    set(tx, "UPDATE repository SET packed_at = $2 WHERE id = $1", id, at.micros()).await
}

/// 0 where its project is there.
pub async fn set_orphan(tx: &mut Tx, id: &str, since: i64) -> Result<()> {
    set(tx, "UPDATE repository SET orphan_since = $2 WHERE id = $1", id, since).await
}

async fn set(tx: &mut Tx, sql: &'static str, id: &str, value: i64) -> Result<()> {
    sqlx::query(sql).bind(id).bind(value).execute(&mut **tx).await.map_err(store_error)?;
    Ok(())
}

/// Removes it with all that hangs on it. Its folder goes afterwards (`gone`).
pub async fn delete(tx: &mut Tx, id: &str, now: Timestamp) -> Result<()> {
    for sql in [
        "DELETE FROM repository WHERE id = $1",
        "DELETE FROM reference WHERE repository = $1",
        "DELETE FROM push WHERE repository = $1",
        "DELETE FROM deploy_key WHERE repository = $1",
    ] {
        sqlx::query(sql).bind(id).execute(&mut **tx).await.map_err(store_error)?;
    }
    set(tx, "INSERT INTO repository_gone (id, at) VALUES ($1, $2) ON CONFLICT DO NOTHING", id, now.micros())
        .await
}

/// Repositories whose folders are to be removed.
pub async fn gone<'c>(db: impl Reads<'c>) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT id FROM repository_gone ORDER BY id LIMIT 1000").fetch_all(db).await;
    rows.map_err(store_error)?.iter().map(|row| text(row, "id")).collect()
}

pub async fn forget_gone(tx: &mut Tx, id: &str) -> Result<()> {
    sqlx::query("DELETE FROM repository_gone WHERE id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// What was told of its references: name and target.
pub async fn references<'c>(db: impl Reads<'c>, id: &str) -> Result<Vec<(String, String)>> {
    let rows = sqlx::query("SELECT name, target FROM reference WHERE repository = $1")
        .bind(id)
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows.iter().map(|row| Ok((text(row, "name")?, text(row, "target")?))).collect()
}

/// None where it is gone.
pub async fn set_reference(tx: &mut Tx, id: &str, name: &str, target: Option<&str>) -> Result<()> {
    let done = match target {
        Some(target) => {
            sqlx::query(
                "INSERT INTO reference (repository, name, target) VALUES ($1, $2, $3) \
                 ON CONFLICT (repository, name) DO UPDATE SET target = $3",
            )
            .bind(id)
            .bind(name)
            .bind(target)
            .execute(&mut **tx)
            .await
        }
        None => {
            sqlx::query("DELETE FROM reference WHERE repository = $1 AND name = $2")
                .bind(id)
                .bind(name)
                .execute(&mut **tx)
                .await
        }
    };
    done.map_err(store_error)?;
    Ok(())
}
