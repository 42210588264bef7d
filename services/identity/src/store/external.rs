//! External OpenID providers, and who is whom there.

use hafen_base::{Error, OrganisationId, Result, Timestamp};
use hafen_client::wire::IdentityProvider;
use hafen_db::{Row, Tx, is_unique_violation, sqlx, store_error};

use super::{Reads, parsed, rows, text, time};

fn read(row: &Row) -> Result<(IdentityProvider, String)> {
    let shown = IdentityProvider {
        id: text(row, "id")?,
        organisation: parsed(row, "organisation")?,
        name: text(row, "name")?,
        issuer: text(row, "issuer")?,
        client_id: text(row, "client_id")?,
        created_at: time(row, "created_at")?,
    };
    Ok((shown, text(row, "sealed")?))
}

pub async fn insert(tx: &mut Tx, provider: &IdentityProvider, sealed: &str) -> Result<()> {
    sqlx::query("INSERT INTO identity_provider (id, organisation, name, issuer, client_id, sealed, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(&provider.id)
        .bind(provider.organisation.to_string())
        .bind(&provider.name)
        .bind(&provider.issuer)
        .bind(&provider.client_id)
        .bind(sealed)
        .bind(provider.created_at.micros())
        .execute(&mut **tx)
        .await
        .map_err(|error| {
            if is_unique_violation(&error) {
                Error::conflict(format!("there is already a provider {:?}", provider.name)).with_code("name_taken")
            } else {
                store_error(error)
            }
        })?;
    Ok(())
}

/// With its sealed secret.
pub async fn by_id<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<(IdentityProvider, String)>> {
    let row = sqlx::query("SELECT id, organisation, name, issuer, client_id, sealed, created_at FROM identity_provider WHERE id = $1")
        .bind(id)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(read).transpose()
}

pub async fn list<'c>(db: impl Reads<'c>, organisation: OrganisationId) -> Result<Vec<IdentityProvider>> {
    let found = sqlx::query("SELECT id, organisation, name, issuer, client_id, sealed, created_at FROM identity_provider WHERE organisation = $1 ORDER BY id LIMIT 100")
        .bind(organisation.to_string())
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, |row| read(row).map(|(shown, _)| shown))
}

pub async fn delete(tx: &mut Tx, organisation: OrganisationId, id: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM identity_provider WHERE organisation = $1 AND id = $2")
        .bind(organisation.to_string())
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    sqlx::query("DELETE FROM external_identity WHERE provider = $1 AND NOT EXISTS (SELECT 1 FROM identity_provider WHERE id = $1)")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// Who `subject` of a provider is here. Never looked up by a name or an address: those change hands.
pub async fn person<'c>(db: impl Reads<'c>, provider: &str, subject: &str) -> Result<Option<String>> {
    let row = sqlx::query("SELECT person FROM external_identity WHERE provider = $1 AND subject = $2")
        .bind(provider)
        .bind(subject)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(|row| text(row, "person")).transpose()
}

pub async fn link(tx: &mut Tx, provider: &str, subject: &str, person: &str, now: Timestamp) -> Result<bool> {
    let done = sqlx::query("INSERT INTO external_identity (provider, subject, person, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (provider, subject) DO NOTHING")
        .bind(provider)
        .bind(subject)
        .bind(person)
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}
