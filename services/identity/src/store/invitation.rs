use hafen_base::{Error, OrganisationId, PageLimit, Result};
use hafen_client::wire::Invitation;
use hafen_db::{Row, Tx, sqlx, store_error};

use super::{Reads, one_more, parsed, rows, text, time};
use crate::model::secret::Hash;

pub const OPEN: &str = "open";

const COLUMNS: &str = "id, organisation, login, scope, role, status, created_at, expires_at";

fn read(row: &Row) -> Result<Invitation> {
    Ok(Invitation {
        id: parsed(row, "id")?,
        organisation: parsed(row, "organisation")?,
        login: text(row, "login")?,
        scope: text(row, "scope")?,
        role: text(row, "role")?,
        status: text(row, "status")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
    })
}

pub async fn insert(tx: &mut Tx, invitation: &Invitation, hash: &Hash) -> Result<()> {
    sqlx::query("INSERT INTO invitation (id, hash, organisation, login, scope, role, status, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(invitation.id.to_string())
        .bind(hash.as_str())
        .bind(invitation.organisation.to_string())
        .bind(&invitation.login)
        .bind(&invitation.scope)
        .bind(&invitation.role)
        .bind(&invitation.status)
        .bind(invitation.created_at.micros())
        .bind(invitation.expires_at.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn by_hash<'c>(db: impl Reads<'c>, hash: &Hash) -> Result<Option<Invitation>> {
    let sql = format!("SELECT {COLUMNS} FROM invitation WHERE hash = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(hash.as_str())
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(read).transpose()
}

pub async fn get<'c>(db: impl Reads<'c>, organisation: OrganisationId, id: &str) -> Result<Invitation> {
    let sql = format!("SELECT {COLUMNS} FROM invitation WHERE organisation = $1 AND id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .bind(id)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(read).transpose()?.ok_or_else(|| Error::not_found(format!("invitation {id:?}")))
}

pub async fn list<'c>(
    db: impl Reads<'c>,
    organisation: OrganisationId,
    after: &str,
    limit: PageLimit,
) -> Result<Vec<Invitation>> {
    let sql =
        format!("SELECT {COLUMNS} FROM invitation WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3");
    let found = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .bind(after)
        .bind(one_more(limit))
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, read)
}

/// Ends an open invitation. False when it was not open: two who accept at once cannot both.
pub async fn end(tx: &mut Tx, id: &str, status: &str) -> Result<bool> {
    let done = sqlx::query("UPDATE invitation SET status = $2 WHERE id = $1 AND status = 'open'")
        .bind(id)
        .bind(status)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// Withdraws the open invitations of the first owner, before a new one is made.
pub async fn withdraw_owner(tx: &mut Tx, organisation: OrganisationId) -> Result<()> {
    sqlx::query("UPDATE invitation SET status = 'withdrawn' WHERE organisation = $1 AND scope = $1 AND role = 'owner' AND login = '' AND status = 'open'")
        .bind(organisation.to_string())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
