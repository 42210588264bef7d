//! Background work, in one place: the event log (outbox), progress between events, requests that act once, the reconcile
//! runner, health.
//!
//! Everything that happens without a request happens in a `Runner` of this crate; nobody else spawns. A reconciler
//! takes a key and no other input, so a crash and a normal step take the same road: whatever is `pending` when the
//! process starts is reconciled, and that is all the recovery there is.

mod events;
mod health;
mod once;
mod progress;
mod runner;

pub use events::{EventFilter, EventLog, Feed, NewEvent};
pub use health::Health;
pub use once::{Begun, Once, OnceTx};
pub use progress::{Note, Progress};
pub use runner::{Next, Reconciler, Runner, Wake};

use hafen_db::Migration;

/// The tables of this crate; every service puts them before its own.
pub const MIGRATION: Migration = Migration {
    name: "20261124_work",
    sql: "CREATE TABLE event_counter (id BIGINT PRIMARY KEY, seq BIGINT NOT NULL);
INSERT INTO event_counter (id, seq) VALUES (1, 0);
CREATE TABLE event (seq BIGINT PRIMARY KEY, at BIGINT NOT NULL, project TEXT NOT NULL, kind TEXT NOT NULL, object TEXT NOT NULL, message TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE once (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, answer TEXT NOT NULL, at BIGINT NOT NULL);
",
};

/// Who did it, beside what happened. A service of before has its own tables between the two.
pub const ACTOR_MIGRATION: Migration = Migration {
    name: "20261125_event_actor",
    sql: "ALTER TABLE event ADD COLUMN actor TEXT NOT NULL DEFAULT '';
",
};
