//! The record of calls that change something: opened before the handler runs, completed after.
//!
//! Only the contract lives here; whoever keeps the record implements it, and the middleware that authenticates calls it.

use async_trait::async_trait;
use hafen_base::{Actor, Result};

/// A call about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Unique for good: the request id.
    pub id: String,
    pub actor: Actor,
    /// As `POST`.
    pub method: String,
    /// Without the query.
    pub path: String,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// With this HTTP status.
    Answered(u16),
    /// Nobody knows: the connection went away in the middle, or the handler was cut off.
    Unknown,
}

/// Keeps the record.
#[async_trait]
pub trait CallLog: Send + Sync {
    /// Returns once it is on disk that the call is about to be made. On an error the call must not be made.
    ///
    /// # Errors
    /// Unavailable when it cannot be recorded; conflict when the id was used before.
    async fn opened(&self, call: &Call) -> Result<()>;

    /// Returns once it is on disk how the call ended. A call that was opened and never completed is closed as unknown later.
    ///
    /// # Errors
    /// Unavailable when it cannot be recorded; the call has been made all the same.
    async fn completed(&self, id: &str, outcome: CallOutcome) -> Result<()>;
}
