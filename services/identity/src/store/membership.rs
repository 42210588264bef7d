//! Memberships and the roles of an organisation.

use hafen_base::{Error, OrganisationId, PageLimit, Result};
use hafen_client::wire::{CustomRole, Membership};
use hafen_db::{Row, Tx, sqlx, store_error};

use super::{Reads, number, one_more, parsed, rows, text, time};
use crate::model::role::{OWNER, Scope};

fn read(row: &Row) -> Result<Membership> {
    Ok(Membership {
        id: parsed(row, "id")?,
        subject: text(row, "subject")?,
        scope: text(row, "scope")?,
        role: text(row, "role")?,
        created_at: time(row, "created_at")?,
    })
}

/// Replaces what the subject held at this scope.
pub async fn put(tx: &mut Tx, organisation: OrganisationId, membership: &Membership) -> Result<()> {
    sqlx::query(
        "INSERT INTO membership (id, organisation, subject, scope, role, created_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (subject, scope) DO UPDATE SET id = excluded.id, role = excluded.role, created_at = excluded.created_at",
    )
    .bind(membership.id.to_string())
    .bind(organisation.to_string())
    .bind(&membership.subject)
    .bind(&membership.scope)
    .bind(&membership.role)
    .bind(membership.created_at.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn delete(tx: &mut Tx, id: &str) -> Result<()> {
    sqlx::query("DELETE FROM membership WHERE id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn get<'c>(db: impl Reads<'c>, organisation: OrganisationId, id: &str) -> Result<Membership> {
    let row = sqlx::query(
        "SELECT id, subject, scope, role, created_at FROM membership WHERE organisation = $1 AND id = $2",
    )
    .bind(organisation.to_string())
    .bind(id)
    .fetch_optional(db)
    .await
    .map_err(store_error)?;
    row.as_ref().map(read).transpose()?.ok_or_else(|| Error::not_found(format!("membership {id:?}")))
}

/// The role a subject holds at a scope.
pub async fn at<'c>(db: impl Reads<'c>, subject: &str, scope: &str) -> Result<Option<Membership>> {
    let row = sqlx::query(
        "SELECT id, subject, scope, role, created_at FROM membership WHERE subject = $1 AND scope = $2",
    )
    .bind(subject)
    .bind(scope)
    .fetch_optional(db)
    .await
    .map_err(store_error)?;
    row.as_ref().map(read).transpose()
}

/// `subject` and `scope` narrow the list where they are not empty.
pub async fn list<'c>(
    db: impl Reads<'c>,
    organisation: OrganisationId,
    (subject, scope): (&str, &str),
    after: &str,
    limit: PageLimit,
) -> Result<Vec<Membership>> {
    let found = sqlx::query(
        "SELECT id, subject, scope, role, created_at FROM membership WHERE organisation = $1 \
         AND ($2 = '' OR subject = $2) AND ($3 = '' OR scope = $3) AND id > $4 ORDER BY id LIMIT $5",
    )
    .bind(organisation.to_string())
    .bind(subject)
    .bind(scope)
    .bind(after)
    .bind(one_more(limit))
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows(&found, read)
}

/// Everything a subject holds.
pub async fn of<'c>(db: impl Reads<'c>, subject: &str) -> Result<Vec<(Scope, String)>> {
    let found = sqlx::query("SELECT scope, role FROM membership WHERE subject = $1 ORDER BY scope")
        .bind(subject)
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, |row| Ok((parsed(row, "scope")?, text(row, "role")?)))
}

/// How many active people own the organisation.
/// Whether an organisation has, or ever had, an owner: one who was reset counts.
pub async fn was_owned<'c>(db: impl Reads<'c>, organisation: OrganisationId) -> Result<bool> {
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM membership JOIN person ON person.id = membership.subject \
         WHERE membership.scope = $1 AND membership.role = $2) + (SELECT COUNT(*) FROM invitation \
         WHERE scope = $1 AND role = $2 AND status = 'accepted') AS owners",
    )
    .bind(organisation.to_string())
    .bind(OWNER)
    .fetch_one(db)
    .await
    .map_err(store_error)?;
    Ok(number(&row, "owners")? > 0)
}

pub async fn owners<'c>(db: impl Reads<'c>, organisation: OrganisationId) -> Result<i64> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS owners FROM membership JOIN person ON person.id = membership.subject \
         WHERE membership.scope = $1 AND membership.role = $2 AND person.status = 'active'",
    )
    .bind(organisation.to_string())
    .bind(OWNER)
    .fetch_one(db)
    .await
    .map_err(store_error)?;
    number(&row, "owners")
}

fn read_role(row: &Row) -> Result<CustomRole> {
    Ok(CustomRole {
        name: text(row, "name")?,
        title: text(row, "title")?,
        permissions: serde_json::from_str(&text(row, "permissions")?).map_err(Error::internal)?,
        created_at: time(row, "created_at")?,
        generation: number(row, "generation")?,
    })
}

pub async fn role_put(tx: &mut Tx, organisation: OrganisationId, role: &CustomRole) -> Result<()> {
    sqlx::query(
        "INSERT INTO custom_role (organisation, name, title, permissions, created_at, generation) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (organisation, name) DO UPDATE SET title = excluded.title, permissions = excluded.permissions, generation = excluded.generation",
    )
    .bind(organisation.to_string())
    .bind(&role.name)
    .bind(&role.title)
    .bind(serde_json::to_string(&role.permissions).map_err(Error::internal)?)
    .bind(role.created_at.micros())
    .bind(role.generation)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn role_find<'c>(
    db: impl Reads<'c>,
    organisation: OrganisationId,
    name: &str,
) -> Result<Option<CustomRole>> {
    let row = sqlx::query("SELECT name, title, permissions, created_at, generation FROM custom_role WHERE organisation = $1 AND name = $2")
        .bind(organisation.to_string())
        .bind(name)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(read_role).transpose()
}

pub async fn role_list<'c>(db: impl Reads<'c>, organisation: OrganisationId) -> Result<Vec<CustomRole>> {
    let found = sqlx::query("SELECT name, title, permissions, created_at, generation FROM custom_role WHERE organisation = $1 ORDER BY name LIMIT 1000")
        .bind(organisation.to_string())
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, read_role)
}

/// # Errors
/// Conflict while somebody holds it.
pub async fn role_delete(tx: &mut Tx, organisation: OrganisationId, name: &str) -> Result<()> {
    let held = sqlx::query("SELECT COUNT(*) AS held FROM membership WHERE organisation = $1 AND role = $2")
        .bind(organisation.to_string())
        .bind(name)
        .fetch_one(&mut **tx)
        .await
        .map_err(store_error)?;
    if number(&held, "held")? > 0 {
        return Err(Error::conflict("somebody holds this role: give another in its place first")
            .with_code("role_held"));
    }
    sqlx::query("DELETE FROM custom_role WHERE organisation = $1 AND name = $2")
        .bind(organisation.to_string())
        .bind(name)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
