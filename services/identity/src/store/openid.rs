//! Hafen as an OpenID provider: clients, signing keys, grants on their way.

use hafen_base::{Error, OrganisationId, Result, Timestamp};
use hafen_client::wire::OauthClient;
use hafen_db::{Row, Tx, sqlx, store_error};

use super::{Reads, number, parsed, rows, text, time};
use crate::model::secret::Hash;

#[derive(Debug, Clone)]
pub struct KeyRow {
    pub kid: String,
    pub sealed: String,
    /// JSON: what the JWKS shows.
    pub public: String,
    pub signs_from: Timestamp,
    pub shown_until: Timestamp,
}

pub async fn keys<'c>(db: impl Reads<'c>) -> Result<Vec<KeyRow>> {
    let found = sqlx::query(
        "SELECT kid, sealed, public, signs_from, shown_until FROM signing_key ORDER BY signs_from",
    )
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows(&found, |row| {
        Ok(KeyRow {
            kid: text(row, "kid")?,
            sealed: text(row, "sealed")?,
            public: text(row, "public")?,
            signs_from: time(row, "signs_from")?,
            shown_until: time(row, "shown_until")?,
        })
    })
}

pub async fn key_insert(tx: &mut Tx, key: &KeyRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO signing_key (kid, sealed, public, signs_from, shown_until) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&key.kid)
    .bind(&key.sealed)
    .bind(&key.public)
    .bind(key.signs_from.micros())
    .bind(key.shown_until.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn keys_forget(tx: &mut Tx, now: Timestamp) -> Result<()> {
    sqlx::query("DELETE FROM signing_key WHERE shown_until < $1")
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

#[derive(Debug, Clone)]
pub struct ClientRow {
    pub shown: OauthClient,
    /// Hash of its secret; empty for a public client.
    pub secret: String,
}

fn read_client(row: &Row) -> Result<ClientRow> {
    let secret = text(row, "secret")?;
    Ok(ClientRow {
        shown: OauthClient {
            id: text(row, "id")?,
            organisation: parsed(row, "organisation")?,
            name: text(row, "name")?,
            confidential: !secret.is_empty(),
            redirect_uris: serde_json::from_str(&text(row, "redirect_uris")?).map_err(Error::internal)?,
            created_at: time(row, "created_at")?,
        },
        secret,
    })
}

pub async fn client_insert(tx: &mut Tx, client: &ClientRow) -> Result<()> {
    sqlx::query("INSERT INTO oauth_client (id, organisation, name, secret, redirect_uris, created_at) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(&client.shown.id)
        .bind(client.shown.organisation.to_string())
        .bind(&client.shown.name)
        .bind(&client.secret)
        .bind(serde_json::to_string(&client.shown.redirect_uris).map_err(Error::internal)?)
        .bind(client.shown.created_at.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn client_find<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<ClientRow>> {
    let row = sqlx::query(
        "SELECT id, organisation, name, secret, redirect_uris, created_at FROM oauth_client WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await
    .map_err(store_error)?;
    row.as_ref().map(read_client).transpose()
}

pub async fn client_list<'c>(db: impl Reads<'c>, organisation: OrganisationId) -> Result<Vec<OauthClient>> {
    let found = sqlx::query("SELECT id, organisation, name, secret, redirect_uris, created_at FROM oauth_client WHERE organisation = $1 ORDER BY id LIMIT 1000")
        .bind(organisation.to_string())
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, |row| read_client(row).map(|client| client.shown))
}

pub async fn client_delete(tx: &mut Tx, organisation: OrganisationId, id: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM oauth_client WHERE organisation = $1 AND id = $2")
        .bind(organisation.to_string())
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// A code or device code that was granted, or waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRow {
    pub client: String,
    /// Empty while nobody has granted.
    pub subject: String,
    pub redirect_uri: String,
    /// S256.
    pub challenge: String,
    pub nonce: String,
    pub scope: String,
    /// Separated by spaces.
    pub factors: String,
    pub authenticated_at: Timestamp,
    /// `waiting`, `granted`, `denied`, `used`
    pub status: String,
    /// The session that came of it.
    pub session: String,
    pub user_code: String,
    pub polled_at: Timestamp,
    pub expires_at: Timestamp,
}

const GRANT: &str = "client, subject, redirect_uri, challenge, nonce, scope, factors, authenticated_at, status, session, user_code, polled_at, expires_at";

fn read_grant(row: &Row) -> Result<GrantRow> {
    Ok(GrantRow {
        client: text(row, "client")?,
        subject: text(row, "subject")?,
        redirect_uri: text(row, "redirect_uri")?,
        challenge: text(row, "challenge")?,
        nonce: text(row, "nonce")?,
        scope: text(row, "scope")?,
        factors: text(row, "factors")?,
        authenticated_at: time(row, "authenticated_at")?,
        status: text(row, "status")?,
        session: text(row, "session")?,
        user_code: text(row, "user_code")?,
        polled_at: time(row, "polled_at")?,
        expires_at: time(row, "expires_at")?,
    })
}

pub async fn grant_insert(tx: &mut Tx, hash: &Hash, grant: &GrantRow) -> Result<()> {
    let sql = format!(
        "INSERT INTO oauth_grant (hash, {GRANT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(hash.as_str())
        .bind(&grant.client)
        .bind(&grant.subject)
        .bind(&grant.redirect_uri)
        .bind(&grant.challenge)
        .bind(&grant.nonce)
        .bind(&grant.scope)
        .bind(&grant.factors)
        .bind(grant.authenticated_at.micros())
        .bind(&grant.status)
        .bind(&grant.session)
        .bind(&grant.user_code)
        .bind(grant.polled_at.micros())
        .bind(grant.expires_at.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn grant(tx: &mut Tx, hash: &Hash) -> Result<Option<GrantRow>> {
    let sql = format!("SELECT {GRANT} FROM oauth_grant WHERE hash = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(hash.as_str())
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.as_ref().map(read_grant).transpose()
}

pub async fn grant_by_user_code(tx: &mut Tx, code: &str, now: Timestamp) -> Result<Option<GrantRow>> {
    let sql = format!(
        "SELECT {GRANT} FROM oauth_grant WHERE user_code = $1 AND status = 'waiting' AND expires_at > $2"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(code)
        .bind(now.micros())
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.as_ref().map(read_grant).transpose()
}

/// A person answers a device.
pub async fn grant_answer(tx: &mut Tx, code: &str, grant: &GrantRow) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE oauth_grant SET status = $2, subject = $3, factors = $4, authenticated_at = $5 WHERE user_code = $1 AND status = 'waiting'",
    )
    .bind(code)
    .bind(&grant.status)
    .bind(&grant.subject)
    .bind(&grant.factors)
    .bind(grant.authenticated_at.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

pub async fn grant_polled(tx: &mut Tx, hash: &Hash, now: Timestamp) -> Result<()> {
    sqlx::query("UPDATE oauth_grant SET polled_at = $2 WHERE hash = $1")
        .bind(hash.as_str())
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Uses it up. False when it was used before.
pub async fn grant_use(tx: &mut Tx, hash: &Hash, session: &str) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE oauth_grant SET status = 'used', session = $2 WHERE hash = $1 AND status = 'granted'",
    )
    .bind(hash.as_str())
    .bind(session)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// A refresh token: one of a line that a session hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshRow {
    pub session: String,
    pub client: String,
    pub scope: String,
    pub used: bool,
    pub expires_at: Timestamp,
}

pub async fn refresh_insert(tx: &mut Tx, hash: &Hash, row: &RefreshRow) -> Result<()> {
    sqlx::query("INSERT INTO oauth_refresh (hash, session, client, scope, used, expires_at) VALUES ($1, $2, $3, $4, 0, $5)")
        .bind(hash.as_str())
        .bind(&row.session)
        .bind(&row.client)
        .bind(&row.scope)
        .bind(row.expires_at.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn refresh(tx: &mut Tx, hash: &Hash) -> Result<Option<RefreshRow>> {
    let row =
        sqlx::query("SELECT session, client, scope, used, expires_at FROM oauth_refresh WHERE hash = $1")
            .bind(hash.as_str())
            .fetch_optional(&mut **tx)
            .await
            .map_err(store_error)?;
    row.as_ref()
        .map(|row| {
            Ok(RefreshRow {
                session: text(row, "session")?,
                client: text(row, "client")?,
                scope: text(row, "scope")?,
                used: number(row, "used")? != 0,
                expires_at: time(row, "expires_at")?,
            })
        })
        .transpose()
}

pub async fn refresh_use(tx: &mut Tx, hash: &Hash) -> Result<bool> {
    let done = sqlx::query("UPDATE oauth_refresh SET used = 1 WHERE hash = $1 AND used = 0")
        .bind(hash.as_str())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

pub async fn tidy(tx: &mut Tx, now: Timestamp) -> Result<()> {
    // A used code is kept for a day, so that its second use is noticed.
    let day = 24 * 3600 * 1_000_000_i64;
    sqlx::query("DELETE FROM oauth_grant WHERE expires_at < $1")
        .bind(now.micros() - day)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    sqlx::query("DELETE FROM oauth_refresh WHERE expires_at < $1")
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    sqlx::query("DELETE FROM used_jwt WHERE expires_at < $1")
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
