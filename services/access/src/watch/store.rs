//! Queries of what is known of machines' ways in.

use std::collections::HashMap;

use hafen_base::{Error, Result, Timestamp};
use hafen_db::{Db, Migration, Row, Tx, sqlx, store_error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;

use super::step::Watched;

pub const MIGRATION: Migration = Migration {
    name: "20261126_integrity",
    sql: "CREATE TABLE integrity (machine TEXT PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, disk TEXT NOT NULL, baseline TEXT NOT NULL, report TEXT NOT NULL, digest TEXT NOT NULL, findings TEXT NOT NULL, failures BIGINT NOT NULL, failed_since BIGINT NOT NULL, unchecked BIGINT NOT NULL, error TEXT NOT NULL, checked_at BIGINT NOT NULL, tried_at BIGINT NOT NULL, next_at BIGINT NOT NULL);
CREATE INDEX session_ended ON session (ended_at);
CREATE INDEX certificate_valid ON certificate (valid_before);
",
};

fn text(row: &Row, column: &str) -> Result<String> {
    row.try_get(column).map_err(store_error)
}

fn number(row: &Row, column: &str) -> Result<i64> {
    row.try_get(column).map_err(store_error)
}

fn time(row: &Row, column: &str) -> Result<Option<Timestamp>> {
    Ok(Some(number(row, column)?).filter(|at| *at != 0).map(Timestamp::from_micros))
}

fn json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<Option<T>> {
    let text = text(row, column)?;
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&text).map(Some).map_err(Error::internal)
}

fn json_text<T: Serialize>(value: Option<&T>) -> Result<String> {
    value.map_or(Ok(String::new()), |value| serde_json::to_string(value).map_err(Error::internal))
}

/// Of every machine that was tried: its disk, and when it is due.
pub async fn schedule(db: &Db) -> Result<HashMap<String, (String, Timestamp)>> {
    let rows = sqlx::query("SELECT machine, disk, next_at FROM integrity")
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            let due = Timestamp::from_micros(number(row, "next_at")?);
            Ok((text(row, "machine")?, (text(row, "disk")?, due)))
        })
        .collect()
}

/// What is known of a machine.
pub async fn get(db: &Db, machine: &str) -> Result<Option<Watched>> {
    let row = sqlx::query("SELECT * FROM integrity WHERE machine = $1")
        .bind(machine)
        .fetch_optional(db.reader())
        .await
        .map_err(store_error)?;
    row.map(|row| {
        Ok(Watched {
            machine: text(&row, "machine")?,
            project: text(&row, "project")?,
            name: text(&row, "name")?,
            disk: text(&row, "disk")?,
            baseline: json(&row, "baseline")?,
            report: json(&row, "report")?,
            digest: text(&row, "digest")?,
            findings: json(&row, "findings")?.unwrap_or_default(),
            failures: number(&row, "failures")?,
            failed_since: Timestamp::from_micros(number(&row, "failed_since")?),
            unchecked: number(&row, "unchecked")? != 0,
            error: text(&row, "error")?,
            checked_at: time(&row, "checked_at")?,
            tried_at: time(&row, "tried_at")?,
            next_at: Timestamp::from_micros(number(&row, "next_at")?),
        })
    })
    .transpose()
}

/// Writes what is known, over what was.
pub async fn put(tx: &mut Tx, watched: &Watched) -> Result<()> {
    let micros = |at: Option<Timestamp>| at.map_or(0, Timestamp::micros);
    sqlx::query(
        "INSERT INTO integrity (machine, project, name, disk, baseline, report, digest, findings, failures, failed_since, \
         unchecked, error, checked_at, tried_at, next_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         ON CONFLICT (machine) DO UPDATE SET project = excluded.project, name = excluded.name, disk = excluded.disk, \
         baseline = excluded.baseline, report = excluded.report, digest = excluded.digest, findings = excluded.findings, \
         failures = excluded.failures, failed_since = excluded.failed_since, unchecked = excluded.unchecked, \
         error = excluded.error, checked_at = excluded.checked_at, tried_at = excluded.tried_at, next_at = excluded.next_at",
    )
    .bind(&watched.machine)
    .bind(&watched.project)
    .bind(&watched.name)
    .bind(&watched.disk)
    .bind(json_text(watched.baseline.as_ref())?)
    .bind(json_text(watched.report.as_ref())?)
    .bind(&watched.digest)
    .bind(json_text(Some(&watched.findings))?)
    .bind(watched.failures)
    .bind(watched.failed_since.micros())
    .bind(i64::from(watched.unchecked))
    .bind(&watched.error)
    .bind(micros(watched.checked_at))
    .bind(micros(watched.tried_at))
    .bind(watched.next_at.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Forgets a machine that is no more.
pub async fn forget(tx: &mut Tx, machine: &str) -> Result<()> {
    sqlx::query("DELETE FROM integrity WHERE machine = $1")
        .bind(machine)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
