//! Issuers of workload identities that an organisation trusts, and their tokens that were traded already.

use std::collections::BTreeMap;

use hafen_base::{Error, OrganisationId, Result, Timestamp};
use hafen_client::wire::WorkloadIdentity;
use hafen_db::{Row, Tx, is_unique_violation, sqlx, store_error};

use super::{Reads, list_text, maybe_list, number, parsed, rows, text, time};
use crate::model::secret::Hash;

const COLUMNS: &str = "id, organisation, name, issuer, audience, jwks, claims, scopes, projects, role, scope, created_at, generation";

fn read(row: &Row) -> Result<WorkloadIdentity> {
    let claims: BTreeMap<String, String> =
        serde_json::from_str(&text(row, "claims")?).map_err(Error::internal)?;
    Ok(WorkloadIdentity {
        id: text(row, "id")?,
        organisation: parsed(row, "organisation")?,
        name: text(row, "name")?,
        issuer: text(row, "issuer")?,
        audience: text(row, "audience")?,
        jwks: match text(row, "jwks")?.as_str() {
            "" => None,
            keys => serde_json::from_str(keys).map_err(Error::internal)?,
        },
        claims,
        scopes: maybe_list(row, "scopes")?,
        projects: maybe_list(row, "projects")?,
        role: text(row, "role")?,
        scope: text(row, "scope")?,
        created_at: time(row, "created_at")?,
        generation: number(row, "generation")?,
    })
}

pub async fn insert(tx: &mut Tx, trust: &WorkloadIdentity) -> Result<()> {
    let sql = format!(
        "INSERT INTO workload_trust ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&trust.id)
        .bind(trust.organisation.to_string())
        .bind(&trust.name)
        .bind(&trust.issuer)
        .bind(&trust.audience)
        .bind(trust.jwks.as_ref().map(ToString::to_string).unwrap_or_default())
        .bind(serde_json::to_string(&trust.claims).map_err(Error::internal)?)
        .bind(list_text(trust.scopes.as_deref())?)
        .bind(list_text(trust.projects.as_deref())?)
        .bind(&trust.role)
        .bind(&trust.scope)
        .bind(trust.created_at.micros())
        .bind(trust.generation)
        .execute(&mut **tx)
        .await
        .map_err(|error| {
            if is_unique_violation(&error) {
                Error::conflict(format!("there is already a workload identity {:?}", trust.name))
                    .with_code("name_taken")
            } else {
                store_error(error)
            }
        })?;
    Ok(())
}

pub async fn get<'c>(
    db: impl Reads<'c>,
    organisation: OrganisationId,
    key: &str,
) -> Result<WorkloadIdentity> {
    let sql =
        format!("SELECT {COLUMNS} FROM workload_trust WHERE organisation = $1 AND (id = $2 OR name = $2)");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .bind(key)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(read).transpose()?.ok_or_else(|| Error::not_found(format!("workload identity {key:?}")))
}

pub async fn list<'c>(db: impl Reads<'c>, organisation: OrganisationId) -> Result<Vec<WorkloadIdentity>> {
    let sql = format!("SELECT {COLUMNS} FROM workload_trust WHERE organisation = $1 ORDER BY id LIMIT 1000");
    let found = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, read)
}

/// Of every organisation: which of them a token fits is decided by its audience and claims.
pub async fn of_issuer<'c>(db: impl Reads<'c>, issuer: &str) -> Result<Vec<WorkloadIdentity>> {
    let sql = format!("SELECT {COLUMNS} FROM workload_trust WHERE issuer = $1 ORDER BY id LIMIT 1000");
    let found =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(issuer).fetch_all(db).await.map_err(store_error)?;
    rows(&found, read)
}

pub async fn delete(tx: &mut Tx, id: &str) -> Result<()> {
    sqlx::query("DELETE FROM membership WHERE subject = $1")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    sqlx::query("DELETE FROM workload_trust WHERE id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Marks a foreign token as traded. False when it was already.
pub async fn trade(tx: &mut Tx, hash: &Hash, expires_at: Timestamp) -> Result<bool> {
    let done =
        sqlx::query("INSERT INTO used_jwt (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING")
            .bind(hash.as_str())
            .bind(expires_at.micros())
            .execute(&mut **tx)
            .await
            .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}
