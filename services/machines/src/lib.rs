//! The `machines` service: projects, networks, images, machines, snapshots, published ports, operations, events.
//!
//! # Why it is built so
//!
//! A machine is two things that drift apart: a wish in a database and a process on a host. This service keeps them as
//! two halves of a row. Requests write only the wish, with a generation, and answer at once; reconcilers write only what
//! they saw, with the generation they saw it at. Between them stands `plan::decide`, a pure function, and below them an
//! `engine` that can be asked what is there. No step is remembered anywhere else, so a crash needs no recovery code: the
//! next start reads the rows, looks at reality, and goes on.
//!
//! A reply that got lost, a hypervisor that died and a machine made half are then the same thing: reality is not as
//! wanted, so look and decide again.

pub mod api;
mod app;
/// The authorities of SSH, as the engine and the API use them.
pub use hafen_sshca as ca;
pub mod engine;
pub mod model;
pub mod plan;
mod reconcile;
mod state;
pub mod store;

pub use state::{Machines, MachinesConfig};
