use hafen_base::{Error, OrganisationId, PageLimit, Result, Timestamp};
use hafen_client::wire::ProjectOwner;
use hafen_db::{Row, Tx, sqlx, store_error};

use super::{Reads, number, one_more, parsed, rows, text, time};

const COLUMNS: &str = "name, organisation, team, created_at, generation";

fn read(row: &Row) -> Result<ProjectOwner> {
    Ok(ProjectOwner {
        project: text(row, "name")?,
        organisation: parsed(row, "organisation")?,
        team: parsed(row, "team")?,
        created_at: time(row, "created_at")?,
        generation: number(row, "generation")?,
    })
}

/// Of any organisation: for the check of a request, never for a caller's eyes.
pub async fn find<'c>(db: impl Reads<'c>, name: &str) -> Result<Option<ProjectOwner>> {
    let sql = format!("SELECT {COLUMNS} FROM project WHERE name = $1");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(name).fetch_optional(db).await.map_err(store_error)?;
    row.as_ref().map(read).transpose()
}

pub async fn get<'c>(db: impl Reads<'c>, organisation: OrganisationId, name: &str) -> Result<ProjectOwner> {
    let found = find(db, name).await?.filter(|owner| owner.organisation == organisation);
    found.ok_or_else(|| Error::not_found(format!("project {name:?}")))
}

pub async fn list<'c>(
    db: impl Reads<'c>,
    organisation: OrganisationId,
    after: &str,
    limit: PageLimit,
) -> Result<Vec<ProjectOwner>> {
    let sql =
        format!("SELECT {COLUMNS} FROM project WHERE organisation = $1 AND name > $2 ORDER BY name LIMIT $3");
    let found = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .bind(after)
        .bind(one_more(limit))
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, read)
}

/// All of an organisation's, with who owns them.
pub async fn all<'c>(db: impl Reads<'c>, organisation: OrganisationId) -> Result<Vec<ProjectOwner>> {
    let sql = format!("SELECT {COLUMNS} FROM project WHERE organisation = $1 ORDER BY name");
    let found = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(organisation.to_string()).fetch_all(db).await;
    rows(&found.map_err(store_error)?, read)
}

/// Names that any other organisation owns: for the check of a request, never for a caller's eyes.
pub async fn of_others<'c>(db: impl Reads<'c>, organisation: OrganisationId) -> Result<Vec<String>> {
    let found = sqlx::query("SELECT name FROM project WHERE organisation <> $1")
        .bind(organisation.to_string())
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, |row| text(row, "name"))
}

/// Names that were given up, and when last.
pub async fn given_up<'c>(db: impl Reads<'c>) -> Result<Vec<(String, Timestamp)>> {
    let found = sqlx::query("SELECT name, at FROM project_given_up").fetch_all(db).await;
    rows(&found.map_err(store_error)?, |row| Ok((text(row, "name")?, time(row, "at")?)))
}

pub async fn put(tx: &mut Tx, owner: &ProjectOwner) -> Result<()> {
    sqlx::query(
        "INSERT INTO project (name, organisation, team, created_at, generation) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (name) DO UPDATE SET team = excluded.team, generation = excluded.generation",
    )
    .bind(&owner.project)
    .bind(owner.organisation.to_string())
    .bind(owner.team.to_string())
    .bind(owner.created_at.micros())
    .bind(owner.generation)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Forgets who owned it, and remembers that it was somebody's until now: whoever takes the name next sees nothing of before.
pub async fn delete(tx: &mut Tx, name: &str, now: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO project_given_up (name, at) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET at = excluded.at",
    )
    .bind(name)
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    sqlx::query("DELETE FROM membership WHERE scope = $1")
        .bind(format!("project/{name}"))
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    sqlx::query("DELETE FROM project WHERE name = $1")
        .bind(name)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
