use hafen_base::{Error, OrganisationId, PageLimit, Result, TeamId};
use hafen_client::wire::Team;
use hafen_db::{Row, Tx, is_unique_violation, sqlx, store_error};

use super::{Reads, number, one_more, parsed, rows, text, time};

const COLUMNS: &str = "id, organisation, name, title, created_at, generation";

fn read(row: &Row) -> Result<Team> {
    Ok(Team {
        id: parsed(row, "id")?,
        organisation: parsed(row, "organisation")?,
        name: text(row, "name")?,
        title: text(row, "title")?,
        created_at: time(row, "created_at")?,
        generation: number(row, "generation")?,
    })
}

pub async fn insert(tx: &mut Tx, team: &Team) -> Result<()> {
    sqlx::query("INSERT INTO team (id, organisation, name, title, created_at, generation) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(team.id.to_string())
        .bind(team.organisation.to_string())
        .bind(&team.name)
        .bind(&team.title)
        .bind(team.created_at.micros())
        .bind(team.generation)
        .execute(&mut **tx)
        .await
        .map_err(|error| {
            if is_unique_violation(&error) {
                Error::conflict(format!("there is already a team {:?}", team.name)).with_code("name_taken")
            } else {
                store_error(error)
            }
        })?;
    Ok(())
}

pub async fn update(tx: &mut Tx, team: &Team) -> Result<()> {
    sqlx::query("UPDATE team SET title = $2, generation = $3 WHERE id = $1")
        .bind(team.id.to_string())
        .bind(&team.title)
        .bind(team.generation)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// By id or name, within an organisation.
pub async fn get<'c>(db: impl Reads<'c>, organisation: OrganisationId, key: &str) -> Result<Team> {
    let sql = format!("SELECT {COLUMNS} FROM team WHERE organisation = $1 AND (id = $2 OR name = $2)");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .bind(key)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(read).transpose()?.ok_or_else(|| Error::not_found(format!("team {key:?}")))
}

pub async fn list<'c>(
    db: impl Reads<'c>,
    organisation: OrganisationId,
    after: &str,
    limit: PageLimit,
) -> Result<Vec<Team>> {
    let sql = format!("SELECT {COLUMNS} FROM team WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3");
    let found = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .bind(after)
        .bind(one_more(limit))
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, read)
}

/// # Errors
/// Conflict while projects or service accounts belong to it: each of them must have a team.
pub async fn delete(tx: &mut Tx, id: TeamId) -> Result<()> {
    let owned = sqlx::query("SELECT name FROM project WHERE team = $1 UNION ALL SELECT name FROM service_account WHERE team = $1 LIMIT 1")
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    if let Some(row) = owned {
        let name = text(&row, "name")?;
        return Err(Error::conflict(format!(
            "the team owns {name:?}, and everything must have a team: give it to another first"
        ))
        .with_code("team_owns"));
    }
    for sql in ["DELETE FROM membership WHERE scope = $1", "DELETE FROM team WHERE id = $1"] {
        sqlx::query(sql).bind(id.to_string()).execute(&mut **tx).await.map_err(store_error)?;
    }
    Ok(())
}
