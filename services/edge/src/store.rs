//! Queries of this service, and nothing else. Portable between SQLite and PostgreSQL: times are UTC microseconds, 0 for none.
//!
//! Each change takes a number from one counter (`revision`) and leaves it in the row; what goes leaves a row that says so. Another
//! process, or this one after a start, reads what has a higher number than it has seen, and knows everything.

use hafen_base::{Error, Result, Timestamp};
use hafen_client::wire::{BackendPut, RoutePut};
use hafen_db::{Db, Migration, Row, Tx, sqlx, store_error};
use sqlx::Row as _;

pub const MIGRATIONS: &[Migration] = &[
    hafen_work::MIGRATION,
    hafen_work::ACTOR_MIGRATION,
    Migration {
        name: "20261128_edge",
        sql: "CREATE TABLE revision (id BIGINT PRIMARY KEY, number BIGINT NOT NULL);
INSERT INTO revision (id, number) VALUES (1, 0);
CREATE TABLE route (host TEXT PRIMARY KEY, project TEXT NOT NULL, spec TEXT NOT NULL, created_at BIGINT NOT NULL, generation BIGINT NOT NULL, revision BIGINT NOT NULL, absent BIGINT NOT NULL);
CREATE INDEX route_project ON route (project, host);
CREATE INDEX route_revision ON route (revision);
CREATE TABLE backend (project TEXT NOT NULL, name TEXT NOT NULL, spec TEXT NOT NULL, writer_generation BIGINT NOT NULL, generation BIGINT NOT NULL, revision BIGINT NOT NULL, absent BIGINT NOT NULL, PRIMARY KEY (project, name));
CREATE INDEX backend_revision ON backend (revision);
CREATE TABLE certificate (host TEXT PRIMARY KEY, project TEXT NOT NULL, issuer TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, chain TEXT NOT NULL, sealed TEXT NOT NULL, fingerprint TEXT NOT NULL, serial TEXT NOT NULL, not_before BIGINT NOT NULL, not_after BIGINT NOT NULL, next_try BIGINT NOT NULL, look_at BIGINT NOT NULL, attempts BIGINT NOT NULL, leased_by TEXT NOT NULL, leased_until BIGINT NOT NULL, revision BIGINT NOT NULL, absent BIGINT NOT NULL);
CREATE INDEX certificate_project ON certificate (project, host);
CREATE INDEX certificate_revision ON certificate (revision);
CREATE TABLE challenge (host TEXT NOT NULL, kind TEXT NOT NULL, token TEXT NOT NULL, answer TEXT NOT NULL, expires_at BIGINT NOT NULL, PRIMARY KEY (host, kind, token));
CREATE TABLE account (directory TEXT PRIMARY KEY, sealed TEXT NOT NULL);
CREATE TABLE authority (id BIGINT PRIMARY KEY, certificate TEXT NOT NULL, sealed TEXT NOT NULL);
CREATE TABLE issued (serial TEXT NOT NULL, host TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (serial, host));
CREATE TABLE log (url TEXT PRIMARY KEY, position BIGINT NOT NULL);
CREATE TABLE sighting (log TEXT NOT NULL, position BIGINT NOT NULL, host TEXT NOT NULL, serial TEXT NOT NULL, issuer TEXT NOT NULL, names TEXT NOT NULL, seen_at BIGINT NOT NULL, judged BIGINT NOT NULL, PRIMARY KEY (log, position));
",
    },
    // 0 is a row of before, which the project that there is takes as its own.
    Migration {
        name: "20261128_edge_since",
        sql: "ALTER TABLE route ADD COLUMN project_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE route ADD COLUMN ended_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE backend ADD COLUMN project_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE certificate ADD COLUMN project_since BIGINT NOT NULL DEFAULT 0;
",
    },
    Migration {
        name: "20261128_edge_orders",
        sql: "ALTER TABLE certificate ADD COLUMN issued_at BIGINT NOT NULL DEFAULT 0;
CREATE TABLE order_pause (directory TEXT PRIMARY KEY, until BIGINT NOT NULL);
",
    },
    Migration {
        name: "20261128_edge_trees",
        sql: "ALTER TABLE log ADD COLUMN size BIGINT NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN root TEXT NOT NULL DEFAULT '';
CREATE INDEX sighting_host ON sighting (host, seen_at);
",
    },
];

pub fn text(row: &Row, column: &str) -> Result<String> {
    row.try_get(column).map_err(store_error)
}

pub fn number(row: &Row, column: &str) -> Result<i64> {
    row.try_get(column).map_err(store_error)
}

/// The next number of the counter.
pub async fn revision_next(tx: &mut Tx) -> Result<i64> {
    let row = sqlx::query("UPDATE revision SET number = number + 1 WHERE id = 1 RETURNING number")
        .fetch_one(&mut **tx)
        .await
        .map_err(store_error)?;
    number(&row, "number")
}

