//! Hooks, what they were called with, and what is to be told of it.

use hafen_base::{Actor, Result, Timestamp};
use hafen_client::wire::{Hook, HookDelivery, HookIgnored, HookKind};
use hafen_db::{Migration, Row, Tx, store_error};

use super::{Reads, json, maker, number, sqlx, text, text_if, time, time_if, to_json};

pub const MIGRATION: Migration = Migration {
    name: "20261128_hooks",
    sql: "CREATE TABLE hook (id TEXT PRIMARY KEY, project TEXT NOT NULL, project_since BIGINT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, app TEXT NOT NULL, branch TEXT NOT NULL, pipeline BIGINT NOT NULL, job TEXT NOT NULL, secret TEXT NOT NULL, created_by TEXT NOT NULL, created_at BIGINT NOT NULL, called_at BIGINT NOT NULL, UNIQUE (project, name));
CREATE TABLE hook_delivery (hook TEXT NOT NULL, repeat_key TEXT NOT NULL, job TEXT NOT NULL, build BIGINT NOT NULL, id TEXT NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (hook, repeat_key));
CREATE INDEX hook_delivery_id ON hook_delivery (hook, id);
CREATE INDEX hook_delivery_at ON hook_delivery (at);
CREATE TABLE deployment_request (id TEXT PRIMARY KEY, project TEXT NOT NULL, project_since BIGINT NOT NULL, app TEXT NOT NULL, reference TEXT NOT NULL, commit_id TEXT NOT NULL, actor TEXT NOT NULL, at BIGINT NOT NULL);
",
};

/// Calls that asked for nothing are written down, too.
pub const IGNORED_MIGRATION: Migration = Migration {
    name: "20261129_hooks_ignored",
    sql: "ALTER TABLE hook_delivery ADD COLUMN ignored TEXT NOT NULL DEFAULT '';
ALTER TABLE hook_delivery ADD COLUMN about TEXT NOT NULL DEFAULT '';
",
};

/// So many calls that asked for nothing are kept of a hook, so that no sender makes the database grow. Less than a page of
/// the list: those that were acted on are still seen in it.
const IGNORED_KEPT: i64 = 50;

const COLUMNS: &str = "id, project, project_since, name, kind, app, branch, pipeline, job, secret, created_by, created_at, called_at";

#[derive(Clone)]
pub struct HookRow {
    pub hook: Hook,
    pub project_since: i64,
    /// Sealed under the hook's id.
    pub secret: String,
}

/// A request for a deployment that is to be told.
#[derive(Debug, Clone)]
pub struct RequestRow {
    pub id: String,
    pub project: String,
    /// Of the hook: another project of that name is another.
    pub project_since: i64,
    pub app: String,
    pub reference: Option<String>,
    pub commit: Option<String>,
    pub actor: Actor,
}

fn kind(text: &str) -> HookKind {
    [HookKind::Gitlab, HookKind::Github, HookKind::Forgejo]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .unwrap_or(HookKind::Jenkins)
}

fn ignored(text: &str) -> Option<HookIgnored> {
    HookIgnored::ALL.into_iter().find(|why| why.as_str() == text)
}

/// Where a hook is called, below the platform's URL.
pub fn path(id: &str) -> String {
    format!("/hooks/{id}")
}

fn read(row: &Row) -> Result<HookRow> {
    let id = text(row, "id")?;
    Ok(HookRow {
        project_since: number(row, "project_since")?,
        secret: text(row, "secret")?,
        hook: Hook {
            path: path(&id),
            id,
            project: text(row, "project")?,
            name: text(row, "name")?,
            kind: kind(&text(row, "kind")?),
            app: text(row, "app")?,
            branch: text_if(row, "branch")?,
            pipeline: number(row, "pipeline")? == 1,
            job: text_if(row, "job")?,
            created_by: maker(row)?,
            created_at: time(row, "created_at")?,
            called_at: time_if(row, "called_at")?,
        },
    })
}

pub async fn get<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<HookRow>> {
    let sql = format!("SELECT {COLUMNS} FROM hook WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(db).await;
    row.map_err(store_error)?.as_ref().map(read).transpose()
}

/// By name or id.
pub async fn find<'c>(db: impl Reads<'c>, project: &str, key: &str) -> Result<Option<HookRow>> {
    let sql = format!("SELECT {COLUMNS} FROM hook WHERE project = $1 AND (name = $2 OR id = $2)");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project).bind(key).fetch_optional(db).await;
    row.map_err(store_error)?.as_ref().map(read).transpose()
}

pub async fn list<'c>(
    db: impl Reads<'c>,
    project: &str,
    since: i64,
    after: &str,
    limit: i64,
) -> Result<Vec<HookRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM hook WHERE project = $1 AND project_since = $2 AND name > $3 ORDER BY name LIMIT $4"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project).bind(since).bind(after).bind(limit);
    query.fetch_all(db).await.map_err(store_error)?.iter().map(read).collect()
}

