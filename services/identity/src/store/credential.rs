//! Everything that opens the API: sessions, tokens of people and service accounts, access tokens of clients.

use hafen_base::{Error, OrganisationId, PageLimit, Result, Timestamp};
use hafen_client::wire::{AccessToken, EndProof, Session};
use hafen_db::{Row, Tx, sqlx, store_error};

use super::{Reads, list_text, maybe_list, maybe_time, number, one_more, parsed, rows, text, time};
use crate::model::secret::{Hash, Kind};

pub const ACTIVE: &str = "active";
pub const ROTATING: &str = "rotating";
pub const ENDED: &str = "ended";
pub const REVOKED: &str = "revoked";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRow {
    /// `ses-…` or `tok-…`
    pub id: String,
    pub kind: Kind,
    /// `u-…`, `sa-…`, or for a workload the name its issuer gives it.
    pub subject: String,
    pub organisation: OrganisationId,
    pub name: String,
    pub scopes: Option<Vec<String>>,
    pub projects: Option<Vec<String>>,
    pub status: String,
    pub replaced_by: String,
    pub proof: Option<EndProof>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Microseconds without use after which it ends; 0: never.
    pub idle: i64,
    pub last_used_at: Option<Timestamp>,
    pub strong: bool,
    pub authenticated_at: Timestamp,
    pub step_up_until: Option<Timestamp>,
    /// Separated by spaces.
    pub factors: String,
    pub client: String,
    pub address: String,
    /// The session or grant it hangs on; empty: none.
    pub parent: String,
}

const COLUMNS: &str = "id, kind, subject, organisation, name, scopes, projects, status, replaced_by, proof_by, proof_at, created_at, \
                       expires_at, idle, last_used_at, strong, authenticated_at, step_up_until, factors, client, address, parent";

fn read(row: &Row) -> Result<CredentialRow> {
    let kind = text(row, "kind")?;
    let by = text(row, "proof_by")?;
    Ok(CredentialRow {
        id: text(row, "id")?,
        kind: Kind::from_column(&kind).ok_or_else(|| Error::internal(format!("kind {kind:?}")))?,
        subject: text(row, "subject")?,
        organisation: parsed(row, "organisation")?,
        name: text(row, "name")?,
        scopes: maybe_list(row, "scopes")?,
        projects: maybe_list(row, "projects")?,
        status: text(row, "status")?,
        replaced_by: text(row, "replaced_by")?,
        proof: if by.is_empty() { None } else { Some(EndProof { by, at: time(row, "proof_at")? }) },
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
        idle: number(row, "idle")?,
        last_used_at: maybe_time(row, "last_used_at")?,
        strong: number(row, "strong")? != 0,
        authenticated_at: time(row, "authenticated_at")?,
        step_up_until: maybe_time(row, "step_up_until")?,
        factors: text(row, "factors")?,
        client: text(row, "client")?,
        address: text(row, "address")?,
        parent: text(row, "parent")?,
    })
}

impl CredentialRow {
    /// Whether it opens anything now.
    pub fn opens(&self, now: Timestamp) -> bool {
        let idle_since = self.last_used_at.unwrap_or(self.created_at);
        let idle = self.idle > 0 && now.micros().saturating_sub(idle_since.micros()) >= self.idle;
        matches!(self.status.as_str(), ACTIVE | ROTATING) && now < self.expires_at && !idle
    }

