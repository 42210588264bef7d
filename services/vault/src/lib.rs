//! The `vault` service: the secrets of each project. They go in easily, and come out only with a reason that the ledger keeps.
//!
//! # Why it is built so
//!
//! A value is sealed under the key of its project, and that key under the platform's master key (`hafen_seal`). So another
//! master key means that one small key per project is wrapped anew (`Vault::rewrap`), and the end of a project is the end of its
//! key: what a backup still holds of its secrets opens no more with anything that is left.
//!
//! A project is not its name: names are given again. Each key belongs to one life of a project, from `created_at` on, and every
//! request asks which life it is. Whoever takes a name next meets no secret of before, whether the old ones were destroyed already
//! or not. That they are is this service's part (`reconcile`): it follows what the platform says of projects that ended. It never
//! takes the mere absence of a project for its end: a database brought back from a backup must not cost secrets.
//!
//! Nothing of a value is written anywhere but sealed: no event, no log and no answer of an idempotency key holds one. The
//! fingerprint by which a repeated request is known again is one under a key, because a value is often short enough to be guessed
//! from a plain hash (`Vault::fingerprint`).
//!
//! Destroyed means destroyed: a database keeps what it deleted until it needs the room. After a destruction those traces are removed
//! as well, and an event says when that is done (`reconcile::Traces`).

mod api;
mod app;
mod model;
mod reconcile;
mod state;
pub mod store;

pub use model::{MAX_SECRETS, MAX_VALUE, MAX_VERSIONS};
pub use state::{Vault, VaultConfig};
