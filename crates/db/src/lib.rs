//! Databases: one SQLite file per service, or one PostgreSQL with a schema per service.
//!
//! Both are reached through `sqlx`'s `Any` driver with one portable SQL text: `$1` parameters, `BIGINT`, `TEXT` and
//! nothing else, so that every store test runs on both (decision 0003). This crate knows no table but its own.
//!
//! SQLite gets one writer connection and a few readers: a second writer would only wait for the lock, and with one
//! the wait is a fair queue instead of `SQLITE_BUSY`. `synchronous = FULL`, because an answered request must be on disk;
//! transactions that wait for one another share a sync (`group`).

mod error;
mod group;
mod migrate;
#[cfg(feature = "testing")]
pub mod testing;
mod visible;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hafen_base::Result;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, Executor as _};

pub use error::{is_unique_violation, store_error};
pub use group::Tx;
pub use migrate::Migration;
pub use sqlx;
pub use visible::{Columns, Own, Visible};

use group::Group;

/// A row of either database.
pub type Row = sqlx::any::AnyRow;

/// Where a service's state lives.
#[derive(Debug, Clone)]
pub enum Location {
    /// A folder that holds one file per service.
    Sqlite(PathBuf),
    /// A `postgres://` URL; each service has a schema of its name.
    Postgres(String),
}

/// Which database answers; for the few statements that cannot be portable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// One service's database.
#[derive(Debug, Clone)]
pub struct Db {
    reader: AnyPool,
    writer: Writer,
}

#[derive(Debug, Clone)]
enum Writer {
    Sqlite(Arc<Group>),
    Postgres(AnyPool),
}

impl Db {
    /// Opens, creates if need be, and migrates.
    ///
    /// # Errors
    /// Unavailable when the database cannot be reached; no space when the disk is full.
    pub async fn open(location: &Location, service: &'static str, migrations: &[Migration]) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let db = match location {
            Location::Sqlite(folder) => Self::open_sqlite(&folder.join(format!("{service}.db"))).await?,
            Location::Postgres(url) => Self::open_postgres(url, service).await?,
        };
        migrate::run(&db, migrations).await?;
        Ok(db)
    }

    async fn open_sqlite(file: &std::path::Path) -> Result<Self> {
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let options: AnyConnectOptions = url.parse().map_err(store_error)?;
        let pool = |max: u32| {
            AnyPoolOptions::new().max_connections(max).acquire_timeout(Duration::from_secs(30)).after_connect(
                |connection, _| {
                    Box::pin(async move {
                        connection
                            .execute(
                                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000; \
                                 PRAGMA foreign_keys = ON; PRAGMA cache_size = -1024;",
                            )
                            .await?;
                        Ok(())
                    })
                },
            )
        };
        let writer = pool(1).connect_with(options.clone()).await.map_err(store_error)?;
        // Each keeps a page cache of a megabyte and a thread; more of them than processors only wait for one another.
        let readers = std::thread::available_parallelism().map_or(4, std::num::NonZero::get).clamp(2, 4);
        let readers = u32::try_from(readers).unwrap_or(2);
        let reader = pool(readers).connect_with(options).await.map_err(store_error)?;
        let writer = Writer::Sqlite(Arc::new(Group::new(writer).await.map_err(store_error)?));
        Ok(Self { reader, writer })
    }

    async fn open_postgres(url: &str, service: &'static str) -> Result<Self> {
        let options: AnyConnectOptions = url.parse().map_err(store_error)?;
        let pool = AnyPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(30))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    // The service name is a constant of ours, never input.
                    let sql = format!(
                        "CREATE SCHEMA IF NOT EXISTS {service}; SET search_path TO {service}; SET client_min_messages TO warning"
                    );
                    for statement in sql.split("; ") {
                        connection.execute(sqlx::AssertSqlSafe(statement.to_owned())).await?;
                    }
                    Ok(())
                })
            })
            .connect_with(options)
            .await
            .map_err(store_error)?;
        Ok(Self { reader: pool.clone(), writer: Writer::Postgres(pool) })
    }

    /// For reads outside a transaction. They see every write committed before.
    pub const fn reader(&self) -> &AnyPool {
        &self.reader
    }

    pub const fn backend(&self) -> Backend {
        match self.writer {
            Writer::Sqlite(_) => Backend::Sqlite,
            Writer::Postgres(_) => Backend::Postgres,
        }
    }

    /// Begins a transaction that writes. It takes the service's write lock at once, so that what it reads still holds when
    /// it writes: a quota, a free subnet, a name, an idempotency key. `SQLite` has one writer anyhow. `PostgreSQL` gets an
    /// advisory lock per schema in the same round trip: without it a check and the write after it could be overtaken (a
    /// network destroyed while a machine moves in), and every event takes a lock of its own soon after in any case.
    ///
    /// # Errors
    /// Unavailable when no connection is to be had.
    pub async fn write(&self) -> Result<Tx> {
        match &self.writer {
            Writer::Sqlite(group) => group.begin().await,
            Writer::Postgres(pool) => {
                let begin = "BEGIN; SELECT pg_advisory_xact_lock(hashtext(current_schema()))";
                pool.begin_with(begin).await.map(Tx::from)
            }
        }
        .map_err(store_error)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.reader.close().await;
        match &self.writer {
            Writer::Sqlite(group) => group.close().await,
            Writer::Postgres(pool) => pool.close().await,
        }
    }
}