/// The last number given out.
pub async fn revision(db: &Db) -> Result<i64> {
    let row = sqlx::query("SELECT number FROM revision WHERE id = 1")
        .fetch_one(db.reader())
        .await
        .map_err(store_error)?;
    number(&row, "number")
}

/// A host that leads somewhere, or led.
#[derive(Debug, Clone)]
pub struct RouteRow {
    pub host: String,
    pub project: String,
    /// When the project was founded: one that is founded anew under the same name inherits nothing.
    pub project_since: i64,
    pub spec: RoutePut,
    pub created_at: Timestamp,
    pub generation: i64,
    pub absent: bool,
    /// When it led nowhere any more.
    pub ended_at: Timestamp,
}

impl RouteRow {
    pub fn is_of(&self, project: &str, since: i64) -> bool {
        self.project == project && is_since(self.project_since, since)
    }
}

/// Whether what a row says of its project's founding is of this one.
pub const fn is_since(row: i64, project: i64) -> bool {
    row == 0 || row == project
}

fn route_of(row: &Row) -> Result<RouteRow> {
    Ok(RouteRow {
        host: text(row, "host")?,
        project: text(row, "project")?,
        project_since: number(row, "project_since")?,
        ended_at: Timestamp::from_micros(number(row, "ended_at")?),
        spec: serde_json::from_str(&text(row, "spec")?).map_err(Error::internal)?,
        created_at: Timestamp::from_micros(number(row, "created_at")?),
        generation: number(row, "generation")?,
        absent: number(row, "absent")? != 0,
    })
}

/// With its tombstone, if it is gone.
pub async fn route_find(tx: &mut Tx, host: &str) -> Result<Option<RouteRow>> {
    let row = sqlx::query("SELECT * FROM route WHERE host = $1")
        .bind(host)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.as_ref().map(route_of).transpose()
}

pub async fn route_get(db: &Db, project: &str, host: &str) -> Result<Option<RouteRow>> {
    let row = sqlx::query("SELECT * FROM route WHERE host = $1 AND project = $2 AND absent = 0")
        .bind(host)
        .bind(project)
        .fetch_optional(db.reader())
        .await
        .map_err(store_error)?;
    row.as_ref().map(route_of).transpose()
}

pub async fn route_list(
    db: &Db,
    (project, since): (&str, i64),
    after: &str,
    limit: u32,
) -> Result<Vec<RouteRow>> {
    let rows = sqlx::query(
        "SELECT * FROM route WHERE project = $1 AND host > $2 AND absent = 0 AND (project_since = $4 OR project_since = 0) \
         ORDER BY host LIMIT $3",
    )
    .bind(project)
    .bind(after)
    .bind(i64::from(limit))
    .bind(since)
    .fetch_all(db.reader())
    .await
    .map_err(store_error)?;
    rows.iter().map(route_of).collect()
}

/// What changed after this number.
pub async fn routes_since(db: &Db, seen: i64) -> Result<Vec<RouteRow>> {
    let rows = sqlx::query("SELECT * FROM route WHERE revision > $1")
        .bind(seen)
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter().map(route_of).collect()
}

