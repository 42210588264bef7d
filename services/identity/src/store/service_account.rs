use hafen_base::{Error, OrganisationId, PageLimit, Result};
use hafen_client::wire::ServiceAccount;
use hafen_db::{Row, Tx, is_unique_violation, sqlx, store_error};

use super::{Reads, number, one_more, parsed, rows, text, time};

const COLUMNS: &str = "id, organisation, team, name, description, status, created_at, generation";

fn read(row: &Row) -> Result<ServiceAccount> {
    Ok(ServiceAccount {
        id: parsed(row, "id")?,
        organisation: parsed(row, "organisation")?,
        team: parsed(row, "team")?,
        name: text(row, "name")?,
        description: text(row, "description")?,
        status: text(row, "status")?,
        created_at: time(row, "created_at")?,
        generation: number(row, "generation")?,
    })
}

pub async fn insert(tx: &mut Tx, account: &ServiceAccount) -> Result<()> {
    sqlx::query("INSERT INTO service_account (id, organisation, team, name, description, status, created_at, generation) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(account.id.to_string())
        .bind(account.organisation.to_string())
        .bind(account.team.to_string())
        .bind(&account.name)
        .bind(&account.description)
        .bind(&account.status)
        .bind(account.created_at.micros())
        .bind(account.generation)
        .execute(&mut **tx)
        .await
        .map_err(|error| {
            if is_unique_violation(&error) {
                Error::conflict(format!("there is already a service account {:?}", account.name)).with_code("name_taken")
            } else {
                store_error(error)
            }
        })?;
    Ok(())
}

pub async fn update(tx: &mut Tx, account: &ServiceAccount) -> Result<()> {
    sqlx::query("UPDATE service_account SET description = $2, status = $3, generation = $4 WHERE id = $1")
        .bind(account.id.to_string())
        .bind(&account.description)
        .bind(&account.status)
        .bind(account.generation)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// By id or name, within an organisation.
pub async fn find<'c>(
    db: impl Reads<'c>,
    organisation: OrganisationId,
    key: &str,
) -> Result<Option<ServiceAccount>> {
    let sql =
        format!("SELECT {COLUMNS} FROM service_account WHERE organisation = $1 AND (id = $2 OR name = $2)");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .bind(key)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(read).transpose()
}

pub async fn get<'c>(db: impl Reads<'c>, organisation: OrganisationId, key: &str) -> Result<ServiceAccount> {
    find(db, organisation, key).await?.ok_or_else(|| Error::not_found(format!("service account {key:?}")))
}

pub async fn list<'c>(
    db: impl Reads<'c>,
    organisation: OrganisationId,
    after: &str,
    limit: PageLimit,
) -> Result<Vec<ServiceAccount>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM service_account WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3"
    );
    let found = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .bind(after)
        .bind(one_more(limit))
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, read)
}
