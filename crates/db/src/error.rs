//! Database errors as the platform's own.

use hafen_base::{Error, ErrorKind};

/// A full disk is a 507, an unreachable database a 503, all else ours to mend.
pub fn store_error(error: sqlx::Error) -> Error {
    let text = error.to_string();
    // SQLITE_FULL (13) and PostgreSQL's disk_full (53100).
    let code = error.as_database_error().and_then(|e| e.code().map(std::borrow::Cow::into_owned));
    if matches!(code.as_deref(), Some("13" | "53100")) || text.contains("database or disk is full") {
        return Error::new(
            ErrorKind::NoSpace,
            "the disk that holds the platform's state is full; nothing was changed: free some room and try again",
        )
        .with_cause(error);
    }
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) | sqlx::Error::PoolClosed => {
            Error::unavailable("the database does not answer; try again").with_cause(error)
        }
        other => Error::internal(other),
    }
}

/// Whether a row was refused because its key is taken.
pub fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