/// Writes a route, whatever was there before.
pub async fn route_put(tx: &mut Tx, row: &RouteRow, revision: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO route (host, project, spec, created_at, generation, revision, absent, project_since, ended_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (host) DO UPDATE SET project = $2, spec = $3, created_at = $4, \
         generation = $5, revision = $6, absent = $7, project_since = $8, ended_at = $9",
    )
    .bind(&row.host)
    .bind(&row.project)
    .bind(serde_json::to_string(&row.spec).map_err(Error::internal)?)
    .bind(row.created_at.micros())
    .bind(row.generation)
    .bind(revision)
    .bind(i64::from(row.absent))
    .bind(row.project_since)
    .bind(row.ended_at.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// What answers under a name, or answered.
#[derive(Debug, Clone)]
pub struct BackendRow {
    pub project: String,
    pub project_since: i64,
    pub name: String,
    pub spec: BackendPut,
    pub writer_generation: i64,
    pub generation: i64,
    pub absent: bool,
}

fn backend_of(row: &Row) -> Result<BackendRow> {
    Ok(BackendRow {
        project: text(row, "project")?,
        project_since: number(row, "project_since")?,
        name: text(row, "name")?,
        spec: serde_json::from_str(&text(row, "spec")?).map_err(Error::internal)?,
        writer_generation: number(row, "writer_generation")?,
        generation: number(row, "generation")?,
        absent: number(row, "absent")? != 0,
    })
}

pub async fn backend_find(tx: &mut Tx, project: &str, name: &str) -> Result<Option<BackendRow>> {
    let row = sqlx::query("SELECT * FROM backend WHERE project = $1 AND name = $2")
        .bind(project)
        .bind(name)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.as_ref().map(backend_of).transpose()
}

pub async fn backend_get(db: &Db, project: &str, name: &str) -> Result<Option<BackendRow>> {
    let row = sqlx::query("SELECT * FROM backend WHERE project = $1 AND name = $2 AND absent = 0")
        .bind(project)
        .bind(name)
        .fetch_optional(db.reader())
        .await
        .map_err(store_error)?;
    row.as_ref().map(backend_of).transpose()
}

pub async fn backend_list(
    db: &Db,
    (project, since): (&str, i64),
    after: &str,
    limit: u32,
) -> Result<Vec<BackendRow>> {
    let rows = sqlx::query(
        "SELECT * FROM backend WHERE project = $1 AND name > $2 AND absent = 0 AND (project_since = $4 OR project_since = 0) \
         ORDER BY name LIMIT $3",
    )
    .bind(project)
    .bind(after)
    .bind(i64::from(limit))
    .bind(since)
    .fetch_all(db.reader())
    .await
    .map_err(store_error)?;
    rows.iter().map(backend_of).collect()
}

pub async fn backends_since(db: &Db, seen: i64) -> Result<Vec<BackendRow>> {
    let rows = sqlx::query("SELECT * FROM backend WHERE revision > $1")
        .bind(seen)
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter().map(backend_of).collect()
}

pub async fn backend_put(tx: &mut Tx, row: &BackendRow, revision: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO backend (project, name, spec, writer_generation, generation, revision, absent, project_since) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (project, name) DO UPDATE SET spec = $3, writer_generation = $4, \
         generation = $5, revision = $6, absent = $7, project_since = $8",
    )
    .bind(&row.project)
    .bind(&row.name)
    .bind(serde_json::to_string(&row.spec).map_err(Error::internal)?)
    .bind(row.writer_generation)
    .bind(row.generation)
    .bind(revision)
    .bind(i64::from(row.absent))
    .bind(row.project_since)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Projects that anything here belongs to, and when they were founded (0 where nobody wrote it down).
pub async fn projects(db: &Db) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query(
        "SELECT project, project_since FROM route WHERE absent = 0 UNION SELECT project, project_since FROM backend WHERE absent = 0",
    )
    .fetch_all(db.reader())
    .await
    .map_err(store_error)?;
    rows.iter().map(|row| Ok((text(row, "project")?, number(row, "project_since")?))).collect()
}

/// Writes down when a project was founded where nobody did.
pub async fn project_adopt(tx: &mut Tx, project: &str, since: i64) -> Result<()> {
    for table in ["route", "backend", "certificate"] {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE {table} SET project_since = $2 WHERE project = $1 AND project_since = 0 AND absent = 0"
        )))
        .bind(project)
        .bind(since)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    }
    Ok(())
}

/// Everything of a project that was founded then.
pub async fn of_project(tx: &mut Tx, project: &str, since: i64) -> Result<(Vec<RouteRow>, Vec<BackendRow>)> {
    let routes = sqlx::query("SELECT * FROM route WHERE project = $1 AND project_since = $2 AND absent = 0")
        .bind(project)
        .bind(since)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
    let backends =
        sqlx::query("SELECT * FROM backend WHERE project = $1 AND project_since = $2 AND absent = 0")
            .bind(project)
            .bind(since)
            .fetch_all(&mut **tx)
            .await
            .map_err(store_error)?;
    let routes = routes.iter().map(route_of).collect::<Result<_>>()?;
    Ok((routes, backends.iter().map(backend_of).collect::<Result<_>>()?))
}

/// A host of another project that covers this one, or that this one would cover.
pub async fn route_covering(tx: &mut Tx, project: &str, host: &str) -> Result<Option<String>> {
    // A star is over names of one label more only.
    let (query, other) = if let Some(rest) = host.strip_prefix("*.") {
        ("SELECT host FROM route WHERE absent = 0 AND project <> $1 AND host LIKE $2", format!("%.{rest}"))
    } else {
        let Some((_, rest)) = host.split_once('.') else { return Ok(None) };
        ("SELECT host FROM route WHERE absent = 0 AND project <> $1 AND host = $2", format!("*.{rest}"))
    };
    let rows =
        sqlx::query(query).bind(project).bind(other).fetch_all(&mut **tx).await.map_err(store_error)?;
    let star = host.strip_prefix("*.");
    for row in &rows {
        let other = text(row, "host")?;
        let covers = star.is_none_or(|rest| other.split_once('.').is_some_and(|(_, parent)| parent == rest));
        if covers {
            return Ok(Some(other));
        }
    }
    Ok(None)
}
