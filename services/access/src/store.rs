//! Queries of this service, and nothing else. Portable between SQLite and PostgreSQL: optional texts are empty, times are
//! UTC microseconds, 0 for none; serials are decimal texts, as they are larger than what a column holds.

use hafen_base::{Error, Permitted, Result, Timestamp};
use hafen_client::wire::{AccessSession, OwnCertificate};
use hafen_db::{Columns, Db, Migration, Own, Row, Tx, Visible, sqlx, store_error};
use sqlx::Row as _;

use crate::model::CertificateRow;

pub const MIGRATIONS: &[Migration] = &[
    hafen_work::MIGRATION,
    hafen_work::ACTOR_MIGRATION,
    Migration {
        name: "20261125_access",
        sql: "CREATE TABLE certificate (serial TEXT PRIMARY KEY, place TEXT NOT NULL, person TEXT NOT NULL, row TEXT NOT NULL, valid_before BIGINT NOT NULL, revoked_at BIGINT NOT NULL);
CREATE INDEX certificate_person ON certificate (person);
CREATE INDEX certificate_revoked ON certificate (revoked_at);
CREATE TABLE session (id TEXT PRIMARY KEY, bastion TEXT NOT NULL, person TEXT NOT NULL, name TEXT NOT NULL, serial TEXT NOT NULL, key_id TEXT NOT NULL, address TEXT NOT NULL, client TEXT NOT NULL, host TEXT NOT NULL, port BIGINT NOT NULL, opened_at BIGINT NOT NULL, ended_at BIGINT NOT NULL, end_reason TEXT NOT NULL, sent BIGINT NOT NULL, received BIGINT NOT NULL);
CREATE TABLE seen (person TEXT NOT NULL, what TEXT NOT NULL, value TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (person, what, value));
",
    },
    // Sessions of before are of no project: they are the platform's to see.
    Migration {
        name: "20261125_session_project",
        sql: "ALTER TABLE session ADD COLUMN project TEXT NOT NULL DEFAULT '';
CREATE INDEX session_project ON session (project, id);
",
    },
    crate::watch::store::MIGRATION,
    Migration {
        name: "20261129_certificate_issued",
        sql: "ALTER TABLE certificate ADD COLUMN issued_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX session_person ON session (person, id);
",
    },
];

fn text(row: &Row, column: &str) -> Result<String> {
    row.try_get(column).map_err(store_error)
}

fn number(row: &Row, column: &str) -> Result<i64> {
    row.try_get(column).map_err(store_error)
}

pub async fn certificate_insert(
    tx: &mut Tx,
    row: &CertificateRow,
    valid_before: Timestamp,
    now: Timestamp,
) -> Result<()> {
    sqlx::query("INSERT INTO certificate (serial, place, person, row, valid_before, revoked_at, issued_at) VALUES ($1, $2, $3, $4, $5, 0, $6)")
        .bind(&row.serial)
        .bind(&row.place)
        .bind(&row.actor.id)
        .bind(serde_json::to_string(row).map_err(Error::internal)?)
        .bind(valid_before.micros())
        .bind(now.micros())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Certificates of a person after one in this order, the last to run out first.
pub async fn certificates_of(
    db: &Db,
    person: &str,
    (until, serial): (i64, &str),
    limit: u32,
) -> Result<Vec<OwnCertificate>> {
    let rows = sqlx::query(
        "SELECT row, valid_before, revoked_at, issued_at FROM certificate WHERE person = $1 \
         AND (valid_before < $2 OR (valid_before = $2 AND serial > $3)) ORDER BY valid_before DESC, serial LIMIT $4",
    )
    .bind(person)
    .bind(until)
    .bind(serial)
    .bind(i64::from(limit))
    .fetch_all(db.reader())
    .await
    .map_err(store_error)?;
    let moment = |micros: i64| (micros != 0).then(|| Timestamp::from_micros(micros));
    rows.iter()
        .map(|row| {
            let known: CertificateRow = serde_json::from_str(&text(row, "row")?).map_err(Error::internal)?;
            Ok(OwnCertificate {
                serial: known.serial,
                place: known.place,
                projects: known.projects,
                issued_at: moment(number(row, "issued_at")?),
                valid_before: Timestamp::from_micros(number(row, "valid_before")?),
                revoked_at: moment(number(row, "revoked_at")?),
            })
        })
        .collect()
}

/// A certificate that is not revoked.
pub async fn certificate_good(db: &Db, serial: u64) -> Result<Option<CertificateRow>> {
    one(db, "SELECT row FROM certificate WHERE serial = $1 AND revoked_at = 0", serial).await
}

/// A certificate, revoked or not.
pub async fn certificate(db: &Db, serial: u64) -> Result<Option<CertificateRow>> {
    one(db, "SELECT row FROM certificate WHERE serial = $1", serial).await
}

async fn one(db: &Db, sql: &'static str, serial: u64) -> Result<Option<CertificateRow>> {
    let row =
        sqlx::query(sql).bind(serial.to_string()).fetch_optional(db.reader()).await.map_err(store_error)?;
    row.map(|row| serde_json::from_str(&text(&row, "row")?).map_err(Error::internal)).transpose()
}

/// Which certificates a revocation names.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    Serial(&'a str),
    /// Only where it is of this person.
    Own {
        serial: &'a str,
        person: &'a str,
    },
    Person(&'a str),
    Everything,
}

/// Revokes; gives how many there were that were good until then.
pub async fn revoke(tx: &mut Tx, which: Which<'_>, now: Timestamp) -> Result<i64> {
    let condition = match which {
        Which::Serial(_) => " AND serial = $2",
        Which::Own { .. } => " AND serial = $2 AND person = $3",
        Which::Person(_) => " AND person = $2",
        Which::Everything => "",
    };
    let sql = format!("UPDATE certificate SET revoked_at = $1 WHERE revoked_at = 0{condition}");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(now.micros());
    let query = match which {
        Which::Serial(one) | Which::Person(one) => query.bind(one.to_owned()),
        Which::Own { serial, person } => query.bind(serial.to_owned()).bind(person.to_owned()),
        Which::Everything => query,
    };
    let done = query.execute(&mut **tx).await.map_err(store_error)?;
    i64::try_from(done.rows_affected()).map_err(Error::internal)
}

/// Serials that are revoked: also of certificates that have run out, as sessions outlive them.
pub async fn revoked(db: &Db) -> Result<Vec<u64>> {
    let rows = sqlx::query("SELECT serial FROM certificate WHERE revoked_at > 0")
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter().map(|row| text(row, "serial")?.parse().map_err(Error::internal)).collect()
}

/// What is forgotten.
#[derive(Debug, Clone, Copy)]
pub enum Forget {
    /// That ran out.
    Certificates,
    /// That ended.
    Sessions,
}

/// Forgets what was over before this moment, at most so many; gives how many.
pub async fn forget(tx: &mut Tx, what: Forget, before: Timestamp, most: u32) -> Result<u64> {
    let sql = match what {
        Forget::Certificates => {
            "DELETE FROM certificate WHERE serial IN (SELECT serial FROM certificate WHERE valid_before < $1 LIMIT $2)"
        }
        Forget::Sessions => {
            "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE ended_at > 0 AND ended_at < $1 LIMIT $2)"
        }
    };
    let done = sqlx::query(sql)
        .bind(before.micros())
        .bind(i64::from(most))
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected())
}

