//! Queries about certificates.

use std::time::Duration;

use hafen_base::{Result, Timestamp};
use hafen_client::wire::Certificate;
use hafen_db::{Db, Row, Tx, sqlx, store_error};

use crate::store::{number, text};

/// The certificate of a host, or the wish for one.
#[derive(Debug, Clone, Default)]
pub struct CertificateRow {
    pub host: String,
    pub project: String,
    pub project_since: i64,
    pub issuer: String,
    pub state: String,
    pub reason: String,
    pub chain: String,
    pub sealed: String,
    pub fingerprint: String,
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// When it came; authorities write an earlier time into it.
    pub issued_at: Timestamp,
    pub next_try: Timestamp,
    pub look_at: Timestamp,
    pub attempts: i64,
    pub absent: bool,
}

impl CertificateRow {
    pub fn wire(&self) -> Certificate {
        let there = !self.chain.is_empty();
        let time = |time: Timestamp| (time.micros() > 0).then_some(time);
        Certificate {
            project: self.project.clone(),
            host: self.host.clone(),
            issuer: self.issuer.clone(),
            state: self.state.clone(),
            reason: self.reason.clone(),
            fingerprint: there.then(|| self.fingerprint.clone()),
            serial: there.then(|| self.serial.clone()),
            not_before: time(self.not_before),
            not_after: time(self.not_after),
            next_try: time(self.next_try),
            attempts: self.attempts,
        }
    }
}

fn row_of(row: &Row) -> Result<CertificateRow> {
    let time = |column: &str| number(row, column).map(Timestamp::from_micros);
    Ok(CertificateRow {
        host: text(row, "host")?,
        project: text(row, "project")?,
        project_since: number(row, "project_since")?,
        issuer: text(row, "issuer")?,
        state: text(row, "state")?,
        reason: text(row, "reason")?,
        chain: text(row, "chain")?,
        sealed: text(row, "sealed")?,
        fingerprint: text(row, "fingerprint")?,
        serial: text(row, "serial")?,
        not_before: time("not_before")?,
        not_after: time("not_after")?,
        issued_at: time("issued_at")?,
        next_try: time("next_try")?,
        look_at: time("look_at")?,
        attempts: number(row, "attempts")?,
        absent: number(row, "absent")? != 0,
    })
}

/// Hosts that may need something now.
pub async fn due(db: &Db, now: Timestamp) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "SELECT host FROM certificate WHERE absent = 0 AND (next_try <= $1 OR (look_at > 0 AND look_at <= $1))",
    )
    .bind(now.micros())
    .fetch_all(db.reader())
    .await
    .map_err(store_error)?;
    rows.iter().map(|row| text(row, "host")).collect()
}

pub async fn get(db: &Db, host: &str) -> Result<Option<CertificateRow>> {
    let row = sqlx::query("SELECT * FROM certificate WHERE host = $1 AND absent = 0")
        .bind(host)
        .fetch_optional(db.reader())
        .await
        .map_err(store_error)?;
    row.as_ref().map(row_of).transpose()
}

pub async fn list(
    db: &Db,
    (project, since): (&str, i64),
    after: &str,
    limit: u32,
) -> Result<Vec<CertificateRow>> {
    let rows = sqlx::query(
        "SELECT * FROM certificate WHERE project = $1 AND host > $2 AND absent = 0 AND (project_since = $4 OR project_since = 0) \
         ORDER BY host LIMIT $3",
    )
    .bind(project)
    .bind(after)
    .bind(i64::from(limit))
    .bind(since)
    .fetch_all(db.reader())
    .await
    .map_err(store_error)?;
    rows.iter().map(row_of).collect()
}

/// Every certificate that no try for failed since.
pub async fn all(db: &Db) -> Result<Vec<CertificateRow>> {
    let rows = sqlx::query("SELECT * FROM certificate WHERE absent = 0 AND attempts = 0")
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter().map(row_of).collect()
}

/// What changed after this number.
pub async fn since(db: &Db, seen: i64) -> Result<Vec<CertificateRow>> {
    let rows = sqlx::query("SELECT * FROM certificate WHERE revision > $1")
        .bind(seen)
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter().map(row_of).collect()
}