    /// # Errors
    /// Internal when the row is no token.
    pub fn token(&self, now: Timestamp) -> Result<AccessToken> {
        let over = now >= self.expires_at && self.status == ACTIVE;
        Ok(AccessToken {
            id: self.id.parse().map_err(|_| Error::internal(format!("{} is no token", self.id)))?,
            subject: self.subject.clone(),
            name: self.name.clone(),
            scopes: self.scopes.clone(),
            projects: self.projects.clone(),
            status: if over { "expired".into() } else { self.status.clone() },
            replaced_by: self.replaced_by.parse().ok(),
            proof: self.proof.clone(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            last_used_at: self.last_used_at,
        })
    }

    /// # Errors
    /// Internal when the row is no session.
    pub fn session(&self, current: &str) -> Result<Session> {
        Ok(Session {
            id: self.id.parse().map_err(|_| Error::internal(format!("{} is no session", self.id)))?,
            subject: self.subject.clone(),
            client: self.client.clone(),
            address: self.address.clone(),
            factors: self.factors.split_whitespace().map(str::to_owned).collect(),
            current: self.id == current,
            created_at: self.created_at,
            last_used_at: self.last_used_at.unwrap_or(self.created_at),
            expires_at: self.expires_at,
            step_up_until: self.step_up_until,
        })
    }
}

fn micros(time: Option<Timestamp>) -> i64 {
    time.map_or(0, Timestamp::micros)
}

pub async fn insert(tx: &mut Tx, row: &CredentialRow, hash: &Hash) -> Result<()> {
    sqlx::query(
        "INSERT INTO credential (id, kind, hash, subject, organisation, name, scopes, projects, status, replaced_by, proof_by, proof_at, \
         created_at, expires_at, idle, last_used_at, strong, authenticated_at, step_up_until, factors, client, address, parent) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', '', 0, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
    )
    .bind(&row.id)
    .bind(row.kind.column())
    .bind(hash.as_str())
    .bind(&row.subject)
    .bind(row.organisation.to_string())
    .bind(&row.name)
    .bind(list_text(row.scopes.as_deref())?)
    .bind(list_text(row.projects.as_deref())?)
    .bind(&row.status)
    .bind(row.created_at.micros())
    .bind(row.expires_at.micros())
    .bind(row.idle)
    .bind(micros(row.last_used_at))
    .bind(i64::from(row.strong))
    .bind(row.authenticated_at.micros())
    .bind(micros(row.step_up_until))
    .bind(&row.factors)
    .bind(&row.client)
    .bind(&row.address)
    .bind(&row.parent)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn by_hash<'c>(db: impl Reads<'c>, hash: &Hash) -> Result<Option<CredentialRow>> {
    let sql = format!("SELECT {COLUMNS} FROM credential WHERE hash = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(hash.as_str())
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(read).transpose()
}

/// The hash of a credential: to try it.
pub async fn hash_of<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<Hash>> {
    let row = sqlx::query("SELECT hash FROM credential WHERE id = $1")
        .bind(id)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(|row| text(row, "hash").map(Hash::stored)).transpose()
}

pub async fn get<'c>(db: impl Reads<'c>, organisation: OrganisationId, id: &str) -> Result<CredentialRow> {
    let sql = format!("SELECT {COLUMNS} FROM credential WHERE organisation = $1 AND id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .bind(id)
        .fetch_optional(db)
        .await
        .map_err(store_error)?;
    row.as_ref().map(read).transpose()?.ok_or_else(|| Error::not_found(format!("{id:?}")))
}

/// Tokens (`sessions` false) or sessions of an organisation, or of one subject where it is not empty.
pub async fn list<'c>(
    db: impl Reads<'c>,
    organisation: OrganisationId,
    subject: &str,
    sessions: bool,
    after: &str,
    limit: PageLimit,
) -> Result<Vec<CredentialRow>> {
    let kinds = if sessions { "kind = 'ses'" } else { "kind IN ('pat', 'sat')" };
    let sql = format!(
        "SELECT {COLUMNS} FROM credential WHERE organisation = $1 AND ($2 = '' OR subject = $2) AND {kinds} AND id > $3 ORDER BY id LIMIT $4"
    );
    let found = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(organisation.to_string())
        .bind(subject)
        .bind(after)
        .bind(one_more(limit))
        .fetch_all(db)
        .await
        .map_err(store_error)?;
    rows(&found, read)
}

/// Ends a credential and all that hangs on it; gives how many stopped opening.
pub async fn revoke(tx: &mut Tx, id: &str) -> Result<u64> {
    let done = sqlx::query("UPDATE credential SET status = 'revoked' WHERE (id = $1 OR parent = $1) AND status IN ('active', 'rotating')")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected())
}

/// Ends everything of a subject, but for the session `keep`.
pub async fn revoke_all(tx: &mut Tx, subject: &str, keep: &str, sessions_only: bool) -> Result<u64> {
    let kinds = if sessions_only { "AND kind IN ('ses', 'oat')" } else { "" };
    let sql = format!(
        "UPDATE credential SET status = 'revoked' WHERE subject = $1 AND id <> $2 AND (parent = '' OR parent <> $2) \
         AND status IN ('active', 'rotating') {kinds}"
    );
    let done = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(subject)
        .bind(keep)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected())
}

/// Marks a token as replaced: it ends at `end`, and is done when it was seen to fail.
pub async fn rotate(tx: &mut Tx, id: &str, replaced_by: &str, end: Timestamp) -> Result<bool> {
    let done = sqlx::query("UPDATE credential SET status = 'rotating', replaced_by = $2, expires_at = $3 WHERE id = $1 AND status = 'active'")
        .bind(id)
        .bind(replaced_by)
        .bind(end.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// Writes down that it was seen to fail. Only the first proof counts.
pub async fn proven(tx: &mut Tx, id: &str, by: &str, now: Timestamp) -> Result<bool> {
    let done = sqlx::query("UPDATE credential SET status = 'ended', proof_by = $2, proof_at = $3 WHERE id = $1 AND status = 'rotating' AND expires_at <= $3")
        .bind(id)
        .bind(by)
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// Tokens replaced, over since before `until`, and not yet seen to fail.
pub async fn unproven<'c>(db: impl Reads<'c>, until: Timestamp) -> Result<Vec<String>> {
    let found = sqlx::query(
        "SELECT id FROM credential WHERE status = 'rotating' AND expires_at <= $1 ORDER BY id LIMIT 1000",
    )
    .bind(until.micros())
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows(&found, |row| text(row, "id"))
}

pub async fn used(tx: &mut Tx, id: &str, at: Timestamp) -> Result<()> {
    sqlx::query("UPDATE credential SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2")
        .bind(id)
        .bind(at.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn step_up(tx: &mut Tx, id: &str, until: Timestamp, factors: &str) -> Result<()> {
    sqlx::query("UPDATE credential SET step_up_until = $2, factors = $3, strong = 1 WHERE id = $1")
        .bind(id)
        .bind(until.micros())
        .bind(factors)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Forgets what has been over for long: sessions and short-lived tokens; those that people see are kept for a year.
pub async fn tidy(tx: &mut Tx, now: Timestamp) -> Result<()> {
    let day = 24 * 3600 * 1_000_000_i64;
    sqlx::query("DELETE FROM credential WHERE kind IN ('ses', 'oat', 'wat') AND expires_at < $1")
        .bind(now.micros() - 7 * day)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    sqlx::query("DELETE FROM credential WHERE status <> 'rotating' AND expires_at < $1")
        .bind(now.micros() - 366 * day)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// By its id alone: for what holds the id already.
pub async fn by_id<'c>(db: impl Reads<'c>, id: &str) -> Result<Option<CredentialRow>> {
    let sql = format!("SELECT {COLUMNS} FROM credential WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(db).await.map_err(store_error)?;
    row.as_ref().map(read).transpose()
}
