//! Queries of this service, and nothing else: no rule, no call upwards. Portable between SQLite and PostgreSQL: optional
//! texts are empty, times are UTC microseconds, 0 for none. Each resource keeps its tables beside its queries.

pub mod app;
pub mod deploy_key;
pub mod hook;
pub mod process;
pub mod push;
pub mod repository;

use hafen_base::{Error, Result, Timestamp};
use hafen_db::{Migration, Row, store_error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;

pub use hafen_db::sqlx;

pub const MIGRATIONS: &[Migration] = &[
    hafen_work::MIGRATION,
    hafen_work::ACTOR_MIGRATION,
    repository::MIGRATION,
    hook::MIGRATION,
    app::MIGRATION,
    hook::IGNORED_MIGRATION,
];

/// Reads run on the reader pool or inside a transaction alike.
pub trait Reads<'c>: sqlx::Executor<'c, Database = sqlx::Any> {}
impl<'c, E: sqlx::Executor<'c, Database = sqlx::Any>> Reads<'c> for E {}

pub(crate) fn text(row: &Row, column: &str) -> Result<String> {
    row.try_get(column).map_err(store_error)
}

pub(crate) fn number(row: &Row, column: &str) -> Result<i64> {
    row.try_get(column).map_err(store_error)
}

pub(crate) fn time(row: &Row, column: &str) -> Result<Timestamp> {
    number(row, column).map(Timestamp::from_micros)
}

/// None where it is 0.
pub(crate) fn time_if(row: &Row, column: &str) -> Result<Option<Timestamp>> {
    Ok(Some(time(row, column)?).filter(|at| at.micros() != 0))
}

/// None where it is empty.
pub(crate) fn text_if(row: &Row, column: &str) -> Result<Option<String>> {
    Ok(Some(text(row, column)?).filter(|text| !text.is_empty()))
}

/// Who made it, by id. What was written earlier has the name before it, in which nobody may read of whom they may not know.
pub(crate) fn maker(row: &Row) -> Result<String> {
    let text = text(row, "created_by")?;
    let id = text.strip_suffix(')').and_then(|text| text.rsplit_once(" ("));
    Ok(id.map_or_else(|| text.clone(), |(_, id)| id.to_owned()))
}

pub(crate) fn json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<T> {
    serde_json::from_str(row.try_get::<&str, _>(column).map_err(store_error)?).map_err(Error::internal)
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}
