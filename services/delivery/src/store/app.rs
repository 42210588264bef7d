//! Apps, their builds, releases and deployments: documents, with columns for what is asked by.

use hafen_base::Result;
use hafen_db::{Db, Migration, Row, Tx, sqlx, store_error};
use serde::de::DeserializeOwned;

use super::{Reads, json, text, to_json};
use crate::apps::model::{AppRow, BuildRow, DeploymentRow, Migration as Begun, ReleaseRow};

pub const MIGRATION: Migration = Migration {
    name: "20261128_apps",
    sql: "CREATE TABLE app (project TEXT NOT NULL, name TEXT NOT NULL, project_since BIGINT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (project, name));
CREATE TABLE app_build (project TEXT NOT NULL, app TEXT NOT NULL, number BIGINT NOT NULL, is_open BIGINT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (project, app, number));
CREATE INDEX app_build_open ON app_build (is_open);
CREATE TABLE app_release (project TEXT NOT NULL, app TEXT NOT NULL, number BIGINT NOT NULL, artifact TEXT NOT NULL, kept BIGINT NOT NULL, migrating BIGINT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (project, app, number));
CREATE INDEX app_release_artifact ON app_release (artifact);
CREATE TABLE app_deployment (project TEXT NOT NULL, app TEXT NOT NULL, number BIGINT NOT NULL, is_open BIGINT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (project, app, number));
CREATE TABLE app_process (project TEXT NOT NULL, app TEXT NOT NULL, set_number BIGINT NOT NULL, position BIGINT NOT NULL, machine TEXT NOT NULL, port BIGINT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (project, app, set_number, position));
CREATE UNIQUE INDEX app_process_port ON app_process (project, machine, port);
CREATE TABLE app_machine (project TEXT NOT NULL, app TEXT NOT NULL, machine TEXT NOT NULL, boot TEXT NOT NULL, PRIMARY KEY (project, app, machine));
CREATE TABLE app_left (project TEXT NOT NULL, app TEXT NOT NULL, machine TEXT NOT NULL, PRIMARY KEY (project, app, machine));
CREATE TABLE app_heard (id TEXT PRIMARY KEY, at BIGINT NOT NULL);
",
};

fn doc<T: DeserializeOwned>(row: &Row) -> Result<T> {
    json(row, "doc")
}

/// An app, as of now.
pub async fn find(db: &Db, project: &str, name: &str) -> Result<Option<AppRow>> {
    let row = sqlx::query("SELECT doc FROM app WHERE project = $1 AND name = $2")
        .bind(project)
        .bind(name)
        .fetch_optional(db.reader())
        .await
        .map_err(store_error)?;
    row.as_ref().map(doc).transpose()
}

/// An app, in a transaction: nobody else changes it until the end of it.
pub async fn find_in(tx: &mut Tx, project: &str, name: &str) -> Result<Option<AppRow>> {
    let row = sqlx::query("SELECT doc FROM app WHERE project = $1 AND name = $2")
        .bind(project)
        .bind(name)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.as_ref().map(doc).transpose()
}

/// Apps of a project that was founded then, by name, after this one.
pub async fn page(db: &Db, project: &str, since: i64, after: &str, limit: u32) -> Result<Vec<AppRow>> {
    let rows = sqlx::query(
        "SELECT doc FROM app WHERE project = $1 AND project_since = $2 AND name > $3 ORDER BY name LIMIT $4",
    )
    .bind(project)
    .bind(since)
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(db.reader())
    .await
    .map_err(store_error)?;
    rows.iter().map(doc).collect()
}

/// Every app there is.
pub async fn all(db: &Db) -> Result<Vec<AppRow>> {
    let rows = sqlx::query("SELECT doc FROM app ORDER BY project, name")
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter().map(doc).collect()
}

pub async fn put(tx: &mut Tx, app: &AppRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO app (project, name, project_since, doc) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (project, name) DO UPDATE SET project_since = excluded.project_since, doc = excluded.doc",
    )
    .bind(&app.project)
    .bind(&app.name)
    .bind(app.project_since)
    .bind(to_json(app)?)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// An app goes with everything that is known of it.
pub async fn delete(tx: &mut Tx, project: &str, name: &str) -> Result<()> {
    for sql in [
        "DELETE FROM app_process WHERE project = $1 AND app = $2",
        "DELETE FROM app_machine WHERE project = $1 AND app = $2",
        "DELETE FROM app_deployment WHERE project = $1 AND app = $2",
        "DELETE FROM app_release WHERE project = $1 AND app = $2",
        "DELETE FROM app_build WHERE project = $1 AND app = $2",
        "DELETE FROM app WHERE project = $1 AND name = $2",
    ] {
        sqlx::query(sql).bind(project).bind(name).execute(&mut **tx).await.map_err(store_error)?;
    }
    Ok(())
}

