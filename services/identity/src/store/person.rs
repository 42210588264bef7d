use hafen_base::{Error, OrganisationId, PageLimit, Result, Timestamp, UserId};
use hafen_db::{Row, Tx, is_unique_violation, sqlx, store_error};

use super::{Reads, number, one_more, parsed, rows, text, time};

pub const ACTIVE: &str = "active";
pub const SUSPENDED: &str = "suspended";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRow {
    pub id: UserId,
    pub organisation: OrganisationId,
    pub login: String,
    pub name: String,
    pub status: String,
    /// The `WebAuthn` user handle: random, so that authenticators keep no name.
    pub handle: String,
    pub created_at: Timestamp,
    pub generation: i64,
}

const COLUMNS: &str = "id, organisation, login, name, status, handle, created_at, generation";

fn read(row: &Row) -> Result<PersonRow> {
    Ok(PersonRow {
        id: parsed(row, "id")?,
        organisation: parsed(row, "organisation")?,
        login: text(row, "login")?,
        name: text(row, "name")?,
        status: text(row, "status")?,
        handle: text(row, "handle")?,
        created_at: time(row, "created_at")?,
        generation: number(row, "generation")?,
    })
}

pub async fn insert(tx: &mut Tx, person: &PersonRow) -> Result<()> {
    sqlx::query("INSERT INTO person (id, organisation, login, name, status, handle, created_at, generation) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(person.id.to_string())
        .bind(person.organisation.to_string())
        .bind(&person.login)
        .bind(&person.name)
        .bind(&person.status)
        .bind(&person.handle)
        .bind(person.created_at.micros())
        .bind(person.generation)
        .execute(&mut **tx)
        .await
        .map_err(|error| {
            if is_unique_violation(&error) {
                Error::conflict("somebody in this organisation signs in by that name already; take another").with_code("login_taken")
            } else {
                store_error(error)
            }
        })?;
    Ok(())
}

pub async fn update(tx: &mut Tx, person: &PersonRow) -> Result<()> {
    sqlx::query("UPDATE person SET name = $2, status = $3, generation = $4 WHERE id = $1")
        .bind(person.id.to_string())
        .bind(&person.name)
        .bind(&person.status)
        .bind(person.generation)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// By id or login, within an organisation.
pub async fn find<'c>(
    db: impl Reads<'c>,
    organisation: OrganisationId,
    key: &str,
) -> Result<Option<PersonRow>> {
    let sql = format!("SELECT {COLUMNS} FROM person WHERE organisation = $1 AND (id = $2 OR login = $2)");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .bind(key)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(read).transpose()
}

pub async fn get<'c>(db: impl Reads<'c>, organisation: OrganisationId, key: &str) -> Result<PersonRow> {
    find(db, organisation, key).await?.ok_or_else(|| Error::not_found(format!("person {key:?}")))
}

/// By its id alone: for what holds the id already (a session, a ceremony).
pub async fn by_id<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<PersonRow>> {
    let sql = format!("SELECT {COLUMNS} FROM person WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(db).await.map_err(store_error)?;
    row.as_ref().map(read).transpose()
}

pub async fn by_handle<'c>(db: impl Reads<'c>, handle: &str) -> Result<Option<PersonRow>> {
    let sql = format!("SELECT {COLUMNS} FROM person WHERE handle = $1");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(handle).fetch_optional(db).await.map_err(store_error)?;
    row.as_ref().map(read).transpose()
}

pub async fn list<'c>(
    db: impl Reads<'c>,
    organisation: OrganisationId,
    after: &str,
    limit: PageLimit,
) -> Result<Vec<PersonRow>> {
    let sql =
        format!("SELECT {COLUMNS} FROM person WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3");
    let found = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .bind(after)
        .bind(one_more(limit))
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, read)
}
