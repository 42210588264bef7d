//! The `ledger` service: what happened, by whom, and the proof that nobody changed the story since.
//!
//! # Why it is built so
//!
//! Every service writes what happened into its own event log, in the transaction of the change. The ledger *follows* those
//! logs (`follow`): their positions have no gaps, the place up to which one was followed is stored in the transaction of
//! the entries, and (service, seq) is unique; so no crash loses an event or writes it twice, and no service waits for the
//! ledger. Calls that change something are the exception: they are recorded before they are made (`calls`).
//!
//! An append is one transaction and no tree work but the hash of each full tile (`append`). The tree is what the records
//! say: a reconciler (`sign`) computes the root, a second or less behind, and signs it. So the price of a proof does not
//! fall on whoever waits for an answer, and one signature covers all entries of that second.
//!
//! A log that must never be changed and a person who may demand to be forgotten meet in `model`: the tree holds pseudonyms
//! and salted commitments, keys and payloads lie beside it, and to erase a person is to destroy those (`erase`). The log
//! verifies as before.
//!
//! A database can be restored from a backup; a history cannot. The last checkpoint lies in a place apart (`apart`), and a
//! database that is not its continuation is not signed, nor written to, until somebody opens another shard. Witnesses
//! (`witness`) see the same from outside, if both were rolled back.
//!
//! This service knows other services only as feeds of events.

mod apart;
mod api;
mod append;
mod archive;
mod calls;
mod erase;
mod export;
mod files;
mod follow;
mod housekeeping;
mod keys;
mod model;
mod sign;
mod state;
mod store;
mod tiles;
mod view;
pub mod witness;

pub use archive::ExportFiles;
pub use export::PersonalCheck;
pub use model::{NewEntry, Personal, Record};
pub use state::{Ledger, LedgerConfig};
pub use store::MIGRATIONS;
