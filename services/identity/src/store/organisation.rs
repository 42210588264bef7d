use hafen_base::{Error, OrganisationId, PageLimit, Result};
use hafen_client::wire::{Organisation, SignInPolicy};
use hafen_db::{Row, Tx, is_unique_violation, sqlx, store_error};

use super::{Reads, number, one_more, parsed, rows, text, time};

const COLUMNS: &str = "id, name, title, second_factor, session_hours, idle_minutes, created_at, generation";

fn read(row: &Row) -> Result<Organisation> {
    Ok(Organisation {
        id: parsed(row, "id")?,
        name: text(row, "name")?,
        title: text(row, "title")?,
        policy: SignInPolicy {
            second_factor: number(row, "second_factor")? != 0,
            session_hours: number(row, "session_hours")?,
            idle_minutes: number(row, "idle_minutes")?,
        },
        created_at: time(row, "created_at")?,
        generation: number(row, "generation")?,
    })
}

pub async fn insert(tx: &mut Tx, organisation: &Organisation) -> Result<()> {
    sqlx::query("INSERT INTO organisation (id, name, title, second_factor, session_hours, idle_minutes, created_at, generation) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(organisation.id.to_string())
        .bind(&organisation.name)
        .bind(&organisation.title)
        .bind(i64::from(organisation.policy.second_factor))
        .bind(organisation.policy.session_hours)
        .bind(organisation.policy.idle_minutes)
        .bind(organisation.created_at.micros())
        .bind(organisation.generation)
        .execute(&mut **tx)
        .await
        .map_err(|error| {
            if is_unique_violation(&error) {
                Error::conflict(format!("there is already an organisation {:?}", organisation.name)).with_code("name_taken")
            } else {
                store_error(error)
            }
        })?;
    Ok(())
}

pub async fn update(tx: &mut Tx, organisation: &Organisation) -> Result<()> {
    sqlx::query("UPDATE organisation SET title = $2, second_factor = $3, session_hours = $4, idle_minutes = $5, generation = $6 WHERE id = $1")
        .bind(organisation.id.to_string())
        .bind(&organisation.title)
        .bind(i64::from(organisation.policy.second_factor))
        .bind(organisation.policy.session_hours)
        .bind(organisation.policy.idle_minutes)
        .bind(organisation.generation)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// By id or name.
pub async fn find<'c>(db: impl Reads<'c>, key: &str) -> Result<Option<Organisation>> {
    let sql = format!("SELECT {COLUMNS} FROM organisation WHERE id = $1 OR name = $1");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(key).fetch_optional(db).await.map_err(store_error)?;
    row.as_ref().map(read).transpose()
}

pub async fn get<'c>(db: impl Reads<'c>, id: OrganisationId) -> Result<Organisation> {
    let found = find(db, &id.to_string()).await?;
    found.ok_or_else(|| Error::not_found(format!("organisation {id}")))
}

pub async fn list<'c>(db: impl Reads<'c>, after: &str, limit: PageLimit) -> Result<Vec<Organisation>> {
    let sql = format!("SELECT {COLUMNS} FROM organisation WHERE id > $1 ORDER BY id LIMIT $2");
    let found = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(after)
        .bind(one_more(limit))
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, read)
}