/// Things of an app that are numbered, newest first, below this number.
macro_rules! numbered {
    ($row:ty, $find:ident, $page:ident, $find_sql:literal, $page_sql:literal) => {
        pub async fn $find(db: &Db, project: &str, app: &str, number: i64) -> Result<Option<$row>> {
            let row = sqlx::query($find_sql)
                .bind(project)
                .bind(app)
                .bind(number)
                .fetch_optional(db.reader())
                .await
                .map_err(store_error)?;
            row.as_ref().map(doc).transpose()
        }

        pub async fn $page(db: &Db, project: &str, app: &str, below: i64, limit: u32) -> Result<Vec<$row>> {
            let rows = sqlx::query($page_sql)
                .bind(project)
                .bind(app)
                .bind(below)
                .bind(i64::from(limit))
                .fetch_all(db.reader())
                .await
                .map_err(store_error)?;
            rows.iter().map(doc).collect()
        }
    };
}

numbered!(
    BuildRow,
    build,
    builds,
    "SELECT doc FROM app_build WHERE project = $1 AND app = $2 AND number = $3",
    "SELECT doc FROM app_build WHERE project = $1 AND app = $2 AND number < $3 ORDER BY number DESC LIMIT $4"
);
numbered!(
    ReleaseRow,
    release,
    releases,
    "SELECT doc FROM app_release WHERE project = $1 AND app = $2 AND number = $3",
    "SELECT doc FROM app_release WHERE project = $1 AND app = $2 AND number < $3 ORDER BY number DESC LIMIT $4"
);
numbered!(
    DeploymentRow,
    deployment,
    deployments,
    "SELECT doc FROM app_deployment WHERE project = $1 AND app = $2 AND number = $3",
    "SELECT doc FROM app_deployment WHERE project = $1 AND app = $2 AND number < $3 ORDER BY number DESC LIMIT $4"
);

/// A deployment, in a transaction.
pub async fn deployment_in(
    tx: &mut Tx,
    project: &str,
    app: &str,
    number: i64,
) -> Result<Option<DeploymentRow>> {
    let row = sqlx::query("SELECT doc FROM app_deployment WHERE project = $1 AND app = $2 AND number = $3")
        .bind(project)
        .bind(app)
        .bind(number)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.as_ref().map(doc).transpose()
}

/// A build, in a transaction.
pub async fn build_in(tx: &mut Tx, project: &str, app: &str, number: i64) -> Result<Option<BuildRow>> {
    let row = sqlx::query("SELECT doc FROM app_build WHERE project = $1 AND app = $2 AND number = $3")
        .bind(project)
        .bind(app)
        .bind(number)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.as_ref().map(doc).transpose()
}

/// Writes a deployment unless it is over by now, as one that somebody cancelled meanwhile; false then.
pub async fn deployment_advance(tx: &mut Tx, app: &AppRow, row: &DeploymentRow) -> Result<bool> {
    let now = deployment_in(tx, &app.project, &app.name, row.number).await?;
    let goes_on = now.is_some_and(|now| !now.state.is_over() || now.state.may_become(row.state));
    if goes_on {
        deployment_put(tx, app, row).await?;
    }
    Ok(goes_on)
}

/// The newest deployment.
pub async fn deployment_last(db: &Db, project: &str, app: &str) -> Result<Option<DeploymentRow>> {
    Ok(deployments(db, project, app, i64::MAX, 1).await?.into_iter().next())
}

/// Deployments that are not over, oldest first.
pub async fn deployments_open(db: &Db, project: &str, app: &str) -> Result<Vec<DeploymentRow>> {
    let rows = sqlx::query(
        "SELECT doc FROM app_deployment WHERE project = $1 AND app = $2 AND is_open = 1 ORDER BY number",
    )
    .bind(project)
    .bind(app)
    .fetch_all(db.reader())
    .await
    .map_err(store_error)?;
    rows.iter().map(doc).collect()
}

/// Apps with a deployment that is not over: `project/app`.
pub async fn deploying(db: &Db) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "SELECT DISTINCT project, app FROM app_deployment WHERE is_open = 1 ORDER BY project, app",
    )
    .fetch_all(db.reader())
    .await
    .map_err(store_error)?;
    rows.iter().map(|row| Ok(format!("{}/{}", text(row, "project")?, text(row, "app")?))).collect()
}

