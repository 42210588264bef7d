//! Queries of this service, and nothing else: no rule, no call upwards. Portable between SQLite and PostgreSQL: optional
//! texts are empty, times are UTC microseconds, 0 for none. Each resource keeps its tables beside its queries.

pub mod app;
pub mod repository;

use hafen_db::Migration;

pub const MIGRATIONS: &[Migration] =
    &[hafen_work::MIGRATION, hafen_work::ACTOR_MIGRATION, repository::MIGRATION, app::MIGRATION];
