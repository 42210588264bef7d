//! Queries of this service, and nothing else. Portable between SQLite and PostgreSQL: optional texts are empty, flags are 0
//! and 1, times are UTC microseconds.

pub mod call;
pub mod checkpoint;
pub mod entry;
pub mod list;
pub mod person;
pub mod shard;

use hafen_base::{Result, Timestamp};
use hafen_db::{Migration, Row, sqlx, store_error};
use sqlx::Row as _;

/// Reads run on the reader pool or inside a transaction alike.
pub trait Reads<'c>: sqlx::Executor<'c, Database = sqlx::Any> {}
impl<'c, E: sqlx::Executor<'c, Database = sqlx::Any>> Reads<'c> for E {}

/// The schema. Leaf hashes are not kept: they are the hashes of the records. A `node` is the hash of a full tile, by the
/// level of the tile it stands in, so that a tile of any level is one range of rows. `entry_source` is what keeps an event
/// from being written down twice.
pub const MIGRATIONS: &[Migration] = &[Migration {
    name: "20261125_ledger",
    sql: "CREATE TABLE shard (id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE, state TEXT NOT NULL, size BIGINT NOT NULL, last_at BIGINT NOT NULL);
CREATE TABLE entry (shard BIGINT NOT NULL, position BIGINT NOT NULL, at BIGINT NOT NULL, service TEXT NOT NULL, seq BIGINT NOT NULL, kind TEXT NOT NULL, project TEXT NOT NULL, object TEXT NOT NULL, organisation TEXT NOT NULL, actor TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (shard, position));
CREATE UNIQUE INDEX entry_source ON entry (service, seq);
CREATE INDEX entry_at ON entry (at);
CREATE INDEX entry_project ON entry (project, shard, position) WHERE project <> '';
CREATE INDEX entry_object ON entry (object, shard, position) WHERE object <> '';
CREATE INDEX entry_organisation ON entry (organisation, shard, position) WHERE organisation <> '';
CREATE INDEX entry_actor ON entry (actor, shard, position) WHERE actor <> '';
CREATE TABLE personal (shard BIGINT NOT NULL, position BIGINT NOT NULL, actor TEXT NOT NULL, object TEXT NOT NULL, who TEXT NOT NULL, who_salt TEXT NOT NULL, what TEXT NOT NULL, what_salt TEXT NOT NULL, PRIMARY KEY (shard, position));
CREATE INDEX personal_actor ON personal (actor) WHERE actor <> '';
CREATE INDEX personal_object ON personal (object) WHERE object <> '';
CREATE TABLE person (shard BIGINT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, secret TEXT NOT NULL, pseudonym TEXT NOT NULL, PRIMARY KEY (shard, id));
CREATE INDEX person_pseudonym ON person (pseudonym);
CREATE TABLE erasure (shard BIGINT NOT NULL, pseudonym TEXT NOT NULL, done BIGINT NOT NULL, PRIMARY KEY (shard, pseudonym));
CREATE TABLE node (shard BIGINT NOT NULL, level BIGINT NOT NULL, position BIGINT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (shard, level, position));
CREATE TABLE checkpoint (shard BIGINT PRIMARY KEY, size BIGINT NOT NULL, note TEXT NOT NULL);
CREATE TABLE cosignature (shard BIGINT NOT NULL, witness TEXT NOT NULL, size BIGINT NOT NULL, line TEXT NOT NULL, PRIMARY KEY (shard, witness));
CREATE TABLE follower (service TEXT PRIMARY KEY, seq BIGINT NOT NULL);
CREATE TABLE call (id TEXT PRIMARY KEY, life TEXT NOT NULL, at BIGINT NOT NULL, call TEXT NOT NULL);
",
}];

pub fn text(row: &Row, column: &str) -> Result<String> {
    row.try_get(column).map_err(store_error)
}

pub fn number(row: &Row, column: &str) -> Result<i64> {
    row.try_get(column).map_err(store_error)
}

pub fn time(row: &Row, column: &str) -> Result<Timestamp> {
    number(row, column).map(Timestamp::from_micros)
}

/// Places in the tree are counted as `u64` by the proofs and as `BIGINT` by the databases.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