pub async fn deployment_put(tx: &mut Tx, app: &AppRow, row: &DeploymentRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO app_deployment (project, app, number, is_open, doc) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (project, app, number) DO UPDATE SET is_open = excluded.is_open, doc = excluded.doc",
    )
    .bind(&app.project)
    .bind(&app.name)
    .bind(row.number)
    .bind(i64::from(!row.state.is_over()))
    .bind(to_json(row)?)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn build_put(tx: &mut Tx, row: &BuildRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO app_build (project, app, number, is_open, doc) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (project, app, number) DO UPDATE SET is_open = excluded.is_open, doc = excluded.doc",
    )
    .bind(&row.project)
    .bind(&row.app)
    .bind(row.number)
    .bind(i64::from(row.is_open()))
    .bind(to_json(row)?)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Builds that are not over, or whose machine is not known to be gone; oldest first.
pub async fn builds_open(db: &Db) -> Result<Vec<BuildRow>> {
    let rows = sqlx::query("SELECT doc FROM app_build WHERE is_open = 1 ORDER BY project, app, number")
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter().map(doc).collect()
}

pub async fn release_put(tx: &mut Tx, app: &AppRow, row: &ReleaseRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO app_release (project, app, number, artifact, kept, migrating, doc) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (project, app, number) DO UPDATE SET kept = excluded.kept, migrating = excluded.migrating, doc = excluded.doc",
    )
    .bind(&app.project)
    .bind(&app.name)
    .bind(row.number)
    .bind(&row.artifact)
    .bind(i64::from(row.kept))
    .bind(i64::from(matches!(row.migration, Begun::Begun(_))))
    .bind(to_json(row)?)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// The release of an app whose migration was begun and is not known to have ended.
pub async fn release_migrating<'c>(
    db: impl Reads<'c>,
    project: &str,
    app: &str,
) -> Result<Option<ReleaseRow>> {
    let row = sqlx::query(
        "SELECT doc FROM app_release WHERE project = $1 AND app = $2 AND migrating = 1 ORDER BY number LIMIT 1",
    )
    .bind(project)
    .bind(app)
    .fetch_optional(db)
    .await
    .map_err(store_error)?;
    row.as_ref().map(doc).transpose()
}

/// Artefacts that a kept release or a build under way names.
pub async fn artifacts_kept(db: &Db) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT DISTINCT artifact FROM app_release WHERE kept = 1")
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter().map(|row| text(row, "artifact")).collect()
}

