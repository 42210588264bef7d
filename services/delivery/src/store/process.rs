//! Processes of apps, the machines that they are or were on, and what is left on those.

use hafen_base::{Error, Result};
use hafen_db::{Db, Tx, sqlx, store_error};

use super::{json, number, text, to_json};
use crate::apps::model::{AppRow, ProcessRow};

/// Processes of an app, by set and position.
pub async fn processes(db: &Db, project: &str, app: &str) -> Result<Vec<ProcessRow>> {
    let rows = sqlx::query(
        "SELECT doc FROM app_process WHERE project = $1 AND app = $2 ORDER BY set_number, position",
    )
    .bind(project)
    .bind(app)
    .fetch_all(db.reader())
    .await
    .map_err(store_error)?;
    rows.iter().map(|row| json(row, "doc")).collect()
}

/// Ports of a project's machines, and whose they are: app, machine, port.
pub async fn ports(db: &Db, project: &str) -> Result<Vec<(String, String, u16)>> {
    let rows = sqlx::query("SELECT app, machine, port FROM app_process WHERE project = $1")
        .bind(project)
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            let port = number(row, "port")?;
            Ok((text(row, "app")?, text(row, "machine")?, u16::try_from(port).map_err(Error::internal)?))
        })
        .collect()
}

/// Whose port of a machine it is: the app's name.
pub async fn port_of(tx: &mut Tx, project: &str, machine: &str, port: u16) -> Result<Option<String>> {
    let row = sqlx::query("SELECT app FROM app_process WHERE project = $1 AND machine = $2 AND port = $3")
        .bind(project)
        .bind(machine)
        .bind(i64::from(port))
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.as_ref().map(|row| text(row, "app")).transpose()
}

pub async fn process_put(tx: &mut Tx, app: &AppRow, row: &ProcessRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO app_process (project, app, set_number, position, machine, port, doc) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (project, app, set_number, position) DO UPDATE SET machine = excluded.machine, port = excluded.port, \
         doc = excluded.doc",
    )
    .bind(&app.project)
    .bind(&app.name)
    .bind(row.set)
    .bind(i64::from(row.index))
    .bind(&row.machine)
    .bind(i64::from(row.port))
    .bind(to_json(row)?)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn process_delete(tx: &mut Tx, app: &AppRow, set: i64, index: u32) -> Result<()> {
    sqlx::query(
        "DELETE FROM app_process WHERE project = $1 AND app = $2 AND set_number = $3 AND position = $4",
    )
    .bind(&app.project)
    .bind(&app.name)
    .bind(set)
    .bind(i64::from(index))
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Machines on which something of an app may lie, with the boot in which they were looked through.
pub async fn machines(db: &Db, project: &str, app: &str) -> Result<Vec<(String, String)>> {
    let rows =
        sqlx::query("SELECT machine, boot FROM app_machine WHERE project = $1 AND app = $2 ORDER BY machine")
            .bind(project)
            .bind(app)
            .fetch_all(db.reader())
            .await
            .map_err(store_error)?;
    rows.iter().map(|row| Ok((text(row, "machine")?, text(row, "boot")?))).collect()
}

pub async fn machine_put(tx: &mut Tx, app: &AppRow, machine: &str, boot: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO app_machine (project, app, machine, boot) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (project, app, machine) DO UPDATE SET boot = excluded.boot",
    )
    .bind(&app.project)
    .bind(&app.name)
    .bind(machine)
    .bind(boot)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn machine_delete(tx: &mut Tx, app: &AppRow, machine: &str) -> Result<()> {
    sqlx::query("DELETE FROM app_machine WHERE project = $1 AND app = $2 AND machine = $3")
        .bind(&app.project)
        .bind(&app.name)
        .bind(machine)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// A machine that could not be reached when the app went: what lies there of it goes when it can be.
pub async fn left_put(tx: &mut Tx, project: &str, app: &str, machine: &str) -> Result<()> {
    sqlx::query("INSERT INTO app_left (project, app, machine) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(project)
        .bind(app)
        .bind(machine)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn left_delete(tx: &mut Tx, project: &str, app: &str, machine: &str) -> Result<()> {
    sqlx::query("DELETE FROM app_left WHERE project = $1 AND app = $2 AND machine = $3")
        .bind(project)
        .bind(app)
        .bind(machine)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Machines on which something of an earlier app of this name lies.
pub async fn left(db: &Db, project: &str, app: &str) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT machine FROM app_left WHERE project = $1 AND app = $2 ORDER BY machine")
        .bind(project)
        .bind(app)
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter().map(|row| text(row, "machine")).collect()
}

/// Apps that are gone and left something: project and name.
pub async fn left_all(db: &Db) -> Result<Vec<(String, String)>> {
    let rows = sqlx::query("SELECT DISTINCT project, app FROM app_left ORDER BY project, app")
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter().map(|row| Ok((text(row, "project")?, text(row, "app")?))).collect()
}
