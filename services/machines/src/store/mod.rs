//! Queries of this service, and nothing else: no rule, no call upwards. Portable between SQLite and PostgreSQL.

pub mod image;
pub mod instance;
pub mod machine;
pub mod network;
pub mod operation;
pub mod project;
pub mod publication;
pub mod snapshot;

use hafen_base::{Error, Result};
use hafen_db::{Migration, Row, sqlx, store_error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;

/// Reads run on the reader pool or inside a transaction alike.
pub trait Reads<'c>: sqlx::Executor<'c, Database = sqlx::Any> {}
impl<'c, E: sqlx::Executor<'c, Database = sqlx::Any>> Reads<'c> for E {}

pub(crate) fn text(row: &Row, column: &str) -> Result<String> {
    row.try_get(column).map_err(store_error)
}

pub(crate) fn number(row: &Row, column: &str) -> Result<i64> {
    row.try_get(column).map_err(store_error)
}

/// An id or another type that reads back from its text.
pub(crate) fn parsed<T: std::str::FromStr>(row: &Row, column: &str) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text(row, column)?.parse().map_err(Error::internal)
}

/// An optional text, stored as the empty string.
pub(crate) fn optional(row: &Row, column: &str) -> Result<Option<String>> {
    Ok(Some(text(row, column)?).filter(|text| !text.is_empty()))
}

pub(crate) fn json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<T> {
    serde_json::from_str(row.try_get::<&str, _>(column).map_err(store_error)?).map_err(Error::internal)
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}

/// The schema. Optional texts are empty, not null; flags are 0 and 1; times are UTC microseconds.
pub const MIGRATIONS: &[Migration] = &[
    hafen_work::MIGRATION,
    Migration {
        name: "20261124_machines",
        sql: "CREATE TABLE project (name TEXT PRIMARY KEY, quota_machines BIGINT NOT NULL, quota_cpus BIGINT NOT NULL, quota_memory BIGINT NOT NULL, quota_disk BIGINT NOT NULL, used_machines BIGINT NOT NULL, used_cpus BIGINT NOT NULL, used_memory BIGINT NOT NULL, used_disk BIGINT NOT NULL, generation BIGINT NOT NULL, created_at BIGINT NOT NULL);
CREATE TABLE network (id TEXT PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, egress TEXT NOT NULL, subnet TEXT NOT NULL, wanted TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, generation BIGINT NOT NULL, observed_generation BIGINT NOT NULL, created_at BIGINT NOT NULL, UNIQUE (project, name));
CREATE TABLE address (network_id TEXT NOT NULL, position BIGINT NOT NULL, machine_id TEXT NOT NULL, PRIMARY KEY (network_id, position));
CREATE INDEX address_machine ON address (machine_id);
CREATE TABLE image (id TEXT PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL, lock_wanted TEXT NOT NULL, wanted TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, digest TEXT NOT NULL, lock TEXT NOT NULL, size BIGINT NOT NULL, operation TEXT NOT NULL, generation BIGINT NOT NULL, observed_generation BIGINT NOT NULL, created_at BIGINT NOT NULL, UNIQUE (project, name));
CREATE TABLE machine (id TEXT PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, group_name TEXT NOT NULL, spec TEXT NOT NULL, image TEXT NOT NULL, health TEXT NOT NULL, metadata TEXT NOT NULL, cordoned BIGINT NOT NULL, instance_id TEXT NOT NULL, disk_instance TEXT NOT NULL, wanted TEXT NOT NULL, restart_wanted BIGINT NOT NULL, restart_seen BIGINT NOT NULL, network_id TEXT NOT NULL, address TEXT NOT NULL, mac TEXT NOT NULL, generation BIGINT NOT NULL, lease_nonce TEXT NOT NULL, lease_until BIGINT NOT NULL, operation TEXT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, healthy BIGINT NOT NULL, boot_id TEXT NOT NULL, host_key TEXT NOT NULL, image_digest TEXT NOT NULL, restarts BIGINT NOT NULL, since BIGINT NOT NULL, observed_generation BIGINT NOT NULL, UNIQUE (project, name));
CREATE INDEX machine_group ON machine (project, group_name);
CREATE INDEX machine_network ON machine (network_id);
CREATE TABLE machine_metadata (machine_id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (machine_id, key));
CREATE INDEX machine_metadata_value ON machine_metadata (key, value);
CREATE TABLE tombstone (machine_id TEXT PRIMARY KEY, at BIGINT NOT NULL);
CREATE TABLE snapshot (id TEXT PRIMARY KEY, machine_id TEXT NOT NULL, name TEXT NOT NULL, wanted TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, operation TEXT NOT NULL, created_at BIGINT NOT NULL, UNIQUE (machine_id, name));
CREATE TABLE operation (id TEXT PRIMARY KEY, project TEXT NOT NULL, kind TEXT NOT NULL, resources TEXT NOT NULL, status TEXT NOT NULL, may_cancel BIGINT NOT NULL, error TEXT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL);
CREATE INDEX operation_status ON operation (status);
CREATE TABLE publication (id TEXT PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, host TEXT NOT NULL UNIQUE, group_name TEXT NOT NULL, port BIGINT NOT NULL, wanted TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, backends TEXT NOT NULL, generation BIGINT NOT NULL, observed_generation BIGINT NOT NULL, UNIQUE (project, name));
",
    },
    Migration {
        name: "20261124_replaced_instances",
        sql: "CREATE TABLE replaced_instance (instance_id TEXT PRIMARY KEY, machine_id TEXT NOT NULL, spec TEXT NOT NULL, replaced_at BIGINT NOT NULL);
CREATE INDEX replaced_instance_machine ON replaced_instance (machine_id);
",
    },
    hafen_work::ACTOR_MIGRATION,
];