/// Whether this push or request is heard for the first time.
pub async fn heard(tx: &mut Tx, id: &str, at: i64) -> Result<bool> {
    let done = sqlx::query("INSERT INTO app_heard (id, at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
        .bind(id)
        .bind(at)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// What was heard before this moment is not told again.
pub async fn heard_forget(tx: &mut Tx, before: i64) -> Result<()> {
    sqlx::query("DELETE FROM app_heard WHERE at < $1")
        .bind(before)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use hafen_base::Timestamp;
    use hafen_db::testing;

    use super::*;
    use crate::apps::model::{DeploymentState, Migration as Migrated, ProcessRow};
    use crate::store::MIGRATIONS;
    use crate::store::process::{
        machine_put, machines, port_of, ports, process_delete, process_put, processes,
    };

    fn app(project: &str, name: &str) -> AppRow {
        let at = Timestamp::from_micros(1);
        AppRow {
            project: project.into(),
            name: name.into(),
            spec: serde_json::from_str(r#"{"source":{"repository":"shop"},"on":"web","run":"./shop"}"#)
                .unwrap(),
            generation: 1,
            observed: 0,
            destroying: false,
            reason: String::new(),
            live: None,
            deployments: 0,
            releases: 0,
            builds: 0,
            told: 0,
            balance: 0,
            preview: None,
            again: None,
            project_since: 7,
            created_at: at,
            updated_at: at,
        }
    }

    fn process(set: i64, index: u32) -> ProcessRow {
        ProcessRow {
            set,
            index,
            release: 1,
            machine: format!("web-{index}"),
            boot: String::new(),
            port: u16::try_from(8080 + set).unwrap(),
            phase: "placed".into(),
            announced: false,
            since: Timestamp::from_micros(1),
            good: 0,
            restarts: 0,
            told: String::new(),
            started_at: None,
        }
    }

    #[tokio::test]
    async fn everything_of_an_app_is_kept_and_goes_with_it() {
        for (name, test) in testing::both() {
            let db = Db::open(&test.location, "delivery", MIGRATIONS).await.unwrap();
            let (shop, other) = (app("hello", "shop"), app("hello", "other"));
            let mut tx = db.write().await.unwrap();
            put(&mut tx, &shop).await.unwrap();
            put(&mut tx, &other).await.unwrap();
            for set in [1, 2] {
                for index in [0, 1] {
                    process_put(&mut tx, &shop, &process(set, index)).await.unwrap();
                }
            }
            process_delete(&mut tx, &shop, 1, 0).await.unwrap();
            machine_put(&mut tx, &shop, "web-1", "").await.unwrap();
            machine_put(&mut tx, &shop, "web-1", "boot").await.unwrap();
            for (number, state) in [(1, DeploymentState::Succeeded), (2, DeploymentState::Rolling)] {
                let row = DeploymentRow {
                    number,
                    kind: "deploy".into(),
                    state,
                    reason: String::new(),
                    log: String::new(),
                    stuck_since: None,
                    git_ref: None,
                    commit: None,
                    build: None,
                    release: None,
                    previous: None,
                    created_at: Timestamp::from_micros(number),
                    ended_at: None,
                    actor: hafen_base::Actor::platform(),
                };
                deployment_put(&mut tx, &shop, &row).await.unwrap();
            }
            for (number, kept) in [(1, false), (2, true)] {
                let row = ReleaseRow {
                    number,
                    commit: "c".into(),
                    build: None,
                    artifact: format!("a{number}"),
                    spec: shop.spec.clone(),
                    kept,
                    migration: Migrated::Done,
                    created_at: Timestamp::from_micros(number),
                    created_by: String::new(),
                };
                release_put(&mut tx, &shop, &row).await.unwrap();
            }
            assert!(heard(&mut tx, "push-1", 5).await.unwrap());
            assert!(!heard(&mut tx, "push-1", 6).await.unwrap());
            tx.commit().await.unwrap();

            assert_eq!(find(&db, "hello", "shop").await.unwrap().as_ref(), Some(&shop), "{name}");
            assert_eq!(find(&db, "elsewhere", "shop").await.unwrap(), None);
            let names: Vec<String> =
                page(&db, "hello", 7, "other", 10).await.unwrap().into_iter().map(|app| app.name).collect();
            assert_eq!(names, ["shop"]);
            assert!(
                page(&db, "hello", 8, "", 10).await.unwrap().is_empty(),
                "of another project of that name"
            );
            // A port of a machine is one process's, whatever happens.
            let mut tx = db.write().await.unwrap();
            let theirs = port_of(&mut tx, "hello", "web-1", 8081).await.unwrap();
            assert_eq!(theirs.as_deref(), Some("shop"));
            assert!(process_put(&mut tx, &other, &process(1, 1)).await.is_err(), "{name}");
            drop(tx);
            let there: Vec<_> = processes(&db, "hello", "shop")
                .await
                .unwrap()
                .iter()
                .map(|one| (one.set, one.index))
                .collect();
            assert_eq!(there, [(1, 1), (2, 0), (2, 1)], "{name}");
            assert_eq!(ports(&db, "hello").await.unwrap().len(), 3);
            assert_eq!(
                machines(&db, "hello", "shop").await.unwrap(),
                [("web-1".to_owned(), "boot".to_owned())]
            );
            let open = deployments_open(&db, "hello", "shop").await.unwrap();
            assert_eq!(open.iter().map(|one| one.number).collect::<Vec<_>>(), [2]);
            let page = deployments(&db, "hello", "shop", i64::MAX, 10).await.unwrap();
            assert_eq!(page.iter().map(|one| one.number).collect::<Vec<_>>(), [2, 1]);
            assert_eq!(artifacts_kept(&db).await.unwrap(), ["a2"]);

            let mut tx = db.write().await.unwrap();
            delete(&mut tx, "hello", "shop").await.unwrap();
            heard_forget(&mut tx, 6).await.unwrap();
            assert!(heard(&mut tx, "push-1", 7).await.unwrap());
            tx.commit().await.unwrap();
            assert!(processes(&db, "hello", "shop").await.unwrap().is_empty());
            assert!(deployment_last(&db, "hello", "shop").await.unwrap().is_none());
            assert_eq!(all(&db).await.unwrap(), [other]);
        }
    }
}