pub async fn session_insert(
    tx: &mut Tx,
    bastion: &str,
    session: &AccessSession,
    project: &str,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO session (id, bastion, person, name, serial, key_id, address, client, host, port, opened_at, ended_at, \
         end_reason, sent, received, project) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, '', 0, 0, $12)",
    )
    .bind(&session.id)
    .bind(bastion)
    .bind(&session.person)
    .bind(&session.name)
    .bind(&session.serial)
    .bind(&session.key_id)
    .bind(&session.address)
    .bind(&session.client)
    .bind(&session.host)
    .bind(i64::from(session.port))
    .bind(session.opened_at.micros())
    .bind(project)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub async fn session_end(tx: &mut Tx, session: &AccessSession) -> Result<()> {
    sqlx::query("UPDATE session SET ended_at = $2, end_reason = $3, sent = $4, received = $5 WHERE id = $1")
        .bind(&session.id)
        .bind(session.ended_at.map_or(0, Timestamp::micros))
        .bind(&session.end_reason)
        .bind(session.sent)
        .bind(session.received)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Closes what a bastion left open when it died.
pub async fn sessions_lost(tx: &mut Tx, bastion: &str, now: Timestamp) -> Result<u64> {
    let done = sqlx::query(
        "UPDATE session SET ended_at = $2, end_reason = 'lost' WHERE bastion = $1 AND ended_at = 0",
    )
    .bind(bastion)
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected())
}

/// Sessions that may be seen with an id below this one, newest first; `below` empty for the newest.
pub async fn session_list(
    db: &Db,
    permitted: &Permitted,
    below: &str,
    limit: u32,
) -> Result<Vec<AccessSession>> {
    let columns = Columns { project: "project", at: Some("opened_at"), organisation: Own::Nowhere };
    let visible = Visible::new(permitted, columns, 3);
    let sql = format!(
        "SELECT * FROM session WHERE ($1 = '' OR id < $1) AND {} ORDER BY id DESC LIMIT $2",
        visible.condition()
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(below.to_owned()).bind(i64::from(limit));
    let rows = visible.bind(query).fetch_all(db.reader()).await.map_err(store_error)?;
    rows.iter().map(session).collect()
}

/// Sessions of a person, as above; `open` for those alone that did not end.
pub async fn sessions_of(
    db: &Db,
    person: &str,
    below: &str,
    open: bool,
    limit: u32,
) -> Result<Vec<AccessSession>> {
    let rows = sqlx::query(
        "SELECT * FROM session WHERE person = $1 AND ($2 = '' OR id < $2) AND ($3 = 0 OR ended_at = 0) ORDER BY id DESC LIMIT $4",
    )
    .bind(person)
    .bind(below)
    .bind(i64::from(open))
    .bind(i64::from(limit))
    .fetch_all(db.reader())
    .await
    .map_err(store_error)?;
    rows.iter().map(session).collect()
}

fn session(row: &Row) -> Result<AccessSession> {
    let ended_at = number(row, "ended_at")?;
    Ok(AccessSession {
        id: text(row, "id")?,
        person: text(row, "person")?,
        name: text(row, "name")?,
        serial: text(row, "serial")?,
        key_id: text(row, "key_id")?,
        address: text(row, "address")?,
        client: text(row, "client")?,
        host: text(row, "host")?,
        port: u16::try_from(number(row, "port")?).map_err(Error::internal)?,
        opened_at: Timestamp::from_micros(number(row, "opened_at")?),
        ended_at: (ended_at != 0).then(|| Timestamp::from_micros(ended_at)),
        end_reason: text(row, "end_reason")?,
        sent: number(row, "sent")?,
        received: number(row, "received")?,
    })
}

/// Notes that a person was seen with this; true for the first time.
pub async fn seen(tx: &mut Tx, person: &str, what: &str, value: &str, now: Timestamp) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO seen (person, what, value, at) VALUES ($1, $2, $3, $4) ON CONFLICT (person, what, value) DO NOTHING",
    )
    .bind(person)
    .bind(what)
    .bind(value)
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() > 0)
}
