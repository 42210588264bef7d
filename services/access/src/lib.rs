//! The `access` service: who gets into machines over SSH, for how long, and what is known of it afterwards.
//!
//! # Why it is built so
//!
//! Nobody has a key that opens a machine. A person has a certificate for minutes: two of them, because the bastion sees the
//! client's address and the machine sees the bastion's, so that neither could be bound to an address if they were one
//! (`app`). The bastion (`hafen_bastion`) asks this service through its `Gate` (`gate`): whose certificate it is, and for a
//! connection to what stands under a name in the inventory. A certificate that this service did not write down opens
//! nothing, even when the authority signed it.
//!
//! A revocation is a row. Every bastion, in this process or another, reads the rows each second and ends what they name
//! (`state`): there is no message that could be lost. Machines do not know revocations, and need not: their only way in is
//! the bastion. For those that are reached otherwise there is a revocation list in OpenSSH's format (`krl`).
//!
//! A certificate names the projects that its owner's roles permitted when it was issued. Roles are taken and projects change hands
//! afterwards: at every connection, and each second while one is open (`ways`), the platform is asked whether they permit it still.
//!
//! Each certificate, session, refusal and alert is an event of this service's log, written in the transaction of the change.
//!
//! Who has only a browser gets a shell by a certificate as well, which the platform makes and uses for them (`shell`).
//!
//! What changes in the ways into machines is noticed and told (`watch`).
//!
//! This service knows machines only through the API client.

mod api;
mod app;
mod gate;
pub mod krl;
pub mod model;
mod shell;
mod state;
pub mod store;
pub mod watch;
mod ways;

pub use gate::AccessGate;
pub use shell::{ShellConfig, ShellLimits, Shells};
pub use state::{Access, AccessConfig, Rights, SESSION_DAYS};
pub use watch::WatchConfig;