/// Wishes for one. What was there under this name before, of this project or another, is forgotten with its key.
pub async fn wish(tx: &mut Tx, row: &CertificateRow, revision: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO certificate (host, project, issuer, state, reason, chain, sealed, fingerprint, serial, not_before, not_after, \
         next_try, look_at, attempts, leased_by, leased_until, revision, absent, project_since) \
         VALUES ($1, $2, $3, 'pending', '', '', '', '', '', 0, 0, $4, 0, 0, '', 0, $5, 0, $6) \
         ON CONFLICT (host) DO UPDATE SET project = $2, project_since = $6, issuer = $3, state = 'pending', reason = '', chain = '', sealed = '', \
         fingerprint = '', serial = '', not_before = 0, not_after = 0, next_try = $4, look_at = 0, attempts = 0, issued_at = 0, leased_by = '', \
         leased_until = 0, revision = $5, absent = 0",
    )
    .bind(&row.host)
    .bind(&row.project)
    .bind(&row.issuer)
    .bind(row.next_try.micros())
    .bind(revision)
    .bind(row.project_since)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Writes down what came of a try of this process, and ends the lease; false when the wish is gone, is another's, or the work was
/// given to somebody else meanwhile.
pub async fn update(tx: &mut Tx, row: &CertificateRow, process: &str, revision: i64) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE certificate SET issuer = $3, state = $4, reason = $5, chain = $6, sealed = $7, fingerprint = $8, serial = $9, \
         not_before = $10, not_after = $11, next_try = $12, look_at = $13, attempts = $14, leased_by = '', leased_until = 0, \
         revision = $15, issued_at = $16 WHERE host = $1 AND project = $2 AND absent = 0 AND leased_by = $17",
    )
    .bind(&row.host)
    .bind(&row.project)
    .bind(&row.issuer)
    .bind(&row.state)
    .bind(&row.reason)
    .bind(&row.chain)
    .bind(&row.sealed)
    .bind(&row.fingerprint)
    .bind(&row.serial)
    .bind(row.not_before.micros())
    .bind(row.not_after.micros())
    .bind(row.next_try.micros())
    .bind(row.look_at.micros())
    .bind(row.attempts)
    .bind(revision)
    .bind(row.issued_at.micros())
    .bind(process)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// Forgets a host's certificate and key.