/// False when the name is taken.
pub async fn insert(tx: &mut Tx, row: &HookRow) -> Result<bool> {
    let hook = &row.hook;
    let done = sqlx::query(
        "INSERT INTO hook (id, project, project_since, name, kind, app, branch, pipeline, job, secret, created_by, created_at, \
         called_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0) ON CONFLICT DO NOTHING",
    )
    .bind(&hook.id)
    .bind(&hook.project)
    .bind(row.project_since)
    .bind(&hook.name)
    .bind(hook.kind.as_str())
    .bind(&hook.app)
    .bind(hook.branch.as_deref().unwrap_or_default())
    .bind(i64::from(hook.pipeline))
    .bind(hook.job.as_deref().unwrap_or_default())
    .bind(&row.secret)
    .bind(&hook.created_by)
    .bind(hook.created_at.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

pub async fn delete(tx: &mut Tx, id: &str) -> Result<()> {
    for sql in ["DELETE FROM hook WHERE id = $1", "DELETE FROM hook_delivery WHERE hook = $1"] {
        sqlx::query(sql).bind(id).execute(&mut **tx).await.map_err(store_error)?;
    }
    Ok(())
}

pub async fn called(tx: &mut Tx, id: &str, now: Timestamp) -> Result<()> {
    sqlx::query("UPDATE hook SET called_at = $2 WHERE id = $1")
        .bind(id)
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// What tells one call from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatKey {
    /// The same for each repeat.
    pub key: String,
    /// A job and the number of its build, where builds are told of: of an older one nothing is heard any more.
    pub build: Option<(String, i64)>,
}

/// Takes down a call; false when one of this key was taken down before.
pub async fn delivery_insert(
    tx: &mut Tx,
    hook: &str,
    repeat: &RepeatKey,
    delivery: &HookDelivery,
) -> Result<bool> {
    let (job, build) = repeat.build.as_ref().map_or(("", 0), |(job, build)| (job.as_str(), *build));
    let done = sqlx::query(
        "INSERT INTO hook_delivery (hook, repeat_key, job, build, id, outcome, detail, at, ignored, about) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
    )
    .bind(hook)
    .bind(&repeat.key)
    .bind(job)
    .bind(build)
    .bind(&delivery.id)
    .bind(&delivery.outcome)
    .bind(&delivery.detail)
    .bind(delivery.at.micros())
    .bind(delivery.ignored.map_or("", HookIgnored::as_str))
    .bind(delivery.about.as_deref().unwrap_or_default())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// Forgets the oldest calls that asked for nothing, where a hook has more than are kept.
pub async fn ignored_forget(tx: &mut Tx, hook: &str) -> Result<()> {
    sqlx::query(
        "DELETE FROM hook_delivery WHERE hook = $1 AND outcome = 'ignored' AND id <= (SELECT id FROM hook_delivery \
         WHERE hook = $1 AND outcome = 'ignored' ORDER BY id DESC LIMIT 1 OFFSET $2)",
    )
    .bind(hook)
    .bind(IGNORED_KEPT)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// The newest build of a job that was acted on; 0 for none.
pub async fn last_build(tx: &mut Tx, hook: &str, job: &str) -> Result<i64> {
    let row = sqlx::query(
        "SELECT COALESCE(MAX(build), 0) AS build FROM hook_delivery WHERE hook = $1 AND job = $2",
    )
    .bind(hook)
    .bind(job)
    .fetch_one(&mut **tx)
    .await
    .map_err(store_error)?;
    number(&row, "build")
}

/// Newest first, before this one.
pub async fn delivery_list<'c>(
    db: impl Reads<'c>,
    hook: &str,
    below: &str,
    limit: i64,
) -> Result<Vec<HookDelivery>> {
    let rows = sqlx::query(
        "SELECT id, outcome, ignored, about, detail, at FROM hook_delivery WHERE hook = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3",
    )
    .bind(hook)
    .bind(below)
    .bind(limit)
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            Ok(HookDelivery {
                id: text(row, "id")?,
                outcome: text(row, "outcome")?,
                ignored: ignored(&text(row, "ignored")?),
                about: text_if(row, "about")?,
                detail: text(row, "detail")?,
                at: time(row, "at")?,
            })
        })
        .collect()
}

pub async fn deliveries_forget(tx: &mut Tx, before: Timestamp) -> Result<()> {
    sqlx::query("DELETE FROM hook_delivery WHERE at < $1")
        .bind(before.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn request_insert(tx: &mut Tx, request: &RequestRow, now: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO deployment_request (id, project, project_since, app, reference, commit_id, actor, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&request.id)
    .bind(&request.project)
    .bind(request.project_since)
    .bind(&request.app)
    .bind(request.reference.as_deref().unwrap_or_default())
    .bind(request.commit.as_deref().unwrap_or_default())
    .bind(to_json(&request.actor)?)
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Oldest first.
pub async fn request_list<'c>(db: impl Reads<'c>) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT id FROM deployment_request ORDER BY id LIMIT 1000").fetch_all(db).await;
    rows.map_err(store_error)?.iter().map(|row| text(row, "id")).collect()
}

pub async fn request_get<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<RequestRow>> {
    let row = sqlx::query(
        "SELECT id, project, project_since, app, reference, commit_id, actor FROM deployment_request WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await
    .map_err(store_error)?;
    row.as_ref()
        .map(|row| {
            Ok(RequestRow {
                id: text(row, "id")?,
                project: text(row, "project")?,
                project_since: number(row, "project_since")?,
                app: text(row, "app")?,
                reference: text_if(row, "reference")?,
                commit: text_if(row, "commit_id")?,
                actor: json(row, "actor")?,
            })
        })
        .transpose()
}

pub async fn request_delete(tx: &mut Tx, id: &str) -> Result<()> {
    sqlx::query("DELETE FROM deployment_request WHERE id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
