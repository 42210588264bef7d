//! Queries about logs.

use hafen_base::{Result, Timestamp};
use hafen_db::{Db, Tx, sqlx, store_error};

use crate::store::{number, text};

/// A certificate of an own host in a log.
#[derive(Debug, Clone)]
pub struct Sighting {
    pub log: String,
    pub position: i64,
    pub host: String,
    pub serial: String,
    pub issuer: String,
    pub names: String,
    pub seen_at: Timestamp,
}

/// How far a log was read; none when it never was.
pub async fn position(db: &Db, url: &str) -> Result<Option<u64>> {
    let row = sqlx::query("SELECT position FROM log WHERE url = $1")
        .bind(url)
        .fetch_optional(db.reader())
        .await
        .map_err(store_error)?;
    row.map(|row| Ok(u64::try_from(number(&row, "position")?).unwrap_or(0))).transpose()
}

pub async fn position_set(tx: &mut Tx, url: &str, position: u64) -> Result<()> {
    sqlx::query(
        "INSERT INTO log (url, position) VALUES ($1, $2) ON CONFLICT (url) DO UPDATE SET position = $2",
    )
    .bind(url)
    .bind(i64::try_from(position).unwrap_or(i64::MAX))
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// The tree that a log signed last; none when none was checked.
pub async fn tree(db: &Db, url: &str) -> Result<Option<(u64, String)>> {
    let row = sqlx::query("SELECT size, root FROM log WHERE url = $1 AND root <> ''")
        .bind(url)
        .fetch_optional(db.reader())
        .await
        .map_err(store_error)?;
    row.map(|row| Ok((u64::try_from(number(&row, "size")?).unwrap_or(0), text(&row, "root")?))).transpose()
}

pub async fn tree_set(tx: &mut Tx, url: &str, size: u64, root: &str) -> Result<()> {
    sqlx::query("UPDATE log SET size = $2, root = $3 WHERE url = $1")
        .bind(url)
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .bind(root)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// How many certificates of a host were seen since.
pub async fn sightings_since(tx: &mut Tx, host: &str, since: Timestamp) -> Result<i64> {
    let row = sqlx::query("SELECT COUNT(*) AS count FROM sighting WHERE host = $1 AND seen_at > $2")
        .bind(host)
        .bind(since.micros())
        .fetch_one(&mut **tx)
        .await
        .map_err(store_error)?;
    number(&row, "count")
}

pub async fn sighting_insert(tx: &mut Tx, sighting: &Sighting) -> Result<()> {
    sqlx::query(
        "INSERT INTO sighting (log, position, host, serial, issuer, names, seen_at, judged) VALUES ($1, $2, $3, $4, $5, $6, $7, 0) \
         ON CONFLICT (log, position) DO NOTHING",
    )
    .bind(&sighting.log)
    .bind(sighting.position)
    .bind(&sighting.host)
    .bind(&sighting.serial)
    .bind(&sighting.issuer)
    .bind(&sighting.names)
    .bind(sighting.seen_at.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Those that nobody has said anything of yet.
pub async fn sightings_open(db: &Db) -> Result<Vec<Sighting>> {
    let rows = sqlx::query("SELECT * FROM sighting WHERE judged = 0 ORDER BY seen_at LIMIT 1000")
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            Ok(Sighting {
                log: text(row, "log")?,
                position: number(row, "position")?,
                host: text(row, "host")?,
                serial: text(row, "serial")?,
                issuer: text(row, "issuer")?,
                names: text(row, "names")?,
                seen_at: Timestamp::from_micros(number(row, "seen_at")?),
            })
        })
        .collect()
}

pub async fn sighting_judged(tx: &mut Tx, sighting: &Sighting) -> Result<()> {
    sqlx::query("UPDATE sighting SET judged = 1 WHERE log = $1 AND position = $2")
        .bind(&sighting.log)
        .bind(sighting.position)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Every host that leads somewhere.
pub async fn hosts(db: &Db) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT host FROM route WHERE absent = 0")
        .fetch_all(db.reader())
        .await
        .map_err(store_error)?;
    rows.iter().map(|row| text(row, "host")).collect()
}
