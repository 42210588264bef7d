//! The `delivery` service: from a push to what runs.
//!
//! # Why it is built so
//!
//! **Repositories** lie on this host's disk, and `git` itself serves them (`hafen_git`); the database holds who may do what, and
//! *what was told* of each reference. Before git moves a reference, a row says who pushed what (`store::push`); afterwards what
//! is on the disk is held against what was told, and the difference is told: an event, and whoever listens (`Pushed`), in
//! one transaction with the new state. So a process that dies anywhere between has nothing to remember: the next start compares
//! again (`app::tell`).
//!
//! **Who may push** is decided twice: whether at all, by the gate before the API (or, over SSH, by asking it); and to which branch
//! how, by the repository's own rules (`model::judge`), when git asks with the new objects in quarantine (`app::push`).
//!
//! **Hooks** take calls of other systems. Each kind has a pure reader (`hooks`), which says whether a call is to be believed,
//! what makes it the same as another, and what it asks for; `app::hook` acts on it once.
//!
//! A repository and a hook are of a project as it was founded: when a project is gone and another takes its name, it finds nothing
//! of the first (`project_since`).
//!
//! It knows machines, secrets and routes only through the API client.

mod api;
mod app;
pub mod apps;
mod hooks;
pub mod model;
mod pushed;
mod reconcile;
mod state;
pub mod store;

pub use api::OPEN;
pub use pushed::{Push, Pushed, RefUpdate, Requested, Unheard};
pub use state::{Delivery, DeliveryConfig, Rights};