pub async fn forget(tx: &mut Tx, host: &str, revision: i64) -> Result<()> {
    sqlx::query("UPDATE certificate SET absent = 1, chain = '', sealed = '', leased_by = '', leased_until = 0, revision = $2 WHERE host = $1")
        .bind(host)
        .bind(revision)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    sqlx::query("DELETE FROM challenge WHERE host = $1")
        .bind(host)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Has it asked for now; false when there is no such wish.
pub async fn ask_now(tx: &mut Tx, project: &str, host: &str, now: Timestamp) -> Result<bool> {
    let done =
        sqlx::query("UPDATE certificate SET next_try = $3 WHERE host = $1 AND project = $2 AND absent = 0")
            .bind(host)
            .bind(project)
            .bind(now.micros())
            .execute(&mut **tx)
            .await
            .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// Sets when it is renewed and asked about again, unless somebody set another time meanwhile.
pub async fn set_times(
    tx: &mut Tx,
    host: &str,
    before: Timestamp,
    next_try: Timestamp,
    look_at: Timestamp,
) -> Result<()> {
    sqlx::query(
        "UPDATE certificate SET next_try = $3, look_at = $4 WHERE host = $1 AND next_try = $2 AND absent = 0",
    )
    .bind(host)
    .bind(before.micros())
    .bind(next_try.micros())
    .bind(look_at.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Takes the work on a host for a while; false when another process has it.
pub async fn lease(db: &Db, host: &str, process: &str, now: Timestamp, time: Duration) -> Result<bool> {
    let mut tx = db.write().await?;
    let done = sqlx::query(
        "UPDATE certificate SET leased_by = $2, leased_until = $3 \
         WHERE host = $1 AND absent = 0 AND (leased_by = '' OR leased_by = $2 OR leased_until <= $4)",
    )
    .bind(host)
    .bind(process)
    .bind(now.plus(time).micros())
    .bind(now.micros())
    .execute(&mut *tx)
    .await
    .map_err(store_error)?;
    tx.commit().await.map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

/// Gives the work back undone.
pub async fn lease_end(db: &Db, host: &str, process: &str) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query("UPDATE certificate SET leased_by = '', leased_until = 0 WHERE host = $1 AND leased_by = $2")
        .bind(host)
        .bind(process)
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
    tx.commit().await.map_err(store_error)
}

/// Until when nothing is asked of this authority.
pub async fn pause(db: &Db, directory: &str) -> Result<Timestamp> {
    let row = sqlx::query("SELECT until FROM order_pause WHERE directory = $1")
        .bind(directory)
        .fetch_optional(db.reader())
        .await
        .map_err(store_error)?;
    row.map_or(Ok(Timestamp::default()), |row| number(&row, "until").map(Timestamp::from_micros))
}

/// Nothing is asked of this authority until then, by any process.
pub async fn pause_set(tx: &mut Tx, directory: &str, until: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO order_pause (directory, until) VALUES ($1, $2) ON CONFLICT (directory) DO UPDATE SET until = $2",
    )
    .bind(directory)
    .bind(until.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Whether somebody works on it just now.
pub async fn is_leased(db: &Db, host: &str, now: Timestamp) -> Result<bool> {
    let row =
        sqlx::query("SELECT host FROM certificate WHERE host = $1 AND leased_by <> '' AND leased_until > $2")
            .bind(host)
            .bind(now.micros())
            .fetch_optional(db.reader())
            .await
            .map_err(store_error)?;
    Ok(row.is_some())
}

pub async fn challenge_put(
    tx: &mut Tx,
    host: &str,
    kind: &str,
    token: &str,
    answer: &str,
    expires_at: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO challenge (host, kind, token, answer, expires_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (host, kind, token) DO UPDATE SET answer = $4, expires_at = $5",
    )
    .bind(host)
    .bind(kind)
    .bind(token)
    .bind(answer)
    .bind(expires_at.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn challenges_end(tx: &mut Tx, host: &str) -> Result<()> {
    sqlx::query("DELETE FROM challenge WHERE host = $1")
        .bind(host)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn challenges_expire(tx: &mut Tx, now: Timestamp) -> Result<()> {
    sqlx::query("DELETE FROM challenge WHERE expires_at <= $1")
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn challenge(db: &Db, host: &str, kind: &str, token: &str) -> Result<Option<String>> {
    let row = sqlx::query("SELECT answer FROM challenge WHERE host = $1 AND kind = $2 AND token = $3")
        .bind(host)
        .bind(kind)
        .bind(token)
        .fetch_optional(db.reader())
        .await
        .map_err(store_error)?;
    row.map(|row| text(&row, "answer")).transpose()
}

/// Host and answer of every challenge of a kind.
pub async fn challenges(db: &Db, kind: &str) -> Result<Vec<(String, String)>> {
    let rows = sqlx::query("SELECT host, answer FROM challenge WHERE kind = $1 ORDER BY expires_at")
        .bind(kind)
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter().map(|row| Ok((text(row, "host")?, text(row, "answer")?))).collect()
}

pub async fn issued_insert(tx: &mut Tx, serial: &str, host: &str, now: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO issued (serial, host, at) VALUES ($1, $2, $3) ON CONFLICT (serial, host) DO NOTHING",
    )
    .bind(serial)
    .bind(host)
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Whether this process, or another of this platform, asked for it.
pub async fn is_issued(db: &Db, serial: &str) -> Result<bool> {
    let row = sqlx::query("SELECT serial FROM issued WHERE serial = $1")
        .bind(serial)
        .fetch_optional(db.reader())
        .await
        .map_err(store_error)?;
    Ok(row.is_some())
}

/// A key of this platform's own, sealed; the first one written stays.
pub async fn account(db: &Db, directory: &str) -> Result<Option<String>> {
    let row = sqlx::query("SELECT sealed FROM account WHERE directory = $1")
        .bind(directory)
        .fetch_optional(db.reader())
        .await
        .map_err(store_error)?;
    row.map(|row| text(&row, "sealed")).transpose()
}

pub async fn account_put(tx: &mut Tx, directory: &str, sealed: &str) -> Result<()> {
    sqlx::query("INSERT INTO account (directory, sealed) VALUES ($1, $2) ON CONFLICT (directory) DO NOTHING")
        .bind(directory)
        .bind(sealed)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn account_forget(tx: &mut Tx, directory: &str) -> Result<()> {
    sqlx::query("DELETE FROM account WHERE directory = $1")
        .bind(directory)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub async fn authority(db: &Db) -> Result<Option<(String, String)>> {
    let row = sqlx::query("SELECT certificate, sealed FROM authority WHERE id = 1")
        .fetch_optional(db.reader())
        .await
        .map_err(store_error)?;
    row.map(|row| Ok((text(&row, "certificate")?, text(&row, "sealed")?))).transpose()
}

pub async fn authority_put(tx: &mut Tx, certificate: &str, sealed: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO authority (id, certificate, sealed) VALUES (1, $1, $2) ON CONFLICT (id) DO NOTHING",
    )
    .bind(certificate)
    .bind(sealed)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}
